// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.

#define BOOST_TEST_MODULE executor

#include "common/executor.hpp"
#include "test/fixture.hpp"

#include <boost/test/unit_test.hpp>

#include <signal.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <fstream>
#include <numeric>
#include <optional>
#include <set>
#include <sstream>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace {

using namespace std::chrono_literals;
using common::executor;
using common::outcome;

using number = common::shared<std::atomic<long>>;
using ticket = executor::ticket_ptr;

executor::options with(unsigned workers, unsigned capacity = 64)
{
    executor::options result;
    result.staff.workers = workers;
    result.staff.restarts = 1'000'000;
    result.staff.backoff = 0ms;
    result.table.capacity = capacity;
    return result;
}

const auto nothing = [] {};

/// How a task ended, and what it returned or said.
template <class T>
struct ending
{
    outcome how;
    std::optional<T> value;
    common::error_message error;
};

template <class T = int>
ending<T> end_of(executor& pool, const ticket& one)
{
    return pool.shared_ledger()->finish(
        one, [](outcome how, const common::ticket&,
                std::span<const std::byte> bytes) {
            ending<T> result{how, {}, {}};
            common::reader from{bytes};
            if (how == outcome::value)
                result.value = common::decode<T>(from);
            if (how == outcome::error)
                result.error = common::decode<common::error_message>(from);
            return result;
        });
}

template <class F, class... A>
ticket submit(executor& pool, F f, const A&... arguments)
{
    return pool.submit({}, f, arguments...);
}

bool over(executor& pool, const ticket& one)
{
    return pool.shared_ledger()->over(*one);
}

int square(int n)
{
    return n * n;
}

int die(int signal)
{
    ::signal(signal, SIG_DFL);
    ::raise(signal);
    return 0;
}

/// Says who it is and waits for a word.
int hold(number started, number go)
{
    *started = ::getpid();
    while (*go == 0)
        std::this_thread::yield();
    return 1;
}

/// Arms fault points in the processes that are started meanwhile.
struct armed
{
    explicit armed(const std::string& points)
    {
        ::setenv("COMMON_FAULT", points.c_str(), 1);
    }
    ~armed() { ::unsetenv("COMMON_FAULT"); }
};

/// Counts the tasks that are over.
struct listener : common::watcher
{
    void over(common::ticket&) override { ++times; }
    std::atomic<int> times{0};
};

/// An argument of a task that takes until the gate opens to be encoded.
struct gated
{
    std::atomic<bool>* begun;
    std::atomic<bool>* gate;
};

} // namespace

template <>
struct common::codec<gated>
{
    static constexpr std::size_t length = 100; // more than lies in a cell
    static std::size_t size(const gated&) { return length; }
    static void write(writer& to, const gated& one)
    {
        *one.begun = true;
        while (!*one.gate) // ends by the law
            std::this_thread::yield();
        encode(to, std::array<char, length>());
    }
    static gated read(reader& from)
    {
        decode<std::array<char, length>>(from);
        return {nullptr, nullptr};
    }
};

BOOST_FIXTURE_TEST_SUITE(executor_laws, test::clean)

BOOST_AUTO_TEST_CASE(a_task_comes_back_with_its_result)
{
    executor pool(with(2), nothing);
    BOOST_TEST(end_of(pool, submit(pool, square, 12)).value.value() == 144);
    const auto text = submit(
        pool,
        [](std::string a, std::vector<int> b) {
            return a + std::to_string(b.size());
        },
        std::string("x"), std::vector<int>(1000));
    BOOST_TEST(end_of<std::string>(pool, text).value.value() == "x1000");
}

BOOST_AUTO_TEST_CASE(an_exception_comes_back_and_costs_no_worker)
{
    executor pool(with(1), nothing);
    std::set<int> pids;
    for (int i = 0; i < 20; ++i)
    {
        const auto end = end_of(pool, submit(pool, []() -> int {
                                    throw std::out_of_range("too far");
                                }));
        BOOST_TEST((end.how == outcome::error));
        BOOST_CHECK_THROW(end.error.rethrow(), std::out_of_range);
        pids.insert(
            end_of(pool,
                   submit(pool, [] { return static_cast<int>(::getpid()); }))
                .value.value());
    }
    BOOST_TEST(pids.size() == 1u);
    BOOST_TEST(pool.stats().deaths == 0u);
}

BOOST_AUTO_TEST_CASE(many_tasks_each_end_exactly_once)
{
    executor pool(with(3, 16), nothing);
    std::vector<ticket> all;
    const number sum{0};
    for (int i = 0; i < 5000; ++i)
        all.push_back(submit(pool, square, i));
    for (int i = 0; i < 5000; ++i)
        BOOST_REQUIRE(
            end_of(pool, all[static_cast<unsigned>(i)]).value.value() == i * i);
    BOOST_TEST(pool.stats().submitted == 5000u);
    BOOST_TEST(pool.stats().finished == 5000u);
    BOOST_TEST(pool.stats().queued == 0u);
}

BOOST_AUTO_TEST_CASE(results_that_nobody_fetched_do_not_block_submitters)
{
    executor pool(with(1, 4), nothing);
    std::vector<ticket> all;
    for (int i = 0; i < 400; ++i)
        all.push_back(submit(
            pool,
            [](int n) { return std::string(static_cast<unsigned>(n), 'r'); },
            i * 10));
    for (unsigned i = 400; i-- > 0;)
        BOOST_REQUIRE(end_of<std::string>(pool, all[i]).value.value() ==
                      std::string(i * 10, 'r'));
}

BOOST_AUTO_TEST_CASE(submitting_gives_up_at_its_deadline_when_all_is_taken)
{
    executor pool(with(1, 2), nothing);
    const number started{0}, go{0};
    const auto first = submit(pool, hold, started, go);
    const auto second = submit(pool, square, 2);
    const auto start = common::clock::now();
    BOOST_TEST(!pool.submit_until(start + 30ms, {}, &square, 3));
    BOOST_TEST((common::clock::now() - start >= 30ms));
    *go = 1;
    const auto third = pool.submit_until(start + 20s, {}, &square, 3);
    BOOST_REQUIRE(third);
    BOOST_TEST(end_of(pool, first).value.value() == 1);
    BOOST_TEST(end_of(pool, second).value.value() == 4);
    BOOST_TEST(end_of(pool, third).value.value() == 9);
}

BOOST_AUTO_TEST_CASE(threads_submit_and_wait_at_once)
{
    executor pool(with(2, 32), nothing);
    std::atomic<int> good{0};
    std::vector<std::thread> threads;
    for (int t = 0; t < 8; ++t)
        threads.emplace_back([&, t] {
            for (int i = 0; i < 300; ++i)
            {
                const int n = t * 300 + i;
                const auto one = submit(pool, square, n);
                good += end_of(pool, one).value == n * n;
            }
        });
    for (auto& one : threads)
        one.join();
    BOOST_TEST(good == 2400);
    BOOST_TEST(pool.stats().finished == 2400u);
}

BOOST_AUTO_TEST_CASE(values_of_any_size_up_to_the_payload_cross)
{
    auto how = with(1, 4);
    how.table.payload = 1u << 20;
    executor pool(how, nothing);
    const auto same = [](std::string text) { return text; };
    // A string is 8 bytes longer when it travels.
    for (const std::size_t size :
         {std::size_t{0}, std::size_t{8}, std::size_t{16}, std::size_t{17},
          std::size_t{4096}, (1u << 20) - 8ul})
        BOOST_TEST(end_of<std::string>(
                       pool, submit(pool, same, std::string(size, 'v')))
                       .value.value() == std::string(size, 'v'));
    const std::string beyond((1u << 20) - 7, 'v');
    BOOST_CHECK_THROW(submit(pool, same, beyond), std::length_error);
    const auto grown = end_of<std::string>(
        pool, submit(
                  pool, [](std::string text) { return text + "more"; },
                  std::string((1u << 20) - 8, 'v')));
    BOOST_TEST((grown.how == outcome::error));
    BOOST_CHECK_THROW(grown.error.rethrow(), std::length_error);
    BOOST_TEST(end_of(pool, submit(pool, square, 3)).value.value() == 9);
    BOOST_TEST(pool.stats().deaths == 0u);
}

BOOST_AUTO_TEST_CASE(a_void_task_ends_without_a_value)
{
    executor pool(with(1), nothing);
    const auto end = pool.shared_ledger()->finish(
        submit(pool, [] {}), [](outcome how, auto&, auto bytes) {
            return std::pair(how, bytes.size());
        });
    BOOST_TEST((end.first == outcome::value));
    BOOST_TEST(end.second == 0u);
}

BOOST_AUTO_TEST_CASE(shared_objects_reach_workers_that_run_already)
{
    executor pool(with(2), nothing);
    const number sum{0};
    std::vector<ticket> all;
    for (int i = 1; i <= 100; ++i)
        all.push_back(submit(
            pool, [](number n, int k) { *n += k; }, sum, i));
    for (const auto& one : all)
        pool.shared_ledger()->wait_until(*one, common::time_point::max());
    BOOST_TEST(*sum == 5050);
}

BOOST_AUTO_TEST_CASE(workers_keep_the_state_their_initializer_built)
{
    executor pool(
        with(2), [](std::string text) { return text + "!"; },
        std::string("state"));
    for (int i = 0; i < 10; ++i)
        BOOST_TEST(
            end_of<std::string>(
                pool,
                submit(pool,
                       [] { return common::worker_state<std::string>(); }))
                .value.value() == "state!");
    const auto wrong =
        end_of(pool, submit(pool, [] { return common::worker_state<int>(); }));
    BOOST_CHECK_THROW(wrong.error.rethrow(), std::logic_error);
}

BOOST_AUTO_TEST_CASE(an_initializer_that_throws_abandons_what_waits)
{
    executor pool(with(2), [] { throw std::runtime_error("no licence"); });
    ticket one;
    try
    {
        one = submit(pool, square, 1);
        BOOST_TEST((end_of(pool, one).how == outcome::abandoned));
        BOOST_TEST(one->why.find("no licence") != std::string::npos);
    }
    catch (const common::exhausted&) // it was broken already
    {
    }
    BOOST_CHECK_EXCEPTION(submit(pool, square, 1), common::exhausted,
                          [](const auto& e) {
                              return std::string(e.what()).find("no licence") !=
                                     std::string::npos;
                          });
}

// --- tasks that kill --------------------------------------------------------

BOOST_AUTO_TEST_CASE(a_poison_task_is_reported_after_its_attempts)
{
    executor pool(with(2), nothing);
    for (const int signal : {SIGKILL, SIGSEGV, SIGABRT})
    {
        const auto poison = pool.submit(
            {.attempts = 3}, [](int which) { return die(which); }, signal);
        BOOST_TEST((end_of(pool, poison).how == outcome::died));
        BOOST_REQUIRE(poison->deaths.size() == 3u);
        std::set<pid_t> pids;
        for (const auto& one : poison->deaths)
        {
            pids.insert(one.pid);
            BOOST_TEST(one.status.signal == signal);
        }
        BOOST_TEST(pids.size() == 3u);
    }
    BOOST_TEST(pool.stats().poisoned == 3u);
    BOOST_TEST(pool.stats().retried == 6u);
    BOOST_TEST(end_of(pool, submit(pool, square, 5)).value.value() == 25);
}

BOOST_AUTO_TEST_CASE(a_task_that_exits_is_a_death_with_its_code)
{
    executor pool(with(1), nothing);
    const auto one =
        pool.submit({.attempts = 2}, []() -> int { std::exit(7); });
    BOOST_TEST((end_of(pool, one).how == outcome::died));
    BOOST_REQUIRE(one->deaths.size() == 2u);
    BOOST_TEST(one->deaths[1].status.code == 7);
}

BOOST_AUTO_TEST_CASE(an_attempt_knows_its_number)
{
    executor pool(with(1), nothing);
    const auto one = pool.submit({.attempts = 5}, [] {
        if (common::attempt() < 3)
            ::raise(SIGKILL);
        return static_cast<int>(common::attempt());
    });
    BOOST_TEST(end_of(pool, one).value.value() == 3);
    BOOST_TEST(one->deaths.size() == 3u);
}

BOOST_AUTO_TEST_CASE(only_the_running_task_is_blamed)
{
    executor pool(with(1, 64), nothing);
    const number started{0}, go{0};
    const auto first = submit(pool, hold, started, go);
    std::vector<ticket> waiting;
    for (int i = 0; i < 20; ++i)
        waiting.push_back(pool.submit({.attempts = 1}, &square, i));
    BOOST_TEST(test::eventually([&] { return *started != 0; }));
    *go = 1;
    const auto killer =
        pool.submit({.attempts = 1}, [] { return die(SIGKILL); });
    BOOST_TEST((end_of(pool, killer).how == outcome::died));
    for (int i = 0; i < 20; ++i)
    {
        const auto& one = waiting[static_cast<unsigned>(i)];
        BOOST_TEST(end_of(pool, one).value.value() == i * i);
        BOOST_TEST(one->deaths.empty());
    }
    BOOST_TEST(end_of(pool, first).value.value() == 1);
}

BOOST_AUTO_TEST_CASE(a_spent_budget_abandons_what_waits)
{
    const armed points("worker.ready=1");
    auto how = with(1);
    how.staff.restarts = 2;
    executor pool(how, nothing);
    try
    {
        const auto waiting = submit(pool, square, 1);
        BOOST_TEST((end_of(pool, waiting).how == outcome::abandoned));
        BOOST_TEST(waiting->deaths.empty());
    }
    catch (const common::exhausted&) // it came too late
    {
    }
    BOOST_TEST(test::eventually([&] { return pool.stats().deaths == 3u; }));
    BOOST_CHECK_THROW(submit(pool, square, 1), common::exhausted);
}

BOOST_AUTO_TEST_CASE(a_death_that_is_charged_to_a_task_costs_no_budget)
{
    auto how = with(1);
    how.staff.restarts = 0;
    executor pool(how, nothing);
    const auto poison =
        pool.submit({.attempts = 5}, [] { return die(SIGKILL); });
    BOOST_TEST((end_of(pool, poison).how == outcome::died));
    BOOST_TEST(end_of(pool, submit(pool, square, 2)).value.value() == 4);
}

BOOST_AUTO_TEST_CASE(a_worker_that_got_something_done_costs_no_budget)
{
    auto how = with(1);
    how.staff.restarts = 0;
    executor pool(how, nothing);
    for (int i = 0; i < 5; ++i)
    {
        BOOST_TEST(end_of(pool, submit(pool, square, i)).value.value() ==
                   i * i);
        const auto pid = pool.stats().workers[0].pid;
        pool.workers().kill(1, pid);
        BOOST_TEST(test::eventually([&] { return !test::alive(pid); }));
    }
}

BOOST_AUTO_TEST_CASE(a_poison_task_lets_the_others_go_first)
{
    executor pool(with(1), nothing);
    const number started{0}, go{0}, tried{0};
    const auto first = submit(pool, hold, started, go);
    BOOST_TEST(test::eventually([&] { return *started != 0; }));
    const auto poison = pool.submit(
        {.attempts = 4},
        [](number n) {
            ++*n;
            return die(SIGKILL);
        },
        tried);
    const auto later = submit(
        pool, [](number n) { return static_cast<int>(*n); }, tried);
    *go = 1;
    BOOST_TEST(end_of(pool, later).value.value() == 1);
    BOOST_TEST((end_of(pool, poison).how == outcome::died));
    BOOST_TEST(*tried == 4);
}

BOOST_AUTO_TEST_CASE(deaths_at_each_point_and_attempts_add_up)
{
    const struct
    {
        const char* point;
        bool again;
    } points[] = {{"worker.ready", false},
                  {"cells.claimed", true},
                  {"cells.output_written", true},
                  {"cells.committed", false}};
    for (const auto& [point, again] : points)
    {
        const armed here(std::string(point) + "=0.1");
        executor pool(with(3, 32), nothing);
        std::vector<ticket> all;
        for (int i = 0; i < 300; ++i)
            all.push_back(pool.submit({.attempts = 200}, &square, i));
        for (int i = 0; i < 300; ++i)
            BOOST_REQUIRE(
                end_of(pool, all[static_cast<unsigned>(i)]).value.value() ==
                i * i);
        // A death is counted before its cells are recovered; those that are
        // still on their way held nothing: every task is over.
        BOOST_TEST(test::eventually([&] {
            for (const auto& one : pool.stats().workers)
                if (!one.ready)
                    return false;
            return true;
        }));
        const auto stats = pool.stats();
        if (std::string(point) != "worker.ready")
            BOOST_TEST(stats.deaths >= 10u, point);
        BOOST_TEST(stats.retried == (again ? stats.deaths : 0u), point);
        BOOST_TEST(stats.poisoned == 0u);
        BOOST_TEST(stats.finished == 300u);
    }
}

BOOST_AUTO_TEST_CASE(a_supervisor_killed_in_recovery_takes_all_along)
{
    const armed here("cells.claimed=0.2,cells.recovering=0.05");
    int killed = 0;
    for (int i = 0; i < 5; ++i)
    {
        const common::shared_array<std::atomic<long>> pids(64);
        common::process supervisor(
            [](common::shared_array<std::atomic<long>> all) {
                executor pool(with(3, 32), nothing);
                for (int k = 0; k < 2000; ++k)
                {
                    std::size_t at = 0;
                    for (const auto& one : pool.stats().workers)
                        all[at++] = one.pid;
                    end_of(pool, pool.submit({.attempts = 200}, &square, k));
                }
            },
            pids);
        killed += supervisor.join().signal == SIGKILL;
        for (const auto& pid : pids)
            BOOST_TEST(test::eventually(
                [&] {
                    return pid == 0 || !test::alive(static_cast<pid_t>(pid));
                },
                1s));
    }
    BOOST_TEST(killed >= 4);
}

// --- deadlines and cancelling -----------------------------------------------

BOOST_AUTO_TEST_CASE(a_task_that_never_ends_is_killed_at_its_deadline)
{
    executor pool(with(2), nothing);
    end_of(pool, submit(pool, square, 1)); // workers are up
    const auto start = common::clock::now();
    const auto one = pool.submit({.hard = 100ms}, [] {
        for (std::atomic<int> i{0};;)
            ++i;
        return 0;
    });
    BOOST_TEST((end_of(pool, one).how == outcome::timed_out));
    const auto took = common::clock::now() - start;
    BOOST_TEST((took >= 100ms));
    BOOST_TEST((took < 2s)); // 150 to 300 ms where nothing else runs
    BOOST_TEST_MESSAGE(
        "ended after "
        << std::chrono::duration_cast<std::chrono::milliseconds>(took).count()
        << " ms");
    BOOST_TEST(end_of(pool, submit(pool, square, 5)).value.value() == 25);
    BOOST_TEST(pool.stats().retried == 0u);
}

BOOST_AUTO_TEST_CASE(a_soft_deadline_asks_the_task_to_stop)
{
    executor pool(with(1), nothing);
    const auto one = pool.submit({.soft = 30ms}, [] {
        while (!common::stop_requested())
            std::this_thread::yield();
        return 1;
    });
    BOOST_TEST(end_of(pool, one).value.value() == 1);
    BOOST_TEST(
        end_of(pool,
               submit(pool, [] { return common::stop_requested() ? 1 : 0; }))
            .value.value() == 0); // of that task only
    BOOST_TEST(pool.stats().deaths == 0u);
}

BOOST_AUTO_TEST_CASE(a_deadline_counts_from_the_start_not_from_the_queue)
{
    executor pool(with(1), nothing);
    const number started{0}, go{0};
    const auto first = submit(pool, hold, started, go);
    BOOST_REQUIRE(test::eventually([&] { return *started != 0; }));
    const auto second = pool.submit({.hard = 500ms}, &square, 3);
    BOOST_TEST(!test::eventually([&] { return over(pool, second); }, 700ms));
    *go = 1;
    BOOST_TEST(end_of(pool, second).value.value() == 9);
    BOOST_TEST(end_of(pool, first).value.value() == 1);
}

BOOST_AUTO_TEST_CASE(a_task_that_ends_in_time_is_not_killed)
{
    executor pool(with(2), nothing);
    for (int i = 0; i < 100; ++i)
        BOOST_TEST(
            end_of(pool, pool.submit({.soft = 10s, .hard = 20s}, &square, i))
                .value.value() == i * i);
    BOOST_TEST(pool.stats().deaths == 0u);
}

BOOST_AUTO_TEST_CASE(a_task_that_waits_is_cancelled_without_a_death)
{
    executor pool(with(1), nothing);
    const number started{0}, go{0}, ran{0};
    const auto first = submit(pool, hold, started, go);
    BOOST_TEST(test::eventually([&] { return *started != 0; }));
    const auto second = submit(
        pool, [](number n) { return ++*n, 1; }, ran);
    BOOST_TEST(pool.cancel(second, false));
    BOOST_TEST((end_of(pool, second).how == outcome::cancelled));
    BOOST_TEST(!pool.cancel(second, false));
    BOOST_TEST(!pool.cancel(first, false)); // it runs
    *go = 1;
    BOOST_TEST(end_of(pool, first).value.value() == 1);
    BOOST_TEST(!pool.cancel(first, true)); // it is over
    BOOST_TEST(*ran == 0);
    BOOST_TEST(pool.stats().deaths == 0u);
}

BOOST_AUTO_TEST_CASE(a_running_task_is_cancelled_with_its_worker)
{
    auto how = with(1);
    how.staff.restarts = 0; // such a death costs nothing of the budget
    executor pool(how, nothing);
    for (int i = 0; i < 5; ++i)
    {
        const number started{0}, go{0};
        const auto one = submit(pool, hold, started, go);
        BOOST_TEST(test::eventually([&] { return *started != 0; }));
        BOOST_TEST(pool.cancel(one, true));
        BOOST_TEST((end_of(pool, one).how == outcome::cancelled));
        BOOST_TEST(test::eventually(
            [&] { return !test::alive(static_cast<pid_t>(started->load())); }));
        BOOST_TEST(end_of(pool, submit(pool, square, 5)).value.value() == 25);
    }
    BOOST_TEST(pool.stats().retried == 0u);
}

BOOST_AUTO_TEST_CASE(cancelling_in_a_race_with_the_end_ends_once)
{
    executor pool(with(2, 16), nothing);
    int taken = 0, done = 0;
    for (int i = 0; i < 500; ++i)
    {
        const auto one = submit(pool, square, i);
        const bool back = pool.cancel(one, i % 2 == 0);
        const auto end = end_of(pool, one);
        BOOST_REQUIRE(
            (back ? end.how == outcome::cancelled : end.value == i * i));
        ++(back ? taken : done);
    }
    BOOST_TEST(taken + done == 500);
    BOOST_TEST(pool.stats().finished == 500u);
}

BOOST_AUTO_TEST_CASE(a_callback_is_called_once_whatever_the_outcome)
{
    executor pool(with(2), nothing);
    std::atomic<int> called{0};
    const auto when = [&](const ticket& one) {
        pool.when_over(one, [&] { ++called; });
    };
    const number started{0}, go{0};
    const auto value = submit(pool, square, 2);
    when(value);
    BOOST_TEST(test::eventually([&] { return called == 1; }));
    const auto error =
        submit(pool, []() -> int { throw std::runtime_error("no"); });
    end_of(pool, error);
    when(error); // it is over already
    BOOST_TEST(test::eventually([&] { return called == 2; }));
    const auto died = pool.submit({.attempts = 1}, [] { return die(SIGKILL); });
    when(died);
    BOOST_TEST(test::eventually([&] { return called == 3; }));
    const auto held = submit(pool, hold, started, go);
    when(held);
    BOOST_TEST(test::eventually([&] { return *started != 0; }));
    BOOST_TEST(called == 3);
    pool.cancel(held, true);
    BOOST_TEST(test::eventually([&] { return called == 4; }));
    for (int i = 0; i < 300; ++i) // in a race with the end
    {
        const auto one = submit(pool, square, i);
        when(one);
    }
    BOOST_TEST(test::eventually([&] { return called == 304; }));
    BOOST_TEST(!test::eventually([&] { return called != 304; }, 50ms));
}

// As that of a future does, which is empty as soon as its result is taken.
BOOST_AUTO_TEST_CASE(a_callback_may_take_the_ticket_that_it_was_given_for)
{
    executor pool(with(1, 4), nothing);
    std::atomic<int> complete{0};
    const auto chain = [&] {
        for (int round = 0; round < 25; ++round)
        {
            std::vector<ticket> all;
            for (int i = 0; i < 10'000; ++i) // most results leave the table
                all.push_back(submit(pool, square, 3));
            std::atomic<std::size_t> called{0};
            for (auto& one : all)
                pool.when_over(one, [&] {
                    const ticket mine = std::move(one);
                    ++called;
                });
            complete += test::eventually([&] { return called == all.size(); });
        }
    };
    std::thread other(chain); // has callbacks called while we give them
    chain();
    other.join();
    BOOST_TEST(complete == 50);
}

// --- the end of it all ------------------------------------------------------

BOOST_AUTO_TEST_CASE(draining_finishes_all_and_accepts_no_more)
{
    executor pool(with(2), nothing);
    std::vector<ticket> all;
    for (int i = 0; i < 50; ++i)
        all.push_back(submit(pool, square, i));
    BOOST_TEST(pool.drain(common::clock::now() + 20s));
    for (const auto& one : all)
        BOOST_TEST(over(pool, one));
    BOOST_CHECK_THROW(submit(pool, square, 1), common::closed);
    BOOST_TEST(end_of(pool, all[7]).value.value() == 49);
}

BOOST_AUTO_TEST_CASE(draining_gives_up_at_its_deadline)
{
    executor pool(with(1), nothing);
    const number started{0}, go{0};
    const auto one = submit(pool, hold, started, go);
    BOOST_TEST(!pool.drain(common::clock::now() + 50ms));
    *go = 1;
    BOOST_TEST(pool.drain(common::clock::now() + 20s));
    BOOST_TEST(end_of(pool, one).value.value() == 1);
}

BOOST_AUTO_TEST_CASE(stopping_finishes_what_runs_and_abandons_the_rest)
{
    executor pool(with(1), nothing);
    const number started{0}, go{0};
    const auto runs = submit(pool, hold, started, go);
    const auto waits = submit(pool, square, 2);
    BOOST_TEST(test::eventually([&] { return *started != 0; }));
    const auto told = [&] {
        return pool.shared_ledger()->table.closing() != 0;
    };
    std::thread later([&] {
        BOOST_CHECK(test::eventually(told));
        *go = 1;
    });
    pool.stop(common::clock::now() + 20s);
    later.join();
    BOOST_TEST(end_of(pool, runs).value.value() == 1);
    BOOST_TEST((end_of(pool, waits).how == outcome::abandoned));
    BOOST_CHECK_THROW(submit(pool, square, 1), std::runtime_error);
    pool.stop(common::clock::now()); // once is enough
}

BOOST_AUTO_TEST_CASE(stopping_kills_what_still_runs_at_the_deadline)
{
    executor pool(with(2), nothing);
    const number started{0}, go{0};
    const auto one = submit(pool, hold, started, go);
    BOOST_TEST(test::eventually([&] { return *started != 0; }));
    const auto start = common::clock::now();
    pool.stop(start + 50ms);
    BOOST_TEST((common::clock::now() - start < 5s));
    BOOST_TEST((end_of(pool, one).how != outcome::value));
}

BOOST_AUTO_TEST_CASE(results_outlive_the_executor)
{
    ticket good, lost;
    std::shared_ptr<common::ledger> ledger;
    const number started{0}, go{0};
    {
        executor pool(with(1), nothing);
        ledger = pool.shared_ledger();
        good = submit(pool, square, 6);
        ledger->wait_until(*good, common::time_point::max());
        lost = submit(pool, hold, started, go);
    }
    const auto end = [&](const ticket& one) {
        return ledger->finish(one,
                              [](outcome how, auto&, auto) { return how; });
    };
    BOOST_TEST((end(good) == outcome::value));
    BOOST_TEST((end(lost) != outcome::pending));
    BOOST_TEST((end(lost) != outcome::value));
}

BOOST_AUTO_TEST_CASE(an_executor_can_be_destroyed_with_tasks_in_flight)
{
    for (int i = 0; i < 20; ++i)
    {
        executor pool(with(2, 32), nothing);
        for (int k = 0; k < i * 5; ++k)
            submit(pool, square, k);
        if (i % 4 == 0)
            submit(pool, [] { return die(SIGKILL); });
    }
}

BOOST_AUTO_TEST_CASE(threads_that_wait_wake_when_the_executor_ends)
{
    const number started{0}, go{0};
    std::vector<std::thread> threads;
    std::atomic<int> woken{0};
    {
        executor pool(with(1, 4), nothing);
        std::vector<ticket> all{submit(pool, hold, started, go)};
        for (int i = 0; i < 3; ++i)
            all.push_back(submit(pool, square, i));
        for (const auto& one : all)
            threads.emplace_back([&woken, one, ledger = pool.shared_ledger()] {
                ledger->finish(one, [&](outcome how, auto&, auto) {
                    woken += how != outcome::value;
                    return 0;
                });
            });
        BOOST_TEST(test::eventually([&] { return *started != 0; }));
    }
    for (auto& one : threads)
        one.join();
    BOOST_TEST(woken == 4);
}

BOOST_AUTO_TEST_CASE(a_task_submitted_while_the_executor_ends_tells_its_watcher)
{
    executor pool(with(1), nothing);
    std::atomic<bool> begun{false}, gate{false};
    listener told;
    common::task_options how;
    how.watched_by = &told;
    ticket late;
    std::thread submitting([&] {
        late = pool.submit(
            how, [](gated) {}, gated{&begun, &gate});
    });
    BOOST_TEST(test::eventually([&] { return begun.load(); }));
    pool.stop(common::clock::now()); // everybody is told, but for that one
    gate = true;
    submitting.join();
    BOOST_TEST(told.times == 1);
    BOOST_TEST((end_of(pool, late).how == outcome::abandoned));
}

BOOST_AUTO_TEST_CASE(
    whoever_submits_while_the_executor_ends_is_told_once_or_thrown)
{
    for (int i = 0; i < 30; ++i)
    {
        executor pool(with(1), nothing);
        listener told;
        common::task_options how;
        how.watched_by = &told;
        std::atomic<int> accepted{0};
        std::atomic<bool> refused{false};
        const auto flood = [&] {
            try
            {
                while (true) // ends when the executor does
                {
                    pool.submit(how, nothing);
                    ++accepted;
                }
            }
            catch (const std::runtime_error&) // closed, or exhausted
            {
                refused = true;
            }
        };
        std::thread one(flood), two(flood);
        BOOST_TEST(test::eventually([&] { return accepted > 100 * i; }));
        pool.stop(common::clock::now());
        one.join();
        two.join();
        BOOST_TEST(refused);
        BOOST_TEST(told.times == accepted);
    }
}

// --- workers that come and go -----------------------------------------------

BOOST_AUTO_TEST_CASE(a_worker_makes_room_after_so_many_tasks)
{
    auto how = with(1);
    how.limits.tasks = 10;
    how.staff.restarts = 0;
    executor pool(how, nothing);
    std::vector<int> pids;
    for (int i = 0; i < 100; ++i)
        pids.push_back(
            end_of(pool,
                   submit(pool, [] { return static_cast<int>(::getpid()); }))
                .value.value());
    BOOST_TEST(std::set<int>(pids.begin(), pids.end()).size() == 10u);
    for (std::size_t i = 0; i < 100; ++i)
        BOOST_TEST(pids[i] == pids[i / 10 * 10]);
    BOOST_TEST(pool.stats().deaths == 0u);
}

BOOST_AUTO_TEST_CASE(a_worker_makes_room_when_it_is_old)
{
    auto how = with(1);
    how.limits.age = 50ms;
    how.staff.restarts = 0;
    executor pool(how, nothing);
    BOOST_TEST(test::eventually(
        [&] { return pool.stats().workers[0].restarts >= 3; }));
    BOOST_TEST(pool.stats().deaths == 0u);
    BOOST_TEST(end_of(pool, submit(pool, square, 5)).value.value() == 25);
}

BOOST_AUTO_TEST_CASE(a_worker_makes_room_when_it_is_fat)
{
    auto how = with(1);
    how.limits.resident = 300u << 20;
    how.staff.restarts = 0;
    executor pool(how, nothing);
    const auto grow = [] {
        static std::vector<std::vector<char>> kept;
        kept.emplace_back(100u << 20, 'x');
        return static_cast<int>(kept.back().size() >> 20);
    };
    for (int i = 0; i < 9; ++i)
        BOOST_TEST(end_of(pool, submit(pool, grow)).value.value() == 100);
    BOOST_TEST(test::eventually(
        [&] { return pool.stats().workers[0].restarts >= 2; }));
    BOOST_TEST(pool.stats().deaths == 0u);
}

BOOST_AUTO_TEST_CASE(a_terminated_worker_finishes_its_task_and_is_replaced)
{
    auto how = with(1);
    how.staff.restarts = 0;
    executor pool(how, nothing);
    const number started{0}, go{0};
    const auto one = submit(pool, hold, started, go);
    BOOST_TEST(test::eventually([&] { return *started != 0; }));
    const auto pid = static_cast<pid_t>(started->load());
    ::kill(pid, SIGTERM);
    *go = 1;
    BOOST_TEST(end_of(pool, one).value.value() == 1);
    BOOST_TEST(one->deaths.empty());
    BOOST_TEST(test::eventually([&] { return !test::alive(pid); }));
    BOOST_TEST(end_of(pool, submit(pool, square, 4)).value.value() == 16);
    BOOST_TEST(pool.stats().deaths == 0u);
}

BOOST_AUTO_TEST_CASE(an_idle_worker_leaves_soon_when_it_is_terminated)
{
    executor pool(with(1), nothing);
    end_of(pool, submit(pool, square, 1));
    const auto pid = pool.stats().workers[0].pid;
    ::kill(pid, SIGTERM);
    BOOST_TEST(test::eventually([&] { return !test::alive(pid); }, 5s));
    BOOST_TEST(pool.stats().deaths == 0u);
}

BOOST_AUTO_TEST_CASE(idle_workers_killed_again_and_again_change_nothing)
{
    executor pool(with(2), nothing);
    for (int i = 0; i < 100; ++i)
    {
        for (unsigned slot : {1u, 2u})
            pool.workers().kill(slot);
        BOOST_REQUIRE(end_of(pool, pool.submit({.attempts = 200}, &square, i))
                          .value.value() == i * i);
    }
}

BOOST_AUTO_TEST_CASE(a_stopped_worker_that_is_killed_loses_no_task)
{
    executor pool(with(1), nothing);
    const number started{0}, go{0};
    const auto one = submit(pool, hold, started, go);
    BOOST_TEST(test::eventually([&] { return *started != 0; }));
    const auto pid = static_cast<pid_t>(started->load());
    ::kill(pid, SIGSTOP);
    BOOST_TEST(test::eventually([&] { return test::state(pid) == 'T'; }));
    *go = 1;
    BOOST_TEST(pool.workers().kill(1, pid));
    BOOST_TEST(end_of(pool, one).value.value() == 1);
    BOOST_TEST(one->deaths.size() == 1u);
}

BOOST_AUTO_TEST_CASE(the_first_priority_runs_first)
{
    auto how = with(1);
    how.priorities = 2;
    executor pool(how, nothing);
    const number started{0}, go{0}, turn{0};
    const auto first = submit(pool, hold, started, go);
    BOOST_TEST(test::eventually([&] { return *started != 0; }));
    const auto mark = [](number n) { return static_cast<int>(++*n); };
    const auto late = pool.submit({.priority = 1}, mark, turn);
    const auto early = pool.submit({.priority = 0}, mark, turn);
    *go = 1;
    BOOST_TEST(end_of(pool, early).value.value() == 1);
    BOOST_TEST(end_of(pool, late).value.value() == 2);
    end_of(pool, first);
    BOOST_CHECK_THROW(pool.submit({.priority = 2}, mark, turn),
                      std::invalid_argument);
    BOOST_CHECK_THROW(pool.submit({.attempts = 0}, mark, turn),
                      std::invalid_argument);
}

BOOST_AUTO_TEST_CASE(an_executor_works_inside_a_worker_of_another)
{
    executor pool(with(1), nothing);
    const auto one = submit(
        pool,
        [](int n) {
            executor inner(with(1), nothing);
            return end_of(inner, submit(inner, square, n)).value.value() + 1;
        },
        6);
    BOOST_TEST(end_of(pool, one).value.value() == 37);
}

BOOST_AUTO_TEST_CASE(an_idle_executor_uses_no_cpu)
{
    executor pool(with(4), nothing);
    for (int i = 0; i < 100; ++i)
        end_of(pool, submit(pool, square, i));
    std::vector<pid_t> all{::getpid()};
    for (const auto& one : pool.stats().workers)
        all.push_back(one.pid);
    const auto used = [&] {
        long ticks = 0;
        for (const pid_t one : all)
        {
            const auto text = test::slurp(test::proc(one) / "stat");
            std::istringstream rest(text.substr(text.rfind(')') + 2));
            std::string skip;
            for (int i = 0; i < 11; ++i)
                rest >> skip;
            long user = 0, system = 0;
            rest >> user >> system;
            ticks += user + system;
        }
        return ticks;
    };
    const long start = used();
    common::event_count nobody; // will ever notify
    nobody.wait_until([] { return false; }, common::clock::now() + 5s);
    // One per cent of 5 s.
    BOOST_TEST(used() - start <= ::sysconf(_SC_CLK_TCK) / 20);
}

// What a user gives with a task may call the executor when it ends.
BOOST_AUTO_TEST_CASE(what_a_task_was_given_ends_outside_of_the_lock)
{
    executor pool(with(1), nothing);
    listener told;
    struct looks
    {
        executor& at;
        std::atomic<int>& ended;
        ~looks()
        {
            at.stats();
            ++ended;
        }
    };
    std::atomic<int> ended{0};
    for (int i = 0; i < 20; ++i)
    {
        common::task_options how;
        how.watched_by = &told;
        how.on_news = [last = std::shared_ptr<looks>(new looks{pool, ended})] {
        };
        pool.submit(how, nothing);
    }
    BOOST_TEST(test::eventually([&] { return told.times == 20; }));
    BOOST_TEST(test::eventually([&] { return ended == 20; }));
}

BOOST_AUTO_TEST_SUITE_END()
