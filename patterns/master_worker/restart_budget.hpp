// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.

#pragma once

#include "staff_options.hpp"

#include <algorithm>
#include <chrono>

namespace master_worker {

/// How often workers may fail before there is no point in more of them.
class restart_budget
{
public:
    explicit restart_budget(const staff_options& wanted)
        : restarts_(wanted.restarts)
        , start_failures_(wanted.start_failures)
        , backoff_(wanted.backoff)
        , longest_(wanted.longest_backoff)
    {
    }

    /// A process could be started; a worker has become ready.
    void launched() { failed_launches_ = 0; }
    void started() { failed_starts_ = killed_starts_ = 0; }

    /// None could be started: whether it may be tried again.
    bool allows_failed_launch() { return ++failed_launches_ < start_failures_; }

    /// A worker has ended before it was ready: the same.  Who is killed from
    /// outside says nothing about the start-up.
    bool allows_failed_start(bool by_others)
    {
        ++(by_others ? killed_starts_ : failed_starts_);
        return failed_starts_ < start_failures_ && killed_starts_ <= restarts_;
    }
    unsigned failed_starts() const
    {
        return std::max(failed_starts_, killed_starts_);
    }

    /// Of a worker that has failed so many times in a row with nothing done.
    bool spent(unsigned failures) const { return failures > restarts_; }
    std::chrono::milliseconds pause_after(unsigned failures) const
    {
        if (failures < 2)
            return {};
        return std::min(longest_,
                        backoff_ * (1 << std::min(failures - 2, 20u)));
    }

private:
    unsigned restarts_, start_failures_;
    std::chrono::milliseconds backoff_, longest_;
    unsigned failed_launches_ = 0; // in a row, like ...
    unsigned failed_starts_ = 0, killed_starts_ = 0;
};

} // namespace master_worker
