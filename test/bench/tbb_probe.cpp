// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.
//
// Builds where oneTBB is installed.

#include <tbb/task_arena.h>

int main()
{
    return tbb::this_task_arena::max_concurrency() > 0 ? 0 : 1;
}
