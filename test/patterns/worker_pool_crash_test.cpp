// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.

#define BOOST_TEST_MODULE worker_pool_crash

#include "common/codec.hpp"
#include "test/fixture.hpp"
#include "test/patterns/worker_pool_tasks.hpp"

#include <boost/test/unit_test.hpp>

#include "patterns/worker_pool/worker_pool.hpp"
#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdlib>
#include <future>
#include <random>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace {

using namespace test;
using worker_pool::future;
using worker_pool::pool;
using worker_pool::shutdown_mode;
using worker_pool::task_options;

/// When a value that cannot cross says so, or crashes.
enum class trap_at
{
    nowhere,
    measured,
    written,
    read,
    read_fatally,
    read_and_exit
};

struct trap
{
    trap_at where = trap_at::nowhere;
    pid_t only_in = 0; // any, for 0

    bool springs(trap_at now) const
    {
        return now == where && (only_in == 0 || only_in == ::getpid());
    }
};

void crash_with(int signal)
{
    ::signal(signal, SIG_DFL);
    ::raise(signal);
}

/// A pool whose tasks get one attempt each.
worker_pool::pool_options once(unsigned workers)
{
    auto result = sturdy(workers);
    result.attempts = 1;
    return result;
}

/// What the future says of the worker's end.
common::exit_status end_of_worker(future<void> f)
{
    try
    {
        f.get();
    }
    catch (const common::worker_died& e)
    {
        BOOST_TEST(e.attempts().size() == 1u);
        BOOST_TEST(!alive(e.pid()));
        return e.status();
    }
    BOOST_ERROR("the worker should have died");
    return {};
}

/// Kills a worker of the pool every few milliseconds as long as it lives.
class killer
{
public:
    killer(pool& p, unsigned seed)
        : thread_([this, &p, dice = std::mt19937(seed)](
                      const std::stop_token& stop) mutable {
            while (!stop.stop_requested()) // ends with this object
            {
                const auto all = pids(p);
                if (!all.empty() &&
                    ::kill(all[dice() % all.size()], SIGKILL) == 0)
                    ++kills_;
                ::poll(nullptr, 0, 3);
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

/// Takes about 50 microseconds.
int work(int x)
{
    const auto end = worker_pool::clock::now() + std::chrono::microseconds(50);
    while (worker_pool::clock::now() < end) // ends in time
        continue;
    return x * x;
}

/// Faults in the workers that are started while it lives.
struct faults
{
    explicit faults(const char* plan) { ::setenv("COMMON_FAULT", plan, 1); }
    ~faults() { ::unsetenv("COMMON_FAULT"); }
};

int wrong_squares(std::vector<future<int>> all)
{
    int wrong = 0;
    for (std::size_t i = 0; i < all.size(); ++i)
        wrong += all[i].get() != static_cast<int>(i * i);
    return wrong;
}

} // namespace

template <>
struct common::codec<trap>
{
    static std::size_t size(const trap& t)
    {
        if (t.springs(trap_at::measured))
            throw std::domain_error("this cannot be measured");
        return sizeof t;
    }
    static void write(writer& to, const trap& t)
    {
        if (t.springs(trap_at::written))
            throw std::domain_error("this cannot be written");
        to.bytes(&t, sizeof t);
    }
    static trap read(reader& from)
    {
        trap t;
        from.bytes(&t, sizeof t);
        if (t.springs(trap_at::read))
            throw std::domain_error("this cannot be read");
        if (t.springs(trap_at::read_fatally))
            crash_with(SIGSEGV);
        if (t.springs(trap_at::read_and_exit))
            ::_exit(1);
        return t;
    }
};

BOOST_FIXTURE_TEST_SUITE(worker_pool_crash_laws, test::clean)

BOOST_AUTO_TEST_CASE(a_task_that_ends_its_worker_by_a_signal_says_by_which)
{
    pool p(once(2));
    for (const int signal : {SIGSEGV, SIGABRT, SIGFPE, SIGILL, SIGBUS, SIGKILL})
        BOOST_TEST(end_of_worker(p.submit(&crash_with, signal)).signal ==
                   signal);
    BOOST_TEST(p.submit(&square, 3).get() == 9);
}

BOOST_AUTO_TEST_CASE(a_task_that_exits_says_with_which_code)
{
    pool p(once(1));
    const auto leave = [](int code) { std::exit(code); };
    const auto leave_now = [](int code) { ::_exit(code); };
    BOOST_TEST(end_of_worker(p.submit(leave, 1)).code == 1);
    BOOST_TEST(end_of_worker(p.submit(leave_now, 7)).code == 7);
    const auto none = end_of_worker(p.submit(leave_now, 0));
    BOOST_TEST(none.code == 0);
    BOOST_TEST(none.signal == 0);
    BOOST_TEST(p.submit(&square, 3).get() == 9);
}

BOOST_AUTO_TEST_CASE(a_call_of_terminate_in_a_task_is_a_death_not_a_hang)
{
    pool p(once(1));
    auto end = p.submit([]() noexcept { std::terminate(); });
    BOOST_TEST(end_of_worker(std::move(end)).signal == SIGABRT);
}

BOOST_AUTO_TEST_CASE(a_task_whose_worker_is_killed_runs_again)
{
    pool p(sturdy(1));
    BOOST_TEST(p.submit(&mortal, 5, 2u).get() == 5);
    BOOST_TEST(p.stats().retried == 2u);
}

BOOST_AUTO_TEST_CASE(a_task_that_always_kills_is_quarantined_with_its_history)
{
    auto options = sturdy(2);
    options.attempts = 3;
    pool p(options);
    auto poison = p.submit([] { ::raise(SIGKILL); });
    std::vector<future<int>> others;
    for (int i = 0; i < 200; ++i)
        others.push_back(p.submit(&square, i));
    try
    {
        poison.get();
        BOOST_ERROR("the poison should have been found");
    }
    catch (const common::worker_died& e)
    {
        BOOST_REQUIRE(e.attempts().size() == 3u);
        for (const auto& one : e.attempts())
        {
            BOOST_TEST(one.status.signal == SIGKILL);
            BOOST_TEST(contains(e.what(), std::to_string(one.pid)));
        }
        BOOST_TEST(contains(e.what(), "signal 9"));
    }
    BOOST_TEST(wrong_squares(std::move(others)) == 0);
    BOOST_TEST(p.stats().poisoned == 1u);
}

BOOST_AUTO_TEST_CASE(a_task_may_have_its_own_number_of_attempts)
{
    pool p(sturdy(1));
    task_options how;
    how.attempts = 1;
    BOOST_CHECK_THROW(p.submit(how, &mortal, 5, 1u).get(), common::worker_died);
    how.attempts = 2;
    BOOST_TEST(p.submit(how, &mortal, 5, 1u).get() == 5);
}

BOOST_AUTO_TEST_CASE(a_crash_hurts_no_neighbour)
{
    pool p(once(2));
    busy neighbour(p);
    for (int i = 0; i < 5; ++i)
        BOOST_CHECK_THROW(p.submit(&crash_with, SIGSEGV).get(),
                          common::worker_died);
    neighbour.release();
    BOOST_TEST(neighbour.task.get() > 0);
    BOOST_TEST(p.stats().poisoned == 5u);
}

BOOST_AUTO_TEST_CASE(an_argument_that_cannot_be_written_fails_its_submit_alone)
{
    pool p(once(1));
    const auto take = [](trap) { return 1; };
    for (const auto where : {trap_at::measured, trap_at::written})
        for (int i = 0; i < 20; ++i)
            BOOST_CHECK_THROW(p.submit(take, trap{where, 0}),
                              std::domain_error);
    BOOST_TEST(p.submit(take, trap{}).get() == 1);
    BOOST_TEST(p.stats().queued == 0u);
}

BOOST_AUTO_TEST_CASE(an_argument_that_cannot_be_read_fails_its_future)
{
    pool p(once(1));
    const auto take = [](trap) {};
    BOOST_CHECK_THROW(p.submit(take, trap{trap_at::read, 0}).get(),
                      std::domain_error);
    BOOST_TEST(
        end_of_worker(p.submit(take, trap{trap_at::read_fatally, 0})).signal ==
        SIGSEGV);
    BOOST_TEST(
        end_of_worker(p.submit(take, trap{trap_at::read_and_exit, 0})).code ==
        1);
    p.submit(take, trap{}).get();
}

BOOST_AUTO_TEST_CASE(twenty_results_that_cannot_be_written_lose_no_worker)
{
    pool p(once(1));
    const int pid = p.submit(&own_pid).get();
    for (const auto where : {trap_at::measured, trap_at::written})
        for (int i = 0; i < 10; ++i)
        {
            auto bad = p.submit([](trap_at at) { return trap{at, 0}; }, where);
            BOOST_CHECK_THROW(bad.get(), std::domain_error);
        }
    BOOST_TEST(p.submit(&own_pid).get() == pid);
}

BOOST_AUTO_TEST_CASE(a_result_that_cannot_be_read_fails_its_get_alone)
{
    pool p(once(1));
    const auto give = [](pid_t here) { return trap{trap_at::read, here}; };
    for (int i = 0; i < 20; ++i)
        BOOST_CHECK_THROW(p.submit(give, ::getpid()).get(), std::domain_error);
    BOOST_TEST(p.submit(&square, 3).get() == 9);
}

BOOST_AUTO_TEST_CASE(output_of_a_task_disturbs_nobody)
{
    pool p(once(1));
    auto noisy = p.submit([] {
        const std::string garbage(100, '\xff');
        return ::write(1, garbage.data(), 0) == 0 && ::close(1) == 0;
    });
    BOOST_TEST(noisy.get());
    BOOST_TEST(p.submit(&square, 3).get() == 9);
}

BOOST_AUTO_TEST_CASE(idle_workers_that_are_killed_cost_nothing)
{
    pool p(sturdy(2));
    for (int round = 0; round < 20; ++round)
    {
        BOOST_REQUIRE(complete(p));
        const auto killed = pids(p);
        for (const pid_t one : killed)
            ::kill(one, SIGKILL);
        BOOST_TEST(p.submit(&square, round).get() == round * round);
        BOOST_REQUIRE(eventually([&] {
            for (const pid_t one : killed)
                if (alive(one))
                    return false;
            return true;
        }));
    }
}

BOOST_AUTO_TEST_CASE(all_workers_killed_at_once_cost_no_task)
{
    pool p(sturdy(4));
    std::vector<future<int>> all;
    for (int i = 0; i < 1000; ++i)
        all.push_back(p.submit(&work, i));
    BOOST_REQUIRE(complete(p));
    for (const pid_t one : pids(p))
        ::kill(one, SIGKILL);
    BOOST_TEST(wrong_squares(std::move(all)) == 0);
}

BOOST_AUTO_TEST_CASE(random_kills_under_load_cost_no_task)
{
    const unsigned seed = std::random_device{}();
    pool p(sturdy(3));
    killer outside(p, seed);
    const auto end = worker_pool::clock::now() + 4s;
    int tasks = 0;
    while (worker_pool::clock::now() < end || outside.kills() < 50)
    {
        std::vector<future<int>> all;
        for (int i = 0; i < 500; ++i)
            all.push_back(p.submit(&work, i));
        BOOST_REQUIRE(wrong_squares(std::move(all)) == 0);
        tasks += 500;
    }
    BOOST_TEST_MESSAGE(outside.kills() << " kills, " << tasks << " tasks");
    BOOST_TEST(p.stats().poisoned == 0u);
}

BOOST_AUTO_TEST_CASE(random_kills_under_a_map_change_no_result)
{
    const unsigned seed = std::random_device{}();
    pool p(sturdy(3));
    killer outside(p, seed);
    for (int round = 0; round < 5 || outside.kills() < 50; ++round)
    {
        int at = 0, wrong = 0;
        for (const int one : p.map(up_to(5000), &work))
        {
            wrong += one != at * at;
            ++at;
        }
        BOOST_REQUIRE(wrong == 0);
        BOOST_REQUIRE(at == 5000);
    }
}

BOOST_AUTO_TEST_CASE(kills_at_every_step_of_a_worker_cost_no_task)
{
    for (const char* plan : {"cells.claimed=0.05", "cells.output_written=0.05",
                             "cells.committed=0.05"})
    {
        const faults armed(plan);
        pool p(sturdy(2));
        std::vector<future<int>> all;
        for (int i = 0; i < 500; ++i)
            all.push_back(p.submit(&square, i));
        BOOST_TEST(wrong_squares(std::move(all)) == 0, plan);
        BOOST_TEST(eventually([&] { return p.stats().deaths > 0; }), plan);
    }
}

BOOST_AUTO_TEST_CASE(workers_that_die_before_their_first_task_cost_no_task)
{
    const faults armed("worker.ready=0.5");
    pool p(sturdy(2));
    std::vector<future<int>> all;
    for (int i = 0; i < 50; ++i) // each asks for one worker more
        all.push_back(p.submit(&mortal, i * i, 1u));
    BOOST_TEST(wrong_squares(std::move(all)) == 0);
    BOOST_TEST(p.stats().retried == 50u);
    BOOST_TEST(p.stats().deaths > 50u);
}

BOOST_AUTO_TEST_CASE(a_spent_restart_budget_fails_all_futures_and_hangs_none)
{
    const faults armed("worker.ready=1");
    auto options = with(1);
    options.restarts = 3;
    pool p(options);
    std::vector<future<int>> all;
    try
    {
        for (int i = 0; i < 10; ++i)
            all.push_back(p.submit(&square, i));
    }
    catch (const common::exhausted&) // some came too late
    {
    }
    for (auto& one : all)
        BOOST_CHECK_THROW(one.get(), common::exhausted);
    BOOST_TEST(test::eventually([&] { return p.stats().deaths == 4u; }));
    BOOST_CHECK_THROW(p.submit(&square, 1), common::exhausted);
}

BOOST_AUTO_TEST_CASE(deaths_that_are_charged_to_tasks_cost_no_budget)
{
    auto options = with(1);
    options.restarts = 3;
    options.attempts = 3;
    pool p(options);
    std::vector<future<void>> poison;
    for (int i = 0; i < 10; ++i)
        poison.push_back(p.submit([] { ::raise(SIGKILL); }));
    for (auto& one : poison)
        BOOST_CHECK_THROW(one.get(), common::worker_died);
    BOOST_TEST(p.submit(&square, 3).get() == 9);
}

BOOST_AUTO_TEST_CASE(a_stopped_worker_falls_to_the_hard_deadline)
{
    pool p(sturdy(1));
    task_options how;
    how.hard_deadline = 200ms;
    auto stopped = p.submit(how, [] { ::raise(SIGSTOP); });
    auto behind = p.submit(&square, 3);
    BOOST_CHECK_THROW(stopped.get(), common::timed_out);
    BOOST_TEST(behind.get() == 9);
}

BOOST_AUTO_TEST_CASE(a_worker_that_is_stopped_and_continued_loses_nothing)
{
    pool p(with(1));
    busy worker(p);
    const auto pid = pids(p).at(0);
    ::kill(pid, SIGSTOP);
    BOOST_REQUIRE(eventually([&] { return state(pid) == 'T'; }));
    worker.release();
    BOOST_TEST(!worker.task.wait_for(50ms));
    ::kill(pid, SIGCONT);
    BOOST_TEST(worker.task.get() == pid);
    BOOST_TEST(p.stats().deaths == 0u);
}

BOOST_AUTO_TEST_CASE(stopped_workers_do_not_delay_the_end_of_their_pool)
{
    pool p(with(2));
    BOOST_REQUIRE(complete(p));
    for (const pid_t one : pids(p))
        ::kill(one, SIGSTOP);
    const auto time = time_of(
        [&] { BOOST_TEST(!p.shutdown(shutdown_mode::graceful, 200ms)); });
    BOOST_TEST(time < 10s);
}

BOOST_AUTO_TEST_CASE(a_worker_asked_to_terminate_finishes_and_is_replaced)
{
    pool p(with(1));
    busy worker(p);
    const auto pid = pids(p).at(0);
    ::kill(pid, SIGTERM);
    auto behind = p.submit(&own_pid);
    worker.release();
    BOOST_TEST(worker.task.get() == pid);
    BOOST_TEST(behind.get() != pid);
    BOOST_TEST(p.stats().deaths == 0u);
}

BOOST_AUTO_TEST_CASE(a_crash_during_shutdown_does_not_hang_it)
{
    for (const auto mode : {shutdown_mode::graceful, shutdown_mode::fast})
    {
        pool p(once(1));
        counter begun{0}, gate{0};
        auto doomed = p.submit(
            [](counter b, counter g) {
                hold(b, g);
                crash_with(SIGSEGV);
            },
            begun, gate);
        BOOST_REQUIRE(eventually([&] { return *begun == 1; }));
        auto end = std::async(std::launch::async,
                              [&] { return p.shutdown(mode, 60s); });
        BOOST_TEST((end.wait_for(30ms) == std::future_status::timeout));
        *gate = 1;
        BOOST_REQUIRE((end.wait_for(20s) == std::future_status::ready));
        BOOST_CHECK_THROW(doomed.get(), common::worker_died);
    }
}

BOOST_AUTO_TEST_CASE(pools_that_end_while_workers_die_leave_nothing)
{
    std::mt19937 dice(std::random_device{}());
    for (int round = 0; round < 30; ++round)
    {
        std::vector<future<int>> all;
        {
            pool p(sturdy(2));
            killer outside(p, static_cast<unsigned>(dice()));
            for (int i = 0; i < 100; ++i)
                all.push_back(p.submit(&work, i));
            ::poll(nullptr, 0, static_cast<int>(dice() % 8));
            if (round % 3 != 0)
                p.shutdown(round % 3 == 1 ? shutdown_mode::fast
                                          : shutdown_mode::kill);
        }
        for (auto& one : all)
            BOOST_TEST(one.ready());
        if (round % 3 == 0)
            BOOST_TEST(wrong_squares(std::move(all)) == 0);
    }
}

BOOST_AUTO_TEST_SUITE_END()
