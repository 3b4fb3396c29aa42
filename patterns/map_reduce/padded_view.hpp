// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.

#pragma once

#include <cstddef>
#include <string_view>

namespace map_reduce {

/// A string_view of which 16 bytes can be read, however short it is: a table
/// finds such a key without asking for its size first, which is what a
/// processor cannot foretell.
///
/// Whoever makes one promises that the 16 bytes from data() on are there.
struct padded_view : std::string_view
{
    padded_view(const char* data, std::size_t size)
        : std::string_view(data, size)
    {
    }
};

} // namespace map_reduce
