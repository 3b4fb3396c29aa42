// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.
// error: an item cannot cross to another process

#include "patterns/pipeline/pipeline.hpp"

#include <optional>
#include <string_view>

auto connect()
{
    return pipeline::source([] { return std::optional<std::string_view>(); }) |
           pipeline::stage([](std::string_view text) { return text.size(); });
}
