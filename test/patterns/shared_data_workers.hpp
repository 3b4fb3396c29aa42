// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.

#pragma once

#include <signal.h>
#include <unistd.h>

#include <cstdlib>
#include <string>

namespace test {

inline void die()
{
    ::kill(::getpid(), SIGKILL);
}

/// Faults in the workers that are started while it lives.
struct faults
{
    explicit faults(const std::string& plan)
    {
        ::setenv("COMMON_FAULT", plan.c_str(), 1);
    }
    faults(const faults&) = delete;
    ~faults() { ::unsetenv("COMMON_FAULT"); }
};

} // namespace test
