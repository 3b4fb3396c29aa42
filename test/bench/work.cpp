// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.
//
// The same arithmetic for Python, which calls it by ctypes.

#include "work.hpp"

extern "C" std::uint64_t bench_queens(std::uint64_t task)
{
    return bench::work::queens(task);
}

extern "C" std::uint64_t bench_mandelbrot(std::uint64_t task)
{
    return bench::work::mandelbrot(task);
}
