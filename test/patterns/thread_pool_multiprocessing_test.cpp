// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.

#define BOOST_TEST_MODULE thread_pool_multiprocessing

#include "test/fixture.hpp"
#include "test/patterns/thread_pool_multiprocessing_tasks.hpp"
#include "test/run_program.hpp"
#include "test/sanitizer.hpp"

#include <boost/asio/post.hpp>
#include <boost/asio/thread_pool.hpp>
#include <boost/test/unit_test.hpp>

#include "patterns/thread_pool_multiprocessing/thread_pool_multiprocessing.hpp"
#include <sched.h>
#include <sys/resource.h>
#include <unistd.h>

#include <set>
#include <string>
#include <tuple>
#include <vector>

namespace {

using namespace test;
using thread_pool_multiprocessing::future;
using thread_pool_multiprocessing::pool;
using thread_pool_multiprocessing::pool_options;
using thread_pool_multiprocessing::process_state;
using thread_pool_multiprocessing::shape;
using thread_pool_multiprocessing::thread_state;

const std::vector<shape> shapes{{1, 1}, {3, 1}, {1, 3}, {2, 2}};

int square(int x)
{
    return x * x;
}

/// The parts of x, each by a thread of its own.
int squares_by_threads(int x)
{
    std::atomic<int> sum{0};
    boost::asio::thread_pool inner(3);
    for (int i = 0; i <= x; ++i)
        boost::asio::post(inner, [&sum, i] { sum += i * i; });
    inner.join();
    return sum;
}

int squares_by_processes(int x)
{
    pool inner(shape{1, 2});
    const auto all = inner.map(std::vector<int>{x, x + 1}, &square);
    return all[0] + all[1];
}

std::string variable(const std::string& name)
{
    const char* text = std::getenv(name.c_str());
    return text == nullptr ? "" : text;
}

int where() noexcept
{
    return ::getpid();
}

int usable()
{
    return static_cast<int>(common::kernel::usable_cpus());
}

} // namespace

BOOST_FIXTURE_TEST_SUITE(thread_pool_multiprocessing_laws, test::clean)

BOOST_AUTO_TEST_CASE(the_same_tasks_run_in_every_shape)
{
    for (const auto one : shapes)
    {
        pool p(one);
        BOOST_TEST(p.size() == one.processes * one.threads);
        std::vector<future<int>> all;
        for (int i = 0; i < 200; ++i)
            all.push_back(p.submit(&square, i));
        for (int i = 0; i < 200; ++i)
            BOOST_TEST(all[static_cast<std::size_t>(i)].get() == i * i);
        BOOST_TEST(p.stats().deaths == 0u);
    }
}

BOOST_AUTO_TEST_CASE(the_default_shape_uses_each_cpu_once)
{
    for (unsigned cpus = 1; cpus < 70; ++cpus)
    {
        const auto one = shape::of(cpus);
        BOOST_TEST(one.processes * one.threads == cpus);
        BOOST_TEST(one.processes >= one.threads);
    }
    BOOST_TEST(pool().size() == common::kernel::usable_cpus());
}

BOOST_AUTO_TEST_CASE(each_of_p_times_t_threads_runs_a_task_at_a_time)
{
    pool p(shape{2, 3});
    const counter begun{0}, gate{0};
    std::vector<future<place>> all;
    for (int i = 0; i < 6; ++i)
        all.push_back(p.submit(&hold, begun, gate));
    BOOST_TEST(eventually([&] { return *begun == 6; }));
    auto waits = p.submit(&square, 3);
    BOOST_TEST(!waits.ready());
    *gate = 1;
    std::set<int> processes, threads;
    for (auto& one : all)
    {
        const auto where = one.get();
        processes.insert(where.process);
        threads.insert(where.thread);
    }
    BOOST_TEST(processes.size() == 2u);
    BOOST_TEST(threads.size() == 6u);
    BOOST_TEST(waits.get() == 9);
}

BOOST_AUTO_TEST_CASE(a_map_keeps_the_order_with_every_chunk)
{
    pool p(shape{2, 2});
    std::vector<int> items, expected;
    for (int i = 0; i < 1000; ++i)
    {
        items.push_back(i);
        expected.push_back(i * i);
    }
    for (const std::size_t chunk : {0u, 1u, 7u, 1000u, 5000u})
        BOOST_TEST(p.map(items, &square, chunk) == expected);
    BOOST_TEST(p.map(std::vector<int>{}, &square).empty());
}

BOOST_AUTO_TEST_CASE(a_map_of_truths_keeps_them)
{
    pool p(shape{1, 2});
    const auto odd =
        p.map(std::vector{1, 2, 3}, [](int x) { return x % 2 != 0; });
    BOOST_TEST((odd == std::vector<bool>{true, false, true}));
}

BOOST_AUTO_TEST_CASE(a_map_throws_what_an_item_threw)
{
    pool p(shape{1, 2});
    BOOST_CHECK_THROW(p.map(std::vector<int>{1, 2, 0, 4},
                            [](int x) {
                                if (x == 0)
                                    throw std::domain_error("zero");
                                return 12 / x;
                            }),
                      std::domain_error);
    BOOST_TEST(p.submit(&square, 2).get() == 4);
}

BOOST_AUTO_TEST_CASE(an_exception_arrives_as_itself)
{
    pool p(shape{1, 2});
    auto f = p.submit([] { throw std::out_of_range("nothing there"); });
    BOOST_CHECK_EXCEPTION(f.get(), std::out_of_range, [](const auto& e) {
        return std::string(e.what()) == "nothing there";
    });
}

BOOST_AUTO_TEST_CASE(state_is_built_once_in_each_process_and_each_thread)
{
    struct once
    {
        int process = ::getpid();
        int thread = ::gettid();
    };
    pool p(
        {.shape = {2, 2}}, [] { return once{}; }, [] { return once{}; });
    const counter begun{0}, gate{1};
    for (int i = 0; i < 50; ++i)
        p.submit([] {
             if (process_state<once>().process != ::getpid() ||
                 process_state<once>().thread == ::gettid() ||
                 thread_state<once>().thread != ::gettid())
                 throw std::logic_error("somebody else's state");
         }).get();
    BOOST_CHECK_THROW(p.submit([] { process_state<int>(); }).get(),
                      std::logic_error);
    BOOST_CHECK_THROW(p.submit([] { thread_state<int>(); }).get(),
                      std::logic_error);
}

BOOST_AUTO_TEST_CASE(an_initializer_that_throws_is_named)
{
    for (const bool in_thread : {false, true})
    {
        std::string said;
        try
        {
            const auto fails = [] { throw std::runtime_error("no licence"); };
            if (in_thread)
            {
                pool p(
                    {.shape = {2, 2}}, [] {}, fails);
                p.submit(&square, 1).get();
            }
            else
            {
                pool p({.shape = {2, 2}}, fails, [] {});
                p.submit(&square, 1).get();
            }
        }
        catch (const common::exhausted& e)
        {
            said = e.what();
        }
        BOOST_TEST(said.find("no licence") != said.npos, said);
    }
}

BOOST_AUTO_TEST_CASE(a_thread_that_cannot_be_started_is_an_error_not_a_hang,
                     *test::unless_sanitized())
{
    rlimit stack{}, space{};
    ::getrlimit(RLIMIT_STACK, &stack);
    ::getrlimit(RLIMIT_AS, &space);
    const rlimit large{rlim_t{1} << 30, stack.rlim_max}; // of each thread
    const rlimit few{rlim_t{4} << 30, space.rlim_max};
    ::setrlimit(RLIMIT_STACK, &large);
    ::setrlimit(RLIMIT_AS, &few);
    {
        pool p({.shape = {1, 8}, .payload = 4096});
        BOOST_CHECK_EXCEPTION(
            p.submit(&square, 1).get(), common::exhausted, [](const auto& e) {
                return std::string(e.what()).find("a thread cannot") !=
                       std::string::npos;
            });
    }
    ::setrlimit(RLIMIT_AS, &space);
    ::setrlimit(RLIMIT_STACK, &stack);
}

BOOST_AUTO_TEST_CASE(a_process_makes_room_after_so_many_tasks_of_a_thread)
{
    pool_options options;
    options.shape = {1, 3};
    options.recycle.tasks = 10;
    pool p(options);
    std::set<int> processes;
    for (int i = 0; i < 100; ++i)
        processes.insert(p.submit(&where).get());
    BOOST_TEST(processes.size() >= 3u); // at most 30 tasks in each
    BOOST_TEST(p.stats().deaths == 0u);
    BOOST_TEST(p.stats().retried + p.stats().moved == 0u);
}

BOOST_AUTO_TEST_CASE(a_process_that_has_grown_makes_room)
{
    pool_options options;
    options.shape = {1, 2};
    options.recycle.resident = 400u << 20;
    pool p(options);
    const auto small = p.submit(&where).get();
    p.submit([] {
         static std::vector<char> kept;
         kept.assign(500u << 20, 'x');
     }).get();
    BOOST_TEST(eventually([&] { return p.submit(&where).get() != small; }));
    BOOST_TEST(p.stats().deaths == 0u);
}

BOOST_AUTO_TEST_CASE(a_task_may_use_threads_and_pools_of_its_own)
{
    pool p(shape{2, 2});
    std::vector<future<int>> all;
    for (int i = 0; i < 8; ++i) // more than there are threads
    {
        all.push_back(p.submit(&squares_by_threads, 3));
        all.push_back(p.submit(&squares_by_processes, 1));
    }
    for (std::size_t i = 0; i < all.size(); ++i)
        BOOST_TEST(all[i].get() == (i % 2 == 0 ? 14 : 5));
}

BOOST_AUTO_TEST_CASE(libraries_in_the_tasks_do_not_multiply_the_threads)
{
    ::unsetenv("OMP_NUM_THREADS");
    ::setenv("MKL_NUM_THREADS", "7", 1); // the user knows better
    {
        pool p(shape{2, 64});
        BOOST_TEST(p.submit(&variable, std::string("OMP_NUM_THREADS")).get() ==
                   "1");
        BOOST_TEST(p.submit(&variable, std::string("MKL_NUM_THREADS")).get() ==
                   "7");
    }
    ::unsetenv("MKL_NUM_THREADS");
    BOOST_TEST(std::getenv("OMP_NUM_THREADS") == nullptr);
}

BOOST_AUTO_TEST_CASE(processes_may_share_out_the_cpus)
{
    const auto all = common::kernel::usable_cpus();
    pool p({.shape = {2, 2}, .partition = true});
    const int had = p.submit(&usable).get();
    BOOST_TEST(had >= 1);
    BOOST_TEST(had <= static_cast<int>((all + 1) / 2));
    BOOST_TEST(common::kernel::usable_cpus() == all);
}

BOOST_AUTO_TEST_CASE(shapes_that_make_no_pool_are_refused)
{
    for (const shape one : {shape{0, 1}, {1, 0}, {4096, 1}, {64, 65}})
        BOOST_CHECK_THROW(pool{one}, std::invalid_argument);
    BOOST_CHECK_THROW(pool(pool_options{.capacity = 0}), std::invalid_argument);
}

BOOST_AUTO_TEST_CASE(the_program_paints_the_same_in_every_shape)
{
    const directory d;
    const auto painted = [&](const std::string& name,
                             std::vector<std::string> more) {
        std::vector<std::string> words{program("thread_pool_multiprocessing"),
                                       "--frames",
                                       "6",
                                       "--size",
                                       "64x48",
                                       "--output",
                                       d / name,
                                       "--animation",
                                       d / (name + ".png")};
        words.insert(words.end(), more.begin(), more.end());
        const auto end = run_program({words});
        BOOST_TEST(end.code == 0, end.err);
        BOOST_TEST(end.err.empty(), end.err);
        std::string all = slurp(d / (name + ".png"));
        for (int i = 0; i < 6; ++i)
            all += slurp(d / name / ("frame-000" + std::to_string(i) + ".png"));
        return all;
    };
    const auto one = painted("one", {"--workers", "1"});
    BOOST_TEST(one.size() > 2000u);
    using words = std::vector<std::string>;
    for (const auto& more : {words{"--processes", "3", "--threads", "1"},
                             words{"--processes", "1", "--threads", "3"},
                             words{"--processes", "2", "--threads", "2"},
                             words{"--chaos", "0.3:7"}})
        BOOST_TEST((painted("other", more) == one), more.front());
}

BOOST_AUTO_TEST_CASE(the_program_says_what_is_wrong_with_its_line)
{
    const directory d;
    using words = std::vector<std::string>;
    for (const auto& [line, part, code] :
         {std::tuple{words{}, "--output or --animation", 2},
          {words{"--output", "x", "--frames", "0"}, "--frames", 2},
          {words{"--output", "x", "--size", "10"}, "WIDTHxHEIGHT", 2},
          {words{"--output", "x", "--threads", "5000"}, "--threads", 2},
          {words{"--output", "x", "--threads", "0"}, "--threads", 2},
          {words{"--output", "x", "--processes", "0"}, "--processes", 2},
          {words{"--output", "x", "--processes", "99", "--threads", "99"},
           "9801", 2},
          {words{"--animation", d / "no" / "where.png", "--frames", "1",
                 "--size", "8x8"},
           "where.png", 1}})
    {
        auto all = line;
        all.insert(all.begin(), program("thread_pool_multiprocessing"));
        const auto end = run_program({all, {}, d.path()});
        BOOST_TEST(end.code == code);
        BOOST_TEST((end.err.find(part) != end.err.npos), end.err);
    }
}

BOOST_AUTO_TEST_SUITE_END()
