// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.

#pragma once

#include "combine_table.hpp"
#include "input.hpp"
#include "job.hpp"

#include "common/codec.hpp"
#include "common/error.hpp"
#include "common/fault.hpp"
#include "common/linux/descriptor.hpp"
#include "common/shared.hpp"

#include <sys/types.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace map_reduce::detail {

// Shared memory with a window for each task of a phase.  A window costs address
// space until it is written, and has one writer: the attempt that runs.  What
// an attempt that died has left there nobody reads: the next one writes over
// it, and only the size that a committed task returned makes it valid.
struct windows
{
    common::segment memory;
    std::uint64_t size = 0; // bytes of a window

    // Throws instead of dying where there is no memory left.
    void store(std::uint64_t window, std::uint64_t offset,
               std::span<const std::byte> from) const
    {
        while (!from.empty()) // each turn writes something, or throws
        {
            const auto n =
                ::pwrite(memory.memory().get(), from.data(), from.size(),
                         static_cast<off_t>(window * size + offset));
            if (n < 0 && errno != EINTR)
                common::kernel::fail("storing a result in shared memory");
            const auto done = static_cast<std::size_t>(std::max<ssize_t>(n, 0));
            from = from.subspan(done);
            offset += done;
        }
    }
    // Gives the memory of windows back.
    void discard(std::uint64_t first, std::uint64_t last) const noexcept
    {
        memory.memory().discard(first * size, (last - first) * size);
    }
    std::span<const std::byte> view(std::uint64_t window,
                                    std::uint64_t used) const
    {
        if (used > size || window >= memory.size() / size)
            throw common::malformed("a result larger than its window");
        return {memory.data() + window * size, used};
    }
};

// What each phase leaves to the next, and at last to whoever asked.
struct places
{
    std::uint64_t splits = 0, partitions = 0;
    windows mapped;  // by split: its keys with their values, by partition
    windows reduced; // by partition: its results in order
    windows merged;  // by range: its results in order
};

// What a task returns: its result itself is in its window.
struct report
{
    std::uint64_t stored = 0; // bytes in the window
    std::uint64_t count = 0;  // values emitted, or keys reduced
    std::uint64_t read = 0;   // bytes of input
    std::vector<failure> failures;
    std::vector<std::uint64_t> marks; // where every 64th result begins
};

// A part of the sorted results of a partition.
struct slice
{
    std::uint64_t first = 0, last = 0; // bytes of its window
};

// A worker's side of a job.
template <class Job>
class desk
{
public:
    desk(const Job& job, const places& where, std::size_t limit)
        : job_(job)
        , places_(where)
        , limit_(limit)
        , table_(where.mapped.size)
    {
    }

    // tag::map[]
    template <class Split>
    report map(typename Split::recipe what)
    {
        Split split(std::move(what));
        begin(split.index());
        emitter emit{table_};
        job_.map(split, emit);
        COMMON_FAULT_POINT("map_reduce.mapped");
        table_.partial(bytes_, places_.partitions, partition_of_keys(job_));
        const auto size = store(places_.mapped, split.index());
        end(split.index());
        return {size, emit.count, split.bytes(), split.failures(), {}};
    }
    // end::map[]

    // tag::reduce[]
    report reduce(unsigned partition,
                  const std::vector<std::uint64_t>& committed)
    {
        const auto task = places_.splits + partition;
        begin(task);
        for (std::uint64_t split = 0; split != places_.splits; ++split)
            if (committed.at(split) != 0)
                table_.merge(partition_of(
                    places_.mapped.view(split, committed[split]), partition));
        COMMON_FAULT_POINT("map_reduce.merged");
        sort_results();
        auto marks = encode_results();
        const auto size = store(places_.reduced, partition);
        end(task);
        return {size, table_.size(), 0, {}, std::move(marks)};
    }
    // end::reduce[]

    // Sorts a slice of each partition: a range of the final order.
    report merge(unsigned range, const std::vector<slice>& slices)
    {
        const auto task = places_.splits + places_.partitions + range;
        begin(task);
        // All is reduced: nobody needs these again.
        places_.mapped.discard(places_.splits * range / places_.partitions,
                               places_.splits * (range + 1) /
                                   places_.partitions);
        for (std::uint64_t p = 0; p != slices.size(); ++p)
        {
            const auto [first, last] = slices[p];
            run<Job> one(
                places_.reduced.view(p, last).subspan(std::min(first, last)));
            while (one.next()) // each turn takes a result
                results_.push_back({std::move(one.now)});
        }
        // Of slices in order this makes one with few surprises for the
        // processor, other than a sort that begins anew.
        std::stable_sort(results_.begin(), results_.end(), ordered<Job>{job_});
        encode_results();
        COMMON_FAULT_POINT("map_reduce.ordered");
        const auto size = store(places_.merged, range);
        end(task);
        return {size, 0, 0, {}, {}};
    }

private:
    using table =
        combine_table<typename Job::key, typename Job::value, combiner<Job>>;

    struct emitter
    {
        table& to;
        std::uint64_t count = 0;

        void operator()(const key_view<typename Job::key>& one,
                        typename Job::value value)
        {
            ++count;
            COMMON_FAULT_POINT("map_reduce.emit");
            to.emit(one, std::move(value));
        }
        void operator()(const padded_view& one,
                        typename Job::value value) requires
            std::is_same_v<typename Job::key, std::string>
        {
            ++count;
            COMMON_FAULT_POINT("map_reduce.emit");
            to.emit(one, std::move(value));
        }
    };

    void begin(std::uint64_t task)
    {
        table_.clear();
        results_.clear();
        if constexpr (requires { job_.starting(task); })
            job_.starting(task);
    }
    void end(std::uint64_t task) const
    {
        COMMON_FAULT_POINT("map_reduce.stored");
        if constexpr (requires { job_.finishing(task); })
            job_.finishing(task);
    }

    std::uint64_t store(const windows& to, std::uint64_t window) const
    {
        const std::span<const std::byte> all(bytes_);
        if (all.size() > to.size)
            throw memory_exceeded("a result takes " +
                                  std::to_string(all.size()) +
                                  " bytes, more than the " +
                                  std::to_string(to.size) + " allowed");
        const auto half = all.size() / 2;
        to.store(window, 0, all.first(half));
        COMMON_FAULT_POINT("map_reduce.half_stored");
        to.store(window, half, all.subspan(half));
        return all.size();
    }

    // The first results of the table, in order.
    void sort_results()
    {
        for (const auto& [one, value] : table_)
            if (auto what = reduced(job_, one, value))
                results_.push_back({{one, std::move(*what)}});
        const ordered<Job> order{job_};
        if (limit_ != 0 && limit_ < results_.size())
        {
            const auto end =
                results_.begin() + static_cast<std::ptrdiff_t>(limit_);
            std::nth_element(results_.begin(), end, results_.end(), order);
            results_.erase(end, results_.end());
        }
        sort(results_, order);
    }

    // The results as bytes; returns where every 64th begins.
    std::vector<std::uint64_t> encode_results()
    {
        std::vector<std::uint64_t> marks;
        std::size_t size = 0;
        for (std::size_t i = 0; i != results_.size(); ++i)
        {
            if (i % 64 == 0)
                marks.push_back(size);
            size += result_codec<Job>::size(results_[i].result);
        }
        bytes_.resize(size);
        common::writer to{bytes_};
        for (const auto& one : results_)
            result_codec<Job>::write(to, one.result);
        return marks;
    }

    Job job_;
    places places_;
    std::size_t limit_;
    table table_;
    // Kept, for the next task, since memory that is new costs page faults.
    std::vector<ranked<Job>> results_;
    std::vector<std::byte> bytes_; // what is stored
};

} // namespace map_reduce::detail
