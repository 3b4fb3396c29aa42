// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.

#pragma once

#include "padded_view.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

#ifdef __SSE2__
#include <emmintrin.h>
#endif

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

namespace detail {

using sixteen [[gnu::vector_size(16)]] = unsigned char;

// Sixteen at once; true is 0xff.
inline sixteen folded(sixteen c)
{
    using same_signed [[gnu::vector_size(16)]] = signed char;
    // Added up so that a range ends with the largest signed number.
    const auto within = [](sixteen x, unsigned char first, unsigned char last) {
        const auto top = reinterpret_cast<same_signed>(
            x + static_cast<unsigned char>(127 - last));
        return reinterpret_cast<sixteen>(
            top > static_cast<signed char>(126 - (last - first)));
    };
    const sixteen lower = c | static_cast<unsigned char>(0x20);
    const auto underscore =
        reinterpret_cast<sixteen>(c == static_cast<unsigned char>('_'));
    return (lower & within(lower, 'a', 'z')) |
           (c & (within(c, '0', '9') | underscore));
}

// One bit for each byte: whether it is not zero.
inline std::uint64_t nonzero(sixteen bytes)
{
    static_assert(std::endian::native == std::endian::little);
#ifdef __SSE2__ // one instruction collects the top bits
    const auto some = reinterpret_cast<__m128i>(bytes != sixteen{});
    return static_cast<unsigned>(_mm_movemask_epi8(some));
#else
    std::uint64_t halves[2];
    std::memcpy(halves, &bytes, sizeof halves);
    std::uint64_t result = 0;
    for (int i = 1; i >= 0; --i)
    {
        // Of ASCII: adding 127 sets the top bit of each byte that is not zero;
        // the product then brings the eight of them together.
        const auto top =
            ((halves[i] + 0x7f7f7f7f7f7f7f7f) & 0x8080808080808080) >> 7;
        result = result << 8 | top * 0x0102040810204080 >> 56;
    }
    return result;
#endif
}

// Folds 64 bytes; a bit is set for each that is part of a word.
inline std::uint64_t fold(const char* from, char* to)
{
    std::uint64_t inside = 0;
    for (int i = 0; i < 64; i += 16)
    {
        sixteen bytes;
        std::memcpy(&bytes, from + i, sizeof bytes);
        bytes = folded(bytes);
        std::memcpy(to + i, &bytes, sizeof bytes);
        inside |= nonzero(bytes) << i;
    }
    return inside;
}

// The places of the bits that are set, for each byte.
struct bits_of_bytes
{
    std::array<std::array<std::uint16_t, 8>, 256> places{};
    std::array<std::uint8_t, 256> counts{};

    constexpr bits_of_bytes()
    {
        for (unsigned byte = 0; byte != 256; ++byte)
            for (unsigned bit = 0; bit != 8; ++bit)
                if ((byte >> bit & 1) != 0)
                    places[byte][counts[byte]++] =
                        static_cast<std::uint16_t>(bit);
    }
};
inline constexpr bits_of_bytes bits;

// Stores `base` plus the place of each bit that is set; returns behind the
// last.  Writes 8 numbers at a time, so that nothing depends on how many there
// are: up to 8 more than it returns.
inline std::uint16_t* store_places(std::uint64_t set, std::size_t base,
                                   std::uint16_t* to)
{
    using eight [[gnu::vector_size(16)]] = std::uint16_t;
    for (unsigned at = 0; at != 64; at += 8)
    {
        const auto byte = set >> at & 0xff;
        eight places;
        std::memcpy(&places, bits.places[byte].data(), sizeof places);
        places += static_cast<std::uint16_t>(base + at);
        std::memcpy(to, &places, sizeof places);
        to += bits.counts[byte];
    }
    return to;
}

// The word with which a text begins; returns its size.
template <class Found>
std::size_t long_word(std::string_view text, Found& found)
{
    std::string lower;
    while (lower.size() != text.size() && is_word(text[lower.size()]))
        lower += static_cast<char>(
            map_reduce::folded(static_cast<unsigned char>(text[lower.size()])));
    const auto size = lower.size();
    lower.resize(size + 16); // can be read beyond its end
    found(padded_view(lower.data(), size));
    return size;
}

} // namespace detail

/// Calls `found(word)` for each word of a text, in order and in lower case.
/// A word is a maximal run of [A-Za-z0-9_]; the padded_view is valid during
/// the call.
///
/// Takes a block of the text at a time: first folds it and notes the edges of
/// its words, without a branch that depends on the text; then goes from word
/// to word.
template <class Found>
void for_each_word(std::string_view text, Found found)
{
    constexpr std::size_t block = 8192, group = 64; // fits in the fastest cache
    std::array<char, block + 2 * group> lower;
    std::array<std::uint16_t, block + 2 * group> edges;
    while (!text.empty())
    {
        std::size_t size = std::min(block, text.size());
        if (size != text.size())
            while (size != 0 && is_word(text[size - 1]))
                --size; // a word is never cut
        if (size == 0)
        {
            text.remove_prefix(detail::long_word(text, found));
            continue;
        }
        std::uint64_t last = 0; // whether the byte before is part of a word
        auto end = edges.data();
        std::size_t at = 0;
        for (; at <= size; at += group)
        {
            char tail[group] = {}; // its zeros end the last word
            const char* from = text.data() + at;
            if (size - at < group)
                from = static_cast<const char*>(
                    std::memcpy(tail, from, size - at));
            const auto inside = detail::fold(from, lower.data() + at);
            end = detail::store_places(inside ^ (inside << 1 | last), at, end);
            last = inside >> 63;
        }
        std::memset(lower.data() + at, 0, group); // can be read, as the last
                                                  // word's padding
        for (auto edge = edges.data(); edge != end; edge += 2)
            found(padded_view(lower.data() + edge[0],
                              static_cast<std::size_t>(edge[1] - edge[0])));
        text.remove_prefix(size);
    }
}

} // namespace map_reduce
