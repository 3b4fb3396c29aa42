// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.

#define BOOST_TEST_MODULE thread_pool_multiprocessing_crash

#include "test/fixture.hpp"
#include "test/patterns/thread_pool_multiprocessing_tasks.hpp"
#include "test/sanitizer.hpp"

#include <boost/test/unit_test.hpp>

#include "patterns/thread_pool_multiprocessing/thread_pool_multiprocessing.hpp"
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <random>
#include <string>
#include <thread>
#include <tuple>
#include <vector>

namespace {

using namespace test;
using thread_pool_multiprocessing::attempt;
using thread_pool_multiprocessing::future;
using thread_pool_multiprocessing::pool;
using thread_pool_multiprocessing::pool_options;
using thread_pool_multiprocessing::shape;

/// Nothing is there, but the undefined behaviour sanitizer does not know it.
volatile std::uintptr_t nowhere = 16;

/// The ways in which a thread may bring its process down.
enum class crash
{
    bad_pointer,
    division,
    abort,
    terminate,
    illegal,
    bus,
    stack_overflow,
    exit,
    quick_exit,
    pipe,
    file_size,
    system_call
};

[[gnu::noinline]] int store_to_nowhere(volatile int* where)
{
    *where = 1; // the line that the error names
    return 0;
}
constexpr int line_of_the_crash = __LINE__ - 3;

// The recursion has to take place: its result is used.
[[gnu::noinline]] int fall(int depth) // NOLINT(misc-no-recursion)
{
    volatile char room[1000];
    room[0] = static_cast<char>(depth);
    return depth < 0 ? 0 : fall(depth + 1) + room[0];
}

/// SIGPIPE, from the kernel.
int write_to_nobody()
{
    std::array<int, 2> ends{};
    if (::pipe(ends.data()) != 0 || ::close(ends[0]) != 0)
        return 0;
    return static_cast<int>(::write(ends[1], "x", 1));
}

int do_crash(crash how)
{
    volatile int zero = 0;
    switch (how)
    {
    case crash::bad_pointer:
        return store_to_nowhere(reinterpret_cast<volatile int*>(nowhere));
    case crash::division:
        ::raise(SIGFPE);
        return zero;
    case crash::abort:
        std::abort();
    case crash::terminate:
        std::thread([] { throw 1; }).join();
        return zero;
    case crash::illegal:
        ::raise(SIGILL);
        return zero;
    case crash::bus:
        ::raise(SIGBUS);
        return zero;
    case crash::stack_overflow:
        return fall(1);
    case crash::exit:
        std::exit(7);
    case crash::quick_exit:
        std::quick_exit(7);
    case crash::pipe:
        return write_to_nobody();
    case crash::file_size:
        ::raise(SIGXFSZ);
        return zero;
    case crash::system_call:
        ::raise(SIGSYS);
        return zero;
    }
    return zero;
}

/// Crashes once all four threads of the process are busy.
int crash_among(counter begun, counter gate, crash how)
{
    ++*begun;
    while (*gate == 0) // ends by the test, or with the pool
        ::poll(nullptr, 0, 1);
    return do_crash(how);
}

/// Counts itself, runs until the gate opens; how often it was charged.
unsigned charged(counter begun, counter gate)
{
    hold(begun, gate);
    return attempt();
}

/// With a restart budget that no test spends.
pool_options sturdy(shape wanted, unsigned attempts = 200)
{
    pool_options result;
    result.shape = wanted;
    result.attempts = attempts;
    result.restarts = 1'000'000;
    result.restart_backoff = {};
    return result;
}

template <class R>
std::string message_of(future<R>& f)
{
    try
    {
        f.get();
        return "nothing was thrown";
    }
    catch (const std::exception& e)
    {
        return e.what();
    }
}

bool contains(const std::string& text, const std::string& part)
{
    return text.find(part) != text.npos;
}

/// Three neighbours run while a fourth thread crashes: what is left of it.
struct among_neighbours
{
    explicit among_neighbours(crash how)
        : p(sturdy({1, 4}, 1)) // who is charged fails
    {
        for (int i = 0; i < 3; ++i)
            others.push_back(p.submit(&charged, begun, others_gate));
        auto guilty = p.submit(&crash_among, begun, gate, how);
        BOOST_REQUIRE(eventually([&] { return *begun == 4; }));
        *gate = 1;
        said = message_of(guilty);
        BOOST_REQUIRE(eventually([&] { return *begun == 7; }));
        *others_gate = 1;
        for (auto& one : others)
            BOOST_TEST(one.get() == 0u);
        BOOST_TEST(p.stats().poisoned == 1u);
        BOOST_TEST(p.stats().retried == 0u);
        BOOST_TEST(p.stats().moved == 3u);
        BOOST_TEST(p.stats().deaths == 1u);
    }

    counter begun{0}, gate{0}, others_gate{0};
    pool p;
    std::vector<future<unsigned>> others;
    std::string said;
};

int square_unless_killed(int x, unsigned times)
{
    if (attempt() < times)
        ::kill(::getpid(), SIGKILL);
    return x * x;
}

} // namespace

BOOST_FIXTURE_TEST_SUITE(thread_pool_multiprocessing_crash_laws, test::clean)

BOOST_AUTO_TEST_CASE(a_crash_is_charged_to_the_task_of_its_thread_alone)
{
    const among_neighbours run(crash::bad_pointer);
    BOOST_TEST(contains(run.said, "task 4"), run.said);
    BOOST_TEST(contains(run.said, "signal 11"), run.said);
}

BOOST_AUTO_TEST_CASE(the_error_names_the_line_that_crashed)
{
    const among_neighbours run(crash::bad_pointer);
    BOOST_TEST(contains(run.said, "store_to_nowhere"), run.said);
    BOOST_TEST(
        contains(run.said, "thread_pool_multiprocessing_crash_test.cpp:" +
                               std::to_string(line_of_the_crash)),
        run.said);
    BOOST_TEST(contains(run.said, "crash_among"), run.said);
}

BOOST_AUTO_TEST_CASE(every_kind_of_crash_is_charged_to_its_thread)
{
    for (const auto how :
         {crash::division, crash::abort, crash::illegal, crash::bus,
          crash::stack_overflow, crash::exit, crash::quick_exit, crash::pipe,
          crash::file_size, crash::system_call})
    {
        const among_neighbours run(how);
        BOOST_TEST(contains(run.said, "task 4"), run.said);
    }
}

BOOST_AUTO_TEST_CASE(a_child_of_a_task_ends_as_it_means_to,
                     *test::unless_sanitized())
{
    pool p(sturdy({1, 2}));
    const auto child = [](int code) {
        const pid_t mine = ::fork();
        if (mine == 0)
            std::exit(code);
        int status = 0;
        ::waitpid(mine, &status, 0);
        return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    };
    BOOST_TEST(p.submit(child, 7).get() == 7);
    BOOST_TEST(p.stats().deaths == 0u);
}

BOOST_AUTO_TEST_CASE(an_abort_is_told_with_the_line_of_the_caller)
{
    const among_neighbours run(crash::abort);
    BOOST_TEST(contains(run.said, "signal 6"), run.said);
    BOOST_TEST(contains(run.said, "do_crash"), run.said);
}

BOOST_AUTO_TEST_CASE(a_task_that_always_crashes_gets_the_attempts_it_may)
{
    pool p(sturdy({2, 2}, 3));
    auto bad = p.submit(&do_crash, crash::bad_pointer);
    try
    {
        bad.get();
        BOOST_ERROR("it should have crashed");
    }
    catch (const common::worker_died& e)
    {
        BOOST_TEST(e.attempts().size() == 3u);
        for (const auto& one : e.attempts())
        {
            BOOST_TEST(one.status.signal == SIGSEGV);
            BOOST_TEST(!one.stack.empty());
        }
    }
    BOOST_TEST(p.submit(&square_unless_killed, 5, 0u).get() == 25);
}

BOOST_AUTO_TEST_CASE(where_nobody_knows_who_did_it_all_are_charged)
{
    pool p(sturdy({1, 3}));
    const counter begun{0}, gate{0};
    std::vector<future<unsigned>> all;
    for (int i = 0; i < 3; ++i)
        all.push_back(p.submit(&charged, begun, gate));
    BOOST_REQUIRE(eventually([&] { return *begun == 3; }));
    ::kill(p.stats().workers.at(0).pid, SIGKILL);
    BOOST_REQUIRE(eventually([&] { return *begun == 6; }));
    *gate = 1;
    for (auto& one : all)
        BOOST_TEST(one.get() == 1u);
    BOOST_TEST(p.stats().retried == 3u);
    BOOST_TEST(p.stats().moved == 0u);
}

BOOST_AUTO_TEST_CASE(a_signal_sent_from_outside_blames_no_thread)
{
    const auto last_thread_of = [](pid_t one) {
        pid_t result = one;
        for (const auto& task : std::filesystem::directory_iterator(
                 "/proc/" + std::to_string(one) + "/task"))
            result = std::max(result, std::stoi(task.path().filename()));
        return result;
    };
    for (const bool to_thread : {false, true})
    {
        pool p(sturdy({1, 2}));
        const counter begun{0}, gate{0};
        auto first = p.submit(&charged, begun, gate);
        auto second = p.submit(&charged, begun, gate);
        BOOST_REQUIRE(eventually([&] { return *begun == 2; }));
        const pid_t process = p.stats().workers.at(0).pid;
        ::syscall(SYS_tgkill, process,
                  to_thread ? last_thread_of(process) : process, SIGSEGV);
        BOOST_REQUIRE(eventually([&] { return *begun == 4; }));
        *gate = 1;
        BOOST_TEST(first.get() == 1u);
        BOOST_TEST(second.get() == 1u);
    }
}

BOOST_AUTO_TEST_CASE(a_chunk_of_a_map_that_crashes_is_run_item_by_item)
{
    pool p(sturdy({2, 2}, 2));
    std::vector<int> items(40);
    for (int i = 0; i < 40; ++i)
        items[static_cast<std::size_t>(i)] = i;
    const auto once = p.map(
        items,
        [](int x) {
            if (x == 13 && attempt() == 0)
                std::abort();
            return x;
        },
        10);
    BOOST_TEST(once == items);
    BOOST_CHECK_THROW(p.map(
                          items,
                          [](int x) {
                              if (x == 13)
                                  std::abort();
                              return x;
                          },
                          10),
                      common::worker_died);
}

BOOST_AUTO_TEST_CASE(what_a_map_has_no_use_for_any_more_is_taken_back)
{
    using item = std::tuple<bool, counter, counter, counter>;
    const counter deaths{0}, begun{0}, gate{0};
    {
        pool p(sturdy({1, 1}, 1));
        std::vector<item> items(20, item(false, deaths, begun, gate));
        const auto first_dies = [](const item& one) {
            const auto& [dies, died, count, open] = one;
            if (dies)
            {
                ++*died; // with its chunk, and then alone
                std::abort();
            }
            // Tasks run about in order: nobody may hold up the first.
            return *died < 2 ? place{} : hold(count, open);
        };
        p.map(items, first_dies, 1); // from now on there is a round of cells
        std::get<0>(items[0]) = true;
        BOOST_CHECK_THROW(p.map(items, first_dies, 20), common::worker_died);
        BOOST_TEST(*deaths == 2);
        *gate = 1;
    }
    BOOST_TEST(*begun <= 1); // what ran by then
}

BOOST_AUTO_TEST_CASE(a_stuck_thread_is_ended_and_its_neighbours_are_not_charged)
{
    auto how = sturdy({1, 3}, 1);
    how.grace = 0ms; // nobody finishes: they move
    pool p(how);
    const counter begun{0}, never{0}, gate{0};
    auto first = p.submit(&charged, begun, gate);
    auto second = p.submit(&charged, begun, gate);
    BOOST_REQUIRE(eventually([&] { return *begun == 2; }));
    auto stuck = p.submit({.hard_deadline = 50ms}, &hold, begun, never);
    BOOST_CHECK_THROW(stuck.get(), common::timed_out);
    BOOST_REQUIRE(eventually([&] { return *begun == 5; }));
    *gate = 1;
    BOOST_TEST(first.get() == 0u);
    BOOST_TEST(second.get() == 0u);
    BOOST_TEST(p.stats().moved == 2u);
    BOOST_TEST(p.stats().retried == 0u);
}

BOOST_AUTO_TEST_CASE(neighbours_of_a_stuck_thread_may_finish)
{
    auto how = sturdy({1, 2}, 1);
    how.grace = 60s;
    pool p(how);
    const counter begun{0}, never{0}, gate{0};
    auto other = p.submit(&charged, begun, gate);
    auto stuck = p.submit({.hard_deadline = 50ms}, &hold, begun, never);
    BOOST_REQUIRE(eventually([&] { return *begun == 2; }));
    const auto pid = p.stats().workers.at(0).pid;
    auto next = p.submit(&charged, begun, gate); // in the next process
    BOOST_TEST(!stuck.wait_for(200ms));
    *gate = 1;
    BOOST_TEST(other.get() == 0u);
    BOOST_CHECK_THROW(stuck.get(), common::timed_out);
    BOOST_TEST(next.get() == 0u);
    BOOST_TEST(p.stats().workers.at(0).pid != pid);
    BOOST_TEST(p.stats().moved == 0u);
    BOOST_TEST(*begun == 3);
}

BOOST_AUTO_TEST_CASE(a_running_task_can_be_taken_back_with_its_process)
{
    pool p(sturdy({1, 2}));
    const counter begun{0}, gate{0};
    auto one = p.submit(&hold, begun, gate);
    BOOST_REQUIRE(eventually([&] { return *begun == 1; }));
    BOOST_TEST(!one.cancel());
    BOOST_TEST(one.cancel(true));
    BOOST_CHECK_THROW(one.get(), common::cancelled);
    BOOST_TEST(p.submit(&square_unless_killed, 4, 0u).get() == 16);
}

BOOST_AUTO_TEST_CASE(tasks_that_kill_their_process_cost_no_result)
{
    for (const shape one : {shape{2, 1}, {1, 4}, {2, 2}})
    {
        pool p(sturdy(one));
        std::vector<future<int>> all;
        for (int i = 0; i < 300; ++i)
            all.push_back(
                p.submit(&square_unless_killed, i, i % 30 == 7 ? 2u : 0u));
        for (int i = 0; i < 300; ++i)
            BOOST_TEST(all[static_cast<std::size_t>(i)].get() == i * i);
        BOOST_TEST(p.stats().deaths >= 10u);
    }
}

BOOST_AUTO_TEST_CASE(kills_from_outside_cost_no_task)
{
    const unsigned seed = std::random_device{}();
    BOOST_TEST_MESSAGE("seed " << seed);
    pool p(sturdy({2, 2}));
    std::jthread killer([&](const std::stop_token& stop) {
        std::minstd_rand dice(seed);
        while (!stop.stop_requested()) // ends with the case
        {
            const auto all = p.stats().workers;
            if (const auto& one = all[dice() % all.size()]; one.ready)
                ::kill(one.pid, SIGKILL);
            ::poll(nullptr, 0, 3);
        }
    });
    std::vector<future<int>> all;
    for (int i = 0; i < 3000; ++i)
        all.push_back(p.submit(&square_unless_killed, i, 0u));
    int wrong = 0;
    for (int i = 0; i < 3000; ++i)
        wrong += all[static_cast<std::size_t>(i)].get() != i * i;
    BOOST_TEST(wrong == 0);
    BOOST_TEST(eventually([&] { return p.stats().deaths > 0; }));
}

BOOST_AUTO_TEST_CASE(deaths_at_every_point_cost_no_task)
{
    for (const char* point :
         {"cells.claimed", "cells.output_written", "cells.committed"})
    {
        ::setenv("COMMON_FAULT", (std::string(point) + "=0.03").c_str(), 1);
        pool p(sturdy({2, 2}));
        std::vector<future<int>> all;
        for (int i = 0; i < 500; ++i)
            all.push_back(p.submit(&square_unless_killed, i, 0u));
        int wrong = 0;
        for (int i = 0; i < 500; ++i)
            wrong += all[static_cast<std::size_t>(i)].get() != i * i;
        BOOST_TEST(wrong == 0, point);
        BOOST_TEST(p.stats().deaths > 0u, point);
        ::unsetenv("COMMON_FAULT");
    }
}

BOOST_AUTO_TEST_SUITE_END()
