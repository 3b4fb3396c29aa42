// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.

#define BOOST_TEST_MODULE worker_pool_life

#include "common/shared.hpp"
#include "test/fixture.hpp"
#include "test/patterns/worker_pool_tasks.hpp"

#include <boost/test/unit_test.hpp>

#include "patterns/worker_pool/worker_pool.hpp"
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <future>
#include <optional>
#include <set>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace {

using namespace test;
using worker_pool::future;
using worker_pool::overflow;
using worker_pool::pool;
using worker_pool::pool_options;
using worker_pool::priority;
using worker_pool::shutdown_mode;
using worker_pool::task_options;

const auto all_modes = {shutdown_mode::graceful, shutdown_mode::fast,
                        shutdown_mode::kill};

task_options with_priority(priority p)
{
    task_options result;
    result.priority = p;
    return result;
}

pool_options recycling_after(std::uint64_t tasks)
{
    auto result = with(1);
    result.recycle.tasks = tasks;
    return result;
}

std::vector<int> pids_of_tasks(pool& p, int n)
{
    std::vector<int> result;
    for (int i = 0; i < n; ++i)
        result.push_back(p.submit(&own_pid).get());
    return result;
}

/// How many pools fit into each other from here on.
int nest()
{
    try
    {
        pool inner(1);
        return 1 + inner.submit(&nest).get();
    }
    catch (const std::logic_error&)
    {
        return 0;
    }
}

} // namespace

BOOST_FIXTURE_TEST_SUITE(worker_pool_life_laws, test::clean)

BOOST_AUTO_TEST_CASE(options_that_make_no_sense_are_refused)
{
    BOOST_CHECK_THROW(pool(0u), std::invalid_argument);
    BOOST_CHECK_THROW(pool(5000u), std::invalid_argument);
    auto options = with(1);
    options.attempts = 0;
    BOOST_CHECK_THROW(pool{options}, std::invalid_argument);
    options = with(1);
    options.capacity = 0;
    BOOST_CHECK_THROW(pool{options}, std::invalid_argument);
    BOOST_TEST(contains(message_of([] { pool(0u); }), "0"));
    pool p(with(1));
    task_options how;
    how.attempts = 201;
    BOOST_CHECK_THROW(p.submit(how, &square, 1), std::invalid_argument);
    how = {};
    how.hard_deadline = -1ns; // what was left of a budget, say
    BOOST_CHECK_THROW(p.submit(how, &square, 1), std::invalid_argument);
    how = {};
    how.soft_deadline = -1ns;
    BOOST_CHECK_THROW(p.submit(how, &square, 1), std::invalid_argument);
}

BOOST_AUTO_TEST_CASE(a_pool_that_is_not_used_ends)
{
    pool p(with(2));
}

BOOST_AUTO_TEST_CASE(more_tasks_than_workers_start_no_more_processes)
{
    pool p(with(2));
    counter begun{0}, gate{0};
    std::vector<future<int>> all;
    for (int i = 0; i < 30; ++i)
        all.push_back(p.submit(&hold, begun, gate));
    BOOST_TEST(eventually([&] { return *begun == 2; }));
    BOOST_TEST(descendants().size() == 2u);
    BOOST_TEST(p.stats().running == 2u);
    BOOST_TEST(p.stats().queued == 28u);
    *gate = 1;
    std::set<int> seen;
    for (auto& one : all)
        seen.insert(one.get());
    BOOST_TEST(seen.size() <= 2u);
}

BOOST_AUTO_TEST_CASE(tasks_one_after_the_other_use_the_same_process)
{
    pool p(with(1));
    const auto seen = pids_of_tasks(p, 3);
    BOOST_TEST((seen == std::vector<int>(3, seen[0])));
}

BOOST_AUTO_TEST_CASE(a_worker_makes_room_after_its_number_of_tasks)
{
    pool p(recycling_after(3));
    const auto seen = pids_of_tasks(p, 6);
    BOOST_TEST((seen[0] == seen[1] && seen[1] == seen[2]));
    BOOST_TEST(seen[2] != seen[3]);
    BOOST_TEST((seen[3] == seen[4] && seen[4] == seen[5]));
    BOOST_TEST(p.stats().deaths == 0u);
    BOOST_TEST(p.stats().workers.size() == 1u);
}

BOOST_AUTO_TEST_CASE(recycling_far_beyond_the_restart_budget_is_no_failure)
{
    auto options = recycling_after(2);
    options.restarts = 3;
    pool p(options);
    const auto seen = pids_of_tasks(p, 100);
    BOOST_TEST(std::set<int>(seen.begin(), seen.end()).size() == 50u);
}

BOOST_AUTO_TEST_CASE(recycling_and_an_early_end_lose_no_task)
{
    std::vector<future<int>> all;
    {
        pool p(recycling_after(1));
        for (int i = 0; i < 6; ++i)
            all.push_back(p.submit(&square, i));
    }
    for (int i = 0; i < 6; ++i)
        BOOST_TEST(all[static_cast<std::size_t>(i)].get() == i * i);
}

BOOST_AUTO_TEST_CASE(a_worker_makes_room_at_its_age_without_a_task)
{
    auto options = with(1);
    options.recycle.age = 50ms;
    pool p(options);
    const int first = p.submit(&own_pid).get();
    BOOST_TEST(eventually([&] {
        const auto now = pids(p);
        return now.size() == 1 && now[0] != first;
    }));
    BOOST_TEST(p.stats().deaths == 0u);
}

BOOST_AUTO_TEST_CASE(a_worker_that_grew_too_large_makes_room)
{
    auto options = with(1);
    options.recycle.resident = 400u << 20;
    pool p(options);
    const auto leak = [](std::size_t size) {
        static std::vector<std::vector<char>> kept;
        kept.emplace_back(size, 'x');
        return ::getpid();
    };
    const int first = p.submit(leak, std::size_t{1000}).get();
    BOOST_TEST(p.submit(leak, std::size_t{1000}).get() == first);
    BOOST_TEST(p.submit(leak, std::size_t{500} << 20).get() == first);
    BOOST_TEST(p.submit(leak, std::size_t{1000}).get() != first);
}

BOOST_AUTO_TEST_CASE(the_initializer_runs_in_each_worker_with_its_arguments)
{
    const counter runs{0};
    pool p(
        with(3),
        [](counter n, std::string name) {
            ++*n;
            return name + std::to_string(::getpid());
        },
        runs, std::string("state "));
    BOOST_TEST(complete(p));
    BOOST_TEST(*runs == 3);
    const auto look = [] {
        return worker_pool::worker_state<std::string>() ==
               "state " + std::to_string(::getpid());
    };
    for (int i = 0; i < 20; ++i)
        BOOST_TEST(p.submit(look).get());
}

BOOST_AUTO_TEST_CASE(state_lasts_from_task_to_task_and_is_built_anew)
{
    pool p(sturdy(1), [] { return 10; });
    const auto more = [] { return ++worker_pool::worker_state<int>(); };
    BOOST_TEST(p.submit(more).get() == 11);
    BOOST_TEST(p.submit(more).get() == 12);
    BOOST_TEST(p.submit(&mortal, 1, 1u).get() == 1);
    BOOST_TEST(p.submit(more).get() == 11);
    const auto wrong = [] { return worker_pool::worker_state<double>(); };
    BOOST_CHECK_THROW(p.submit(wrong).get(), std::logic_error);
}

BOOST_AUTO_TEST_CASE(state_may_ask_for_its_task_when_there_is_none_any_more)
{
    struct curious
    {
        counter answers;
        explicit curious(counter c) : answers(std::move(c)) {}
        curious(const curious&) = default;
        ~curious()
        {
            if (!worker_pool::stop_requested() && worker_pool::attempt() == 0)
                ++*answers;
            common::announce();
        }
    };
    const counter answers{0};
    pool p(
        recycling_after(1), [](counter c) { return curious(c); }, answers);
    const auto count = [] {
        return worker_pool::worker_state<curious>().answers->load();
    };
    const auto first = p.submit(count).get();
    BOOST_TEST(p.submit(count).get() > first);
    BOOST_TEST(p.stats().deaths == 0u);
}

BOOST_AUTO_TEST_CASE(an_initializer_that_fails_breaks_the_pool_with_its_cause)
{
    const counter runs{0};
    pool p(
        with(2),
        [](counter n) {
            ++*n;
            throw std::runtime_error("no database");
        },
        runs);
    const auto use = [&] { p.submit(&square, 1).get(); };
    BOOST_CHECK_THROW(use(), common::exhausted);
    BOOST_TEST(contains(message_of(use), "no database"));
    BOOST_CHECK_THROW(p.submit(&square, 1), common::exhausted);
    BOOST_TEST(*runs <= 10); // no storm
}

BOOST_AUTO_TEST_CASE(an_initializer_that_crashes_breaks_the_pool)
{
    pool p(with(1), [] { ::raise(SIGSEGV); });
    const auto use = [&] { p.submit(&square, 1).get(); };
    BOOST_CHECK_THROW(use(), common::exhausted);
    BOOST_TEST(contains(message_of(use), "signal 11"));
}

BOOST_AUTO_TEST_CASE(an_initializer_that_hangs_breaks_the_pool)
{
    auto options = with(1);
    options.start_deadline = 100ms;
    pool p(options, &spin);
    BOOST_CHECK_THROW(p.submit(&square, 1).get(), common::exhausted);
}

BOOST_AUTO_TEST_CASE(the_urgent_overtakes_what_waits)
{
    pool p(with(1));
    const counter turns{0};
    const auto turn = [](counter n) { return (*n)++; };
    busy worker(p);
    auto low = p.submit(with_priority(priority::low), turn, turns);
    auto normal = p.submit(turn, turns);
    auto high = p.submit(with_priority(priority::high), turn, turns);
    worker.release();
    BOOST_TEST(high.get() == 0);
    BOOST_TEST(normal.get() == 1);
    BOOST_TEST(low.get() == 2);
}

BOOST_AUTO_TEST_CASE(tasks_of_one_priority_run_in_the_order_of_submission)
{
    pool p(with(1));
    const counter turns{0};
    busy worker(p);
    std::vector<future<int>> all;
    for (int i = 0; i < 100; ++i)
        all.push_back(p.submit([](counter n) { return (*n)++; }, turns));
    worker.release();
    for (int i = 0; i < 100; ++i)
        BOOST_TEST(all[static_cast<std::size_t>(i)].get() == i);
}

BOOST_AUTO_TEST_CASE(a_full_pool_makes_submit_wait)
{
    auto options = with(1);
    options.capacity = 2;
    pool p(options);
    busy worker(p);
    auto second = p.submit(&square, 2);
    auto third = std::async(std::launch::async,
                            [&] { return p.submit(&square, 3).get(); });
    BOOST_TEST((third.wait_for(50ms) == std::future_status::timeout));
    worker.release();
    BOOST_TEST(third.get() == 9);
    BOOST_TEST(second.get() == 4);
}

BOOST_AUTO_TEST_CASE(a_full_pool_may_refuse)
{
    auto options = with(1);
    options.capacity = 2;
    options.when_full = overflow::reject;
    pool p(options);
    busy worker(p);
    auto second = p.submit(&square, 2);
    BOOST_CHECK_THROW(p.submit(&square, 3), common::full);
    worker.release();
    BOOST_TEST(second.get() == 4);
    BOOST_TEST(p.submit(&square, 3).get() == 9);
}

BOOST_AUTO_TEST_CASE(a_full_pool_may_have_its_caller_do_the_work)
{
    auto options = with(1);
    options.capacity = 2;
    options.when_full = overflow::caller_runs;
    pool p(options);
    busy worker(p);
    auto second = p.submit(&own_pid);
    auto here = p.submit(&own_pid);
    BOOST_TEST(here.ready());
    BOOST_TEST(here.get() == ::getpid());
    auto failing = p.submit([] { throw std::out_of_range("here"); });
    BOOST_TEST(failing.failed());
    BOOST_CHECK_THROW(failing.get(), std::out_of_range);
    worker.release();
    BOOST_TEST(second.get() != ::getpid());
}

BOOST_AUTO_TEST_CASE(a_soft_deadline_asks_the_task_to_stop)
{
    pool p(with(1));
    const auto polite = [] {
        while (!worker_pool::stop_requested()) // ends by the deadline
            ::poll(nullptr, 0, 1);
        return ::getpid();
    };
    task_options how;
    how.soft_deadline = 30ms;
    const int pid = p.submit(how, polite).get();
    BOOST_TEST(p.submit(&own_pid).get() == pid);
    const auto asked = [] { return worker_pool::stop_requested(); };
    BOOST_TEST(!p.submit(asked).get()); // the next task is not
}

BOOST_AUTO_TEST_CASE(a_hard_deadline_kills_and_hurts_no_neighbour)
{
    pool p(with(2));
    busy neighbour(p);
    task_options how;
    how.hard_deadline = 50ms;
    auto endless = p.submit(how, &spin);
    auto queued = p.submit(&square, 5);
    BOOST_CHECK_THROW(endless.get(), common::timed_out);
    BOOST_TEST(queued.get() == 25);
    BOOST_TEST((neighbour.task.state() == worker_pool::task_state::running));
}

BOOST_AUTO_TEST_CASE(the_time_before_a_task_runs_is_none_of_its_deadline)
{
    pool p(with(1));
    std::optional<busy> worker(std::in_place, p);
    task_options how;
    how.hard_deadline = 400ms;
    auto queued = p.submit(how, &square, 3);
    BOOST_TEST(!queued.wait_for(600ms));
    worker->release();
    BOOST_TEST(queued.get() == 9);
}

BOOST_AUTO_TEST_CASE(deadlines_kill_beyond_the_restart_budget)
{
    auto options = with(1);
    options.restarts = 2;
    pool p(options);
    task_options how;
    how.hard_deadline = 10ms;
    for (int i = 0; i < 8; ++i)
        BOOST_CHECK_THROW(p.submit(how, &spin).get(), common::timed_out);
    BOOST_TEST(p.submit(&square, 3).get() == 9);
}

BOOST_AUTO_TEST_CASE(a_graceful_shutdown_finishes_what_was_submitted)
{
    pool p(with(2));
    std::vector<future<int>> all;
    for (int i = 0; i < 50; ++i)
        all.push_back(p.submit(&square, i));
    BOOST_TEST(p.shutdown(shutdown_mode::graceful));
    for (int i = 0; i < 50; ++i)
        BOOST_TEST(all[static_cast<std::size_t>(i)].get() == i * i);
    BOOST_TEST(descendants().empty());
}

BOOST_AUTO_TEST_CASE(a_fast_shutdown_finishes_what_runs_and_cancels_the_rest)
{
    pool p(with(1));
    busy worker(p);
    auto queued = p.submit(&square, 1);
    auto end = std::async(std::launch::async,
                          [&] { return p.shutdown(shutdown_mode::fast); });
    BOOST_CHECK_THROW(queued.get(), common::cancelled);
    worker.release();
    BOOST_TEST(end.get());
    BOOST_TEST(worker.task.get() > 0);
}

BOOST_AUTO_TEST_CASE(a_killing_shutdown_finishes_nothing)
{
    pool p(with(1));
    auto endless = p.submit(&spin);
    auto queued = p.submit(&square, 1);
    BOOST_TEST(!p.shutdown(shutdown_mode::kill));
    BOOST_TEST(descendants().empty());
    BOOST_CHECK_THROW(endless.get(), std::exception);
    BOOST_CHECK_THROW(queued.get(), std::exception);
}

BOOST_AUTO_TEST_CASE(every_shutdown_is_bounded_against_tasks_without_an_end)
{
    for (const auto mode : all_modes)
    {
        pool p(with(2));
        std::vector<future<void>> all;
        for (int i = 0; i < 4; ++i)
            all.push_back(p.submit(&spin));
        BOOST_REQUIRE(eventually([&] { return p.stats().running == 2; }));
        const auto time =
            time_of([&] { BOOST_TEST(!p.shutdown(mode, 200ms)); });
        BOOST_TEST(time < 10s);
        for (auto& one : all)
            BOOST_CHECK_THROW(one.get(), std::exception);
    }
}

BOOST_AUTO_TEST_CASE(a_destructor_is_bounded_by_the_linger_of_its_pool)
{
    future<void> endless;
    const auto time = time_of([&] {
        auto options = with(1);
        options.linger = 200ms;
        pool p(options);
        endless = p.submit(&spin);
    });
    BOOST_TEST(time < 10s);
    BOOST_CHECK_THROW(endless.get(), common::exhausted);
}

BOOST_AUTO_TEST_CASE(an_exception_on_its_way_kills_instead_of_waiting)
{
    future<void> endless;
    const auto time = time_of([&] {
        BOOST_CHECK_THROW(
            {
                pool p(with(2));
                endless = p.submit(&spin);
                throw std::runtime_error("main has failed");
            },
            std::runtime_error);
    });
    BOOST_TEST(time < 20s); // linger is a minute
    BOOST_CHECK_THROW(endless.get(), std::exception);
}

BOOST_AUTO_TEST_CASE(submit_after_shutdown_says_closed)
{
    for (const auto mode : all_modes)
    {
        pool p(with(1));
        p.shutdown(mode);
        BOOST_CHECK_THROW(p.submit(&square, 1), common::closed);
        p.shutdown(mode); // again: nothing
        BOOST_CHECK_THROW(p.submit(&square, 1), common::closed);
        BOOST_TEST(pids(p).empty());
    }
}

// It cannot wait for itself; who destroys the pool does.
BOOST_AUTO_TEST_CASE(a_callback_may_shut_its_pool_down)
{
    for (int i = 0; i < 20; ++i)
    {
        pool p(with(1));
        auto next = p.submit(&square, 3).then([&p](worker_pool::future<int> f) {
            p.shutdown(shutdown_mode::graceful);
            return f.get();
        });
        auto last = next.then([](worker_pool::future<int> f) {
            ::poll(nullptr, 0, 2); // the pool is to wait for this
            return f.get() + 1;
        });
        next = {};
        BOOST_TEST(last.wait_for(20s));
        BOOST_TEST(last.get() == 10);
    }
}

BOOST_AUTO_TEST_CASE(submit_and_cancel_at_once_then_shutdown)
{
    pool p(with(1));
    p.submit(&square, 1).cancel();
    BOOST_TEST(p.shutdown(shutdown_mode::graceful));
}

BOOST_AUTO_TEST_CASE(a_submit_that_waits_for_room_learns_of_the_shutdown)
{
    auto options = with(1);
    options.capacity = 1;
    pool p(options);
    busy worker(p);
    auto blocked = std::async(std::launch::async, [&] {
        return message_of([&] { p.submit(&square, 1).get(); });
    });
    BOOST_TEST((blocked.wait_for(50ms) == std::future_status::timeout));
    p.shutdown(shutdown_mode::kill);
    BOOST_REQUIRE((blocked.wait_for(20s) == std::future_status::ready));
    BOOST_TEST(!blocked.get().empty());
}

BOOST_AUTO_TEST_CASE(threads_that_submit_during_a_shutdown_are_told)
{
    for (const auto mode : all_modes)
    {
        pool p(with(2));
        std::atomic<int> done{0}, told{0};
        std::vector<std::jthread> threads;
        for (int t = 0; t < 4; ++t)
            threads.emplace_back([&] {
                try
                {
                    for (int i = 0; i < 1'000'000; ++i) // ends by shutdown
                    {
                        p.submit(&square, i).get();
                        ++done;
                    }
                }
                catch (const std::runtime_error&)
                {
                    ++told;
                }
            });
        BOOST_REQUIRE(eventually([&] { return done > 100; }));
        p.shutdown(mode);
        threads.clear();
        BOOST_TEST(told == 4);
    }
}

BOOST_AUTO_TEST_CASE(several_threads_may_shut_down_and_look_at_once)
{
    for (int round = 0; round < 20; ++round)
    {
        pool p(with(1));
        auto value = p.submit(&square, 3);
        std::vector<std::jthread> threads;
        for (int t = 0; t < 3; ++t)
            threads.emplace_back([&] { p.shutdown(shutdown_mode::graceful); });
        threads.emplace_back([&] {
            for (int i = 0; i < 50; ++i)
                static_cast<void>(p.stats());
        });
        threads.clear();
        BOOST_TEST(value.get() == 9);
    }
}

BOOST_AUTO_TEST_CASE(a_task_may_have_a_pool_of_its_own)
{
    pool p(with(1));
    auto sum = p.submit([] {
        pool inner(2);
        int result = 0;
        for (const int one : inner.map(up_to(10), square))
            result += one;
        return result;
    });
    BOOST_TEST(sum.get() == 285);
}

BOOST_AUTO_TEST_CASE(pools_nest_eight_deep_and_no_deeper)
{
    BOOST_TEST(nest() == 8);
}

BOOST_AUTO_TEST_CASE(statistics_tell_what_the_pool_does)
{
    pool p(sturdy(2));
    BOOST_TEST(complete(p));
    busy one(p), two(p);
    auto queued = p.submit(&square, 3);
    auto now = p.stats();
    BOOST_TEST(now.running == 2u);
    BOOST_TEST(now.queued == 1u);
    BOOST_TEST(now.submitted == 3u);
    BOOST_TEST(now.finished == 0u);
    BOOST_TEST(now.workers.size() == 2u);
    for (const auto& worker : now.workers)
    {
        BOOST_TEST(alive(worker.pid));
        BOOST_TEST(worker.restarts == 0u);
        BOOST_TEST(worker.age.count() >= 0);
    }
    one.release();
    two.release();
    queued.get();
    one.task.get();
    two.task.get();
    BOOST_TEST(p.submit(&mortal, 5, 2u).get() == 5);
    BOOST_TEST(complete(p));
    now = p.stats();
    BOOST_TEST(now.finished == 4u);
    BOOST_TEST(now.retried == 2u);
    BOOST_TEST(now.deaths == 2u);
    BOOST_TEST(now.poisoned == 0u);
    BOOST_TEST(now.workers[0].restarts + now.workers[1].restarts == 2u);
}

BOOST_AUTO_TEST_CASE(statistics_count_what_the_caller_ran_or_nobody_fetched)
{
    pool p(with(1));
    for (int i = 0; i < 10; ++i)
        p.submit(&square, i);
    p.submit(&square, 1).get();
    BOOST_TEST(p.stats().submitted == 11u);
    BOOST_TEST(p.stats().queued == 0u);
    BOOST_TEST(p.stats().running == 0u);
}

BOOST_AUTO_TEST_CASE(payloads_of_no_bytes_the_most_and_one_more)
{
    auto options = with(1);
    options.payload = 100'000;
    pool p(options);
    const auto length = [](std::string s) { return s.size(); };
    const auto text = [](std::size_t n) { return std::string(n, 'x'); };
    BOOST_TEST(p.submit(length, std::string()).get() == 0u);
    BOOST_TEST(p.submit(text, std::size_t{0}).get().empty());
    // A string takes eight bytes for its length.
    BOOST_TEST(p.submit(length, std::string(99'992, 'x')).get() == 99'992u);
    BOOST_CHECK_THROW(p.submit(length, std::string(99'993, 'x')),
                      std::length_error);
    BOOST_TEST(p.submit(text, std::size_t{99'992}).get().size() == 99'992u);
    BOOST_CHECK_THROW(p.submit(text, std::size_t{99'993}).get(),
                      std::length_error);
    BOOST_TEST(p.submit(length, std::string("all is well")).get() == 11u);
}

BOOST_AUTO_TEST_SUITE_END()
