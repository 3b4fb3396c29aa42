// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.

#pragma once

#include "common/linux/descriptor.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <vector>

namespace master_worker {

/// FNV-1a (Fowler, Noll, Vo), continued from `sum`.
inline std::uint64_t fingerprint(std::span<const std::byte> text,
                                 std::uint64_t sum = 0xcbf29ce484222325)
{
    for (const auto one : text)
        sum = (sum ^ static_cast<std::uint64_t>(one)) * 0x100000001b3;
    return sum;
}

/// A quick one, eight bytes at a time: tells what was written from what
/// happens to be there.
inline std::uint64_t quick_sum(std::span<const std::byte> text,
                               std::uint64_t sum)
{
    constexpr std::uint64_t odd = 0x9e3779b97f4a7c15;
    const auto mix = [&](std::uint64_t word) {
        sum = (sum ^ word) * odd;
        sum ^= sum >> 32;
    };
    mix(text.size());
    for (; text.size() >= 8; text = text.subspan(8)) // ends: it gets shorter
    {
        std::uint64_t word = 0;
        std::memcpy(&word, text.data(), 8);
        mix(word);
    }
    std::uint64_t rest = 0;
    if (!text.empty())
        std::memcpy(&rest, text.data(), text.size());
    mix(rest);
    return sum;
}

/// Of the file that this process runs: another build has another one.
inline std::uint64_t fingerprint_of_this_program()
{
    static const auto sum = [] {
        const common::kernel::descriptor file(
            ::open("/proc/self/exe", O_RDONLY | O_CLOEXEC));
        std::vector<std::byte> block(1u << 20);
        auto result = fingerprint({});
        for (;;) // ends with the file
        {
            const auto n = ::read(file.get(), block.data(), block.size());
            if (n < 0)
                common::kernel::fail("reading this program");
            if (n == 0)
                return result;
            result = fingerprint(
                std::span(block).first(static_cast<std::size_t>(n)), result);
        }
    }();
    return sum;
}

} // namespace master_worker
