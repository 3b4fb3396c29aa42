// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.

#pragma once

#include <boost/test/unit_test.hpp>

namespace test {

/// Whether this was built with the address sanitizer: it takes terabytes of
/// address space, and in a process that was forked all memory for lost.
#if defined(__SANITIZE_ADDRESS__)
inline constexpr bool address_sanitizer = true;
#elif defined(__has_feature)
inline constexpr bool address_sanitizer = __has_feature(address_sanitizer);
#else
inline constexpr bool address_sanitizer = false;
#endif

/// A decorator of cases that cannot be judged there.
using unless_sanitized = boost::unit_test::enable_if<!address_sanitizer>;

} // namespace test
