// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.

#pragma once

#include "common/linux/descriptor.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
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
    sum += text.size() << 32;
    do // ends: it gets shorter
    {
        const auto part = std::min<std::size_t>(text.size(), 8);
        std::uint64_t word = 0;
        if (part == 8)
            std::memcpy(&word, text.data(), 8);
        else if (part != 0)
            std::memcpy(&word, text.data(), part);
        sum = (sum ^ word) * 0x9e3779b97f4a7c15;
        sum ^= sum >> 32;
        text = text.subspan(part);
    } while (!text.empty());
    return sum;
}

/// Of the file that this process runs, also when it has been replaced since.
inline std::string name_of_this_program()
{
    constexpr std::string_view gone = " (deleted)"; // as the kernel puts it
    auto name =
        std::filesystem::read_symlink("/proc/self/exe").filename().string();
    if (name.ends_with(gone))
        name.resize(name.size() - gone.size());
    return name;
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
