// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.

#define BOOST_TEST_MODULE master_worker_crash

#include "test/fixture.hpp"
#include "test/patterns/master_worker_tasks.hpp"

#include <boost/test/unit_test.hpp>

#include "patterns/master_worker/master_worker.hpp"
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <random>
#include <string>
#include <thread>
#include <vector>

namespace {

using namespace test;
using master_worker::failure;
using master_worker::handle;
using master_worker::master;

/// Takes about 50 microseconds.
int work(int x)
{
    const auto end = std::chrono::steady_clock::now() + 50us;
    while (std::chrono::steady_clock::now() < end) // ends in time
        continue;
    return x * x;
}

[[noreturn]] void spin()
{
    for (std::atomic<unsigned> turns = 0;;) // ends when it is killed
        ++turns;
}

int wrong_squares(const std::vector<handle<int>>& all)
{
    int wrong = 0;
    for (std::size_t i = 0; i < all.size(); ++i)
        wrong += all[i].get() != static_cast<int>(i * i);
    return wrong;
}

/// Kills a process of this program's workers every few milliseconds.
class killer
{
public:
    killer(unsigned seed, int every)
        : thread_([this, every, dice = std::mt19937(seed)](
                      const std::stop_token& stop) mutable {
            while (!stop.stop_requested()) // ends with this object
            {
                const auto workers = workers_of(::getpid());
                if (!workers.empty() &&
                    ::kill(workers[dice() % workers.size()], SIGKILL) == 0)
                    ++kills_;
                ::poll(nullptr, 0, every);
            }
        })
    {
        BOOST_TEST_MESSAGE("seed " << seed);
    }
    int kills() const { return kills_; }

private:
    std::atomic<int> kills_{0};
    std::jthread thread_;
};

void stay_on_one_cpu()
{
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(0, &one);
    ::sched_setaffinity(0, sizeof one, &one);
}

failure::kind last_failure(const handle<void>& h)
{
    return h.failures().empty() ? failure::kind::threw
                                : h.failures().back().what;
}

} // namespace

BOOST_FIXTURE_TEST_SUITE(master_worker_crash_laws, test::clean)

BOOST_AUTO_TEST_CASE(a_task_whose_worker_is_killed_runs_again)
{
    master m(sturdy(1));
    const auto h = m.submit(tries(3), &mortal, 5, 2u);
    BOOST_TEST(h.get() == 5);
    BOOST_TEST(m.stats().retried == 2u);
    BOOST_TEST(m.stats().deaths == 2u);
    BOOST_TEST(h.failures().size() == 2u);
}

BOOST_AUTO_TEST_CASE(a_task_that_always_kills_is_listed_with_its_history)
{
    master m(sturdy(2));
    auto how = tries(3);
    how.key = "the bad one";
    const auto poison = m.submit(how, [] { ::raise(SIGSEGV); });
    std::vector<handle<int>> others;
    for (int i = 0; i < 200; ++i)
        others.push_back(m.submit(&square, i));
    BOOST_CHECK_EXCEPTION(poison.get(), common::worker_died, [](const auto& e) {
        return e.attempts().size() == 3 && e.status().signal == SIGSEGV &&
               contains(e.what(), "the bad one");
    });
    BOOST_TEST(wrong_squares(others) == 0);
    BOOST_REQUIRE(m.poisoned().size() == 1u);
    BOOST_TEST(m.poisoned()[0].key == "the bad one");
    BOOST_TEST(m.poisoned()[0].history.size() == 3u);
    for (const auto& one : m.poisoned()[0].history)
        BOOST_TEST(one.death.status.signal == SIGSEGV);
}

BOOST_AUTO_TEST_CASE(a_task_that_exits_says_with_which_code)
{
    master m(sturdy(1));
    for (const int code : {0, 1, 7})
    {
        const auto h = m.submit(
            tries(1), [](int c) { ::_exit(c); }, code);
        BOOST_CHECK_EXCEPTION(h.get(), common::worker_died, [&](const auto& e) {
            return (e.status() == common::exit_status{code, 0});
        });
    }
}

BOOST_AUTO_TEST_CASE(kills_at_every_step_of_a_worker_cost_no_task)
{
    for (const char* plan : {"worker.ready=0.3", "mailbox.taken=0.05",
                             "mailbox.written=0.05", "mailbox.answered=0.05"})
    {
        const faults armed(plan);
        master m(sturdy(2));
        std::vector<handle<int>> all;
        for (int i = 0; i < 500; ++i)
            all.push_back(m.submit(tries(100), &square, i));
        BOOST_TEST(wrong_squares(all) == 0, plan);
        if (std::string(plan) != "worker.ready=0.3") // there it is by luck
            BOOST_TEST(work_until(m, [&] { return m.stats().deaths > 0; }),
                       plan);
    }
}

BOOST_AUTO_TEST_CASE(random_kills_under_load_cost_no_task)
{
    master m(sturdy(3));
    const killer outside(std::random_device{}(), 3);
    const auto end = std::chrono::steady_clock::now() + 4s;
    for (int round = 0;
         std::chrono::steady_clock::now() < end || outside.kills() < 50;
         ++round)
    {
        std::vector<handle<int>> all;
        for (int i = 0; i < 500; ++i)
            all.push_back(m.submit(tries(100), &work, i));
        BOOST_REQUIRE(wrong_squares(all) == 0);
    }
    BOOST_TEST_MESSAGE(outside.kills() << " kills");
    BOOST_TEST(m.poisoned().empty());
}

BOOST_AUTO_TEST_CASE(idle_workers_that_are_killed_cost_nothing)
{
    master m(sturdy(2));
    for (int round = 0; round < 20; ++round)
    {
        BOOST_REQUIRE(work_until(m, [&] {
            for (const auto& one : staff(m).workers())
                if (!one.ready)
                    return false;
            return true;
        }));
        for (const pid_t one : pids(m))
            ::kill(one, SIGKILL);
        BOOST_TEST(m.submit(tries(3), &square, round).get() == round * round);
    }
    BOOST_TEST(m.poisoned().empty());
}

BOOST_AUTO_TEST_CASE(a_spent_restart_budget_ends_all_tasks_and_hangs_none)
{
    const faults armed("worker.ready=1");
    master_worker::master_options options;
    options.workers = {1};
    options.staff.restarts = 3;
    master m(options);
    std::vector<handle<int>> all;
    for (int i = 0; i < 10; ++i)
        all.push_back(m.submit(&square, i));
    for (const auto& one : all)
        BOOST_CHECK_THROW(one.get(), common::exhausted);
    BOOST_CHECK_THROW(m.submit(&square, 1), common::exhausted);
    BOOST_TEST(m.stats().deaths == 4u);
}

BOOST_AUTO_TEST_CASE(deaths_that_are_charged_to_tasks_cost_no_budget)
{
    master_worker::master_options options;
    options.workers = {1};
    options.staff.restarts = 3;
    master m(options);
    for (int i = 0; i < 5; ++i)
        m.submit(tries(3), [] { ::raise(SIGKILL); });
    m.run();
    BOOST_TEST(m.poisoned().size() == 5u);
    BOOST_TEST(m.submit(&square, 3).get() == 9);
}

BOOST_AUTO_TEST_CASE(a_deadline_kills_who_runs_too_long_and_nobody_else)
{
    master m(sturdy(2));
    auto how = tries(2);
    how.deadline = 100ms;
    const auto endless = m.submit(how, &spin);
    const auto behind = m.submit(&square, 3);
    BOOST_CHECK_THROW(endless.get(), common::timed_out);
    BOOST_TEST(endless.failures().size() == 2u);
    BOOST_TEST((last_failure(endless) == failure::kind::timed_out));
    BOOST_TEST(behind.get() == 9);
    BOOST_TEST(m.stats().deaths == 2u);
}

// Whenever its master comes back to read it.
BOOST_AUTO_TEST_CASE(an_answer_in_time_counts_however_late_it_is_read)
{
    master m(sturdy(1));
    m.submit(&square, 1).get(); // its worker is there
    const counter done{0};
    auto how = tries(1);
    how.deadline = 20ms;
    for (int i = 1; i <= 40; ++i)
    {
        const auto quick = m.submit(
            how, [](counter n) { ++*n; }, done);
        BOOST_REQUIRE(eventually([&] { return *done == i; }));
        ::poll(nullptr, 0, 30); // until the deadline has passed
        quick.get();
    }
    BOOST_TEST(staff(m).workers().front().launches == 1u);
    BOOST_TEST(m.stats().deaths == 0u);
}

BOOST_AUTO_TEST_CASE(a_deadline_holds_though_there_is_progress)
{
    master m(sturdy(1));
    auto how = tries(1);
    how.deadline = 200ms;
    how.silence = 10s;
    const auto h = m.submit(how, [] {
        for (;;) // until it is killed
            master_worker::progress();
    });
    BOOST_CHECK_THROW(h.get(), common::timed_out);
}

BOOST_AUTO_TEST_CASE(who_makes_no_progress_is_killed_busy_asleep_or_stopped)
{
    master m(sturdy(1));
    auto how = tries(1);
    how.silence = 200ms;
    for (auto* const body :
         {+[] { spin(); }, +[] { ::pause(); }, +[] { ::raise(SIGSTOP); }})
    {
        const auto h = m.submit(how, body);
        BOOST_CHECK_THROW(h.get(), common::timed_out);
        BOOST_TEST((last_failure(h) == failure::kind::stuck));
    }
    BOOST_TEST(m.submit(&square, 3).get() == 9);
}

BOOST_AUTO_TEST_CASE(progress_keeps_a_long_task_alive)
{
    master m(sturdy(1));
    auto how = tries(1);
    how.silence = 1s;
    const auto h = m.submit(how, [] {
        const auto end = std::chrono::steady_clock::now() + 3s;
        while (std::chrono::steady_clock::now() < end) // ends in time
        {
            master_worker::progress();
            ::poll(nullptr, 0, 5);
        }
        return 1;
    });
    BOOST_TEST(h.get() == 1);
    BOOST_TEST(m.stats().deaths == 0u);
}

BOOST_AUTO_TEST_CASE(a_starved_but_live_worker_is_never_declared_dead)
{
    // Four that never rest, on the only CPU that the worker may use.
    struct herd
    {
        std::vector<common::process> all;
        ~herd()
        {
            for (const auto& one : all)
                one.kill();
        }
    } hogs;
    for (int i = 0; i < 4; ++i)
        hogs.all.emplace_back([] {
            stay_on_one_cpu();
            spin();
        });
    master m(sturdy(1), [] {
        stay_on_one_cpu();
        ::setpriority(PRIO_PROCESS, 0, 19);
    });
    auto how = tries(1);
    how.silence = 60ms;
    const auto h = m.submit(how, [] {
        // Five signs of progress, each after 4 ms of work, which takes
        // this worker several times its limit.
        auto longest = 0ns;
        for (int i = 0; i < 5; ++i)
        {
            const auto start = std::chrono::steady_clock::now();
            const auto end = common::kernel::thread_cpu_time() + 4ms;
            while (common::kernel::thread_cpu_time() < end)
                continue;
            master_worker::progress();
            longest = std::max<std::chrono::nanoseconds>(
                longest, std::chrono::steady_clock::now() - start);
        }
        return longest.count();
    });
    const auto longest = std::chrono::nanoseconds(h.get());
    BOOST_TEST_MESSAGE("silent for " << longest / 1ms << " ms");
    BOOST_WARN(longest > 120ms); // else the law was not tried hard
    BOOST_TEST(m.stats().deaths == 0u);
}

BOOST_AUTO_TEST_CASE(a_worker_asked_to_terminate_finishes_and_is_replaced)
{
    master m(sturdy(1));
    counter begun{0}, gate{0};
    const auto slow = m.submit(&hold, begun, gate);
    BOOST_REQUIRE(work_until(m, [&] { return *begun == 1; }));
    const auto pid = pids(m).at(0);
    ::kill(pid, SIGTERM);
    const auto behind = m.submit([] { return ::getpid(); });
    *gate = 1;
    BOOST_TEST(slow.get() == pid);
    BOOST_TEST(behind.get() != pid);
    BOOST_TEST(m.stats().deaths == 0u);
    BOOST_TEST(m.stats().retried == 0u);
}

BOOST_AUTO_TEST_CASE(stopped_workers_do_not_hold_up_the_end_of_their_master)
{
    const auto start = std::chrono::steady_clock::now();
    {
        master m(sturdy(2));
        m.submit(&square, 1).get();
        for (const pid_t one : pids(m))
            ::kill(one, SIGSTOP);
    }
    BOOST_TEST(((std::chrono::steady_clock::now() - start) < 20s));
}

BOOST_AUTO_TEST_CASE(what_a_task_has_started_ends_with_its_master)
{
    pid_t left = 0;
    {
        master m(sturdy(1));
        left = m.submit([] {
                    const pid_t child = ::fork();
                    if (child == 0)
                        ::pause(); // until it is killed
                    return child;
                }).get();
        BOOST_TEST(alive(left));
    }
    BOOST_TEST(eventually([&] { return !alive(left); }));
}

BOOST_AUTO_TEST_CASE(masters_that_end_while_workers_die_leave_nothing)
{
    std::mt19937 dice(std::random_device{}());
    for (int round = 0; round < 20; ++round)
    {
        std::vector<handle<int>> all;
        {
            master m(sturdy(2));
            const killer outside(static_cast<unsigned>(dice()), 2);
            for (int i = 0; i < 100; ++i)
                all.push_back(m.submit(tries(100), &work, i));
            if (round % 2 == 0)
                m.run_until(std::chrono::steady_clock::now() + 3ms);
        }
        for (const auto& one : all)
            BOOST_TEST(one.ready());
        BOOST_TEST(wrong_squares(all) == 0);
    }
}

BOOST_AUTO_TEST_CASE(workers_end_with_a_master_that_is_killed)
{
    const common::shared<std::atomic<int>> worker{0};
    common::process it(
        [](counter pid) {
            master m(sturdy(1));
            m.submit(
                 [](counter p) {
                     *p = ::getpid();
                     ::pause();
                 },
                 pid)
                .get();
        },
        worker);
    BOOST_REQUIRE(eventually([&] { return *worker != 0; }));
    it.kill();
    it.join();
    BOOST_TEST(eventually([&] { return !alive(*worker); }));
}

BOOST_AUTO_TEST_SUITE_END()
