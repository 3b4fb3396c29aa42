// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.
// error: a stage does not take what the one before it gives
// error: connection<
// error: reader
// error: std::
// error: counter

#include "patterns/pipeline/pipeline.hpp"

#include <optional>
#include <string>

struct reader
{
    std::string operator()(int) const { return ""; }
};
struct counter
{
    int operator()(double) const { return 0; }
};

auto connect()
{
    return pipeline::source([] { return std::optional<int>(); }) |
           pipeline::stage(reader()) | pipeline::parallel(2, counter());
}
