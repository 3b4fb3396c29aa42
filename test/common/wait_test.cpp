// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.

#define BOOST_TEST_MODULE wait

#include "common/process.hpp"
#include "common/wait.hpp"
#include "test/fixture.hpp"

#include <boost/test/unit_test.hpp>

#include <sched.h>
#include <signal.h>
#include <time.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <thread>
#include <vector>

namespace {

using namespace std::chrono_literals;
using common::clock;
using common::event_count;
using common::process;
using common::shared;

/// Two words and what their changes are told by.
struct table
{
    event_count changed, answered;
    std::atomic<std::uint32_t> ball{0};
    std::atomic<std::uint32_t> sleepers{0};
    std::atomic<std::uint32_t> tokens{0}, taken{0};
};

/// Plays every other round; sleeps or spins as it comes.
void play(shared<table> t, std::uint32_t first, std::uint32_t rounds)
{
    for (std::uint32_t at = first; at < rounds; at += 2)
    {
        t->changed.wait_until([&] { return t->ball == at; });
        t->ball.exchange(at + 1);
        t->changed.notify_all();
    }
}

void sleep_for_ever(shared<table> t)
{
    ++t->sleepers;
    t->changed.wait_until([] { return false; });
}

bool asleep(const process& one)
{
    return test::eventually([&] { return test::state(one.pid()) == 'S'; });
}

} // namespace

BOOST_FIXTURE_TEST_SUITE(wait_laws, test::clean)

BOOST_AUTO_TEST_CASE(waiting_for_what_is_true_returns_at_once)
{
    event_count word;
    BOOST_TEST(word.wait_until([] { return true; }, clock::now() - 1h));
    BOOST_TEST(word.wait_until([] { return true; }));
}

BOOST_AUTO_TEST_CASE(waiting_ends_at_the_deadline_not_before)
{
    event_count word;
    for (const auto time : {0ms, 1ms, 30ms})
    {
        const auto deadline = clock::now() + time;
        BOOST_TEST(!word.wait_until([] { return false; }, deadline));
        BOOST_TEST((clock::now() >= deadline));
    }
    BOOST_TEST(!word.wait_until([] { return false; }, clock::now() - 1h));
    BOOST_TEST(
        !word.wait_until([] { return false; }, common::time_point::min()));
    BOOST_TEST(!word.wait_until([] { return false; },
                                common::time_point(clock::duration(0))));
}

BOOST_AUTO_TEST_CASE(waiting_ends_when_it_is_interrupted)
{
    event_count word;
    BOOST_TEST(!word.wait_until([] { return false; }, common::time_point::max(),
                                [] { return true; }));
}

BOOST_AUTO_TEST_CASE(no_wake_up_is_lost_between_two_processes)
{
    constexpr std::uint32_t rounds = 100'000;
    const shared<table> t;
    process other(play, t, 1u, rounds);
    play(t, 0, rounds);
    BOOST_TEST(other.join().success());
    BOOST_TEST(t->ball == rounds);
}

BOOST_AUTO_TEST_CASE(no_wake_up_is_lost_when_all_sleep_at_once)
{
    // Without spinning every round is a sleep and a wake-up.
    const auto budget = common::spin_budget();
    common::spin_budget() = 0ns;
    constexpr std::uint32_t rounds = 20'000;
    const shared<table> t;
    process other(play, t, 1u, rounds);
    play(t, 0, rounds);
    common::spin_budget() = budget;
    BOOST_TEST(other.join().success());
    BOOST_TEST(t->ball == rounds);
}

BOOST_AUTO_TEST_CASE(each_of_many_waiters_is_woken_one_by_one)
{
    constexpr std::uint32_t tokens = 20'000;
    const shared<table> t;
    const auto consume = [](shared<table> at) {
        const auto take = [&] {
            auto left = at->tokens.load();
            while (left != 0) // fails only when another consumer took one
                if (at->tokens.compare_exchange_weak(left, left - 1))
                    return true;
            return false;
        };
        for (;;)
        {
            bool mine = false;
            at->changed.wait_until(
                [&] { return (mine = take()) || at->ball != 0; });
            if (!mine)
                return;
            ++at->taken;
            at->answered.notify_one();
        }
    };
    std::vector<process> consumers;
    for (int i = 0; i < 4; ++i)
        consumers.emplace_back(consume, t);
    for (std::uint32_t i = 0; i < tokens; ++i)
    {
        t->tokens.fetch_add(1);
        t->changed.notify_one();
        if (i % 16 == 0) // now and then all of them sleep
            BOOST_REQUIRE(t->answered.wait_until(
                [&] { return t->taken == i + 1; }, clock::now() + 20s));
    }
    BOOST_TEST(t->answered.wait_until([&] { return t->taken == tokens; },
                                      clock::now() + 20s));
    t->ball.exchange(1);
    t->changed.notify_all();
    for (auto& one : consumers)
        BOOST_TEST(one.join().success());
}

BOOST_AUTO_TEST_CASE(killed_sleepers_do_not_stop_the_others)
{
    const shared<table> t;
    process other(
        [](shared<table> at) {
            ++at->sleepers;
            at->changed.wait_until([&] { return at->ball == 1; });
        },
        t);
    for (int i = 0; i < 20; ++i)
    {
        const auto sleepers = t->sleepers.load();
        process victim(sleep_for_ever, t);
        BOOST_TEST(test::eventually([&] { return t->sleepers > sleepers; }));
        BOOST_TEST(asleep(victim));
        victim.kill();
        victim.join();
    }
    BOOST_TEST(asleep(other));
    t->ball.exchange(1);
    t->changed.notify_all();
    BOOST_TEST(other.join().success());
}

BOOST_AUTO_TEST_CASE(a_notification_lost_with_its_sender_can_be_made_up_for)
{
    const shared<table> t;
    process other(
        [](shared<table> at) {
            at->changed.wait_until([&] { return at->ball == 1; });
        },
        t);
    BOOST_TEST(asleep(other));
    t->ball.exchange(1); // here the sender dies
    t->changed.notify_after_death();
    BOOST_TEST(other.join().success());
}

BOOST_AUTO_TEST_CASE(a_waiter_that_sleeps_uses_no_cpu)
{
    event_count word;
    timespec before_wait{}, after_wait{};
    ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &before_wait);
    word.wait_until([] { return false; }, clock::now() + 1s);
    ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &after_wait);
    const auto used = (after_wait.tv_sec - before_wait.tv_sec) * 1'000'000'000 +
                      after_wait.tv_nsec - before_wait.tv_nsec;
    BOOST_TEST(used < 10'000'000); // one per cent
}

BOOST_AUTO_TEST_CASE(the_budget_is_about_the_cost_of_a_wake_up)
{
    const auto budget = common::measure_spin_budget();
    if (common::kernel::usable_cpus() == 1)
        BOOST_TEST((budget == 0ns));
    else
        BOOST_TEST((budget >= 2us && budget <= 60us));
}

BOOST_AUTO_TEST_CASE(nobody_spins_where_there_is_one_cpu)
{
    process one([] {
        cpu_set_t mask;
        CPU_ZERO(&mask);
        ::sched_getaffinity(0, sizeof mask, &mask);
        for (std::size_t cpu = 0, kept = 0; cpu < CPU_SETSIZE; ++cpu)
            if (CPU_ISSET(cpu, &mask) && kept++ != 0)
                CPU_CLR(cpu, &mask);
        ::sched_setaffinity(0, sizeof mask, &mask);
        return common::measure_spin_budget() == 0ns ? 0 : 1;
    });
    BOOST_TEST(one.join().code == 0);
}

BOOST_AUTO_TEST_CASE(a_worker_is_told_the_budget_of_its_parent)
{
    const auto budget = common::spin_budget();
    common::spin_budget() = 12'345ns;
    process one([] { return common::spin_budget() == 12'345ns ? 0 : 1; });
    BOOST_TEST(one.join().code == 0);
    common::spin_budget() = budget;
}

BOOST_AUTO_TEST_SUITE_END()
