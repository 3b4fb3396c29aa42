// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.

#pragma once

#include <boost/test/tree/test_unit.hpp>

#include <gnu/libc-version.h>

#include <cstdio>

namespace test {

/// For boost::unit_test::precondition: whether a condition variable makes who
/// notifies wait for the waiters of an earlier time, dead ones too.  glibc did
/// until 2.40; since 2.41 (its bug 25847) nobody waits there.  Where it does
/// not, the counter-examples that show it are skipped, and say so.
inline boost::test_tools::assertion_result
notifiers_wait_for_the_dead(boost::unit_test::test_unit_id)
{
    int major = 0, minor = 0;
    std::sscanf(::gnu_get_libc_version(), "%d.%d", &major, &minor);
    boost::test_tools::assertion_result result(major == 2 && minor < 41);
    result.message() << "glibc " << ::gnu_get_libc_version()
                     << " has repaired what this shows";
    return result;
}

} // namespace test
