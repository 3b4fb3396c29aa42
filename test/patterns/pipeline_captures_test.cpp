// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.
//
// What the callables of the calling process capture by reference.  Optimized,
// because g++ 12 (12.2, from -O1 on) kept old values of such variables: it
// takes a function that gets an object by reference, and returns what another
// function returns for that object, for one that does not return what it has
// pointers to.  A plus is a copy: only the callables know the addresses.

#define BOOST_TEST_MODULE pipeline_captures

#include "test/fixture.hpp"

#include <boost/test/unit_test.hpp>

#include "patterns/pipeline/pipeline.hpp"

#include <optional>
#include <vector>

namespace {

using pipeline::sink;
using pipeline::source;
using pipeline::stage;

int same(int i)
{
    return i;
}

} // namespace

BOOST_FIXTURE_TEST_SUITE(pipeline_captures_laws, test::clean)

BOOST_AUTO_TEST_CASE(what_a_source_captured_has_its_new_value_behind_run)
{
    int given = 0;
    const auto generate = [&]() -> std::optional<int> {
        return given < 100 ? std::optional(++given) : std::nullopt;
    };
    const auto report = (source(generate) | sink([](int) {})).run();
    BOOST_TEST(+given == 100);
    BOOST_TEST(report.items == 100u);
}

BOOST_AUTO_TEST_CASE(so_has_what_a_sink_captured)
{
    int count = 0, sum = 0;
    const auto add = [&](int i) {
        ++count;
        sum += i;
    };
    (source(std::vector{1, 2, 3}) | sink(add)).run();
    BOOST_TEST(+count == 3);
    BOOST_TEST(+sum == 6);
}

BOOST_AUTO_TEST_CASE(with_stages_between_and_several_variables)
{
    int given = 0, twice = 0, thrice = 0, count = 0, sum = 0, last = 0;
    auto line = source([&]() -> std::optional<int> {
                    if (given == 100)
                        return std::nullopt;
                    twice += 2;
                    thrice += 3;
                    return ++given;
                }) |
                stage(same) | stage(same) | sink([&](int i) {
                    ++count;
                    sum += i;
                    last = i;
                });
    line.run();
    BOOST_TEST(+given == 100);
    BOOST_TEST(+twice == 200);
    BOOST_TEST(+thrice == 300);
    BOOST_TEST(+count == 100);
    BOOST_TEST(+sum == 5050);
    BOOST_TEST(+last == 100);
}

BOOST_AUTO_TEST_CASE(a_range_of_the_caller_is_read_where_it_is)
{
    std::vector numbers{1, 2, 3};
    int sum = 0;
    auto line = source(numbers) | sink([&](int i) { sum += i; });
    numbers[0] = 10;
    line.run();
    BOOST_TEST(+sum == 15);
}

BOOST_AUTO_TEST_CASE(so_has_what_is_told_of_items_that_are_given_up)
{
    int given = 0, skipped = 0;
    const auto generate = [&]() -> std::optional<int> {
        return given < 10 ? std::optional(++given) : std::nullopt;
    };
    pipeline::options how;
    how.errors = pipeline::on_error::skip;
    how.skipped = [&](const pipeline::stage_error&) { ++skipped; };
    (source(generate) | stage([](int i) -> int { throw i; }) | sink([](int) {
     })).run(how);
    BOOST_TEST(+given == 10);
    BOOST_TEST(+skipped == 10);
}

BOOST_AUTO_TEST_SUITE_END()
