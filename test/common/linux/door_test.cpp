// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.

#define BOOST_TEST_MODULE door

#include "common/linux/door.hpp"
#include "common/process.hpp"
#include "test/fixture.hpp"
#include "test/run_program.hpp"

#include <boost/test/unit_test.hpp>

#include <signal.h>
#include <sys/resource.h>

#include <atomic>
#include <barrier>
#include <cerrno>
#include <chrono>
#include <filesystem>
#include <optional>
#include <string>
#include <system_error>
#include <thread>
#include <utility>

namespace {

using namespace std::chrono_literals;
using common::kernel::door;

/// Leaves a door behind, as who is killed does.
void leave_a_door(const std::filesystem::path& place)
{
    common::process killed{[](std::string where) {
                               const door open(where);
                               ::raise(SIGKILL);
                           },
                           place.string()};
    BOOST_REQUIRE(killed.join().signal == SIGKILL);
}

/// Opens a door where there may be one already.  Returns why it cannot, or 0.
int open_at(const std::filesystem::path& place, std::optional<door>& into)
{
    try
    {
        into.emplace(place);
        return 0;
    }
    catch (const std::system_error& e)
    {
        return e.code().value();
    }
}

int error_of_door(const std::filesystem::path& place)
{
    std::optional<door> none;
    return open_at(place, none);
}

} // namespace

BOOST_FIXTURE_TEST_SUITE(door_laws, test::clean)

BOOST_AUTO_TEST_CASE(the_door_of_who_was_killed_is_replaced)
{
    const test::directory here;
    const auto place = here.path() / "open" / "door";
    leave_a_door(place);
    {
        const door open(place);
        BOOST_TEST(!open.answer());
        const auto guest = common::kernel::knock(place);
        BOOST_TEST(static_cast<bool>(open.answer()));
        BOOST_TEST(error_of_door(place) == EADDRINUSE);
    }
    BOOST_TEST(!std::filesystem::exists(place));
}

BOOST_AUTO_TEST_CASE(of_two_that_replace_a_door_at_once_one_does)
{
    const test::directory here;
    const auto place = here / "door", leftover = here / "leftover";
    leave_a_door(leftover);
    std::atomic<int> opened{0};
    std::barrier together(2, [&]() noexcept {
        std::error_code open; // one of them, each second time
        std::filesystem::create_hard_link(leftover, place, open);
    });
    const auto replace = [&] {
        for (int round = 0; round < 3'000; ++round)
        {
            std::optional<door> mine;
            together.arrive_and_wait();
            opened += open_at(place, mine) == 0;
            together.arrive_and_wait();
        }
    };
    std::thread other(replace);
    replace();
    other.join();
    BOOST_TEST(opened == 3'000);
}

BOOST_AUTO_TEST_CASE(who_comes_when_no_descriptor_is_left_keeps_nobody_busy)
{
    const test::directory here;
    const door open(here / "door");
    const auto guest = common::kernel::knock(here / "door");
    rlimit limit{};
    ::getrlimit(RLIMIT_NOFILE, &limit);
    const auto all = std::exchange(limit.rlim_cur, 0);
    ::setrlimit(RLIMIT_NOFILE, &limit);
    const auto end = std::chrono::steady_clock::now() + 100ms;
    int answers = 0;
    for (; std::chrono::steady_clock::now() < end; ++answers)
        if (open.answer())
            break;
    limit.rlim_cur = all;
    ::setrlimit(RLIMIT_NOFILE, &limit);
    BOOST_TEST(answers <= 11);
    BOOST_TEST(static_cast<bool>(open.answer()));
}

BOOST_AUTO_TEST_CASE(why_a_door_cannot_be_opened_is_told)
{
    const test::directory here;
    std::filesystem::permissions(here.path(), std::filesystem::perms{0700});
    const auto taken = here.path() / "taken";
    std::filesystem::create_directory(taken);
    BOOST_TEST(error_of_door(taken) == EADDRINUSE);
    BOOST_TEST(error_of_door(here.path() / std::string(200, 'x')) ==
               ENAMETOOLONG);
    std::filesystem::permissions(here.path(), std::filesystem::perms{0711});
    BOOST_TEST(error_of_door(here.path() / "door") == EACCES);
}

BOOST_AUTO_TEST_SUITE_END()
