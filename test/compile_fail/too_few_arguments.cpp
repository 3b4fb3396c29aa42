// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.
// error: the callable does not take these arguments: too few, too many

#include "patterns/worker_pool/worker_pool.hpp"

int main()
{
    worker_pool::pool pool;
    pool.submit([](int a, int b) { return a + b; }, 1);
}
