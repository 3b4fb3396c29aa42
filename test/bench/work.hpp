// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.
//
// Two jobs of many uneven tasks, nothing but arithmetic: the same code for
// every contestant.

#pragma once

#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <vector>

namespace bench::work {

struct board // queens in the first rows; bits of what they attack in the next
{
    std::uint32_t columns = 0, falling = 0, rising = 0, row = 0;

    std::uint32_t open(unsigned size) const
    {
        return ((1u << size) - 1) & ~(columns | falling | rising);
    }
    board with(std::uint32_t queen) const
    {
        return {columns | queen, (falling | queen) >> 1, (rising | queen) << 1,
                row + 1};
    }
};

inline std::uint64_t solutions(const board& b, unsigned size)
{
    if (b.row == size)
        return 1;
    std::uint64_t found = 0;
    for (auto open = b.open(size); open != 0; open &= open - 1)
        found += solutions(b.with(open & -open), size);
    return found;
}

constexpr unsigned queens_size = 14;

inline void grow(const board& b, std::vector<board>& into)
{
    if (b.row == 2)
        return into.push_back(b), void();
    for (auto open = b.open(queens_size); open != 0; open &= open - 1)
        grow(b.with(open & -open), into);
}

/// All boards with two queens.
inline const std::vector<board>& starts()
{
    static const auto made = [] {
        std::vector<board> all;
        grow({}, all);
        return all;
    }();
    return made;
}

/// In how many ways the board is completed.
inline std::uint64_t queens(std::uint64_t task)
{
    return solutions(starts()[static_cast<std::size_t>(task)], queens_size);
}

constexpr std::uint64_t mandelbrot_rows = 480;

/// The steps of all points of a row of the Mandelbrot set.
inline std::uint64_t mandelbrot(std::uint64_t row)
{
    const double y = -1.2 + 2.4 * static_cast<double>(row) /
                                static_cast<double>(mandelbrot_rows);
    std::uint64_t steps = 0;
    for (int column = 0; column < 640; ++column)
    {
        const double x = -2.1 + 2.8 * column / 640;
        double re = 0, im = 0;
        for (int n = 0; n < 1000 && re * re + im * im < 4; ++n, ++steps)
        {
            const double next = re * re - im * im + x;
            im = 2 * re * im + y;
            re = next;
        }
    }
    return steps;
}

/// A task, and how many there are.
struct job
{
    std::uint64_t (*task)(std::uint64_t);
    std::uint64_t tasks;
};

/// Throws std::invalid_argument.
inline job by_name(const std::string& name)
{
    if (name == "queens")
        return {&queens, starts().size()};
    if (name == "mandelbrot")
        return {&mandelbrot, mandelbrot_rows};
    throw std::invalid_argument("no job is called " + name);
}

} // namespace bench::work
