// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.

#pragma once

#include "common/codec.hpp"

#include <stdexcept>

namespace common {

/// A descriptor that a new process inherits as an argument.
struct inherited
{
    int fd = -1;
};

template <>
struct codec<inherited>
{
    static std::size_t size(const inherited&) { return sizeof(int); }
    static void write(writer& to, const inherited& one)
    {
        if (to.descriptors == nullptr)
            throw std::invalid_argument("a descriptor can only be given to a "
                                        "process that is being started");
        encode(to, 3 + static_cast<int>(to.descriptors->size()));
        to.descriptors->push_back(one.fd);
    }
    static inherited read(reader& from) { return {decode<int>(from)}; }
};

} // namespace common
