// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.
//
// What one consumer does between two steps of another: their fault points run
// a function here, instead of ending the process.

#define BOOST_TEST_MODULE producer_consumer_race

#include "common/fault.hpp"

#include <functional>
#include <string_view>
#include <utility>

namespace {

std::string_view where;
std::function<void()> meanwhile; // once, at the point `where`

void pass(std::string_view point)
{
    if (point == where && meanwhile)
        std::exchange(meanwhile, nullptr)();
}

} // namespace

#undef COMMON_FAULT_POINT
#define COMMON_FAULT_POINT(name) pass(name)

#include "test/fixture.hpp"

#include <boost/test/unit_test.hpp>

#include "patterns/producer_consumer/producer_consumer.hpp"

#include <optional>

namespace {

using producer_consumer::consumer;
using producer_consumer::outcome;
using producer_consumer::queue;

BOOST_FIXTURE_TEST_SUITE(producer_consumer_race_laws, test::clean)

struct two_consumers
{
    two_consumers()
    {
        auto out = q.producer();
        std::optional<int> none; // both have come
        BOOST_TEST((slow.try_pop(none) == outcome::empty));
        BOOST_TEST((fast.try_pop(none) == outcome::empty));
        out.push(42);
        where = "consumer.copied";
        meanwhile = [this] { taken = fast.pop(); };
    }
    ~two_consumers()
    {
        BOOST_TEST((taken == 42));
        BOOST_TEST(q.stats().finished == 1u);
    }

    queue<int> q;
    consumer<int> slow = q.consumer(), fast = q.consumer();
    std::optional<int> taken; // by the fast one
};

BOOST_AUTO_TEST_CASE(an_item_that_another_one_took_is_not_popped)
{
    two_consumers both;
    BOOST_TEST(!both.slow.pop());
}

BOOST_AUTO_TEST_CASE(a_look_that_finds_it_taken_returns_no_item)
{
    two_consumers both;
    std::optional<int> item;
    BOOST_TEST((both.slow.try_pop(item) == outcome::closed));
    BOOST_TEST(!item);
}

BOOST_AUTO_TEST_SUITE_END()

} // namespace
