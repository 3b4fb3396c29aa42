// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.
// error: the callable could write to an argument that is a copy, and is lost

#include "patterns/parallel_execution/parallel_execution.hpp"

#include <cstddef>
#include <vector>

int main()
{
    parallel_execution::team team;
    const std::vector<int> marks(100);
    team.parallel_for(
        {0, 100}, [](std::size_t i, std::vector<int>& all) { all[i] = 1; },
        marks);
}
