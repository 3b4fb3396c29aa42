// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.

#pragma once

#include <cmath>

namespace common {

/// After how many steps the orbit of a point escapes, without jumps (smooth
/// escape time, after F. Garcia et al., 2009); negative when it does not
/// within `limit` steps.
inline double escape_time(double x, double y, unsigned limit)
{
    double re = 0, im = 0;
    for (unsigned n = 0; n < limit; ++n)
    {
        const double re2 = re * re, im2 = im * im;
        if (re2 + im2 > 256)
            return n + 1 - std::log2(std::log2(re2 + im2) / 2);
        im = 2 * re * im + y;
        re = re2 - im2 + x;
    }
    return -1;
}

} // namespace common
