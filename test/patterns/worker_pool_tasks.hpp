// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.

#pragma once

/// What the laws of the worker pool submit, and how they see it run.

#include "common/shared.hpp"
#include "test/fixture.hpp"

#include <boost/test/unit_test.hpp>

#include "patterns/worker_pool/worker_pool.hpp"
#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <exception>
#include <string>
#include <vector>

namespace test {

using counter = common::shared<std::atomic<int>>;

/// Wraps: a map of an infinite input reads far ahead.
inline int square(int x)
{
    const auto u = static_cast<unsigned>(x);
    return static_cast<int>(u * u);
}

inline int own_pid()
{
    return ::getpid();
}

/// Counts itself, then runs until the gate opens.
inline int hold(counter begun, counter gate)
{
    ++*begun;
    while (*gate == 0) // ends by the test, or with the pool
        ::poll(nullptr, 0, 1);
    return ::getpid();
}

[[noreturn]] inline void spin()
{
    for (std::atomic<unsigned> turns = 0;;) // ends when it is killed
        ++turns;
}

/// Ends its worker by SIGKILL the first `times` attempts.
inline int mortal(int x, unsigned times)
{
    if (worker_pool::attempt() < times)
        ::kill(::getpid(), SIGKILL);
    return x;
}

/// A worker that is kept busy as long as this lives.
struct busy
{
    explicit busy(worker_pool::pool& p) : task(p.submit(&hold, begun, gate))
    {
        BOOST_REQUIRE(eventually([this] { return *begun == 1; }));
    }
    ~busy() { release(); }
    void release() const { *gate = 1; }

    counter begun{0}, gate{0};
    worker_pool::future<int> task;
};

inline worker_pool::pool_options with(unsigned workers)
{
    worker_pool::pool_options result;
    result.workers = workers;
    result.restart_backoff = {};
    return result;
}

/// With a restart budget that no test spends.
inline worker_pool::pool_options sturdy(unsigned workers)
{
    auto result = with(workers);
    result.restarts = 1'000'000;
    result.attempts = 200;
    return result;
}

inline std::vector<int> up_to(int n)
{
    std::vector<int> result;
    for (int i = 0; i < n; ++i)
        result.push_back(i);
    return result;
}

/// The pids of the workers that are ready.
inline std::vector<pid_t> pids(const worker_pool::pool& p)
{
    std::vector<pid_t> result;
    for (const auto& one : p.stats().workers)
        if (one.pid != 0 && one.ready)
            result.push_back(one.pid);
    return result;
}

inline bool complete(const worker_pool::pool& p)
{
    return eventually([&] { return pids(p).size() == p.size(); });
}

template <class Work>
std::chrono::milliseconds time_of(Work work)
{
    const auto start = std::chrono::steady_clock::now();
    work();
    return std::chrono::duration_cast<std::chrono::milliseconds>(
        std::chrono::steady_clock::now() - start);
}

/// What an exception says; empty if there was none.
template <class Work>
std::string message_of(Work work)
{
    try
    {
        work();
        return {};
    }
    catch (const std::exception& e)
    {
        return e.what();
    }
}

inline bool contains(const std::string& text, const std::string& part)
{
    return text.find(part) != text.npos;
}

} // namespace test
