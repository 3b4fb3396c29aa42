// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.

#include "common/process.hpp"

#include <cstdio>
#include <stdexcept>

/// Forgets to call worker_main, and says what it is told then.
int main()
{
    try
    {
        common::process one([] { std::puts("one"); });
        return 1;
    }
    catch (const std::logic_error& e)
    {
        std::puts(e.what());
        return 0;
    }
}
