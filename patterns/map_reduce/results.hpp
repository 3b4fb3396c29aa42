// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.

#pragma once

#include "desk.hpp"
#include "input.hpp"
#include "job.hpp"

#include "common/codec.hpp"
#include "common/crew.hpp"
#include "common/shared.hpp"

#include <cstddef>
#include <cstdint>
#include <iterator>
#include <span>
#include <utility>
#include <vector>

namespace map_reduce {

/// How a job runs.  Nothing here changes its result.
struct options
{
    common::crew::options staff;
    unsigned attempts = 3;           // of a task that kills its worker
    unsigned partitions = 16;        // of the keys, 1 to 1024: tasks of the
                                     // reduce phase
    std::size_t memory = 256u << 20; // bytes of keys and values of one task
    std::size_t limit = 0; // results wanted: the first in order; 0: all
};

/// What happened on the way.
struct statistics
{
    std::uint64_t splits = 0, bytes = 0, emitted = 0;
    std::uint64_t deaths = 0, retried = 0, poisoned = 0;
    std::vector<std::uint64_t> partition_keys; // how even the partitions are
};

/// The results of a job, in order, and what is missing from them.
///
/// They lie in shared memory; keys that are string_views live as long as this
/// object.
template <class Job>
class results
{
public:
    using value_type = detail::result_entry<Job>;

    class iterator
    {
    public:
        using value_type = results::value_type;
        using difference_type = std::ptrdiff_t;

        const value_type& operator*() const { return run_.now; }
        const value_type* operator->() const { return &run_.now; }
        iterator& operator++()
        {
            --left_;
            next();
            return *this;
        }
        void operator++(int) { ++*this; }
        bool operator==(std::default_sentinel_t) const { return left_ == 0; }

    private:
        friend class results;

        explicit iterator(const results& all)
            : left_(all.limit_ == 0 ? SIZE_MAX : all.limit_)
            , parts_(all.parts_)
        {
            next();
        }

        void next()
        {
            while (left_ != 0 && !run_.next()) // each turn takes a part
            {
                if (parts_.empty())
                    left_ = 0;
                else
                {
                    run_ = detail::run<Job>(parts_.front());
                    parts_ = parts_.subspan(1);
                }
            }
        }

        std::size_t left_; // results to come, at most
        std::span<const std::span<const std::byte>> parts_;
        detail::run<Job> run_{{}};
    };

    iterator begin() const { return iterator(*this); }
    std::default_sentinel_t end() const { return {}; }

    /// What could not be done; empty when the results are complete.
    const std::vector<failure>& failures() const { return failures_; }
    const statistics& stats() const { return stats_; }

private:
    template <class J, class Input>
    friend results<J> run(const J&, const Input&, const options&);

    results(std::size_t limit, std::vector<failure> failures)
        : limit_(limit)
        , failures_(std::move(failures))
    {
    }

    std::size_t limit_;
    std::vector<failure> failures_;
    statistics stats_;
    common::segment memory_;
    std::vector<std::span<const std::byte>> parts_; // of memory_
};

} // namespace map_reduce
