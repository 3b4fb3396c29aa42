// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.

#pragma once

#include <chrono>

namespace common {

/// Tells the CPU that this is a loop that waits.
inline void relax()
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    asm volatile("yield");
#endif
}

/// Waits for about as long as a cache line takes to another CPU and back.
///
/// Between two looks at a word that another CPU is about to write: a look that
/// comes too early takes the line away from the writer (measured: a task and
/// its result cross in half the time if nobody looks in between).  Returns when
/// it is then.
inline std::chrono::steady_clock::time_point beat()
{
    // To read the clock twice takes as long again.
    auto now = std::chrono::steady_clock::now();
    const auto end = now + std::chrono::nanoseconds(30);
    do
    {
        relax();
        now = std::chrono::steady_clock::now();
    } while (now < end); // ends by the clock
    return now;
}

/// Fetches the cache line at `place` from the CPU that has it, to be written
/// here soon.  A read would fetch a copy, and the write ask for it again.
inline void fetch_to_write(const void* place)
{
#if defined(__x86_64__)
    // Compilers use it only where they are told that the CPU has it; older
    // ones take it for no operation.
    asm volatile("prefetchw %0" : : "m"(*static_cast<const char*>(place)));
#else
    __builtin_prefetch(place, 1);
#endif
}

} // namespace common
