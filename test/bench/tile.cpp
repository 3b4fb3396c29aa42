// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.
//
// A tile's arithmetic as a function of C, for Python.

#include "patterns/asynchronous_processing/fractal.hpp"

#include <algorithm>
#include <cstdint>

extern "C" void paint_tile(unsigned zoom, std::uint64_t column,
                           std::uint64_t row, std::uint8_t* into)
{
    const auto colours = asynchronous_processing::pixels({zoom, column, row});
    std::copy(colours.begin(), colours.end(), into);
}
