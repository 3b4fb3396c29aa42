// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.

#pragma once

/// What the laws of the master submit, and how they see it run.

#include "common/shared.hpp"
#include "test/fixture.hpp"

#include <boost/test/unit_test.hpp>

#include "patterns/master_worker/master_worker.hpp"
#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <exception>
#include <string>
#include <vector>

namespace test {

using counter = common::shared<std::atomic<int>>;

/// Wraps: arguments may have been spoilt on purpose.
inline int square(int x)
{
    const auto u = static_cast<unsigned>(x);
    return static_cast<int>(u * u);
}

/// Counts itself, then runs until the gate opens.
inline int hold(counter begun, counter gate)
{
    ++*begun;
    while (*gate == 0) // ends by the test, or with the master
        ::poll(nullptr, 0, 1);
    return ::getpid();
}

/// Ends its worker by SIGKILL the first `times` attempts.
inline int mortal(int x, unsigned times)
{
    if (master_worker::attempt() < times)
        ::kill(::getpid(), SIGKILL);
    return x;
}

/// A master that gives up on no kill from outside.
inline master_worker::master_options sturdy(unsigned workers)
{
    master_worker::master_options result;
    result.workers = {workers};
    result.staff.restarts = 100'000;
    result.staff.backoff = {};
    return result;
}

/// Attempts without a pause in between.
inline master_worker::task_options tries(unsigned attempts)
{
    master_worker::task_options result;
    result.retry.attempts = attempts;
    result.retry.backoff = {};
    return result;
}

inline master_worker::local_engine& staff(master_worker::master& m)
{
    return dynamic_cast<master_worker::local_engine&>(m.carrier());
}

inline std::vector<pid_t> pids(master_worker::master& m)
{
    std::vector<pid_t> result;
    for (const auto& one : staff(m).workers())
        if (one.pid != 0)
            result.push_back(one.pid);
    return result;
}

/// Lets the master work until a fact is true.
template <class Fact>
bool work_until(master_worker::master& m, Fact fact,
                std::chrono::milliseconds limit = 20s)
{
    return eventually(
        [&] {
            m.run_until(std::chrono::steady_clock::now());
            return fact();
        },
        limit);
}

/// Faults in the workers that are started while it lives.
struct faults
{
    explicit faults(const std::string& plan)
    {
        ::setenv("COMMON_FAULT", plan.c_str(), 1);
    }
    ~faults() { ::unsetenv("COMMON_FAULT"); }
};

inline bool contains(const std::string& text, const std::string& part)
{
    return text.find(part) != text.npos;
}

} // namespace test
