// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.

#define BOOST_TEST_MODULE master_worker_join

#include "common/linux/door.hpp"
#include "test/fixture.hpp"
#include "test/patterns/master_worker_tasks.hpp"
#include "test/run_program.hpp"

#include <boost/test/unit_test.hpp>

#include "patterns/master_worker/join.hpp"
#include "patterns/master_worker/master_worker.hpp"
#include <poll.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <filesystem>
#include <fstream>
#include <memory>
#include <span>
#include <stdexcept>
#include <string>
#include <system_error>
#include <vector>

namespace {

using namespace test;
using master_worker::handle;
using master_worker::master;

/// A place for a door, and a master behind it without workers of its own.
struct house
{
    house() { options.staff.door = door; }
    directory place;
    std::string door = place / "door";
    master_worker::master_options options = sturdy(0);

    /// A process that is no worker of the master, and joins it.
    common::process guest(unsigned role = 0) const
    {
        return common::process(
            [](std::string at, unsigned which) {
                return master_worker::join(at, which, [] { return 42; });
            },
            door, role);
    }
};

bool has(master& m, std::size_t guests)
{
    return work_until(m, [&] {
        std::size_t ready = 0;
        for (const auto& one : staff(m).workers())
            ready += one.guest && one.ready;
        return ready == guests;
    });
}

} // namespace

BOOST_FIXTURE_TEST_SUITE(master_worker_join_laws, test::clean)

BOOST_AUTO_TEST_CASE(a_process_that_joins_does_the_work)
{
    const house here;
    common::process guest; // ends with its master
    master m(here.options);
    const auto pid = m.submit(
        [] { return ::getpid() * master_worker::worker_state<int>(); });
    guest = here.guest();
    BOOST_TEST(pid.get() == guest.pid() * 42);
    std::vector<handle<int>> all;
    for (int i = 0; i < 1000; ++i)
        all.push_back(m.submit(&square, i));
    for (int i = 0; i < 1000; ++i)
        BOOST_TEST(all[static_cast<std::size_t>(i)].get() == i * i);
}

BOOST_AUTO_TEST_CASE(a_guest_leaves_when_its_master_has_ended)
{
    const house here;
    common::process guest;
    {
        master m(here.options);
        guest = here.guest();
        BOOST_REQUIRE(has(m, 1));
    }
    BOOST_TEST(guest.join().success());
    BOOST_TEST(!std::filesystem::exists(here.door));
}

/// A process that joins, and goes on with its own when join has returned.
struct visitor_for_a_while
{
    explicit visitor_for_a_while(const house& here)
        : process(
              [](std::string at, counter now, counter end) {
                  master_worker::join(at, 0, [] {});
                  *now = 1;
                  while (*end == 0)
                      ::poll(nullptr, 0, 1);
                  *now = 2;
              },
              here.door, stage, gate)
    {
    }
    counter stage{0}, gate{0};
    common::process process;
};

BOOST_AUTO_TEST_CASE(a_guest_whose_master_has_ended_goes_on_with_its_own)
{
    const house here;
    auto m = std::make_unique<master>(here.options);
    visitor_for_a_while guest(here);
    BOOST_REQUIRE(has(*m, 1));
    m.reset();
    BOOST_TEST(eventually([&] { return *guest.stage == 1; }, 5s));
    *guest.gate = 1;
    BOOST_TEST(guest.process.join().success());
    BOOST_TEST(*guest.stage == 2);
}

BOOST_AUTO_TEST_CASE(a_guest_that_has_left_is_given_nothing_while_it_lives)
{
    const house here;
    common::process next; // ends with its master
    master m(here.options);
    visitor_for_a_while guest(here);
    BOOST_REQUIRE(has(m, 1));
    guest.process.terminate();
    BOOST_REQUIRE(eventually([&] { return *guest.stage == 1; }));
    const auto task = m.submit(&square, 3);
    next = here.guest();
    BOOST_TEST(task.wait_until(std::chrono::steady_clock::now() + 10s));
    BOOST_TEST(m.stats().deaths == 0u);
    *guest.gate = 1;
    BOOST_TEST(guest.process.join().success());
    BOOST_TEST(*guest.stage == 2);
}

BOOST_AUTO_TEST_CASE(a_guest_whose_initializer_throws_is_told_why)
{
    const house here;
    const common::shared<std::atomic<int>> told{0};
    common::process guest;
    master m(here.options);
    guest = common::process(
        [](std::string at, counter right) {
            try
            {
                master_worker::join(
                    at, 0, [] { throw std::runtime_error("no licence"); });
            }
            catch (const std::runtime_error& e)
            {
                *right = contains(e.what(), "no licence") ? 1 : -1;
            }
        },
        here.door, told);
    BOOST_TEST(work_until(m, [&] { return *told != 0; }));
    BOOST_TEST(*told == 1);
    BOOST_TEST(guest.join().success());
}

BOOST_AUTO_TEST_CASE(a_guest_ends_with_a_master_that_is_killed)
{
    const house here;
    common::process guest, next; // ends with its master
    const counter begun{0};
    common::process doomed(
        [](std::string door, counter n) {
            auto options = sturdy(0);
            options.staff.door = door;
            master m(options);
            m.submit(
                 [](counter c) {
                     ++*c;
                     ::pause();
                 },
                 n)
                .get();
        },
        here.door, begun);
    BOOST_REQUIRE(
        eventually([&] { return std::filesystem::exists(here.door); }));
    guest = here.guest();
    BOOST_REQUIRE(eventually([&] { return *begun == 1; }));
    doomed.kill();
    doomed.join();
    guest.join();               // in the middle of its task
    master again(here.options); // and the door that was left is replaced
    next = here.guest();
    BOOST_TEST(again.submit(&square, 3).get() == 9);
}

BOOST_AUTO_TEST_CASE(a_guest_that_is_killed_costs_no_task)
{
    const house here;
    common::process first, second; // ends with its master
    master m(here.options);
    counter begun{0}, gate{0};
    first = here.guest();
    const auto held = m.submit(tries(2), &hold, begun, gate);
    BOOST_REQUIRE(work_until(m, [&] { return *begun == 1; }));
    first.kill();
    second = here.guest();
    BOOST_REQUIRE(work_until(m, [&] { return *begun == 2; }));
    *gate = 1;
    BOOST_TEST(held.get() == second.pid());
    BOOST_TEST(m.stats().deaths == 1u);
    BOOST_TEST(m.stats().retried == 1u);
}

BOOST_AUTO_TEST_CASE(a_guest_that_is_stuck_is_killed_like_any_worker)
{
    const house here;
    common::process guest; // ends with its master
    master m(here.options);
    guest = here.guest();
    auto how = tries(1);
    how.deadline = 100ms;
    const auto endless = m.submit(how, [] { ::pause(); });
    BOOST_CHECK_THROW(endless.get(), common::timed_out);
    BOOST_TEST(guest.join().signal == SIGKILL);
}

BOOST_AUTO_TEST_CASE(a_guest_leaves_on_sigterm_after_its_task)
{
    const house here;
    common::process guest; // ends with its master
    master m(here.options);
    counter begun{0}, gate{0};
    guest = here.guest();
    const auto held = m.submit(&hold, begun, gate);
    BOOST_REQUIRE(work_until(m, [&] { return *begun == 1; }));
    guest.terminate();
    *gate = 1;
    BOOST_TEST(held.get() == guest.pid());
    BOOST_TEST(guest.join().success());
    BOOST_REQUIRE(has(m, 0));
    BOOST_TEST(m.stats().deaths == 0u);
}

BOOST_AUTO_TEST_CASE(who_asks_for_a_role_that_is_not_there_is_told)
{
    const house here;
    const counter told{0};
    master m(here.options);
    common::process guest(
        [](std::string door, counter n) {
            try
            {
                master_worker::join(door, 7, [] {});
            }
            catch (const std::runtime_error& e)
            {
                *n = contains(e.what(), "no role 7") ? 1 : 2;
            }
        },
        here.door, told);
    BOOST_TEST(work_until(m, [&] { return *told != 0; }));
    BOOST_TEST(*told == 1);
}

BOOST_AUTO_TEST_CASE(another_program_is_not_let_in)
{
    const house here;
    master m(here.options);
    const auto visitor = common::kernel::knock(here.door);
    master_worker::greeting hello;
    hello.program = 12345;
    visitor.send(std::as_bytes(std::span(&hello, 1)), {});
    std::optional<common::kernel::parcel> answer;
    BOOST_REQUIRE(work_until(m, [&] {
        answer = visitor.receive(false);
        return answer.has_value();
    }));
    BOOST_TEST(answer->descriptors.empty());
    BOOST_TEST(staff(m).workers().empty());
}

BOOST_AUTO_TEST_CASE(strangers_who_say_nothing_or_nonsense_hold_up_nobody)
{
    const house here;
    common::process guest; // ends with its master
    master m(here.options);
    std::vector<common::kernel::visitor> silent;
    for (int i = 0; i < 12; ++i)
    {
        silent.push_back(common::kernel::knock(here.door));
        const std::vector<std::byte> nonsense(static_cast<std::size_t>(i) * 3);
        if (i % 2 != 0)
            silent.back().send(nonsense, {});
    }
    guest = here.guest();
    BOOST_TEST(m.submit(&square, 5).get() == 25);
}

BOOST_AUTO_TEST_CASE(a_door_stands_in_a_directory_of_its_user_alone)
{
    const house here;
    ::chmod(here.place.path().c_str(), 0755);
    BOOST_CHECK_THROW(master{here.options}, std::system_error);
    ::chmod(here.place.path().c_str(), 0700);
    const master first(here.options);
    BOOST_CHECK_THROW(master{here.options}, std::system_error); // taken
    BOOST_TEST(std::filesystem::exists(here.door));
}

BOOST_AUTO_TEST_CASE(a_file_is_not_mistaken_for_a_door_that_was_left)
{
    const house here;
    std::ofstream(here.door) << "precious";
    BOOST_CHECK_THROW(master{here.options}, std::system_error);
    BOOST_TEST(slurp(here.door) == "precious");
}

BOOST_AUTO_TEST_CASE(a_name_that_is_too_long_is_an_error)
{
    house here;
    here.options.staff.door = here.place / std::string(120, 'x');
    BOOST_CHECK_THROW(master{here.options}, std::system_error);
}

BOOST_AUTO_TEST_SUITE_END()
