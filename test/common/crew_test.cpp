// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.

#define BOOST_TEST_MODULE crew

#include "common/crew.hpp"
#include "test/fixture.hpp"
#include "test/sanitizer.hpp"

#include <boost/test/unit_test.hpp>

#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <fstream>
#include <mutex>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace {

using namespace std::chrono_literals;
using common::crew;
using common::crew_member;
using common::shared;

using number = shared<std::atomic<long>>;

void stay(crew_member me)
{
    me.ready();
    for (;;) // until it is killed
        ::pause();
}

crew::options staff(unsigned workers, unsigned restarts = 1000)
{
    crew::options result;
    result.workers = workers;
    result.restarts = restarts;
    result.backoff = 1ms;
    result.longest_backoff = 20ms;
    return result;
}

/// What a crew has told its owner.
struct diary
{
    std::mutex mutex;
    std::vector<crew::ended> deaths;
    std::vector<std::string> causes;

    crew::events events()
    {
        return {[this](const crew::ended& e) {
                    const std::lock_guard hold(mutex);
                    deaths.push_back(e);
                },
                [this](const std::string& cause) {
                    const std::lock_guard hold(mutex);
                    causes.push_back(cause);
                }};
    }
    std::size_t died()
    {
        const std::lock_guard hold(mutex);
        return deaths.size();
    }
    std::string cause()
    {
        const std::lock_guard hold(mutex);
        return causes.empty() ? "" : causes.front();
    }
};

bool all_ready(const crew& all)
{
    for (const auto& one : all.workers())
        if (!one.ready)
            return false;
    return true;
}

bool all_replaced(const crew& all, const std::vector<crew::worker_info>& old)
{
    const auto now = all.workers();
    for (std::size_t i = 0; i < now.size(); ++i)
        if (!now[i].ready || now[i].pid == old[i].pid)
            return false;
    return true;
}

} // namespace

BOOST_FIXTURE_TEST_SUITE(crew_laws, test::clean)

BOOST_AUTO_TEST_CASE(each_worker_has_a_slot_of_its_own)
{
    common::shared_array<std::atomic<long>> seen(5);
    crew all(
        staff(5), {},
        [](crew_member me, common::shared_array<std::atomic<long>> pids) {
            pids[me.slot() - 1] = ::getpid();
            stay(me);
        },
        seen);
    BOOST_TEST(test::eventually([&] { return all_ready(all); }));
    for (const auto& one : all.workers())
    {
        BOOST_TEST(seen[one.slot - 1] == one.pid);
        BOOST_TEST(one.restarts == 0u);
    }
    BOOST_TEST(all.deaths() == 0u);
}

BOOST_AUTO_TEST_CASE(who_has_finished_is_not_replaced_and_who_dies_before_is)
{
    const common::shared_array<std::atomic<long>> lives(4);
    crew all(
        staff(4), {},
        [](crew_member me, common::shared_array<std::atomic<long>> count) {
            me.ready();
            if (++count[me.slot() - 1] < me.slot()) // the second dies once, ...
                ::kill(::getpid(), SIGKILL);
            me.finished();
        },
        lives);
    BOOST_TEST(all.join());
    for (unsigned slot = 1; slot <= 4; ++slot)
        BOOST_TEST(lives[slot - 1] == static_cast<long>(slot));
    BOOST_TEST(all.deaths() == 6u);
}

BOOST_AUTO_TEST_CASE(a_crew_that_breaks_is_not_waited_for)
{
    diary told;
    auto how = staff(2);
    how.start_failures = 1;
    crew all(how, told.events(), [](crew_member) {}); // never ready
    BOOST_TEST(!all.join());
    BOOST_TEST(test::eventually([&] { return !told.cause().empty(); }));
}

BOOST_AUTO_TEST_CASE(the_dead_are_replaced_and_their_end_is_known)
{
    diary told;
    crew all(staff(2), told.events(), stay);
    BOOST_TEST(test::eventually([&] { return all_ready(all); }));
    for (int i = 0; i < 20; ++i)
    {
        const auto before_death = all.workers()[0].pid;
        BOOST_TEST(all.kill(1, before_death, i % 2 == 0 ? SIGKILL : SIGTERM));
        BOOST_TEST(test::eventually([&] {
            const auto now = all.workers()[0];
            return now.ready && now.pid != before_death;
        }));
        const std::lock_guard hold(told.mutex);
        BOOST_REQUIRE(told.deaths.size() == static_cast<std::size_t>(i) + 1);
        BOOST_TEST(told.deaths.back().pid == before_death);
        BOOST_TEST(told.deaths.back().slot == 1u);
        BOOST_TEST(!told.deaths.back().left);
        BOOST_TEST(told.deaths.back().status.signal ==
                   (i % 2 == 0 ? SIGKILL : SIGTERM));
    }
    BOOST_TEST(all.deaths() == 20u);
    BOOST_TEST(all.workers()[0].restarts == 20u);
    BOOST_TEST(all.workers()[1].restarts == 0u);
}

BOOST_AUTO_TEST_CASE(a_signal_for_the_dead_never_reaches_their_successor)
{
    crew all(staff(1), {}, stay);
    BOOST_TEST(test::eventually([&] { return all_ready(all); }));
    const auto old = all.workers();
    BOOST_TEST(all.kill(1));
    BOOST_TEST(test::eventually([&] { return all_replaced(all, old); }));
    BOOST_TEST(!all.kill(1, old[0].pid));
    BOOST_TEST(test::alive(all.workers()[0].pid));
}

BOOST_AUTO_TEST_CASE(all_killed_at_once_are_all_replaced)
{
    crew all(staff(8), {}, stay);
    for (int round = 0; round < 5; ++round)
    {
        BOOST_TEST(test::eventually([&] { return all_ready(all); }));
        const auto old = all.workers();
        for (const auto& one : old)
            ::kill(one.pid, SIGKILL);
        BOOST_TEST(test::eventually([&] { return all_replaced(all, old); }));
    }
    BOOST_TEST(all.deaths() == 40u);
}

BOOST_AUTO_TEST_CASE(a_stopped_worker_can_be_killed_and_is_replaced)
{
    crew all(staff(1), {}, stay);
    BOOST_TEST(test::eventually([&] { return all_ready(all); }));
    const auto old = all.workers();
    ::kill(old[0].pid, SIGSTOP);
    BOOST_TEST(
        test::eventually([&] { return test::state(old[0].pid) == 'T'; }));
    BOOST_TEST(all.deaths() == 0u); // silence is not death
    all.kill(1);
    BOOST_TEST(test::eventually([&] { return all_replaced(all, old); }));
}

BOOST_AUTO_TEST_CASE(a_spent_budget_breaks_the_crew)
{
    diary told;
    auto how = staff(2, 3);
    crew all(how, told.events(), [](crew_member me) {
        me.ready();
        return 1;
    });
    BOOST_TEST(test::eventually([&] { return !told.cause().empty(); }));
    BOOST_TEST(told.cause().find("more than 3 times") != std::string::npos);
    BOOST_TEST(all.stop(common::clock::now() + 20s));
    BOOST_TEST(all.deaths() == 8u);
    BOOST_TEST(told.causes.size() == 1u);
    for (const auto& one : all.workers())
        BOOST_TEST(one.pid == 0);
}

BOOST_AUTO_TEST_CASE(one_bad_slot_rests_while_the_others_work)
{
    diary told;
    const number starts{0};
    crew all(
        staff(2, 2), told.events(),
        [](crew_member me, number n) {
            me.ready();
            if (me.slot() == 1)
            {
                ++*n;
                ::_exit(1);
            }
            stay(me);
        },
        starts);
    BOOST_TEST(test::eventually([&] { return *starts == 3; }));
    BOOST_TEST(test::eventually([&] { return told.died() == 3; }));
    BOOST_TEST(told.cause() == "");
    BOOST_TEST(test::eventually([&] { return all.workers()[1].ready; }));
    BOOST_TEST(all.workers()[0].pid == 0);
}

BOOST_AUTO_TEST_CASE(who_has_finished_does_not_keep_a_crew_from_breaking)
{
    diary told;
    crew all(staff(2, 2), told.events(), [](crew_member me) {
        me.ready();
        if (me.slot() == 1)
            ::_exit(1);
        me.finished();
    });
    BOOST_TEST(test::eventually([&] { return !told.cause().empty(); }));
    BOOST_TEST(told.cause().find("more than 2 times") != std::string::npos);
    BOOST_TEST(!all.join());
}

BOOST_AUTO_TEST_CASE(times_below_zero_are_none)
{
    auto how = staff(1);
    how.window = how.backoff = how.longest_backoff = -1ms;
    crew all(how, {}, stay);
    for (unsigned n = 0; n < 3; ++n)
    {
        BOOST_TEST(test::eventually(
            [&] { return all_ready(all) && all.workers()[0].restarts == n; }));
        all.kill(1);
    }
}

BOOST_AUTO_TEST_CASE(a_slot_that_rests_starts_again_after_the_window)
{
    auto how = staff(2, 1);
    how.window = 200ms;
    const number starts{0};
    crew all(
        how, {},
        [](crew_member me, number n) {
            me.ready();
            if (me.slot() == 1 && ++*n < 5)
                ::_exit(1);
            stay(me);
        },
        starts);
    BOOST_TEST(test::eventually([&] { return *starts == 5; }));
    BOOST_TEST(test::eventually([&] { return all_ready(all); }));
}

BOOST_AUTO_TEST_CASE(a_start_that_fails_in_a_row_breaks_the_crew_with_its_cause)
{
    diary told;
    const number starts{0};
    auto how = staff(1);
    how.start_failures = 4;
    crew all(
        how, told.events(),
        [](crew_member me, number n) {
            ++*n;
            me.failed("std::runtime_error: no licence");
            return 1;
        },
        starts);
    BOOST_TEST(test::eventually([&] { return !told.cause().empty(); }));
    BOOST_TEST(told.cause().find("4 times") != std::string::npos);
    BOOST_TEST(told.cause().find("no licence") != std::string::npos);
    BOOST_TEST(all.stop(common::clock::now() + 20s));
    BOOST_TEST(*starts == 4);
}

BOOST_AUTO_TEST_CASE(a_start_that_crashes_breaks_the_crew_with_the_signal)
{
    diary told;
    crew all(staff(3), told.events(), [](crew_member) { ::raise(SIGSEGV); });
    BOOST_TEST(test::eventually([&] { return !told.cause().empty(); }));
    BOOST_TEST(told.cause().find("signal 11") != std::string::npos);
}

BOOST_AUTO_TEST_CASE(kills_from_outside_during_the_start_are_no_failed_starts)
{
    const number starts{0};
    auto how = staff(1);
    how.restarts = 10;
    how.backoff = 0ms;
    crew all(
        how, {},
        [](crew_member me, number n) {
            if (++*n <= 9)
                ::raise(SIGKILL); // from outside, for all that it can tell
            stay(me);
        },
        starts);
    BOOST_TEST(test::eventually([&] { return all_ready(all); }));
    BOOST_TEST(*starts == 10);
}

BOOST_AUTO_TEST_CASE(a_long_cause_is_cut)
{
    diary told;
    crew all(staff(1), told.events(), [](crew_member me) {
        me.failed(std::string(10'000, 'c'));
        return 1;
    });
    BOOST_TEST(test::eventually([&] { return !told.cause().empty(); }));
    BOOST_TEST(told.cause().size() < 400u);
}

BOOST_AUTO_TEST_CASE(a_start_that_hangs_ends_at_its_deadline)
{
    diary told;
    auto how = staff(1);
    how.start_deadline = 100ms;
    how.start_failures = 2;
    crew all(how, told.events(), [](crew_member) {
        for (;;) // never ready
            ::pause();
    });
    BOOST_TEST(test::eventually([&] { return !told.cause().empty(); }));
    BOOST_TEST(all.deaths() == 2u);
}

BOOST_AUTO_TEST_CASE(a_ready_worker_has_no_deadline)
{
    auto how = staff(1);
    how.start_deadline = 300ms;
    crew all(how, {}, stay);
    if (!test::eventually([&] { return all_ready(all); }, 250ms))
        return; // a machine too busy for this law
    BOOST_TEST(!test::eventually([&] { return all.deaths() != 0; }, 500ms));
}

BOOST_AUTO_TEST_CASE(workers_that_leave_cost_nothing_of_the_budget)
{
    diary told;
    const number starts{0};
    crew all(
        staff(2, 1), told.events(),
        [](crew_member me, number n) {
            me.ready();
            if (++*n > 40)
                stay(me);
            me.leaving();
        },
        starts);
    BOOST_TEST(test::eventually([&] { return *starts >= 42; }));
    BOOST_TEST(all.deaths() == 0u);
    BOOST_TEST(told.cause() == "");
    const std::lock_guard hold(told.mutex);
    for (const auto& one : told.deaths)
        BOOST_TEST(one.left);
}

BOOST_AUTO_TEST_CASE(who_says_it_leaves_and_crashes_has_died)
{
    diary told;
    crew all(staff(1, 0), told.events(), [](crew_member me) {
        me.leaving();
        ::raise(SIGKILL);
    });
    BOOST_TEST(test::eventually([&] { return !told.cause().empty(); }));
    BOOST_TEST(all.deaths() == 1u);
}

BOOST_AUTO_TEST_CASE(an_excused_death_costs_nothing_of_the_budget)
{
    diary told;
    crew all(staff(1, 0), told.events(), stay);
    for (int i = 0; i < 5; ++i)
    {
        BOOST_TEST(test::eventually([&] { return all_ready(all); }));
        const auto old = all.workers();
        all.excuse(1);
        all.kill(1);
        BOOST_TEST(test::eventually([&] { return all_replaced(all, old); }));
    }
    BOOST_TEST(told.cause() == "");
    all.kill(1);
    BOOST_TEST(test::eventually([&] { return !told.cause().empty(); }));
}

BOOST_AUTO_TEST_CASE(stopping_is_bounded_whatever_workers_do)
{
    crew all(staff(3), {}, stay);
    BOOST_TEST(test::eventually([&] { return all_ready(all); }));
    const auto start = common::clock::now();
    BOOST_TEST(!all.stop(start + 50ms));
    BOOST_TEST((common::clock::now() - start < 5s));
    for (const auto& one : all.workers())
        BOOST_TEST(one.pid == 0);
    BOOST_TEST(all.stop(common::clock::now())); // once is enough
}

BOOST_AUTO_TEST_CASE(stopping_waits_for_workers_that_end)
{
    const number ended{0};
    crew all(
        staff(3), {},
        [](crew_member me, number n) {
            me.ready();
            ++*n;
            me.leaving();
        },
        ended);
    BOOST_TEST(all.stop(common::time_point::max()));
    const long seen = *ended;
    BOOST_TEST(!test::eventually([&] { return *ended != seen; }, 50ms));
}

BOOST_AUTO_TEST_CASE(a_crew_can_be_destroyed_at_any_moment)
{
    for (int i = 0; i < 20; ++i)
    {
        crew all(staff(4), {}, [](crew_member me) {
            me.ready();
            ::raise(SIGKILL);
        });
        test::eventually(
            [&] { return all.deaths() >= static_cast<unsigned>(i); });
    }
}

BOOST_AUTO_TEST_CASE(no_workers_and_too_many_are_refused)
{
    BOOST_CHECK_THROW(crew(staff(0), {}, stay), std::invalid_argument);
    BOOST_CHECK_THROW(crew(staff(4096), {}, stay), std::invalid_argument);
    BOOST_CHECK_THROW(crew(staff(~0u), {}, stay), std::invalid_argument);
}

BOOST_AUTO_TEST_CASE(its_workers_have_clean_signals)
{
    const number blocked{-1};
    crew all(
        staff(1), {},
        [](crew_member me, number n) {
            unsigned long long mask = 1;
            std::ifstream status("/proc/self/status");
            for (std::string line; std::getline(status, line);)
                std::sscanf(line.c_str(), "SigBlk: %llx", &mask);
            *n = static_cast<long>(mask);
            stay(me);
        },
        blocked);
    BOOST_TEST(test::eventually([&] { return *blocked == 0; }));
}

// --- no descriptors left ----------------------------------------------------

namespace {

/// No descriptor of this number or above can be opened.
struct descriptors_below
{
    explicit descriptors_below(rlim_t limit)
    {
        ::getrlimit(RLIMIT_NOFILE, &old_);
        rlimit now = old_;
        now.rlim_cur = std::min(limit, old_.rlim_max);
        ::setrlimit(RLIMIT_NOFILE, &now);
    }
    ~descriptors_below() { ::setrlimit(RLIMIT_NOFILE, &old_); }
    rlimit old_;
};

/// So many descriptors can be opened, and no more.
struct descriptors_left
{
    explicit descriptors_left(std::size_t count) : limit_(100)
    {
        for (int fd = ::dup(0); fd >= 0; fd = ::dup(0)) // ends at the limit
            taken_.push_back(fd);
        for (; count > 0; --count, taken_.pop_back())
            ::close(taken_.back());
    }
    ~descriptors_left()
    {
        for (const int fd : taken_)
            ::close(fd);
    }
    descriptors_below limit_;
    std::vector<int> taken_;
};

// The sanitizer of undefined behaviour opens a pipe to look whether an
// exception is one, and takes it for none where it cannot.
using if_it_can_look = boost::unit_test::enable_if<!test::undefined_sanitizer>;

} // namespace

BOOST_AUTO_TEST_CASE(a_crew_that_cannot_start_leaves_nothing, *if_it_can_look())
{
    int failed = 0, started = 0;
    const auto open = test::belongings::now().descriptors.size();
    for (unsigned more = 0; more < 60; more += 2)
    {
        const descriptors_below here(open + more);
        try
        {
            crew all(staff(8), {}, stay);
            ++started;
        }
        catch (const std::runtime_error&)
        {
            ++failed;
        }
        BOOST_TEST(!test::has_children());
    }
    BOOST_TEST(failed > 10);
    BOOST_TEST(started > 0);
}

BOOST_AUTO_TEST_CASE(a_replacement_that_cannot_start_breaks_the_crew,
                     *if_it_can_look())
{
    diary told;
    auto how = staff(1);
    how.longest_backoff = 40ms;
    crew all(how, told.events(), stay);
    BOOST_TEST(test::eventually([&] { return all_ready(all); }));
    {
        const descriptors_left here(0); // but the two of the dead worker
        all.kill(1);
        BOOST_TEST(test::eventually([&] { return !told.cause().empty(); }));
    }
    BOOST_TEST(told.cause().find("no replacement") != std::string::npos);
}
BOOST_AUTO_TEST_CASE(a_storm_of_deaths_is_reaped_to_the_last)
{
    auto how = staff(20, 1'000'000);
    how.start_failures = 1'000'000;
    how.backoff = 0ms;
    diary told;
    {
        crew all(how, told.events(), [](crew_member me) {
            me.ready();
            ::_exit(3);
        });
        BOOST_TEST(test::eventually([&] { return all.deaths() >= 400; }));
    }
    for (const auto& one : told.deaths)
        BOOST_TEST((one.status.code == 3 || one.status.signal == SIGKILL));
    BOOST_TEST(!test::has_children());
}

BOOST_AUTO_TEST_SUITE_END()
