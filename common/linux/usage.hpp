// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.

#pragma once

#include <sys/resource.h>
#include <sys/types.h>
#include <time.h>

#include <chrono>
#include <cstdint>
#include <fstream>
#include <string>

namespace common::kernel {

/// CPU time of the calling thread.
inline std::chrono::nanoseconds thread_cpu_time()
{
    timespec now{};
    ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return std::chrono::seconds(now.tv_sec) +
           std::chrono::nanoseconds(now.tv_nsec);
}

/// The most memory that this process has had resident, in bytes.
inline std::uint64_t peak_memory()
{
    rusage usage{};
    ::getrusage(RUSAGE_SELF, &usage);
    return static_cast<std::uint64_t>(usage.ru_maxrss) * 1024;
}

/// What the scheduler knows of the main thread of a process: zeros where it
/// does not tell.
struct scheduling
{
    std::chrono::nanoseconds ran{0};    // on a CPU
    std::chrono::nanoseconds waited{0}; // for a CPU, until it ran last
    bool runnable = false;              // runs, or waits for a CPU

    static scheduling of(pid_t pid)
    {
        const auto directory = "/proc/" + std::to_string(pid);
        scheduling result;
        std::int64_t ran = 0, waited = 0;
        std::ifstream(directory + "/schedstat") >> ran >> waited;
        result.ran = std::chrono::nanoseconds(ran);
        result.waited = std::chrono::nanoseconds(waited);
        std::string line;
        std::getline(std::ifstream(directory + "/stat"), line);
        const auto name_end = line.rfind(')'); // a name may hold anything
        result.runnable =
            name_end != line.npos && line.compare(name_end, 3, ") R") == 0;
        return result;
    }
};

} // namespace common::kernel
