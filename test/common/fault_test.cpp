// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.

#define BOOST_TEST_MODULE fault

#include "common/fault.hpp"
#include "common/process.hpp"
#include "test/fixture.hpp"

#include <boost/test/unit_test.hpp>

#include <signal.h>

#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

namespace {

using number = common::shared<std::atomic<long>>;

struct armed
{
    armed(const char* points, const char* seed)
    {
        ::setenv("COMMON_FAULT", points, 1);
        ::setenv("COMMON_FAULT_SEED", seed, 1);
    }
    ~armed()
    {
        ::unsetenv("COMMON_FAULT");
        ::unsetenv("COMMON_FAULT_SEED");
    }
};

void walk(number steps)
{
    for (int i = 0; i < 1000; ++i, ++*steps)
        COMMON_FAULT_POINT("here");
}

} // namespace

BOOST_FIXTURE_TEST_SUITE(fault_laws, test::clean)

BOOST_AUTO_TEST_CASE(nobody_dies_at_a_point_that_is_not_armed)
{
    for (const char* points : {"", "there=1", "here=0", "here", "=,,=="})
    {
        const armed now(points, "1");
        const number steps{0};
        BOOST_TEST(common::process(walk, steps).join().success());
        BOOST_TEST(*steps == 1000);
    }
}

BOOST_AUTO_TEST_CASE(a_worker_dies_where_it_must)
{
    const armed now("other=0.5,here=1", "1");
    const number steps{0};
    BOOST_TEST(common::process(walk, steps).join().signal == SIGKILL);
    BOOST_TEST(*steps == 0);
}

BOOST_AUTO_TEST_CASE(the_program_itself_never_dies)
{
    const armed now("here=1", "1");
    COMMON_FAULT_POINT("here");
    BOOST_TEST(true); // still there
}

BOOST_AUTO_TEST_CASE(a_seed_gives_the_same_death_again)
{
    const auto place = [](std::uint64_t seed, std::uint64_t launch) {
        const armed now("here=0.01", std::to_string(seed).c_str());
        const number steps{0};
        common::process one(
            [](number n, std::uint64_t which) {
                common::fault::plan::of_this_process().arm(which);
                walk(n);
            },
            steps, launch);
        one.join();
        return steps->load();
    };
    BOOST_TEST(place(7, 1) == place(7, 1));
    BOOST_TEST((place(7, 1) != place(7, 2) || place(7, 1) != place(8, 1)));
}

BOOST_AUTO_TEST_CASE(last_words_name_the_point)
{
    const armed now("here=1", "1");
    const number heard{0};
    common::process one(
        [](number n) {
            static const number kept = n;
            common::fault::plan::of_this_process().last_words =
                [](std::string_view name) { *kept = name == "here"; };
            walk(n);
        },
        heard);
    BOOST_TEST(one.join().signal == SIGKILL);
    BOOST_TEST(*heard == 1);
}

BOOST_AUTO_TEST_SUITE_END()
