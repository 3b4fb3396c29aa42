// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.

#pragma once

#include "common/error.hpp"

#include <algorithm>
#include <array>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <ostream>
#include <string>
#include <string_view>

namespace shared_data {

/// Text of at most `Most` bytes, kept in place: no pointer, no allocation.  A
/// value like a number: use it in a guarded or transactional struct, or as a
/// key or value of a map.
template <std::size_t Most>
class string
{
public:
    string() = default;

    /// Throws common::full when the text is longer than `Most`.
    string(std::string_view text) { assign(text); }
    string(const char* text) : string(std::string_view(text)) {}
    string(const std::string& text) : string(std::string_view(text)) {}

    void assign(std::string_view text)
    {
        if (text.size() > Most)
            throw common::full("text of " + std::to_string(text.size()) +
                               " bytes; there is room for " +
                               std::to_string(Most));
        size_ = static_cast<std::uint32_t>(text.size());
        bytes_ = {}; // equal texts are equal in every byte
        text.copy(bytes_.data(), text.size());
    }
    void append(std::string_view text)
    {
        assign(std::string(view()).append(text));
    }

    std::string_view view() const { return {bytes_.data(), size()}; }
    operator std::string_view() const { return view(); }
    /// At most `Most`, whatever somebody else has done to this memory.
    std::size_t size() const { return std::min<std::size_t>(size_, Most); }
    bool empty() const { return size() == 0; }
    static constexpr std::size_t capacity() { return Most; }

    friend bool operator==(const string& a, const string& b)
    {
        return a.view() == b.view();
    }
    friend auto operator<=>(const string& a, const string& b)
    {
        return a.view() <=> b.view();
    }
    friend std::ostream& operator<<(std::ostream& to, const string& one)
    {
        return to << one.view();
    }

private:
    // Whole words: no padding, so that it can be hashed by its bytes.
    std::uint32_t size_ = 0;
    std::array<char, (Most + 7) / 4 * 4> bytes_{};
};

} // namespace shared_data
