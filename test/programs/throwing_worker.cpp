// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.

#include "common/process.hpp"

#include <cstdio>
#include <stdexcept>

/// Its worker says something and throws; its exit code is the worker's.
int main(int argc, char** argv)
{
    common::worker_main(argc, argv);
    return common::process([] {
               std::puts("written before");
               throw std::out_of_range("no such thing");
           })
        .join()
        .code;
}
