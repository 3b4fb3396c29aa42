// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.

#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>

namespace master_worker {

/// How fast workers of a role are, and so how many tasks one may have.
struct pace
{
    std::chrono::nanoseconds of_a_task{0}; // 0: not known
    unsigned depth = 1;                    // tasks that a worker may have

    /// A task took so long; a worker may have work for `ahead` behind one, and
    /// at most `most` tasks in all.  One that took long now and then (its CPU
    /// was taken from it) says little; several do.
    void note(std::chrono::nanoseconds took, std::chrono::nanoseconds ahead,
              unsigned most)
    {
        took += std::chrono::nanoseconds(1);
        of_a_task = of_a_task.count() == 0
                        ? took
                        : (3 * of_a_task + std::min(took, 8 * of_a_task)) / 4;
        depth = 1 + static_cast<unsigned>(
                        std::min<std::int64_t>(most - 1, ahead / of_a_task));
    }
};

} // namespace master_worker
