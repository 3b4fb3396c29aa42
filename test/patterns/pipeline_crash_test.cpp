// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.

#define BOOST_TEST_MODULE pipeline_crash

#include "test/fixture.hpp"

#include <boost/test/unit_test.hpp>

#include "patterns/pipeline/pipeline.hpp"
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <climits>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <random>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace {

using namespace std::chrono_literals;
using pipeline::options;
using pipeline::parallel;
using pipeline::sink;
using pipeline::source;
using pipeline::stage;
using pipeline::unordered;

/// Processes may die as often as they like.
options sturdy()
{
    options how;
    how.attempts = 1000;
    how.staff.restarts = UINT_MAX;
    how.staff.start_failures = UINT_MAX;
    how.staff.backoff = {};
    how.tokens = 16;
    return how;
}

struct armed
{
    explicit armed(const std::string& points)
    {
        ::setenv("COMMON_FAULT", points.c_str(), 1);
    }
    ~armed() { ::unsetenv("COMMON_FAULT"); }
};

/// What the line below makes of 0 ... end - 1.
std::vector<std::string> expected(int end)
{
    std::vector<std::string> result;
    for (int i = 0; i < end; ++i)
        if (i % 7 != 0)
            for (int n = 0; n < i % 3; ++n)
                result.push_back(
                    std::string(static_cast<std::size_t>(i % 500), 'x') +
                    std::to_string(2 * i + n));
    return result;
}

/// All kinds of stages: parallel, serial, unordered; that drop, that multiply.
template <class Source>
pipeline::report run_all_kinds(Source from, std::vector<std::string>& got,
                               const options& how)
{
    auto line =
        source(from) | parallel(2, [](int i) { return 2 * i; }) |
        stage([](int i) {
            return i % 14 != 0 ? std::optional<int>(i) : std::nullopt;
        }) |
        unordered([](int i) {
            std::vector<int> all;
            for (int n = 0; n < i / 2 % 3; ++n)
                all.push_back(i + n);
            return pipeline::several(std::move(all));
        }) |
        parallel(2,
                 [](int i) {
                     return std::string(static_cast<std::size_t>(i / 2 % 500),
                                        'x') +
                            std::to_string(i);
                 }) |
        sink([&](std::string s) { got.push_back(std::move(s)); });
    return line.run(how);
}

auto count_to(int end)
{
    return [i = 0, end]() mutable {
        return i < end ? std::optional<int>(i++) : std::nullopt;
    };
}

/// Kills children of this process at random, until it goes.
class killer
{
public:
    explicit killer(std::chrono::milliseconds pause)
        : thread_([this, pause](const std::stop_token& over) {
            std::mt19937 dice(seed);
            while (!over.stop_requested()) // ends with the case
            {
                ::poll(nullptr, 0, static_cast<int>(pause.count()));
                const auto all = test::descendants();
                if (!all.empty() &&
                    ::kill(all[dice() % all.size()], SIGKILL) == 0)
                    ++kills;
            }
        })
    {
    }
    static constexpr unsigned seed = 11;
    std::atomic<std::uint64_t> kills{0};

private:
    std::jthread thread_;
};

} // namespace

BOOST_FIXTURE_TEST_SUITE(pipeline_crash_laws, test::clean)

BOOST_AUTO_TEST_CASE(stages_killed_at_any_point_lose_nothing_and_double_nothing)
{
    for (const std::string point :
         {"pipeline.taken", "pipeline.processed", "pipeline.committed",
          "pipeline.acknowledged", "ring.written", "ring.published",
          "lanes.leased", "lanes.acknowledging", "lanes.acknowledged"})
    {
        BOOST_TEST_CONTEXT(point)
        {
            const armed points(point + "=0.01");
            for (const unsigned batch : {1u, 7u})
            {
                auto how = sturdy();
                how.batch = batch;
                how.tokens = 16 * batch;
                std::vector<std::string> got;
                const int end = 800 * static_cast<int>(batch);
                const auto report = run_all_kinds(count_to(end), got, how);
                BOOST_TEST((got == expected(end)));
                BOOST_TEST(report.deaths() > 5u);
            }
        }
    }
}

BOOST_AUTO_TEST_CASE(the_end_of_the_stream_survives_those_who_bring_it)
{
    // Nearly everybody dies with the last items.
    const armed points("pipeline.acknowledged=0.4,lanes.acknowledged=0.3");
    for (int i = 1; i < 6; ++i)
    {
        std::vector<std::string> got;
        run_all_kinds(count_to(i), got, sturdy());
        BOOST_TEST((got == expected(i)));
    }
}

BOOST_AUTO_TEST_CASE(kills_from_outside_lose_nothing_and_double_nothing)
{
    std::vector<std::string> got;
    std::uint64_t kills = 0;
    pipeline::report report;
    const auto begun = common::clock::now();
    {
        killer enemy(std::chrono::milliseconds(2));
        // As long as there were not enough kills, there are more items.
        int i = 0;
        report = run_all_kinds(
            [&i, &enemy]() -> std::optional<int> {
                if (enemy.kills >= 400 && i >= 2000)
                    return std::nullopt;
                return i++;
            },
            got, sturdy());
        kills = enemy.kills;
    }
    const std::chrono::duration<double> time = common::clock::now() - begun;
    BOOST_TEST_MESSAGE(kills << " kills in " << time.count() << " s, "
                             << report.items << " items, " << report.replayed()
                             << " replayed; seed " << killer::seed);
    BOOST_TEST((got == expected(static_cast<int>(report.items))));
    BOOST_TEST(report.deaths() >= 300u);
}

BOOST_AUTO_TEST_CASE(stages_that_wait_can_be_killed)
{
    // For input, while the source waits; for room, while the sink does.
    std::vector<int> got;
    const auto kill_all = [] {
        const auto all = test::descendants();
        for (const pid_t one : all)
            ::kill(one, SIGKILL);
        test::eventually([&] {
            const auto now = test::descendants();
            return now.size() >= all.size() &&
                   std::find(now.begin(), now.end(), all.front()) == now.end();
        });
    };
    auto line = source([&, i = 0]() mutable {
                    if (i == 100)
                        kill_all();
                    return i < 200 ? std::optional<int>(i++) : std::nullopt;
                }) |
                parallel(2, [](int i) { return i; }) |
                stage([](int i) { return i; }) | sink([&](int i) {
                    got.push_back(i);
                    if (i == 150)
                        kill_all();
                });
    const auto report = line.run(sturdy());
    BOOST_TEST(got.size() == 200u);
    BOOST_TEST(std::is_sorted(got.begin(), got.end()));
    BOOST_TEST(report.deaths() >= 6u);
}

// --- items that kill ---------------------------------------------------------

namespace {

int die_of_13(int i)
{
    if (i == 13)
        ::raise(SIGKILL);
    return i;
}

} // namespace

BOOST_AUTO_TEST_CASE(an_item_that_kills_its_stage_stops_the_run_and_is_named)
{
    std::vector<int> got;
    auto line =
        source(count_to(1'000'000'000)) | parallel(2, &die_of_13, "oracle") |
        stage([](int i) { return i; }) | sink([&](int i) { got.push_back(i); });
    BOOST_CHECK_EXCEPTION(line.run(), pipeline::stage_error, [](const auto& e) {
        return e.killed() && e.item() == 13 && e.stage() == "oracle" &&
               std::string(e.what()) ==
                   "oracle, item 13: killed its process 3 times";
    });
    BOOST_TEST(got.size() == 13u);
}

BOOST_AUTO_TEST_CASE(an_item_that_kills_its_stage_can_be_skipped)
{
    std::vector<int> got;
    options how;
    how.errors = pipeline::on_error::skip;
    how.attempts = 2;
    auto line = source(count_to(40)) | parallel(2, &die_of_13) |
                stage([](int i) { return i; }) |
                sink([&](int i) { got.push_back(i); });
    const auto report = line.run(how);
    BOOST_TEST(got.size() == 39u);
    BOOST_TEST(std::count(got.begin(), got.end(), 13) == 0);
    BOOST_TEST(std::is_sorted(got.begin(), got.end()));
    BOOST_TEST(report.skipped == 1u);
    BOOST_TEST(report.poisoned == 1u);
    BOOST_TEST(report.deaths() == 2u);
}

BOOST_AUTO_TEST_CASE(an_item_that_kills_its_stage_costs_none_of_its_batch)
{
    std::vector<int> got;
    std::vector<std::uint64_t> lost;
    auto how = sturdy();
    how.errors = pipeline::on_error::skip;
    how.skipped = [&](const auto& e) { lost.push_back(e.item()); };
    how.attempts = 2;
    how.batch = 20;
    how.tokens = 100;
    auto line = source(count_to(200)) | stage([](int i) {
                    return i % 20 == 13 || i % 20 == 7 ? die_of_13(13) : i;
                }) |
                parallel(2, [](int i) { return i; }) |
                sink([&](int i) { got.push_back(i); });
    const auto report = line.run(how);
    BOOST_TEST(got.size() == 180u);
    BOOST_TEST(std::is_sorted(got.begin(), got.end()));
    BOOST_TEST(report.poisoned == 20u);
    BOOST_TEST(report.deaths() == 40u);
    for (const auto item : lost)
        BOOST_TEST((item % 20 == 13 || item % 20 == 7));
}

BOOST_AUTO_TEST_CASE(a_stage_knows_its_item_and_how_often_it_was_tried)
{
    std::vector<std::uint64_t> got;
    auto line = source(count_to(5)) | stage([](int) {
                    const auto& item = pipeline::current();
                    if (item.number == 3 && item.attempt < 2)
                        ::raise(SIGKILL);
                    return 10 * item.number + item.attempt;
                }) |
                sink([&](std::uint64_t i) { got.push_back(i); });
    line.run();
    BOOST_TEST(got == (std::vector<std::uint64_t>{0, 10, 20, 32, 40}),
               boost::test_tools::per_element());
}

BOOST_AUTO_TEST_CASE(a_stage_that_dies_all_the_time_ends_the_run)
{
    auto how = sturdy();
    how.staff.restarts = 2;
    auto line = source(count_to(10)) |
                stage(
                    [](int i) {
                        ::raise(SIGKILL);
                        return i;
                    },
                    "doomed") |
                sink([](int) {});
    BOOST_CHECK_EXCEPTION(line.run(how), common::exhausted, [](const auto& e) {
        return std::string(e.what()).find("doomed: each worker died more "
                                          "than 2 times") == 0;
    });
}

BOOST_AUTO_TEST_CASE(the_death_of_the_calling_process_leaves_no_stage)
{
    const common::shared_array<std::atomic<pid_t>> stages(3);
    common::process caller(
        [](common::shared_array<std::atomic<pid_t>> pids) {
            auto line = source([] { return std::optional<int>(1); }) |
                        parallel(2, [](int) { return ::getpid(); }) |
                        sink([&](pid_t pid) {
                            const int at =
                                pids[0] == 0 || pids[0] == pid ? 0 : 1;
                            pids[static_cast<std::size_t>(at)] = pid;
                        });
            line.run();
        },
        stages);
    BOOST_TEST(test::eventually([&] { return stages[0] != 0; }));
    caller.kill();
    BOOST_TEST(caller.join().signal == SIGKILL);
    for (std::size_t i = 0; i < 2; ++i)
        BOOST_TEST(test::eventually(
            [&] { return stages[i] == 0 || ::kill(stages[i], 0) != 0; }));
}

// --- deadlines ---------------------------------------------------------------

namespace {

auto collect(std::vector<int>& to)
{
    return sink([&to](int i) { to.push_back(i); });
}

/// Never comes back with 13, the first time or each time.
template <bool Always>
int hang_at_13(int i)
{
    while (i == 13 && (Always || pipeline::current().attempt == 0))
        ::pause();
    return i;
}

} // namespace

BOOST_AUTO_TEST_CASE(an_item_that_hangs_is_run_again_after_its_deadline)
{
    for (const unsigned batch : {1u, 16u})
    {
        std::vector<int> got;
        auto line = source(count_to(100)) | parallel(2, &hang_at_13<false>) |
                    collect(got);
        options how;
        how.batch = batch;
        how.deadline = 1s;
        const auto report = line.run(how);
        BOOST_REQUIRE(got.size() == 100u);
        for (std::size_t i = 0; i < got.size(); ++i)
            BOOST_TEST(got[i] == static_cast<int>(i));
        BOOST_TEST(report.deaths() >= 1u);
    }
}

BOOST_AUTO_TEST_CASE(an_item_that_always_hangs_has_failed)
{
    std::vector<int> got;
    auto line =
        source(count_to(20)) | stage(&hang_at_13<true>, "slow") | collect(got);
    options how;
    how.attempts = 2;
    how.deadline = 1s;
    how.errors = pipeline::on_error::skip;
    std::string told;
    how.skipped = [&](const pipeline::stage_error& e) { told = e.what(); };
    BOOST_TEST(line.run(how).poisoned == 1u);
    BOOST_TEST(got.size() == 19u);
    BOOST_TEST(told == "slow, item 13: killed its process 2 times, or took "
                       "longer than 1000 ms");
}

BOOST_AUTO_TEST_CASE(a_stage_that_waits_for_items_has_no_deadline)
{
    std::vector<int> got;
    options how;
    how.deadline = 1s;
    auto line = source([&, i = 0]() mutable {
                    if (i == 1) // the stage has done the first one, and waits
                        ::poll(nullptr, 0, 2'500);
                    return i < 3 ? std::optional<int>(i++) : std::nullopt;
                }) |
                stage([](int i) { return i; }) | collect(got);
    BOOST_TEST(line.run(how).deaths() == 0u);
    BOOST_TEST(got.size() == 3u);
    how.deadline = -1s;
    BOOST_CHECK_THROW(line.run(how), std::invalid_argument);
}

BOOST_AUTO_TEST_SUITE_END()
