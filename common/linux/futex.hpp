// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.

#pragma once

#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <climits>
#include <cstdint>
#include <system_error>

namespace common::kernel { // not `linux`: GNU modes define that as a macro

/// A word that processes can sleep on.  Lives in shared memory.
using futex_word = std::atomic<std::uint32_t>;
static_assert(futex_word::is_always_lock_free && sizeof(futex_word) == 4);

/// The clock of every deadline in this project: CLOCK_MONOTONIC, which is one
/// and the same for all processes of a machine.
using clock = std::chrono::steady_clock;
using time_point = clock::time_point;

/// Sleeps while `word` still holds `expected`.
///
/// Ends when somebody wakes the word, when a signal arrives, or at `deadline`
/// (time_point::max() means never); the caller looks again at what it waits
/// for.  Returns false exactly when the deadline has passed.
inline bool futex_wait(const futex_word& word, std::uint32_t expected,
                       time_point deadline)
{
    timespec until{};
    timespec* limit = nullptr;
    if (deadline != time_point::max())
    {
        const auto since = std::chrono::duration_cast<std::chrono::nanoseconds>(
            deadline.time_since_epoch());
        if (since.count() <= 0)
            return false;
        until.tv_sec = static_cast<time_t>(since.count() / 1'000'000'000);
        until.tv_nsec = static_cast<long>(since.count() % 1'000'000'000);
        limit = &until;
    }
    // The bitset form is the one whose deadline is absolute.
    if (::syscall(SYS_futex, &word, FUTEX_WAIT_BITSET, expected, limit, nullptr,
                  FUTEX_BITSET_MATCH_ANY) == 0)
        return true;
    if (errno == ETIMEDOUT)
        return false;
    if (errno == EAGAIN || errno == EINTR)
        return true;
    throw std::system_error(errno, std::generic_category(), "futex wait");
}

/// Wakes at most `count` sleepers of any process.  Returns how many.
inline int futex_wake(const futex_word& word, int count = INT_MAX)
{
    const auto woken =
        ::syscall(SYS_futex, &word, FUTEX_WAKE, count, nullptr, nullptr, 0);
    return woken < 0 ? 0 : static_cast<int>(woken);
}

} // namespace common::kernel
