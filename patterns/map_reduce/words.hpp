// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.

#pragma once

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>
#include <vector>

namespace map_reduce {

/// The lower case of a letter, `c` itself for a digit or '_', else 0.  ASCII
/// only, whatever the locale.
constexpr unsigned char folded(unsigned char c)
{
    const auto lower = static_cast<unsigned char>(c | 0x20);
    if (lower >= 'a' && lower <= 'z')
        return lower;
    return (c >= '0' && c <= '9') || c == '_' ? c : 0;
}

/// Whether `c` is part of a word.
constexpr bool is_word(char c)
{
    return folded(static_cast<unsigned char>(c)) != 0;
}

/// One bit for each of 64 bytes of ASCII: whether it is not zero.
inline std::uint64_t nonzero(const unsigned char* bytes)
{
    static_assert(std::endian::native == std::endian::little);
    std::uint64_t result = 0;
    for (int i = 0; i < 64; i += 8)
    {
        std::uint64_t eight = 0;
        std::memcpy(&eight, bytes + i, sizeof eight);
        // Adding 127 sets the top bit of each byte that is not zero; the
        // product then brings the eight of them together.
        eight = ((eight + 0x7f7f7f7f7f7f7f7f) & 0x8080808080808080) >> 7;
        result |= (eight * 0x0102040810204080 >> 56) << i;
    }
    return result;
}

/// Calls `found(word)` for each word of a text, in order and in lower case.
/// A word is a maximal run of [A-Za-z0-9_]; the std::string_view is valid
/// during the call.
///
/// Works in three steps on blocks that fit in the first-level cache, since
/// the first two have no branch to mispredict: fold, find the edges of words
/// 64 bytes at a time, visit the edges.
template <class Found>
void for_each_word(std::string_view text, Found found)
{
    constexpr std::size_t block = 32768, group = 64;
    std::vector<unsigned char> lower;
    while (!text.empty())
    {
        std::size_t size = std::min(block, text.size());
        while (size < text.size() && is_word(text[size]))
            ++size; // a word is never cut
        if (lower.size() < size + group)
            lower.resize(size + group);
        for (std::size_t i = 0; i < size; ++i)
            lower[i] = folded(static_cast<unsigned char>(text[i]));
        std::memset(lower.data() + size, 0, group); // ends the last word

        std::uint64_t last = 0; // whether the byte before is part of a word
        std::size_t begin = 0;
        for (std::size_t at = 0; at <= size; at += group)
        {
            const std::uint64_t inside = nonzero(lower.data() + at);
            std::uint64_t edges = inside ^ (inside << 1 | last);
            for (; edges != 0; edges &= edges - 1)
            {
                const auto bit = std::countr_zero(edges);
                const auto edge = at + static_cast<unsigned>(bit);
                if ((inside >> bit & 1) == 0)
                    found(std::string_view(
                        reinterpret_cast<const char*>(lower.data()) + begin,
                        edge - begin));
                begin = edge;
            }
            last = inside >> 63;
        }
        text.remove_prefix(size);
    }
}

} // namespace map_reduce
