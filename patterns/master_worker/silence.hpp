// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.

#pragma once

#include "engine.hpp"

#include "common/linux/usage.hpp"

#include <sys/types.h>

#include <algorithm>
#include <chrono>
#include <optional>
#include <utility>

namespace master_worker {

/// Whether a worker that has been silent is stuck, or only starved.
///
/// From half its limit on, what counts is time in which it ran or slept.  Time
/// in which it waits for a CPU, behind others, does not: who cannot run cannot
/// make progress.
class silence_watch
{
public:
    /// When to look again at a process that has said nothing since `since`;
    /// nothing when it has had `limit` to say something.
    std::optional<time_point> next_look(pid_t pid, time_point since,
                                        std::chrono::nanoseconds limit,
                                        time_point now)
    {
        const auto step = std::max<std::chrono::nanoseconds>(
            limit / 8, std::chrono::milliseconds(1));
        if (now < since + limit / 2)
            return since + limit / 2;
        if (since_ == since && now < looked_ + step / 2)
            return looked_ + step;
        const auto seen = common::kernel::scheduling::of(pid);
        if (std::exchange(since_, since) != since)
            counted_ = limit / 2;
        else
            counted_ += seen.runnable ? seen.ran - last_.ran : now - looked_;
        last_ = seen;
        looked_ = now;
        if (counted_ >= limit)
            return std::nullopt;
        return now + step;
    }

private:
    common::kernel::scheduling last_{};
    time_point looked_{}, since_{};
    std::chrono::nanoseconds counted_{0};
};

} // namespace master_worker
