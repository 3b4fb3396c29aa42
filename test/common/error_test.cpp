// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.

#define BOOST_TEST_MODULE error

#include "common/error.hpp"
#include "test/fixture.hpp"

#include <boost/test/unit_test.hpp>

#include <signal.h>

#include <string>

BOOST_FIXTURE_TEST_SUITE(error_laws, test::clean)

BOOST_AUTO_TEST_CASE(an_end_is_described_by_code_or_by_signal)
{
    BOOST_TEST(common::describe({3, 0}) == "exit code 3");
    BOOST_TEST(common::describe({0, SIGKILL}) == "signal 9 (Killed)");
    BOOST_TEST(common::describe({0, 63}).find("signal 63") == 0u);
    BOOST_TEST(common::exit_status().success());
    BOOST_TEST(!(common::exit_status{1, 0}).success());
    BOOST_TEST(!(common::exit_status{0, SIGTERM}).success());
}

BOOST_AUTO_TEST_CASE(a_death_names_the_task_and_every_attempt)
{
    const common::worker_died error("task 7",
                                    {{11, {0, SIGSEGV}}, {12, {3, 0}}});
    const std::string text = error.what();
    for (const std::string part :
         {"task 7", "process 11", "signal 11", "process 12", "exit code 3"})
        BOOST_TEST(text.find(part) != std::string::npos, part);
    BOOST_TEST(error.pid() == 12);
    BOOST_TEST(error.status().code == 3);
    BOOST_TEST(error.attempts().size() == 2u);
}

BOOST_AUTO_TEST_CASE(a_death_without_attempts_is_no_trap)
{
    const common::worker_died error("task 1", {});
    BOOST_TEST(error.pid() == 0);
    BOOST_TEST(error.status().success());
}

BOOST_AUTO_TEST_SUITE_END()
