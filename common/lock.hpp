// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.

#pragma once

#include "common/wait.hpp"

#include <atomic>
#include <thread>

namespace common {

/// Mutual exclusion between threads of one process, for sections of a few
/// dozen instructions: one atomic operation instead of a std::mutex's two.
/// Never in shared memory: a process that dies would leave it locked.
class short_lock
{
public:
    void lock()
    {
        int looks = 0;
        while (held_.exchange(true, std::memory_order_acquire))
            while (held_.load(std::memory_order_relaxed)) // ends by unlock
                if (++looks < 64)
                    relax();
                else
                    std::this_thread::yield(); // its holder may need this CPU
    }
    void unlock() { held_.store(false, std::memory_order_release); }

private:
    std::atomic<bool> held_{false};
};

} // namespace common
