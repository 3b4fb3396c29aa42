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
        const auto size =
            store(places_.mapped, split.index(),
                  table_.partial(places_.partitions, partition_of_keys(job_)));
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
        std::vector<std::uint64_t> marks;
        const auto size =
            store(places_.reduced, partition, sorted_results(marks));
        end(task);
        return {size, table_.size(), 0, {}, std::move(marks)};
    }
    // end::reduce[]

    // Sorts a slice of each partition: a range of the final order.
    report merge(unsigned range, const std::vector<slice>& slices)
    {
        const auto task = places_.splits + places_.partitions + range;
        begin(task);
        std::vector<ranked<Job>> all;
        std::size_t bytes = 0;
        for (std::uint64_t p = 0; p != slices.size(); ++p)
        {
            const auto [first, last] = slices[p];
            run<Job> one(
                places_.reduced.view(p, last).subspan(std::min(first, last)));
            bytes += one.rest.size();
            while (one.next()) // each turn takes a result
                all.push_back({std::move(one.now)});
        }
        sort(all, ordered<Job>{job_});
        const auto merged = encoded(all, bytes);
        COMMON_FAULT_POINT("map_reduce.ordered");
        const auto size = store(places_.merged, range, merged);
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
        if constexpr (requires { job_.starting(task); })
            job_.starting(task);
    }
    void end(std::uint64_t task) const
    {
        COMMON_FAULT_POINT("map_reduce.stored");
        if constexpr (requires { job_.finishing(task); })
            job_.finishing(task);
    }

    static std::uint64_t store(const windows& to, std::uint64_t window,
                               std::span<const std::byte> all)
    {
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

    std::vector<std::byte>
    sorted_results(std::vector<std::uint64_t>& marks) const
    {
        std::vector<ranked<Job>> all;
        all.reserve(table_.size());
        for (const auto& [one, value] : table_)
            if (auto what = reduced(job_, one, value))
                all.push_back({{one, std::move(*what)}});
        const ordered<Job> order{job_};
        if (limit_ != 0 && limit_ < all.size())
        {
            const auto end = all.begin() + static_cast<std::ptrdiff_t>(limit_);
            std::nth_element(all.begin(), end, all.end(), order);
            all.erase(end, all.end());
        }
        sort(all, order);

        std::size_t size = 0;
        for (std::size_t i = 0; i != all.size(); ++i)
        {
            if (i % 64 == 0)
                marks.push_back(size);
            size += result_codec<Job>::size(all[i].result);
        }
        return encoded(all, size);
    }

    static std::vector<std::byte> encoded(const std::vector<ranked<Job>>& all,
                                          std::size_t size)
    {
        std::vector<std::byte> bytes(size);
        common::writer to{bytes};
        for (const auto& one : all)
            result_codec<Job>::write(to, one.result);
        return bytes;
    }

    Job job_;
    places places_;
    std::size_t limit_;
    table table_;
};

} // namespace map_reduce::detail
