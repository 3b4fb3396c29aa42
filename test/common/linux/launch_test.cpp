// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.

#define BOOST_TEST_MODULE launch

#include "common/linux/cpus.hpp"
#include "common/linux/futex.hpp"
#include "common/linux/launch.hpp"
#include "common/linux/memfd.hpp"
#include "test/fixture.hpp"

#include <boost/test/unit_test.hpp>

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

namespace {

using namespace std::chrono_literals;
using namespace common::kernel;

exit_status shell(const std::string& script, std::vector<int> given = {})
{
    return *launch({"/bin/sh", {"sh", "-c", script}, {}, std::move(given)})
                .reap();
}

} // namespace

BOOST_FIXTURE_TEST_SUITE(launch_laws, test::clean)

BOOST_AUTO_TEST_CASE(a_program_gets_its_arguments_and_environment)
{
    const auto end =
        *launch({"/bin/sh",
                 {"sh", "-c", "test \"$1$NAME\" = argvalue", "sh", "arg"},
                 {"NAME=value"},
                 {}})
             .reap();
    BOOST_TEST(end.success());
}

BOOST_AUTO_TEST_CASE(the_end_tells_code_or_signal)
{
    BOOST_TEST((shell("exit 8") == exit_status{8, 0}));
    BOOST_TEST((shell("kill -9 $$") == exit_status{0, SIGKILL}));
}

BOOST_AUTO_TEST_CASE(what_cannot_run_throws_its_cause_and_leaves_no_child)
{
    const std::vector<std::pair<std::string, int>> bad{
        {"/no/such/program", ENOENT},
        {"/etc/passwd", EACCES},
        {"/etc", EACCES}};
    for (const auto& one : bad)
    {
        const program what{one.first, {"x"}, {}, {}};
        const auto says_so = [&one](const std::system_error& e) {
            return e.code().value() == one.second &&
                   std::string(e.what()).find(one.first) != std::string::npos;
        };
        BOOST_CHECK_EXCEPTION(launch(what), std::system_error, says_so);
        BOOST_TEST(!test::has_children());
    }
}

BOOST_AUTO_TEST_CASE(descriptors_are_numbered_as_given)
{
    const memfd first("first", 10, 10), second("second", 10, 10);
    const std::string same = "test \"$(readlink /proc/self/fd/3)\" = "
                             "'/memfd:second (deleted)' && "
                             "test \"$(readlink /proc/self/fd/4)\" = "
                             "'/memfd:first (deleted)' && "
                             "test ! -e /proc/self/fd/5";
    BOOST_TEST(shell(same, {second.get(), first.get()}).success());
}

BOOST_AUTO_TEST_CASE(it_leads_a_process_group_of_its_own)
{
    auto one = launch({"/bin/cat", {"cat", "/dev/zero"}, {}, {}});
    BOOST_TEST(::getpgid(one.pid()) == one.pid());
    one.kill(SIGKILL);
    BOOST_TEST(one.reap()->signal == SIGKILL);
}

BOOST_AUTO_TEST_CASE(waiting_ends_at_the_deadline_also_in_the_far_past)
{
    auto one = launch({"/bin/sh", {"sh", "-c", "kill -STOP $$"}, {}, {}});
    BOOST_TEST(!one.reap(time_point::min()).has_value());
    BOOST_TEST(!one.reap(clock::now() + 20ms).has_value());
    one.kill(SIGKILL);
    BOOST_TEST(one.reap(clock::now() + 20s).has_value());
    one.kill(SIGKILL); // reaped: reaches nobody
}

BOOST_AUTO_TEST_CASE(an_end_that_somebody_else_reaped_is_unknown)
{
    auto one = launch({"/bin/true", {"true"}, {}, {}});
    ::waitpid(one.pid(), nullptr, 0);
    const auto end = one.reap();
    BOOST_REQUIRE(end.has_value());
    BOOST_TEST(end->unknown);
    BOOST_TEST(!end->success());
}

BOOST_AUTO_TEST_CASE(a_child_that_was_reaped_before_it_was_held_has_ended)
{
    const auto one = launch({"/bin/true", {"true"}, {}, {}});
    ::waitpid(one.pid(), nullptr, 0);
    common::kernel::pidfd late(one.pid());
    BOOST_TEST(late.ended());
    late.kill(SIGKILL); // reaches nobody
    late.kill_group();  // nor this
    const auto end = late.reap();
    BOOST_REQUIRE(end.has_value());
    BOOST_TEST(end->unknown);
}

BOOST_AUTO_TEST_CASE(a_descriptor_is_closed_once_and_moves)
{
    descriptor one(::open("/dev/null", O_RDONLY | O_CLOEXEC));
    const int number = one.get();
    descriptor other(std::move(one));
    BOOST_TEST(!one);
    BOOST_TEST(other.get() == number);
    int second = -1;
    {
        const descriptor copy = other.duplicate();
        second = copy.get();
        BOOST_TEST(::fcntl(second, F_GETFD) == FD_CLOEXEC);
    }
    BOOST_TEST(::fcntl(second, F_GETFD) == -1);
    other = descriptor();
    BOOST_TEST(::fcntl(number, F_GETFD) == -1);
}

BOOST_AUTO_TEST_CASE(a_futex_sleeps_only_while_the_word_is_as_expected)
{
    const futex_word word{5};
    BOOST_TEST(futex_wait(word, 4, time_point::max()));
    BOOST_TEST(!futex_wait(word, 5, clock::now() + 10ms));
    BOOST_TEST(!futex_wait(word, 5, time_point::min()));
    BOOST_TEST(futex_wake(word) == 0);
}

BOOST_AUTO_TEST_CASE(shared_memory_of_another_size_or_unsealed_is_refused)
{
    const memfd right("right", 100, 100);
    BOOST_CHECK_THROW(memfd(descriptor(::dup(right.get())), 101),
                      std::system_error);
    BOOST_CHECK_THROW(memfd(descriptor(::open("/dev/null", O_RDWR)), 0),
                      std::system_error);
    BOOST_TEST(memfd(descriptor(::dup(right.get())), 100).identity() ==
               right.identity());
}

BOOST_AUTO_TEST_CASE(there_is_at_least_one_cpu)
{
    BOOST_TEST(usable_cpus() >= 1u);
}

BOOST_AUTO_TEST_SUITE_END()
