// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.

#pragma once

/// What the laws of the thread pool with multiprocessing submit.

#include "common/shared.hpp"

#include <poll.h>
#include <unistd.h>

#include <atomic>

namespace test {

using counter = common::shared<std::atomic<int>>;

/// Where a task ran.
struct place
{
    int process = 0;
    int thread = 0;
};

/// Counts itself, then runs until the gate opens.
inline place hold(counter begun, counter gate)
{
    ++*begun;
    while (*gate == 0) // ends by the test, or with the pool
        ::poll(nullptr, 0, 1);
    return {::getpid(), ::gettid()};
}

} // namespace test
