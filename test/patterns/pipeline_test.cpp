// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.

#define BOOST_TEST_MODULE pipeline

#include "test/fixture.hpp"
#include "test/run_program.hpp"

#include <boost/test/unit_test.hpp>

#include "patterns/pipeline/pipeline.hpp"
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <optional>
#include <random>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace {

using pipeline::options;
using pipeline::parallel;
using pipeline::several;
using pipeline::sink;
using pipeline::source;
using pipeline::stage;
using pipeline::unordered;

/// 0, 1, ... below `end`.
auto count_to(int end)
{
    return [i = 0, end]() mutable {
        return i < end ? std::optional<int>(i++) : std::nullopt;
    };
}

std::vector<int> numbers(int end, int step = 1)
{
    std::vector<int> result;
    for (int i = 0; i < end; i += step)
        result.push_back(i);
    return result;
}

/// Takes a while, the first ones of every eight longer.
int dawdle(int i)
{
    const auto until =
        common::clock::now() + std::chrono::microseconds(20 * (8 - i % 8));
    while (common::clock::now() < until)
        common::relax();
    return i;
}

auto collect(std::vector<int>& to)
{
    return sink([&to](int i) { to.push_back(i); });
}

} // namespace

namespace {

/// Numbers whose codecs refuse those that end with 3.
enum class refusal
{
    writing,
    reading,
    size,
    anything // that is not a std::exception, too
};
template <refusal R>
struct fragile
{
    int number = 0;

    void check(refusal when) const
    {
        if (R == refusal::anything && number % 10 == 3)
            throw number;
        if (R == when && number % 10 == 3)
            throw std::domain_error("fragile");
    }
};

} // namespace

template <refusal R>
struct common::codec<fragile<R>>
{
    static std::size_t size(const fragile<R>& one)
    {
        one.check(refusal::size);
        return sizeof one.number + 1;
    }
    static void write(writer& to, const fragile<R>& one)
    {
        encode(to, one.number);
        one.check(refusal::writing);
        encode(to, '!');
    }
    static fragile<R> read(reader& from)
    {
        const fragile<R> one{decode<int>(from)};
        one.check(refusal::reading);
        decode<char>(from);
        return one;
    }
};

namespace {

/// Its codec fails twice, then it works.
struct moody_item
{
    int number = 0;
};

} // namespace

template <>
struct common::codec<moody_item>
{
    static std::size_t size(const moody_item&) { return sizeof(int); }
    static void write(writer& to, const moody_item& one)
    {
        static int calls = 0; // of this process
        if (one.number % 3 == 0 && ++calls % 3 != 0)
            throw std::runtime_error("not yet");
        encode(to, one.number);
    }
    static moody_item read(reader& from) { return {decode<int>(from)}; }
};

BOOST_FIXTURE_TEST_SUITE(pipeline_laws, test::clean)

BOOST_AUTO_TEST_CASE(every_item_passes_all_stages_and_arrives_in_order)
{
    std::vector<std::string> got;
    auto line = source(count_to(1000)) | stage([](int i) { return 2 * i; }) |
                parallel(2, [](int i) { return std::to_string(i); }) |
                stage([](std::string s) { return s + "!"; }) |
                sink([&](std::string s) { got.push_back(std::move(s)); });
    const auto report = line.run();
    BOOST_REQUIRE(got.size() == 1000u);
    for (std::size_t i = 0; i < got.size(); ++i)
        BOOST_REQUIRE(got[i] == std::to_string(2 * i) + "!");
    BOOST_TEST(report.items == 1000u);
    BOOST_TEST(report.deaths() == 0u);
    BOOST_TEST(report.stages.size() == 5u);
    for (const auto& one : report.stages)
        BOOST_TEST(one.items == 1000u);
}

BOOST_AUTO_TEST_CASE(order_is_restored_after_a_parallel_stage)
{
    std::vector<int> got;
    auto line = source(count_to(2000)) | parallel(3, &dawdle) | collect(got);
    line.run({.tokens = 32});
    BOOST_TEST(got == numbers(2000));
}

BOOST_AUTO_TEST_CASE(a_serial_stage_behind_a_parallel_one_gets_items_in_order)
{
    std::vector<int> got;
    auto line = source(count_to(2000)) | parallel(3, &dawdle) |
                stage([](int i) {
                    static int expected = 0; // of this process
                    if (i != expected++)
                        throw std::logic_error("out of order");
                    return i;
                }) |
                parallel(2, &dawdle) | collect(got);
    line.run({.tokens = 32});
    BOOST_TEST(got == numbers(2000));
}

BOOST_AUTO_TEST_CASE(a_stage_may_drop_items)
{
    std::vector<int> got;
    auto line =
        source(count_to(1000)) |
        parallel(2,
                 [](int i) {
                     return i % 5 == 0 ? std::optional<int>(i) : std::nullopt;
                 }) |
        stage([](int i) { return i; }) | collect(got);
    const auto report = line.run();
    BOOST_TEST(got == numbers(1000, 5));
    BOOST_TEST(report.items == 1000u);
}

BOOST_AUTO_TEST_CASE(a_stage_may_make_several_items_of_one)
{
    std::vector<std::string> got;
    auto line = source(count_to(100)) |
                parallel(2,
                         [](int i) {
                             return several(std::vector<int>(
                                 static_cast<std::size_t>(i % 4), i));
                         }) |
                parallel(2, [](int i) { return std::to_string(i); }) |
                sink([&](const std::string& s) { got.push_back(s); });
    line.run();
    std::vector<std::string> expected;
    for (int i = 0; i < 100; ++i)
        for (int n = 0; n < i % 4; ++n)
            expected.push_back(std::to_string(i));
    BOOST_TEST(got == expected, boost::test_tools::per_element());
}

BOOST_AUTO_TEST_CASE(an_unordered_stage_takes_items_as_they_come)
{
    std::vector<int> got;
    auto line = source(count_to(1000)) | parallel(2, &dawdle) |
                unordered([](int i) { return i + 1; }) |
                sink([&](int i) { got.push_back(i - 1); });
    line.run();
    BOOST_TEST(got == numbers(1000)); // the sink has them in order again
}

BOOST_AUTO_TEST_CASE(a_range_is_a_source)
{
    const auto given = numbers(50);
    std::vector<int> got;
    auto twice = [](int i) { return 2 * i; };
    auto of_ours = source(given) | stage(twice) | collect(got);
    of_ours.run();
    BOOST_TEST(got == numbers(100, 2));
    got.clear();
    auto of_its_own = source(numbers(50)) | stage(twice) | collect(got);
    of_its_own.run();
    BOOST_TEST(got == numbers(100, 2));
}

BOOST_AUTO_TEST_CASE(a_pipeline_runs_once)
{
    int sum = 0;
    auto line = pipeline::source(std::vector{1, 2}) |
                pipeline::sink([&](int x) { sum += x; });
    line.run();
    BOOST_CHECK_THROW(line.run(), std::logic_error);
    BOOST_TEST(sum == 3);
}

BOOST_AUTO_TEST_CASE(a_stream_without_items_ends)
{
    std::vector<int> got;
    auto line = source(count_to(0)) | stage([](int i) { return i; }) |
                parallel(2, [](int i) { return i; }) | collect(got);
    const auto report = line.run();
    BOOST_TEST(got.empty());
    BOOST_TEST(report.items == 0u);
    BOOST_TEST(!report.bottleneck().name.empty());
}

BOOST_AUTO_TEST_CASE(source_and_sink_may_be_all_there_is)
{
    std::vector<int> got;
    auto line = source(count_to(300)) | collect(got);
    line.run();
    BOOST_TEST(got == numbers(300));
}

BOOST_AUTO_TEST_CASE(a_stage_may_capture_what_is_copied_to_it)
{
    std::vector<int> got;
    auto line = source(count_to(10)) |
                stage(common::capture([by = 3](int i) { return by * i; })) |
                collect(got);
    line.run();
    BOOST_TEST(got == numbers(30, 3));
}

BOOST_AUTO_TEST_CASE(items_may_travel_together)
{
    std::vector<int> got;
    auto line =
        source(count_to(50'000)) | stage([](int i) { return i; }) |
        parallel(2,
                 [](int i) {
                     return i % 3 != 0 ? std::optional<int>(i) : std::nullopt;
                 }) |
        stage([](int i) { return several(std::vector<int>(2, i)); }) |
        collect(got);
    const auto report = line.run({.batch = 32});
    BOOST_TEST(report.items == 50'000u);
    BOOST_TEST(report.most_in_flight > 32u);
    std::vector<int> expected;
    for (int i = 0; i < 50'000; ++i)
        if (i % 3 != 0)
            expected.insert(expected.end(), 2, i);
    BOOST_TEST((got == expected));
}

BOOST_AUTO_TEST_CASE(tiny_items_travel_together_unasked)
{
    std::vector<int> got;
    auto line = source(count_to(100'000)) |
                parallel(1, [](int i) { return i; }) | collect(got);
    const auto report = line.run();
    BOOST_TEST((got == numbers(100'000)));
    // More than four batches of one, unless an item takes half of the 20 us
    // that a batch is meant to take: under a sanitizer, on a loaded machine.
    const auto& stage = report.stages.at(1);
    BOOST_TEST((report.most_in_flight > 4u ||
                stage.busy > std::chrono::microseconds(10) * stage.items));
}

BOOST_AUTO_TEST_CASE(items_that_take_long_travel_alone)
{
    const auto slow = [](int i) {
        const auto end = common::clock::now() + std::chrono::microseconds(500);
        while (common::clock::now() < end)
        {
        }
        return i;
    };
    std::vector<int> got;
    auto line = source(count_to(600)) | parallel(2, slow) | collect(got);
    const auto report = line.run();
    BOOST_TEST((got == numbers(600)));
    BOOST_TEST(report.most_in_flight <= 8u); // four for each worker
}

// --- bounds ------------------------------------------------------------------

BOOST_AUTO_TEST_CASE(a_slow_sink_holds_back_a_fast_source)
{
    std::atomic<int> given{0};
    int taken = 0, most = 0;
    auto line =
        source([&] {
            return given < 500 ? std::optional<int>(given++) : std::nullopt;
        }) |
        parallel(2, [](int i) { return i; }) | stage([](int i) { return i; }) |
        sink([&](int i) {
            // The source fills the line; then it waits for some room.
            const int full = taken == 0 ? 10 : 8;
            BOOST_REQUIRE(test::eventually(
                [&] { return given - taken >= full || given == 500; }));
            most = std::max(most, given - taken);
            BOOST_REQUIRE(i == taken++);
        });
    const auto report = line.run({.batch = 1, .tokens = 10});
    BOOST_TEST(taken == 500);
    BOOST_TEST(most == 10);
    BOOST_TEST(report.most_in_flight == 10u);
}

BOOST_AUTO_TEST_CASE(edges_hold_no_more_bytes_than_they_have)
{
    // With tokens for all: three items fit into each edge.
    std::atomic<int> given{0};
    int taken = 0, most = 0;
    auto line = source([&] {
                    return given < 100
                               ? std::optional(std::string(80'000, 'x') +
                                               std::to_string(given++))
                               : std::nullopt;
                }) |
                stage([](std::string s) { return s; }) | sink([&](std::string) {
                    test::eventually([&] { return given - taken >= 8; },
                                     std::chrono::milliseconds(20));
                    most = std::max(most, given - taken);
                    ++taken;
                });
    line.run({.tokens = 1000, .edge_bytes = 256 * 1024});
    BOOST_TEST(taken == 100);
    BOOST_TEST(most <= 3 + 1 + 3 + 1);
}

BOOST_AUTO_TEST_CASE(waiting_costs_no_time_of_the_cpu)
{
    const auto used = [] {
        rusage ours{}, theirs{};
        ::getrusage(RUSAGE_SELF, &ours);
        ::getrusage(RUSAGE_CHILDREN, &theirs);
        double sum = 0;
        for (const auto& t :
             {ours.ru_utime, ours.ru_stime, theirs.ru_utime, theirs.ru_stime})
            sum += static_cast<double>(t.tv_sec) +
                   1e-6 * static_cast<double>(t.tv_usec);
        return sum;
    };
    std::vector<int> got;
    const auto at_first = used();
    auto line = source([i = 0]() mutable {
                    ::poll(nullptr, 0, 100);
                    return i < 20 ? std::optional<int>(i++) : std::nullopt;
                }) |
                parallel(3, [](int i) { return i; }) |
                stage([](int i) { return i; }) | collect(got);
    line.run();
    BOOST_TEST(got.size() == 20u);
    BOOST_TEST(used() - at_first < 1.0); // of two seconds and four processes
}

// --- errors ------------------------------------------------------------------

namespace {

int refuse_13(int i)
{
    if (i == 13)
        throw std::out_of_range("thirteen");
    return i;
}

} // namespace

BOOST_AUTO_TEST_CASE(a_stage_that_throws_stops_the_run_and_is_named)
{
    std::vector<int> got;
    auto line = source(count_to(1'000'000'000)) |
                parallel(2, &refuse_13, "oracle") |
                stage([](int i) { return i; }) | collect(got);
    BOOST_CHECK_EXCEPTION(line.run(), pipeline::stage_error, [](const auto& e) {
        BOOST_CHECK_THROW(e.cause().rethrow(), std::out_of_range);
        return e.item() == 13 && e.stage() == "oracle" && !e.killed() &&
               e.what() == std::string("oracle, item 13: std::out_of_range: "
                                       "thirteen");
    });
    BOOST_TEST(got == numbers(13)); // all before it
}

BOOST_AUTO_TEST_CASE(an_item_that_throws_can_be_skipped)
{
    std::vector<int> got;
    std::vector<std::string> told;
    options how;
    how.errors = pipeline::on_error::skip;
    how.skipped = [&](const pipeline::stage_error& e) {
        told.emplace_back(e.what());
    };
    auto line = source(count_to(20)) | parallel(2, &refuse_13) |
                stage([](int i) { return i; }) | collect(got);
    const auto report = line.run(how);
    auto expected = numbers(20);
    expected.erase(expected.begin() + 13);
    BOOST_TEST(got == expected);
    BOOST_TEST(report.skipped == 1u);
    BOOST_TEST(report.poisoned == 0u);
    BOOST_REQUIRE(told.size() == 1u);
    BOOST_TEST(told[0] == "stage 1, item 13: std::out_of_range: thirteen");
}

BOOST_AUTO_TEST_CASE(an_item_that_throws_costs_none_of_its_batch)
{
    std::vector<int> got;
    std::vector<std::uint64_t> lost;
    options how;
    how.batch = 16;
    how.errors = pipeline::on_error::skip;
    how.skipped = [&](const auto& e) { lost.push_back(e.item()); };
    auto line =
        source(count_to(1000)) |
        parallel(2, [](int i) { return i % 100 == 13 ? refuse_13(13) : i; }) |
        stage([](int i) { return i; }) | collect(got);
    line.run(how);
    BOOST_TEST(got.size() == 990u);
    BOOST_TEST(lost.size() == 10u);
    for (std::size_t i = 0; i < lost.size(); ++i)
        BOOST_TEST(lost[i] == 100 * i + 13);
}

BOOST_AUTO_TEST_CASE(an_item_that_throws_can_be_tried_again)
{
    const auto moody = [](int i) {
        static int calls = 0; // of this process
        if (i % 3 == 0 && ++calls % 3 != 0)
            throw std::runtime_error("not yet");
        return i;
    };
    std::vector<int> got;
    auto line = source(count_to(100)) | stage(moody) | collect(got);
    line.run({.retries = 2});
    BOOST_TEST(got == numbers(100));
    auto once = source(count_to(100)) | stage(moody) | collect(got);
    BOOST_CHECK_THROW(once.run({.retries = 1}), pipeline::stage_error);
}

namespace {

template <refusal R>
fragile<R> make(int i)
{
    return {i};
}
template <refusal R>
int unmake(const fragile<R>& one)
{
    return one.number;
}

template <refusal R>
void refused_in(const std::string& stage, unsigned batch)
{
    std::vector<int> got;
    const auto line = [&] {
        return source(count_to(100)) | parallel(2, &make<R>, "making") |
               parallel(2, &unmake<R>, "unmaking") | collect(got);
    };
    auto first = line();
    BOOST_CHECK_EXCEPTION(
        first.run({.batch = batch}), pipeline::stage_error, [&](const auto& e) {
            return e.stage() == stage && e.item() == 3 && !e.killed();
        });
    BOOST_TEST(got == numbers(3));

    got.clear();
    std::vector<std::uint64_t> lost;
    options how;
    how.batch = batch;
    how.errors = pipeline::on_error::skip;
    how.skipped = [&](const auto& e) {
        BOOST_TEST(e.stage() == stage);
        lost.push_back(e.item());
    };
    auto all = line();
    const auto report = all.run(how);
    BOOST_TEST(report.deaths() == 0u);
    BOOST_TEST(report.skipped == 10u);
    BOOST_TEST(report.poisoned == 0u);
    BOOST_TEST(got.size() == 90u);
    for (std::size_t i = 0; i < lost.size(); ++i)
        BOOST_TEST(lost[i] == 10 * i + 3);
}

} // namespace

BOOST_AUTO_TEST_CASE(an_item_that_cannot_be_encoded_has_failed_in_its_stage)
{
    for (const unsigned batch : {1u, 16u})
    {
        refused_in<refusal::writing>("making", batch);
        refused_in<refusal::size>("making", batch);
        refused_in<refusal::anything>("making", batch);
    }
}

BOOST_AUTO_TEST_CASE(
    an_item_that_cannot_be_decoded_has_failed_in_the_next_stage)
{
    for (const unsigned batch : {1u, 16u})
        refused_in<refusal::reading>("unmaking", batch);
}

BOOST_AUTO_TEST_CASE(a_batch_in_which_every_item_fails_names_each)
{
    pipeline::options how;
    how.batch = 255;
    how.edge_bytes = 4096; // their errors do not fit together
    how.errors = pipeline::on_error::skip;
    unsigned told = 0;
    how.skipped = [&](const pipeline::stage_error& e) {
        BOOST_REQUIRE(e.item() == told);
        told += std::string(e.what()).find("not this one") != std::string::npos;
    };
    std::vector<int> got;
    auto line =
        source(count_to(500)) |
        stage([](int) -> int { throw std::runtime_error("not this one"); }) |
        collect(got);
    BOOST_TEST(line.run(how).skipped == 500u);
    BOOST_TEST(told == 500u);
    BOOST_TEST(got.empty());
}

BOOST_AUTO_TEST_CASE(an_item_that_the_sink_cannot_decode_can_be_skipped)
{
    using one = fragile<refusal::reading>;
    std::vector<int> got;
    auto line = source(count_to(20)) | stage(&make<refusal::reading>) |
                sink([&](one item) { got.push_back(item.number); });
    BOOST_CHECK_EXCEPTION(line.run(), pipeline::stage_error, [](const auto& e) {
        return e.stage() == "sink" && e.item() == 3;
    });
    got.clear();
    auto again = source(count_to(20)) | stage(&make<refusal::reading>) |
                 sink([&](one item) { got.push_back(item.number); });
    options how;
    how.errors = pipeline::on_error::skip;
    BOOST_TEST(again.run(how).skipped == 2u);
    BOOST_TEST(got.size() == 18u);
}

BOOST_AUTO_TEST_CASE(an_item_that_cannot_be_encoded_can_be_tried_again)
{
    std::vector<int> got;
    const auto line = [&] {
        return source(count_to(100)) |
               stage([](int i) { return moody_item{i}; }) |
               stage([](moody_item one) { return one.number; }) | collect(got);
    };
    auto patient = line();
    patient.run({.retries = 2});
    BOOST_TEST(got == numbers(100));
    auto once = line();
    BOOST_CHECK_THROW(once.run({.retries = 1}), pipeline::stage_error);
}

BOOST_AUTO_TEST_CASE(a_source_that_throws_ends_the_run)
{
    std::vector<int> got;
    auto line = source([i = 0]() mutable -> std::optional<int> {
                    if (i == 100)
                        throw std::out_of_range("the source");
                    return i++;
                }) |
                parallel(2, [](int i) { return i; }) | collect(got);
    BOOST_CHECK_THROW(line.run(), std::out_of_range);
}

BOOST_AUTO_TEST_CASE(a_sink_that_throws_ends_the_run)
{
    auto line = source(count_to(1'000'000'000)) |
                parallel(2, [](int i) { return i; }) | sink([](int i) {
                    if (i == 100)
                        throw std::out_of_range("the sink");
                });
    BOOST_CHECK_THROW(line.run(), std::out_of_range);
}

BOOST_AUTO_TEST_CASE(an_item_that_never_fits_is_an_error)
{
    const auto grow = [](int i) {
        return std::string(i == 3 ? 100'000 : 1, 'x');
    };
    const options small{.edge_bytes = 64 * 1024};
    std::vector<std::string> got;
    const auto keep = sink([&](std::string s) { got.push_back(std::move(s)); });
    auto from_a_stage = source(count_to(10)) | stage(grow) | keep;
    BOOST_CHECK_EXCEPTION(from_a_stage.run(small), pipeline::stage_error,
                          [](const auto& e) { return e.item() == 3; });
    auto from_the_source = source(std::vector{std::string(100'000, 'x')}) |
                           stage([](std::string s) { return s; }) | keep;
    BOOST_CHECK_THROW(from_the_source.run(small), std::length_error);
}

BOOST_AUTO_TEST_CASE(numbers_that_make_no_pipeline_are_refused)
{
    const auto same = [](int i) { return i; };
    BOOST_CHECK_THROW(parallel(0, same), std::invalid_argument);
    BOOST_CHECK_THROW(parallel(5000, same), std::invalid_argument);
    std::vector<int> got;
    auto line = source(count_to(1)) | stage(same) | collect(got);
    BOOST_CHECK_THROW(line.run({.attempts = 0}), std::invalid_argument);
    BOOST_CHECK_THROW(line.run({.edge_bytes = 1}), std::invalid_argument);
    BOOST_CHECK_THROW(line.run({.batch = 256}), std::invalid_argument);
}

// --- the report --------------------------------------------------------------

BOOST_AUTO_TEST_CASE(the_report_names_the_bottleneck)
{
    const auto quick = [](int i) { return i; };
    std::vector<int> got;
    auto line = source(count_to(1500)) | stage(quick, "quick") |
                stage(&dawdle, "slow") | stage(quick, "behind") | collect(got);
    const auto report = line.run();
    BOOST_TEST(report.bottleneck().name == "slow");
    BOOST_TEST(report.text().find("bottleneck: slow\n") != std::string::npos);
    const auto& ahead = report.stages[1];
    const auto& behind = report.stages[3];
    BOOST_TEST((ahead.blocked > ahead.busy || ahead.starved > ahead.busy));
    BOOST_TEST((behind.starved > behind.busy));
}

// --- the program -------------------------------------------------------------

namespace {

constexpr std::size_t block = 32 * 1024;

std::string text_of(std::size_t size)
{
    std::string result;
    for (std::size_t i = 0; result.size() < size; ++i)
        result += std::to_string(i * i % 1009) + (i % 11 == 0 ? "\n" : " ");
    result.resize(size);
    return result;
}

void write(const std::filesystem::path& path, const std::string& text)
{
    std::ofstream(path, std::ios::binary) << text;
}

/// What `gzip` makes of it; an error's text where it is no gzip file.
std::string unzipped(const std::filesystem::path& path)
{
    const auto run = test::run_program({{"gzip", "-dc", path}});
    return run.code == 0 ? run.out : run.err;
}

} // namespace

BOOST_AUTO_TEST_CASE(the_program_writes_what_gzip_reads_always_the_same)
{
    const test::directory here;
    const auto in = here / "in", out = here / "out";
    for (const std::size_t size :
         {std::size_t{0}, std::size_t{1}, block, block + 1, 40 * block + 7})
    {
        const auto text = text_of(size);
        write(in, text);
        std::string first;
        for (const std::string workers : {"1", "3"})
            for (const std::string chaos : {"0", "0.3"})
            {
                const auto run = test::run_program(
                    {{test::program("pipeline"), in, "--output", out, "--block",
                      std::to_string(block), "--workers", workers, "--chaos",
                      chaos}});
                BOOST_TEST(run.err == "");
                BOOST_TEST(run.code == 0);
                BOOST_TEST((unzipped(out) == text));
                const auto bytes = test::slurp(out);
                if (first.empty())
                    first = bytes;
                BOOST_TEST((bytes == first), size << " bytes, " << workers
                                                  << " workers, chaos "
                                                  << chaos);
            }
    }
}

BOOST_AUTO_TEST_CASE(the_program_stands_a_killer_of_its_processes)
{
    const test::directory here;
    const auto in = here / "in", out = here / "out";
    const auto text = text_of(24u << 20);
    write(in, text);
    test::running program({{test::program("pipeline"), in, "--level", "9",
                            "--output", out, "--workers", "2"}});
    std::mt19937 dice(5);
    const auto kills = test::kill_workers_of(program.pid(), 200, dice);
    const auto run = program.wait();
    BOOST_TEST(run.err == "");
    BOOST_TEST(run.code == 0);
    BOOST_TEST(kills > 10u);
    BOOST_TEST((unzipped(out) == text));
}

BOOST_AUTO_TEST_CASE(the_program_ends_with_its_reader)
{
    const test::directory here;
    write(here / "in", text_of(8u << 20));
    const auto run = test::run_program(
        {{"sh", "-c",
          "'" + test::program("pipeline") + "' in | head -c 10 | wc -c"},
         "",
         here.path()});
    BOOST_TEST(run.out == "10\n");
    BOOST_TEST(run.err == "");
}

BOOST_AUTO_TEST_CASE(the_program_does_not_overwrite_what_it_reads)
{
    const test::directory here;
    const auto text = text_of(100'000);
    write(here / "in", text);
    std::filesystem::create_hard_link(here / "in", here / "other name");
    for (const std::string output : {"in", "other name"})
    {
        const auto run = test::run_program(
            {{test::program("pipeline"), "in", "--output", output},
             "",
             here.path()});
        BOOST_TEST(run.code == 1);
        BOOST_TEST(run.err ==
                   "pipeline: " + output + ": is input and output at once\n");
        BOOST_TEST((test::slurp(here / "in") == text));
    }
}

BOOST_AUTO_TEST_CASE(the_program_keeps_the_old_output_when_it_fails)
{
    const test::directory here;
    write(here / "out", "old");
    std::filesystem::create_directory(here / "folder");
    for (const std::string input : {"folder", "nowhere"})
    {
        const auto run = test::run_program(
            {{test::program("pipeline"), input, "--output", "out"},
             "",
             here.path()});
        BOOST_TEST(run.code == 1);
        BOOST_TEST(run.err.starts_with("pipeline: " + input + ": "), run.err);
        BOOST_TEST(std::count(run.err.begin(), run.err.end(), '\n') == 1);
        BOOST_TEST(test::slurp(here / "out") == "old");
    }
}

BOOST_AUTO_TEST_CASE(the_program_leaves_no_half_of_an_output_when_it_is_killed)
{
    const test::directory here;
    write(here / "out", "old");
    const auto pipe = here / "in";
    BOOST_REQUIRE(::mkfifo(pipe.c_str(), 0600) == 0);
    const common::kernel::descriptor writer(
        ::open(pipe.c_str(), O_RDWR | O_CLOEXEC)); // waits for no reader
    const auto text = text_of(4 * block);
    for (const int signal : {SIGINT, SIGTERM, SIGHUP, SIGKILL})
    {
        test::running program(
            {{test::program("pipeline"), pipe, "--output", here / "out",
              "--block", std::to_string(block)}});
        for (std::size_t done = 0; done < text.size();) // it reads on
        {
            const auto n =
                ::write(writer.get(), text.data() + done, text.size() - done);
            BOOST_REQUIRE(n > 0);
            done += static_cast<std::size_t>(n);
        }
        program.kill(signal);
        const auto end = program.wait();
        BOOST_TEST((end.signal == signal || end.code == 128 + signal));
        BOOST_TEST(test::slurp(here / "out") == "old");
        BOOST_TEST(
            std::distance(std::filesystem::directory_iterator(here.path()),
                          {}) == 2);
        // What it has not read, the next one does not get.
        std::vector<char> rest(1 << 16);
        for (int left = 1; left != 0; ::ioctl(writer.get(), FIONREAD, &left))
            if (left > 1)
                BOOST_REQUIRE(::read(writer.get(), rest.data(), rest.size()) >
                              0);
    }
}

BOOST_AUTO_TEST_CASE(the_program_writes_to_a_pipe_directly)
{
    const test::directory here;
    const auto text = text_of(3 * block);
    write(here / "in", text);
    const auto run = test::run_program(
        {{"sh", "-c",
          "'" + test::program("pipeline") +
              "' in --output /dev/stdout | gzip -dc | cmp - in && echo same"},
         "",
         here.path()});
    BOOST_TEST(run.out == "same\n");
    BOOST_TEST(run.err == "");
}

BOOST_AUTO_TEST_CASE(the_program_forgets_a_longer_old_output)
{
    const test::directory here;
    write(here / "in", "short");
    write(here / "out", std::string(10'000, 'x'));
    const auto run = test::run_program(
        {{test::program("pipeline"), here / "in", "--output", here / "out"}});
    BOOST_TEST(run.code == 0);
    BOOST_TEST(unzipped(here / "out") == "short");
}

BOOST_AUTO_TEST_SUITE_END()
