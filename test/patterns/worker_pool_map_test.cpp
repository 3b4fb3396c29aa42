// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.

#define BOOST_TEST_MODULE worker_pool_map

#include "test/fixture.hpp"
#include "test/patterns/worker_pool_tasks.hpp"

#include <boost/test/unit_test.hpp>

#include "patterns/worker_pool/worker_pool.hpp"
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <iterator>
#include <memory>
#include <optional>
#include <set>
#include <stdexcept>
#include <string>
#include <thread>
#include <tuple>
#include <vector>

namespace {

using namespace test;
using worker_pool::map_options;
using worker_pool::pool;

map_options chunks_of(std::size_t n)
{
    map_options result;
    result.chunk = n;
    return result;
}

template <class Mapping>
auto all_of(Mapping mapping)
{
    std::vector<typename Mapping::value_type> result;
    for (auto& one : mapping)
        result.push_back(std::move(one));
    return result;
}

std::vector<int> squares(int n)
{
    auto result = up_to(n);
    for (int& one : result)
        one *= one;
    return result;
}

/// 0, 1, 2 ... without an end; throws where an item is `bad`.
struct naturals
{
    int bad = -1;

    struct iterator
    {
        using value_type = int;
        using difference_type = std::ptrdiff_t;
        int at = 0, bad = -1;
        int operator*() const
        {
            if (at == bad)
                throw std::runtime_error("no item " + std::to_string(at));
            return at;
        }
        iterator& operator++()
        {
            ++at;
            return *this;
        }
        void operator++(int) { ++at; }
        bool operator==(std::default_sentinel_t) const { return false; }
    };
    iterator begin() const { return {0, bad}; }
    std::default_sentinel_t end() const { return {}; }
};

/// Refuses multiples of ten; 7, 32 and 57 kill the worker.
int picky(int x)
{
    if (x % 25 == 7)
        ::raise(SIGSEGV);
    if (x % 10 == 0)
        throw std::invalid_argument("item " + std::to_string(x));
    return x;
}

/// Moves, does not copy.
struct owner
{
    std::unique_ptr<int> value;
};

/// What a mapping gives, item by item: its results, or what they throw.
template <class Mapping>
std::vector<std::string> outcomes(Mapping mapping, std::size_t limit = 1000)
{
    std::vector<std::string> result;
    while (result.size() < limit) // ends with the input
        try
        {
            const auto one = mapping.next();
            if (!one)
                break;
            result.push_back(std::to_string(*one));
        }
        catch (const common::worker_died&)
        {
            result.push_back("died");
        }
        catch (const std::exception& e)
        {
            result.push_back(e.what());
        }
    return result;
}

} // namespace

template <>
struct common::codec<owner>
{
    static std::size_t size(const owner&) { return sizeof(int); }
    static void write(writer& to, const owner& one) { encode(to, *one.value); }
    static owner read(reader& from)
    {
        return {std::make_unique<int>(decode<int>(from))};
    }
};

BOOST_FIXTURE_TEST_SUITE(worker_pool_map_laws, test::clean)

BOOST_AUTO_TEST_CASE(map_keeps_the_order_of_its_input)
{
    pool p(with(2));
    BOOST_TEST((all_of(p.map(up_to(1000), square)) == squares(1000)));
    const auto input = up_to(300);
    BOOST_TEST((all_of(p.map(input, &square)) == squares(300)));
}

BOOST_AUTO_TEST_CASE(chunks_smaller_equal_and_larger_than_the_input_are_right)
{
    pool p(with(2));
    for (const std::size_t chunk : {1u, 6u, 40u, 50u})
        BOOST_TEST((all_of(p.map(up_to(40), square, chunks_of(chunk))) ==
                    squares(40)));
}

BOOST_AUTO_TEST_CASE(a_window_of_any_size_gives_the_same)
{
    pool p(with(2));
    for (const std::size_t window : {1u, 2u, 40u, 80u})
        for (const std::size_t chunk : {0u, 3u})
        {
            auto how = chunks_of(chunk);
            how.window = window;
            BOOST_TEST((all_of(p.map(up_to(40), square, how)) == squares(40)));
        }
}

BOOST_AUTO_TEST_CASE(a_window_larger_than_the_pool_does_not_block_for_ever)
{
    auto options = with(1);
    options.capacity = 2;
    pool p(options);
    auto how = chunks_of(1);
    how.window = 50;
    BOOST_TEST((all_of(p.map(up_to(200), square, how)) == squares(200)));
}

BOOST_AUTO_TEST_CASE(no_input_gives_no_results)
{
    pool p(with(1));
    BOOST_TEST(all_of(p.map(up_to(0), square)).empty());
    BOOST_TEST(all_of(p.map(up_to(0), square, chunks_of(1))).empty());
    BOOST_TEST(all_of(p.map_unordered(up_to(0), square)).empty());
}

BOOST_AUTO_TEST_CASE(the_results_end_once_and_stay_ended)
{
    pool p(with(1));
    auto results = p.map(up_to(2), square);
    BOOST_TEST(results.next().value() == 0);
    BOOST_TEST(results.next().value() == 1);
    BOOST_TEST(!results.next());
    BOOST_TEST(!results.next());
}

BOOST_AUTO_TEST_CASE(an_infinite_input_is_read_a_bounded_number_ahead)
{
    pool p(with(2));
    for (const std::size_t chunk : {0u, 7u})
    {
        auto results = p.map(naturals{}, square, chunks_of(chunk));
        for (int i = 0; i < 500; ++i)
            BOOST_REQUIRE(results.next().value() == i * i);
    }
    BOOST_TEST(p.submit(&square, 3).get() == 9);
}

BOOST_AUTO_TEST_CASE(closing_early_leaves_a_pool_that_works)
{
    pool p(with(2));
    for (const std::size_t chunk : {0u, 1u, 13u})
    {
        auto results = p.map(up_to(5000), square, chunks_of(chunk));
        BOOST_TEST(results.next().value() == 0);
    }
    BOOST_TEST((all_of(p.map(up_to(40), square)) == squares(40)));
}

BOOST_AUTO_TEST_CASE(an_input_that_throws_gives_what_came_before_then_throws)
{
    pool p(with(2));
    for (const std::size_t chunk : {0u, 1u, 2u, 8u})
        for (const int bad : {0, 3})
        {
            auto results = p.map(naturals{bad}, square, chunks_of(chunk));
            for (int i = 0; i < bad; ++i)
                BOOST_TEST(results.next().value() == i * i);
            const auto why = "no item " + std::to_string(bad);
            BOOST_TEST(message_of([&] { results.next(); }) == why);
        }
    BOOST_TEST(p.submit(&square, 3).get() == 9);
}

BOOST_AUTO_TEST_CASE(an_input_that_has_thrown_ends_the_results)
{
    pool p(with(1));
    auto results = p.map(naturals{3}, square, chunks_of(1));
    for (int i = 0; i < 3; ++i)
        results.next();
    BOOST_CHECK_THROW(results.next(), std::runtime_error);
    BOOST_TEST(outcomes(std::move(results), 5).empty());
}

BOOST_AUTO_TEST_CASE(an_unordered_map_of_a_bad_input_gives_a_prefix_and_throws)
{
    pool p(with(2));
    auto results = p.map_unordered(naturals{20}, square, chunks_of(3));
    std::multiset<int> got;
    for (int i = 0; i < 20; ++i)
        got.insert(results.next().value());
    const auto expected = squares(20);
    BOOST_TEST((got == std::multiset<int>(expected.begin(), expected.end())));
    BOOST_TEST(message_of([&] { results.next(); }) == "no item 20");
}

BOOST_AUTO_TEST_CASE(an_item_that_throws_or_kills_fails_alone_and_in_its_place)
{
    auto options = sturdy(2);
    options.attempts = 2;
    pool p(options);
    std::vector<std::string> expected;
    for (int i = 0; i < 60; ++i)
        expected.push_back(i % 25 == 7   ? "died"
                           : i % 10 == 0 ? "item " + std::to_string(i)
                                         : std::to_string(i));
    for (const std::size_t chunk : {0u, 1u, 6u, 60u, 100u})
        BOOST_TEST(outcomes(p.map(up_to(60), picky, chunks_of(chunk))) ==
                       expected,
                   boost::test_tools::per_element());
}

BOOST_AUTO_TEST_CASE(after_an_error_the_iterator_goes_on_with_the_next_item)
{
    pool p(with(1));
    auto results = p.map(up_to(4), [](int x) {
        if (x == 1)
            throw std::runtime_error("one");
        return x;
    });
    std::vector<int> good;
    int bad = 0;
    for (auto at = results.begin(); at != results.end(); ++at)
        try
        {
            good.push_back(*at);
        }
        catch (const std::runtime_error&)
        {
            ++bad;
        }
    BOOST_TEST((good == std::vector<int>{0, 2, 3}));
    BOOST_TEST(bad == 1);
}

BOOST_AUTO_TEST_CASE(an_item_that_hangs_is_found_and_its_neighbours_computed)
{
    pool p(with(2));
    auto how = chunks_of(5);
    how.task.hard_deadline = 200ms;
    const auto slow = [](int x) {
        if (x == 12)
            spin();
        return x;
    };
    const auto got = outcomes(p.map(up_to(20), slow, how));
    BOOST_REQUIRE(got.size() == 20u);
    for (int i = 0; i < 20; ++i)
        BOOST_TEST((got[static_cast<std::size_t>(i)] == std::to_string(i)) ==
                   (i != 12));
}

BOOST_AUTO_TEST_CASE(tuples_are_the_arguments_of_a_function_that_takes_them)
{
    pool p(with(1));
    const std::vector<std::tuple<int, std::string>> input{{1, "a"}, {2, "b"}};
    const auto join = [](int n, std::string s) {
        return s + std::to_string(n);
    };
    const std::vector<std::string> expected{"a1", "b2"};
    for (const std::size_t chunk : {0u, 1u, 2u})
        BOOST_TEST((all_of(p.map(input, join, chunks_of(chunk))) == expected));
}

BOOST_AUTO_TEST_CASE(a_function_that_takes_the_tuple_gets_the_tuple)
{
    pool p(with(1));
    const std::vector<std::tuple<int, int>> input{{1, 2}};
    const auto sum = [](std::tuple<int, int> t) {
        return std::get<0>(t) + std::get<1>(t);
    };
    BOOST_TEST((all_of(p.map(input, sum)) == std::vector<int>{3}));
}

BOOST_AUTO_TEST_CASE(a_function_that_returns_nothing_is_called_for_each_item)
{
    pool p(with(2));
    counter runs{0};
    std::vector<std::tuple<counter, int>> input;
    for (int i = 1; i <= 100; ++i)
        input.emplace_back(runs, i);
    std::size_t n = 0;
    for (auto& one : p.map(input, [](counter c, int x) { *c += x; }))
        n += sizeof one > 0;
    BOOST_TEST(n == 100u);
    BOOST_TEST(*runs == 5050);
}

BOOST_AUTO_TEST_CASE(results_may_be_bools)
{
    pool p(with(1));
    int odd = 0;
    auto results = p.map(up_to(100), [](int x) { return x % 2 == 1; });
    while (const auto one = results.next())
        odd += *one;
    BOOST_TEST(odd == 50);
}

BOOST_AUTO_TEST_CASE(results_may_be_values_that_only_move)
{
    pool p(with(1));
    const auto own = [](int x) { return owner{std::make_unique<int>(x)}; };
    BOOST_TEST(*p.submit(own, 5).get().value == 5);
    int sum = 0;
    for (auto& one : p.map(up_to(100), own))
        sum += *one.value;
    BOOST_TEST(sum == 4950);
}

BOOST_AUTO_TEST_CASE(an_unordered_map_gives_the_same_values)
{
    pool p(with(2));
    for (const std::size_t chunk : {0u, 1u, 9u})
    {
        auto got =
            all_of(p.map_unordered(up_to(500), square, chunks_of(chunk)));
        std::sort(got.begin(), got.end());
        BOOST_TEST((got == squares(500)));
    }
}

BOOST_AUTO_TEST_CASE(an_unordered_map_does_not_wait_for_a_straggler)
{
    pool p(with(2));
    counter begun{0}, gate{0};
    std::vector<std::tuple<counter, counter, int>> input;
    for (int i = 0; i < 20; ++i)
        input.emplace_back(begun, gate, i);
    const auto first_waits = [](counter b, counter g, int i) {
        if (i == 0)
            hold(b, g);
        return i;
    };
    auto results = p.map_unordered(input, first_waits, chunks_of(1));
    std::set<int> got;
    for (int i = 0; i < 19; ++i)
        got.insert(results.next().value());
    BOOST_TEST(got.count(0) == 0u);
    *gate = 1;
    BOOST_TEST(results.next().value() == 0);
}

BOOST_AUTO_TEST_CASE(a_map_of_a_pool_that_is_shut_down_says_so)
{
    pool p(with(1));
    p.shutdown(worker_pool::shutdown_mode::graceful);
    BOOST_CHECK_THROW(all_of(p.map(up_to(3), square)), common::closed);
}

// Its bad item is to be found, but nobody takes tasks any more.
BOOST_AUTO_TEST_CASE(a_chunk_that_cannot_be_split_is_an_error_and_the_end)
{
    pool p(with(1));
    auto how = chunks_of(4);
    how.window = 2;
    const auto second_dies = [](int x) {
        if (x == 5)
            ::raise(SIGKILL);
        return x;
    };
    auto all = p.map(up_to(8), second_dies, how);
    BOOST_TEST(all.next().value() == 0);
    BOOST_REQUIRE(eventually([&] { return p.stats().poisoned == 1; }));
    p.shutdown(worker_pool::shutdown_mode::graceful);
    for (int i = 1; i < 4; ++i)
        BOOST_TEST(all.next().value() == i);
    BOOST_CHECK_THROW(static_cast<void>(all.next()), common::closed);
    BOOST_TEST(!all.next().has_value());
}

BOOST_AUTO_TEST_CASE(maps_of_several_threads_do_not_disturb_each_other)
{
    pool p(with(2));
    std::atomic<int> right{0};
    {
        std::vector<std::jthread> threads;
        for (int t = 0; t < 8; ++t)
            threads.emplace_back([&] {
                right += all_of(p.map(up_to(500), square)) == squares(500);
            });
    }
    BOOST_TEST(right == 8);
}

BOOST_AUTO_TEST_CASE(two_hundred_workers_are_right_over_a_thousand_items)
{
    pool p(with(200));
    BOOST_TEST(
        (all_of(p.map(up_to(1000), square, chunks_of(1))) == squares(1000)));
}

BOOST_AUTO_TEST_SUITE_END()
