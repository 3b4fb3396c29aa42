// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.

#define BOOST_TEST_MODULE parallel_execution

#include "test/fixture.hpp"
#include "test/run_program.hpp"

#include <boost/test/unit_test.hpp>

#include "patterns/parallel_execution/parallel_execution.hpp"
#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <bit>
#include <cerrno>
#include <chrono>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <exception>
#include <filesystem>
#include <stdexcept>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

namespace {

using common::shared_array;
using parallel_execution::chunks;
using parallel_execution::errors;
using parallel_execution::items_failed;
using parallel_execution::options;
using parallel_execution::range;
using parallel_execution::team;
using counters = shared_array<std::atomic<int>>;
using namespace std::chrono_literals;

void count(std::size_t i, counters& runs)
{
    ++runs[i];
}

void die()
{
    ::kill(::getpid(), SIGKILL);
}

options how(chunks cut, errors on_error = errors::fail_fast)
{
    options result;
    result.cut = cut;
    result.on_error = on_error;
    return result;
}

std::vector<options> all_cuts(errors on_error = errors::fail_fast)
{
    return {how(chunks::measured(), on_error), how(chunks::even(), on_error),
            how(chunks::of(7), on_error)};
}

/// Whether each item ran exactly `times`.
bool each_ran(const counters& runs, int times)
{
    return std::all_of(runs.begin(), runs.end(),
                       [&](const auto& n) { return n == times; });
}

/// How many teams fit into each other from here on.
int nest(std::size_t)
{
    try
    {
        team inner(1);
        const shared_array<int> deeper(1);
        inner.transform({0, 1}, deeper, nest);
        return 1 + deeper[0];
    }
    catch (const std::logic_error&)
    {
        return 0;
    }
}

/// Faults in the workers that are started while it lives.
struct faults
{
    explicit faults(const char* plan) { ::setenv("COMMON_FAULT", plan, 1); }
    ~faults() { ::unsetenv("COMMON_FAULT"); }
};

/// A sum that depends on the order of its additions.
double harmonic(team& workers, const options& how, std::size_t n)
{
    return workers.reduce(
        how, {0, n}, 0.0,
        [](std::size_t i) { return 1 / (static_cast<double>(i) + 0.3); },
        [](double a, double b) { return a + b; });
}

bool same_bits(double a, double b)
{
    return std::bit_cast<std::uint64_t>(a) == std::bit_cast<std::uint64_t>(b);
}

} // namespace

BOOST_FIXTURE_TEST_SUITE(parallel_execution_laws, test::clean)

BOOST_AUTO_TEST_CASE(every_index_is_called_once_however_the_range_is_cut)
{
    team workers(2);
    for (const auto& cut : all_cuts())
        for (const std::size_t n : {1u, 2u, 3u, 40u, 1000u})
        {
            const counters runs(n);
            workers.parallel_for(cut, {0, n}, count, runs);
            BOOST_TEST(each_ran(runs, 1));
        }
}

BOOST_AUTO_TEST_CASE(a_chunk_may_be_smaller_than_equal_to_or_larger_than_all)
{
    team workers(2);
    for (const int size : {1, 6, 40, 50})
    {
        const counters runs(40);
        workers.parallel_for(how(chunks::of(size)), {0, 40}, count, runs);
        BOOST_TEST(each_ran(runs, 1));
    }
}

BOOST_AUTO_TEST_CASE(a_range_need_not_begin_at_zero)
{
    team workers(2);
    const counters runs(100);
    workers.parallel_for({30, 50}, count, runs);
    for (std::size_t i = 0; i < 100; ++i)
        BOOST_TEST(runs[i] == (i >= 30 && i < 50));
}

BOOST_AUTO_TEST_CASE(an_empty_range_is_done_at_once)
{
    team workers(2);
    const auto never = [](std::size_t) { die(); };
    for (const auto& cut : all_cuts())
    {
        workers.parallel_for(cut, {0, 0}, never);
        workers.parallel_for(cut, {7, 7}, never);
        BOOST_TEST(harmonic(workers, cut, 0) == 0);
    }
    workers.transform(shared_array<int>(0), shared_array<int>(0),
                      [](int x) { return x; });
    BOOST_TEST(workers.stats().deaths == 0u);
}

BOOST_AUTO_TEST_CASE(what_makes_no_sense_is_refused)
{
    BOOST_CHECK_THROW(team(0), std::invalid_argument);
    BOOST_CHECK_THROW(chunks::of(0), std::invalid_argument);
    BOOST_CHECK_THROW(chunks::of(-3), std::invalid_argument);
    BOOST_CHECK_THROW(chunks::measured(0ns), std::invalid_argument);
    team workers(1);
    BOOST_CHECK_THROW(workers.parallel_for({2, 1}, [](std::size_t) {}),
                      std::invalid_argument);
    BOOST_CHECK_THROW(workers.transform({0, 3}, shared_array<int>(2),
                                        [](std::size_t) { return 1; }),
                      std::invalid_argument);
    options none;
    none.attempts = 0;
    BOOST_CHECK_THROW(workers.parallel_for(none, {0, 1}, [](std::size_t) {}),
                      std::invalid_argument);
}

BOOST_AUTO_TEST_CASE(results_come_in_the_order_of_the_range)
{
    team workers(2);
    for (const auto& cut : all_cuts())
    {
        const shared_array<double> input(500), output(500);
        workers.transform(cut, {0, 500}, input, [](std::size_t i) {
            return std::sqrt(static_cast<double>(i));
        });
        workers.transform(
            cut, input, output, [](double x, int n) { return x * n; }, 3);
        for (std::size_t i = 0; i < 500; ++i)
            BOOST_TEST(output[i] == 3 * std::sqrt(static_cast<double>(i)));
    }
}

BOOST_AUTO_TEST_CASE(arguments_and_captures_cross)
{
    team workers(2);
    const shared_array<std::size_t> sizes(3);
    const std::vector<std::string> words{"a", "bb", "ccc"};
    std::size_t base = 10; // a constant would not be captured
    workers.transform(
        {0, 3}, sizes,
        common::capture(
            [base](std::size_t i, const std::vector<std::string>& all) {
                return base + all[i].size();
            }),
        words);
    BOOST_TEST(sizes[0] == 11u);
    BOOST_TEST(sizes[2] == 13u);
}

BOOST_AUTO_TEST_CASE(a_sum_has_the_same_bits_however_it_was_computed)
{
    constexpr std::size_t n = 10'007;
    team one(1);
    const double expected = harmonic(one, how(chunks::of(n)), n);
    for (const unsigned size : {1u, 2u, 3u, 5u})
    {
        team workers(size);
        for (const auto& cut : all_cuts())
            BOOST_TEST(same_bits(harmonic(workers, cut, n), expected));
    }
    double loop = 0; // that the order matters: a law that cannot fail is none
    for (std::size_t i = 0; i < n; ++i)
        loop += 1 / (static_cast<double>(i) + 0.3);
    BOOST_TEST(!same_bits(loop, expected));
}

BOOST_AUTO_TEST_CASE(reduce_keeps_the_order_of_what_does_not_commute)
{
    team workers(3);
    const auto text = workers.reduce(
        how(chunks::of(5)), {0, 26}, std::string(),
        [](std::size_t i) { return std::string(1, char('a' + int(i))); },
        [](const std::string& a, const std::string& b) { return a + b; });
    BOOST_TEST(text == "abcdefghijklmnopqrstuvwxyz");
}

BOOST_AUTO_TEST_CASE(the_first_error_is_the_one_a_loop_would_have_met)
{
    team workers(2);
    for (const auto& cut : all_cuts())
        for (int round = 0; round < 20; ++round)
            BOOST_CHECK_EXCEPTION(
                workers.parallel_for(cut, {0, 300},
                                     [](std::size_t i) {
                                         if (i % 100 >= 60)
                                             throw std::out_of_range(
                                                 std::to_string(i));
                                     }),
                std::out_of_range, [](const std::out_of_range& e) {
                    return e.what() == std::string("60");
                });
}

BOOST_AUTO_TEST_CASE(what_comes_after_an_error_is_cancelled)
{
    team workers(2);
    const counters runs(100'000);
    BOOST_CHECK_THROW(workers.parallel_for(
                          how(chunks::of(10)), {0, 100'000},
                          [](std::size_t i, counters& all) {
                              if (i == 3)
                                  throw std::runtime_error("three");
                              ++all[i];
                          },
                          runs),
                      std::runtime_error);
    BOOST_TEST(std::count(runs.begin(), runs.end(), 1) < 1000);
}

BOOST_AUTO_TEST_CASE(a_chunk_that_runs_is_stopped_between_two_items)
{
    team workers(2);
    const counters runs(2'000'000); // the second half takes very long
    BOOST_CHECK_THROW(workers.parallel_for(
                          how(chunks::even()), {0, runs.size()},
                          [](std::size_t i, counters& all) {
                              if (i == 0)
                              {
                                  while (all[1'000'000] == 0)
                                      common::relax();
                                  throw std::runtime_error("the first");
                              }
                              ++all[i];
                              const auto end = common::clock::now() + 1ms;
                              while (common::clock::now() < end)
                                  common::relax();
                          },
                          runs),
                      std::runtime_error);
    BOOST_TEST(runs[1'999'999] == 0);
    BOOST_TEST(workers.stats().deaths == 0u);
}

BOOST_AUTO_TEST_CASE(collected_errors_name_every_failed_item_and_no_other)
{
    team workers(2);
    for (const auto& cut : all_cuts(errors::collect))
    {
        const counters runs(100);
        try
        {
            workers.parallel_for(
                cut, {0, 100},
                [](std::size_t i, counters& all) {
                    ++all[i];
                    if (i % 30 == 10)
                        throw std::domain_error(std::to_string(i));
                },
                runs);
            BOOST_ERROR("nothing was thrown");
        }
        catch (const items_failed& e)
        {
            BOOST_TEST_REQUIRE(e.items().size() == 3u);
            for (std::size_t i = 0; i < 3; ++i)
            {
                BOOST_TEST(e.items()[i].index == 10 + 30 * i);
                BOOST_TEST(e.items()[i].what == std::to_string(10 + 30 * i));
                BOOST_CHECK_THROW(std::rethrow_exception(e.items()[i].error),
                                  std::domain_error);
            }
            BOOST_TEST(e.what() == "3 of 100 items failed: item 10: 10; "
                                   "item 40: 40; item 70: 70");
        }
        BOOST_TEST(each_ran(runs, 1));
    }
}

BOOST_AUTO_TEST_CASE(reduce_reports_errors_by_both_policies)
{
    team workers(2);
    const auto map = [](std::size_t i) {
        if (i == 20 || i == 70)
            throw std::range_error(std::to_string(i));
        return 1;
    };
    const auto add = [](int a, int b) { return a + b; };
    for (const auto& cut : all_cuts())
        BOOST_CHECK_EXCEPTION(
            workers.reduce(cut, {0, 100}, 0, map, add), std::range_error,
            [](const auto& e) { return e.what() == std::string("20"); });
    for (const auto& cut : all_cuts(errors::collect))
        BOOST_CHECK_EXCEPTION(workers.reduce(cut, {0, 100}, 0, map, add),
                              items_failed, [](const items_failed& e) {
                                  return e.items().size() == 2 &&
                                         e.items()[0].index == 20 &&
                                         e.items()[1].index == 70;
                              });
}

BOOST_AUTO_TEST_CASE(an_exception_keeps_its_type_and_text)
{
    struct own
    {
    };
    team workers(1);
    BOOST_CHECK_EXCEPTION(
        workers.parallel_for({0, 1},
                             [](std::size_t) {
                                 throw std::system_error(
                                     ENOSPC, std::generic_category(), "disk");
                             }),
        std::system_error, [](const std::system_error& e) {
            return e.code() == std::errc::no_space_on_device;
        });
    BOOST_CHECK_THROW(
        workers.parallel_for({0, 1}, [](std::size_t) { throw own(); }),
        common::remote_error);
    try
    {
        workers.parallel_for(
            {0, 1}, [](std::size_t) { throw std::logic_error("why"); });
    }
    catch (const common::remote_origin& e)
    {
        BOOST_TEST(e.type == "std::logic_error");
        BOOST_TEST(e.pid != ::getpid());
    }
}

BOOST_AUTO_TEST_CASE(an_item_that_kills_its_worker_is_named_and_costs_no_other)
{
    team workers(2);
    for (const auto& cut : all_cuts(errors::collect))
    {
        const counters runs(200);
        BOOST_CHECK_EXCEPTION(workers.parallel_for(
                                  cut, {0, 200},
                                  [](std::size_t i, counters& all) {
                                      if (i == 123)
                                          die();
                                      ++all[i];
                                  },
                                  runs),
                              items_failed, [](const items_failed& e) {
                                  return e.items().size() == 1 &&
                                         e.items()[0].index == 123;
                              });
        for (std::size_t i = 0; i < 200; ++i)
            BOOST_TEST((runs[i] >= 1) == (i != 123));
    }
    BOOST_TEST(workers.stats().poisoned == 3u);
}

BOOST_AUTO_TEST_CASE(the_error_tells_how_each_of_its_workers_died)
{
    team workers(2);
    options twice;
    twice.attempts = 2;
    const auto check = [&](auto body, int signal, int code) {
        BOOST_CHECK_EXCEPTION(
            workers.parallel_for(twice, {0, 50}, body), common::worker_died,
            [&](const common::worker_died& e) {
                return e.task() == "item 17" && e.attempts().size() == 2 &&
                       e.status().signal == signal && e.status().code == code;
            });
    };
    check([](std::size_t i) { i == 17 ? die() : void(); }, SIGKILL, 0);
    check([](std::size_t i) { i == 17 ? ::_exit(3) : void(); }, 0, 3);
    check([](std::size_t i) { i == 17 ? std::exit(0) : void(); }, 0, 0);
}

BOOST_AUTO_TEST_CASE(reduce_names_the_item_that_kills_and_survives_the_rest)
{
    team workers(2);
    const auto add = [](int a, int b) { return a + b; };
    BOOST_CHECK_EXCEPTION(workers.reduce(
                              {0, 100}, 0,
                              [](std::size_t i) {
                                  if (i == 41)
                                      die();
                                  return 1;
                              },
                              add),
                          common::worker_died,
                          [](const auto& e) { return e.task() == "item 41"; });
    const int sum = workers.reduce(
        how(chunks::even()), {0, 100}, 0,
        [](std::size_t i) {
            if (i == 41 && common::attempt() == 0)
                die();
            return 1;
        },
        add);
    BOOST_TEST(sum == 100);
}

BOOST_AUTO_TEST_CASE(a_team_is_as_good_as_new_after_errors)
{
    team workers(2);
    for (int round = 0; round < 5; ++round)
    {
        BOOST_CHECK_THROW(
            workers.parallel_for(
                {0, 10},
                [](std::size_t) { throw std::runtime_error("again"); }),
            std::runtime_error);
        BOOST_CHECK_THROW(workers.parallel_for({0, 10},
                                               [](std::size_t i) {
                                                   if (i == 4)
                                                       die();
                                               }),
                          common::worker_died);
        const counters runs(100);
        workers.parallel_for({0, 100}, count, runs);
        BOOST_TEST(each_ran(runs, 1));
    }
}

BOOST_AUTO_TEST_CASE(the_deadline_kills_who_still_runs)
{
    team workers(2);
    const counters runs(2);
    options limited;
    limited.deadline = common::clock::now() + 300ms;
    BOOST_CHECK_THROW(workers.parallel_for(
                          limited, {0, 2},
                          [](std::size_t i, counters& all) {
                              all[i] = ::getpid();
                              for (;;)
                                  common::relax();
                          },
                          runs),
                      common::timed_out);
    BOOST_TEST((common::clock::now() >= limited.deadline));
    for (const pid_t pid : runs) // whoever ran is gone when the call returns
        BOOST_TEST((pid == 0 || !test::alive(pid)));
    const counters after(100);
    workers.parallel_for({0, 100}, count, after);
    BOOST_TEST(each_ran(after, 1));
}

BOOST_AUTO_TEST_CASE(a_deadline_that_has_passed_is_reported_by_every_call)
{
    team workers(1);
    options late = how(chunks::of(1));
    late.deadline = common::clock::now() - 1s;
    BOOST_CHECK_THROW(
        workers.parallel_for(late, {0, 100'000}, [](std::size_t) {}),
        common::timed_out);
}

BOOST_AUTO_TEST_CASE(progress_counts_to_the_total_in_the_calling_thread)
{
    team workers(2);
    for (auto cut : all_cuts())
    {
        std::size_t last = 0;
        bool good = true;
        cut.progress = [&, caller = std::this_thread::get_id()](
                           std::size_t done, std::size_t total) {
            good = good && total == 500 && done >= last &&
                   std::this_thread::get_id() == caller;
            last = done;
        };
        const counters runs(500);
        workers.parallel_for(cut, {0, 500}, count, runs);
        BOOST_TEST(good);
        BOOST_TEST(last == 500u);
    }
}

BOOST_AUTO_TEST_CASE(nothing_runs_on_when_progress_throws)
{
    team workers(2);
    const counters runs(1000);
    options stop = how(chunks::of(1));
    stop.progress = [](std::size_t, std::size_t) {
        throw std::runtime_error("enough");
    };
    BOOST_CHECK_THROW(workers.parallel_for(stop, {0, 1000}, count, runs),
                      std::runtime_error);
    const auto seen = std::count(runs.begin(), runs.end(), 1);
    BOOST_TEST(seen < 1000);
    workers.parallel_for({0, 1000}, count, counters(1000));
    BOOST_TEST(std::count(runs.begin(), runs.end(), 1) == seen);
}

BOOST_AUTO_TEST_CASE(here_means_the_same_without_workers)
{
    team workers(1);
    options here;
    here.here = true;
    const shared_array<int> pids(10);
    workers.transform(here, {0, 10}, pids,
                      [](std::size_t) { return ::getpid(); });
    BOOST_TEST(std::count(pids.begin(), pids.end(), ::getpid()) == 10);
    BOOST_TEST(same_bits(harmonic(workers, here, 1000),
                         harmonic(workers, options(), 1000)));
    BOOST_CHECK_THROW(workers.parallel_for(here, {0, 10},
                                           [](std::size_t i) {
                                               if (i == 5)
                                                   throw std::out_of_range("5");
                                           }),
                      std::out_of_range);
}

BOOST_AUTO_TEST_CASE(several_threads_may_share_a_team)
{
    team workers(2);
    std::vector<std::thread> threads;
    std::atomic<int> right{0};
    for (int t = 0; t < 4; ++t)
        threads.emplace_back([&] {
            for (int round = 0; round < 20; ++round)
            {
                const counters runs(100);
                workers.parallel_for({0, 100}, count, runs);
                right += each_ran(runs, 1);
            }
        });
    for (auto& one : threads)
        one.join();
    BOOST_TEST(right == 80);
}

BOOST_AUTO_TEST_CASE(a_worker_may_have_a_team_of_its_own)
{
    team workers(2);
    const shared_array<double> sums(4);
    workers.transform({0, 4}, sums, [](std::size_t) {
        team inner(2);
        return harmonic(inner, options(), 1000);
    });
    for (const double sum : sums)
        BOOST_TEST(same_bits(sum, harmonic(workers, options(), 1000)));
}

BOOST_AUTO_TEST_CASE(teams_nest_eight_deep_and_no_deeper)
{
    BOOST_TEST(nest(0) == 8);
}

BOOST_AUTO_TEST_CASE(a_team_of_many_is_right_and_silent)
{
    team workers(40);
    const counters runs(1000);
    workers.parallel_for({0, 1000}, count, runs);
    BOOST_TEST(each_ran(runs, 1));
}

BOOST_AUTO_TEST_CASE(workers_that_die_all_the_time_end_in_exhausted)
{
    const faults armed("worker.ready=1");
    auto staff = team::staff(2);
    staff.restarts = 5;
    team workers(staff);
    BOOST_CHECK_THROW(workers.parallel_for({0, 1000}, [](std::size_t) {}),
                      common::exhausted);
}

BOOST_AUTO_TEST_CASE(items_that_all_kill_are_all_named)
{
    team workers(2);
    try
    {
        workers.parallel_for(how(chunks::of(4), errors::collect), {0, 40},
                             [](std::size_t) { die(); });
        BOOST_ERROR("no item failed");
    }
    catch (const parallel_execution::items_failed& e)
    {
        BOOST_TEST(e.items().size() == 40u);
    }
}

// Drills: workers that die at every step of the protocol.

BOOST_AUTO_TEST_CASE(kills_at_any_step_change_no_result)
{
    constexpr std::size_t n = 3000;
    team calm(1);
    const double expected = harmonic(calm, options(), n);
    for (const char* plan :
         {"cells.claimed=0.05", "cells.output_written=0.05",
          "cells.committed=0.05", "worker.ready=0.2",
          "cells.claimed=0.02,cells.output_written=0.02,cells.committed=0.02"})
    {
        const faults armed(plan);
        auto staff = team::staff(2);
        staff.restarts = 100'000;
        team workers(staff);
        for (auto cut : all_cuts())
        {
            cut.attempts = 100;
            const counters runs(n);
            workers.parallel_for(cut, {0, n}, count, runs);
            BOOST_TEST(std::all_of(runs.begin(), runs.end(),
                                   [](const auto& r) { return r >= 1; }));
            BOOST_TEST(same_bits(harmonic(workers, cut, n), expected));
        }
        BOOST_TEST_MESSAGE(plan << ": " << workers.stats().deaths << " deaths");
        if (std::string(plan) != "worker.ready=0.2")
            BOOST_TEST(workers.stats().deaths > 0u);
    }
}

BOOST_AUTO_TEST_CASE(kills_from_outside_change_no_result)
{
    constexpr std::size_t n = 400;
    auto staff = team::staff(2);
    staff.restarts = 100'000;
    team workers(staff);
    options patient;
    patient.attempts = 200;
    const auto slow = [](std::size_t i) {
        double x = 0;
        for (int k = 1; k < 20'000; ++k)
            x += 1 / (static_cast<double>(i) + k);
        return x;
    };
    const auto add = [](double a, double b) { return a + b; };
    const double expected = workers.reduce(patient, {0, n}, 0.0, slow, add);
    std::atomic<int> kills{0};
    std::jthread killer([&](std::stop_token done) {
        // Ever slower, so that workers get ready between two kills however
        // long that takes here.  Ends with the sums.
        for (int pause = 5; !done.stop_requested();
             pause = std::min(500, pause + pause / 4))
        {
            for (const pid_t one : test::workers_of(::getpid()))
                kills += ::kill(one, SIGKILL) == 0;
            ::poll(nullptr, 0, pause);
        }
    });
    for (int round = 0; round < 10 || (kills < 10 && round < 1000); ++round)
        BOOST_TEST(same_bits(workers.reduce(patient, {0, n}, 0.0, slow, add),
                             expected));
    BOOST_TEST(kills >= 10);
}

// The program.

BOOST_AUTO_TEST_CASE(the_picture_is_the_same_for_any_workers_and_under_chaos)
{
    const test::directory place;
    const auto paint = [&](const std::string& name,
                           std::vector<std::string> more) {
        const auto file = (place / name).string();
        std::vector<std::string> line{test::program("parallel_execution"),
                                      "--width",
                                      "90",
                                      "--height",
                                      "60",
                                      "--output",
                                      file};
        line.insert(line.end(), more.begin(), more.end());
        const auto end = test::run_program({line});
        BOOST_TEST(end.code == 0);
        BOOST_TEST(end.out == "");
        return test::slurp(file);
    };
    const auto expected = paint("one.png", {"--workers", "1"});
    BOOST_TEST(expected.substr(0, 8) == "\x89PNG\r\n\x1a\n");
    BOOST_TEST((paint("two.png", {"--workers", "2"}) == expected));
    BOOST_TEST((paint("five.png", {"--workers", "5"}) == expected));
    BOOST_TEST((paint("chaos.png", {"--chaos", "0.2:3"}) == expected));
}

BOOST_AUTO_TEST_CASE(what_the_program_cannot_do_it_says_in_one_line)
{
    const test::directory place;
    const auto run = [&](std::vector<std::string> arguments, int code,
                         const std::string& text) {
        arguments.insert(arguments.begin(),
                         test::program("parallel_execution"));
        const auto end = test::run_program({arguments, {}, place.path()});
        BOOST_TEST(end.code == code);
        BOOST_TEST(end.err.find(text) != std::string::npos, end.err);
        BOOST_TEST(std::count(end.err.begin(), end.err.end(), '\n') == 1);
        BOOST_TEST(std::filesystem::is_empty(place.path()));
    };
    run({}, 2, "--output");
    run({"--output", "a.png", "--width", "0"}, 2, "--width must be");
    run({"--output", "a.png", "--height", "-3"}, 2, "--height must be");
    run({"--output", "a.png", "--height", "40000"}, 2, "--height must be");
    run({"--output", "a.png", "--workers", "0"}, 2, "--workers");
    run({"--output", "no/where/a.png"}, 1,
        "cannot write no/where/a.png: No such file or directory");
    run({"--output", "."}, 1, "cannot write .: Is a directory");
}

BOOST_AUTO_TEST_SUITE_END()
