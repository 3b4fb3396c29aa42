// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.

#pragma once

#include <boost/test/unit_test.hpp>

namespace test {

/// What this was built with.  Of the sanitizer of undefined behaviour g++ does
/// not tell: here it comes with the address sanitizer.
#if defined(__has_feature)
inline constexpr bool address_sanitizer = __has_feature(address_sanitizer);
inline constexpr bool thread_sanitizer = __has_feature(thread_sanitizer);
inline constexpr bool undefined_sanitizer =
    __has_feature(undefined_behavior_sanitizer);
#else
#if defined(__SANITIZE_ADDRESS__)
inline constexpr bool address_sanitizer = true;
#else
inline constexpr bool address_sanitizer = false;
#endif
#if defined(__SANITIZE_THREAD__)
inline constexpr bool thread_sanitizer = true;
#else
inline constexpr bool thread_sanitizer = false;
#endif
inline constexpr bool undefined_sanitizer = address_sanitizer;
#endif

/// A decorator of cases that cannot be judged with the address sanitizer: it
/// takes terabytes of address space, and in a process that was forked all
/// memory for lost.  The other, which comes with it, opens a pipe to see
/// whether memory is there: without descriptors it takes each object for none.
using unless_sanitized = boost::unit_test::enable_if<!address_sanitizer>;

} // namespace test
