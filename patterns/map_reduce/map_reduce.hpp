// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.

#pragma once

#include "desk.hpp"
#include "input.hpp"
#include "job.hpp"
#include "results.hpp"

#include "common/codec.hpp"
#include "common/error.hpp"
#include "common/executor.hpp"
#include "common/shared.hpp"
#include "common/task.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <memory>
#include <span>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace map_reduce {

namespace detail {

inline places make_places(std::uint64_t splits, const options& how)
{
    // Each range of the results is merged from a slice of each partition.
    if (how.partitions == 0 || how.partitions > 1024)
        throw std::invalid_argument("a job has 1 to 1024 partitions, not " +
                                    std::to_string(how.partitions));
    constexpr std::uint64_t page = 4096, most = std::uint64_t{1} << 46;
    const auto count = splits + 2 * std::uint64_t{how.partitions};
    const auto limit = most / count / page * page;
    if (how.memory == 0 || how.memory > limit)
        throw std::invalid_argument(
            "memory of " + std::to_string(splits) + " splits and " +
            std::to_string(how.partitions) + " partitions is 1 to " +
            std::to_string(limit) + " bytes for each, not " +
            std::to_string(how.memory));
    const auto size = (how.memory + page - 1) / page * page;
    const auto windows_for = [size](const char* phase, std::uint64_t tasks) {
        return windows{common::segment(phase, tasks * size, 0), size};
    };
    return {splits, how.partitions, windows_for("mapped", splits),
            windows_for("reduced", how.partitions),
            windows_for("merged", how.partitions)};
}

inline common::executor::options staff_for(std::uint64_t tasks,
                                           const options& how)
{
    common::executor::options result;
    result.staff = how.staff;
    result.table.capacity =
        static_cast<unsigned>(std::clamp<std::uint64_t>(tasks, 1, 1024));
    return result;
}

// Waits for a task.  One that failed becomes a failure and an empty report.
inline report report_of(const common::executor& workers,
                        common::executor::ticket_ptr task,
                        const std::string& name, std::vector<failure>& failures)
{
    return workers.shared_ledger()->finish(
        std::move(task),
        [&](common::outcome end, const common::ticket& t,
            std::span<const std::byte> bytes) -> report {
            common::reader from{bytes};
            if (end == common::outcome::value)
                return common::decode<report>(from);
            if (end == common::outcome::error)
            {
                const auto error = common::decode<common::error_message>(from);
                failures.push_back(
                    {name, error.what.empty() ? error.type : error.what});
            }
            else if (end == common::outcome::died)
                failures.push_back(
                    {name, common::worker_died("it", t.deaths).what()});
            else
                throw common::exhausted(t.why);
            return {};
        });
}

// Cuts the sorted results of all partitions into ranges that can be merged
// independently of each other: for each range a slice of each partition.
template <class Job>
std::vector<std::vector<slice>> cut(const ordered<Job>& order,
                                    const windows& reduced,
                                    const std::vector<report>& partitions)
{
    const auto ranges = partitions.size();
    const auto at = [&](std::size_t p, std::uint64_t offset) {
        const auto all = reduced.view(p, partitions[p].stored);
        run<Job> one(all.subspan(std::min<std::uint64_t>(offset, all.size())));
        one.next();
        return one;
    };

    std::vector<result_entry<Job>> sample;
    for (std::size_t p = 0; p != ranges; ++p)
        for (std::size_t i = 0; i < partitions[p].marks.size(); i += 8)
            sample.push_back(at(p, partitions[p].marks[i]).now);
    std::sort(sample.begin(), sample.end(), order);

    std::vector<std::vector<slice>> result(ranges, std::vector<slice>(ranges));
    if (sample.empty()) // no results at all
        return result;
    for (std::size_t p = 0; p != ranges; ++p)
    {
        const auto& marks = partitions[p].marks;
        for (std::size_t r = 1; r != ranges; ++r)
        {
            const auto& limit = sample[sample.size() * r / ranges];
            // Where the first result that is not before the limit begins.
            const auto beyond = std::partition_point(
                marks.begin(), marks.end(), [&](std::uint64_t mark) {
                    return order(at(p, mark).now, limit);
                });
            std::uint64_t end = 0;
            if (beyond != marks.begin())
                for (auto one = at(p, end = *std::prev(beyond));
                     order(one.now, limit);) // ends with the run, at last
                {
                    end += one.bytes.size();
                    if (!one.next())
                        break;
                }
            result[r - 1][p].last = result[r][p].first = end;
        }
        result.back()[p].last = partitions[p].stored;
    }
    return result;
}

} // namespace detail

/// Runs a job over an input (`files`, `indexes`) in worker processes, and
/// waits for its results.
///
/// A worker that dies costs the time of the task it was at: the partial result
/// of a split counts once, or, after `attempts` deaths, not at all, and then
/// it is a failure.  So is a split whose `map` throws.  Throws when there are
/// no workers: std::system_error, exhausted.
template <class Job, class Input>
[[nodiscard]] results<Job> run(const Job& job, const Input& input,
                               const options& how = {})
{
    check_job<Job>();
    using split = typename Input::split;
    using desk = detail::desk<Job>;
    using desk_ptr = std::shared_ptr<desk>;

    results<Job> found(how.limit, input.failures());
    const auto splits = input.splits();
    if (splits.empty())
        return found;
    const auto places = detail::make_places(splits.size(), how);
    common::executor workers(
        detail::staff_for(
            std::max<std::uint64_t>(splits.size(), how.partitions), how),
        [](const Job& j, const detail::places& p, std::size_t limit) {
            return std::make_shared<desk>(j, p, limit);
        },
        job, places, how.limit);
    common::executor::task_options task;
    task.attempts = how.attempts;

    std::vector<common::executor::ticket_ptr> tasks;
    for (const auto& one : splits)
        tasks.push_back(workers.submit(
            task,
            [](typename split::recipe what) {
                return common::worker_state<desk_ptr>()->template map<split>(
                    std::move(what));
            },
            one));
    std::vector<std::uint64_t> committed;
    for (std::size_t i = 0; i != splits.size(); ++i)
    {
        auto one = detail::report_of(workers, std::move(tasks[i]),
                                     Input::name(splits[i]), found.failures_);
        committed.push_back(one.stored);
        found.stats_.emitted += one.count;
        found.stats_.bytes += one.read;
        found.failures_.insert(found.failures_.end(), one.failures.begin(),
                               one.failures.end());
    }

    tasks.clear();
    for (unsigned i = 0; i != how.partitions; ++i)
        tasks.push_back(workers.submit(
            task,
            [](unsigned partition, const std::vector<std::uint64_t>& sizes) {
                return common::worker_state<desk_ptr>()->reduce(partition,
                                                                sizes);
            },
            i, committed));
    std::vector<detail::report> reduced;
    for (unsigned i = 0; i != how.partitions; ++i)
    {
        reduced.push_back(detail::report_of(workers, std::move(tasks[i]),
                                            "partition " + std::to_string(i),
                                            found.failures_));
        found.stats_.partition_keys.push_back(reduced.back().count);
    }

    tasks.clear();
    const auto ranges =
        detail::cut<Job>(detail::ordered<Job>{job}, places.reduced, reduced);
    for (unsigned i = 0; i != how.partitions; ++i)
        tasks.push_back(workers.submit(
            task,
            [](unsigned range, const std::vector<detail::slice>& slices) {
                return common::worker_state<desk_ptr>()->merge(range, slices);
            },
            i, ranges[i]));
    for (unsigned i = 0; i != how.partitions; ++i)
    {
        const auto one =
            detail::report_of(workers, std::move(tasks[i]),
                              "range " + std::to_string(i), found.failures_);
        found.parts_.push_back(places.merged.view(i, one.stored));
    }

    const auto s = workers.stats();
    found.stats_.splits = splits.size();
    found.stats_.deaths = s.deaths;
    found.stats_.retried = s.retried;
    found.stats_.poisoned = s.poisoned;
    found.memory_ = places.merged.memory;
    return found;
}

} // namespace map_reduce
