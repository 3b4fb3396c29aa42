// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.
// error: a pipeline ends with a sink

#include "patterns/pipeline/pipeline.hpp"

#include <vector>

int main()
{
    auto line = pipeline::source(std::vector<int>{1}) |
                pipeline::stage([](int x) { return x + 1; });
    line.run();
}
