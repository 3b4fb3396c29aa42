// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.

#pragma once

#include "common/mandelbrot.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace asynchronous_processing {

/// The number that these digits, and nothing else, say.
inline std::optional<std::uint64_t> number(std::string_view digits)
{
    std::uint64_t value = 0;
    const auto end = digits.data() + digits.size();
    const auto [at, error] = std::from_chars(digits.data(), end, value);
    if (error != std::errc() || at != end)
        return std::nullopt;
    return value;
}

/// Where a tile is: column and row among 2^zoom.
struct place
{
    unsigned zoom = 0;
    std::uint64_t column = 0, row = 0;
    static constexpr unsigned side = 256, deepest = 40;

    /// Of "Z/X/Y.png".
    static std::optional<place> named(std::string_view path)
    {
        std::array<std::uint64_t, 3> parts{};
        for (const auto end : {'/', '/', '.'})
        {
            const auto length = path.find(end);
            const auto part =
                asynchronous_processing::number(path.substr(0, length));
            if (length == path.npos || !part)
                return std::nullopt;
            std::rotate(parts.begin(), parts.begin() + 1, parts.end());
            parts[2] = *part;
            path.remove_prefix(length + 1);
        }
        if (path != "png" || parts[0] > deepest || parts[1] >> parts[0] != 0 ||
            parts[2] >> parts[0] != 0)
            return std::nullopt;
        return place{static_cast<unsigned>(parts[0]), parts[1], parts[2]};
    }
    std::string name() const
    {
        return std::to_string(zoom) + "/" + std::to_string(column) + "/" +
               std::to_string(row);
    }
    std::uint64_t number() const
    {
        return (std::uint64_t{zoom} << 56) ^ (column << 20) ^ row;
    }
};

/// The escape time of a point; negative inside.
inline double escape(double x, double y, unsigned limit)
{
    const double q = (x - 0.25) * (x - 0.25) + y * y;
    if (q * (q + x - 0.25) <= y * y / 4 || (x + 1) * (x + 1) + y * y <= 1. / 16)
        return -1; // the two largest parts
    return common::escape_time(x, y, limit);
}

inline std::array<std::uint8_t, 3> colour(double escaped)
{
    if (escaped < 0)
        return {6, 7, 14};
    const double t = std::sqrt(std::max(0.0, escaped)) * 0.13;
    const auto wave = [t](double phase) {
        return static_cast<std::uint8_t>(
            127.5 * (1 - std::cos(6.283185 * (t + phase))));
    };
    return {wave(0.02), wave(0.10), wave(0.25)};
}

// tag::pixels[]
/// A square of the Mandelbrot set: red, green and blue of each pixel.
inline std::vector<std::uint8_t> pixels(place at)
{
    std::vector<std::uint8_t> result;
    result.reserve(std::size_t{place::side} * place::side * 3);
    const double step = 3.0 * std::ldexp(1.0, -static_cast<int>(at.zoom));
    const double left = -2.25 + step * static_cast<double>(at.column);
    const double top = 1.5 - step * static_cast<double>(at.row);
    const double pixel = step / place::side;
    for (unsigned row = 0; row < place::side; ++row)
        for (unsigned column = 0; column < place::side; ++column)
            for (const auto part :
                 colour(escape(left + pixel * (column + 0.5),
                               top - pixel * (row + 0.5), 256 + 48 * at.zoom)))
                result.push_back(part);
    return result;
}
// end::pixels[]

} // namespace asynchronous_processing
