// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.

#define BOOST_TEST_MODULE producer_consumer_large

#include "common/process.hpp"
#include "test/fixture.hpp"
#include "test/memory.hpp"

#include <boost/test/unit_test.hpp>

#include "patterns/producer_consumer/producer_consumer.hpp"
#include <signal.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <numeric>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

namespace {

using namespace std::chrono_literals;
using common::process;
using producer_consumer::consumer;
using producer_consumer::large;
using producer_consumer::outcome;
using producer_consumer::overflow;
using producer_consumer::producer;
using producer_consumer::queue;
using producer_consumer::queue_options;
using test::eventually;
using counter = common::shared<std::atomic<std::uint64_t>>;
using numbers = large<std::uint64_t>;

constexpr std::size_t kilo = 1024, mega = 1024 * kilo;

queue_options bound(std::size_t bytes)
{
    queue_options result;
    result.bytes = bytes;
    result.producers = 4;
    return result;
}

/// So many bytes that are the numbers from `first` on.
numbers counting(std::size_t bytes, std::uint64_t first)
{
    return {bytes / 8, [first](std::span<std::uint64_t> room) {
                std::iota(room.begin(), room.end(), first);
            }};
}

bool counts(const numbers& all, std::size_t bytes, std::uint64_t first)
{
    return all.size() == bytes / 8 &&
           std::all_of(all.begin(), all.end(),
                       [&](std::uint64_t one) { return one == first++; });
}

// tag::frames[]
struct frame
{
    int number = 0;
    large<float> pixels;
};

/// Runs in a worker: computes each frame where its consumer will read it.
void render(producer<frame> out, int frames, std::size_t pixels)
{
    for (int i = 0; i < frames; ++i)
        out.push({i, {pixels, [i](std::span<float> room) {
                          std::fill(room.begin(), room.end(), float(i));
                      }}});
}

/// Runs in another one: reads it there.
double brightness(consumer<frame>& in)
{
    double sum = 0;
    for (const auto& one : in)
        sum += std::accumulate(one.pixels.begin(), one.pixels.end(), 0.0);
    return sum;
}
// end::frames[]

} // namespace

BOOST_FIXTURE_TEST_SUITE(producer_consumer_large_laws, test::clean)

BOOST_AUTO_TEST_CASE(items_of_any_size_up_to_the_bound_arrive_whole)
{
    const std::vector<std::size_t> sizes{
        0,         8,         64 * kilo - 64, 64 * kilo, mega,
        20 * mega, 30 * mega, 4 * kilo,       31 * mega, 8};
    queue<numbers> q(bound(32 * mega));
    auto in = q.consumer();
    process writer(
        [](producer<numbers> out, std::vector<std::size_t> all) {
            for (const auto size : all)
                out.push(counting(size, size));
        },
        q.producer(), sizes);
    for (const auto size : sizes)
    {
        const auto one = in.pop();
        BOOST_REQUIRE(one.has_value());
        BOOST_TEST(counts(*one, size, size));
    }
    BOOST_TEST(!in.pop());
}

BOOST_AUTO_TEST_CASE(a_large_item_is_read_where_it_was_written)
{
    queue<numbers> q(bound(16 * mega));
    auto out = q.producer();
    auto in = q.consumer();
    const std::uint64_t* written = nullptr;
    unsigned times = 0;
    out.push({mega, [&](std::span<std::uint64_t> room) {
                  written = room.data();
                  ++times;
              }});
    const auto one = in.lease();
    BOOST_TEST(one->size() == mega);
    BOOST_TEST(one->data() == written);
    BOOST_TEST(times == 1u);
}

BOOST_AUTO_TEST_CASE(a_large_member_lies_where_its_elements_may)
{
    queue<frame> q(bound(8 * mega));
    auto in = q.consumer();
    process renderer(&render, q.producer(), 10, 300'001u);
    BOOST_TEST(brightness(in) == 45 * 300'001.0);

    queue<std::pair<char, large<long double>>> wide(bound(mega));
    auto out = wide.producer();
    const std::vector<long double> some{1, 2, 3};
    out.push({'a', large<long double>(std::span(some))});
    const auto one = wide.consumer().lease();
    BOOST_TEST(one->second.size() == 3u);
    BOOST_TEST(one->second[2] == 3);
    BOOST_TEST(reinterpret_cast<std::uintptr_t>(one->second.data()) %
                   alignof(long double) ==
               0u);
}

BOOST_AUTO_TEST_CASE(what_pop_returns_outlives_the_queue)
{
    std::optional<numbers> kept;
    {
        queue<numbers> q(bound(4 * mega));
        auto out = q.producer();
        out.push(counting(mega, 5));
        kept = q.consumer().pop();
        out.push(counting(2 * mega, 0)); // in the same place
    }
    BOOST_TEST(counts(*kept, mega, 5));
}

BOOST_AUTO_TEST_CASE(an_item_that_never_fits_is_refused_at_once)
{
    queue<numbers> q(bound(mega));
    auto out = q.producer();
    BOOST_CHECK_THROW(out.push(counting(mega, 0)), std::length_error);
    queue<large<char>> wide(bound(6000 * mega)); // costs nothing yet
    BOOST_CHECK_THROW(wide.producer().push({5000 * mega, [](auto) {}}),
                      std::length_error);
    BOOST_CHECK_THROW(out.push({~std::size_t{0}, [](auto) {}}),
                      std::length_error);
    out.push(counting(8, 0));
    BOOST_TEST(q.size() == 1u);
}

BOOST_AUTO_TEST_CASE(what_throws_while_it_fills_was_never_pushed)
{
    queue<numbers> q(bound(4 * mega));
    auto out = q.producer();
    auto in = q.consumer();
    for (const std::size_t size : {std::size_t{8}, mega, std::size_t{8}})
    {
        BOOST_CHECK_THROW(out.push({size / 8,
                                    [](std::span<std::uint64_t>) {
                                        throw std::runtime_error("no");
                                    }}),
                          std::runtime_error);
        BOOST_TEST(q.size() == 0u);
        out.push(counting(size, 7));
        BOOST_TEST(counts(*in.pop(), size, 7));
    }
}

// --- its memory --------------------------------------------------------------

BOOST_AUTO_TEST_CASE(memory_is_taken_as_items_need_it)
{
    queue<numbers> q(bound(1024 * mega));
    auto out = q.producer();
    auto in = q.consumer();
    for (int i = 0; i < 40; ++i) // each finds the queue empty
    {
        out.push(counting(4 * mega, 0));
        BOOST_TEST(counts(*in.pop(), 4 * mega, 0));
    }
    BOOST_TEST(test::shared_memory() < 10 * mega);
    for (int i = 0; i < 5; ++i)
        out.push(counting(4 * mega, 0));
    BOOST_TEST(test::shared_memory() >= 20 * mega);
    BOOST_TEST(test::shared_memory() < 30 * mega);
}

BOOST_AUTO_TEST_CASE(an_acknowledged_item_makes_room_for_the_next)
{
    queue<numbers> q(bound(24 * mega));
    auto out = q.producer();
    auto in = q.consumer();
    for (unsigned i = 0; i < 3; ++i)
        BOOST_REQUIRE((out.try_push(counting(7 * mega, i)) == outcome::done));
    for (unsigned i = 0; i < 20; ++i)
    {
        BOOST_REQUIRE(
            (out.try_push(counting(7 * mega, i + 3)) == outcome::full));
        auto one = in.lease();
        BOOST_REQUIRE(counts(*one, 7 * mega, i));
        BOOST_REQUIRE(one.acknowledge());
        BOOST_REQUIRE(
            (out.try_push(counting(7 * mega, i + 3)) == outcome::done));
        BOOST_REQUIRE(test::shared_memory() < 26 * mega);
    }
}

BOOST_AUTO_TEST_CASE(a_dropped_item_makes_room_for_the_next)
{
    auto options = bound(24 * mega);
    options.capacity = 3;
    options.when_full = overflow::drop_oldest;
    queue<numbers> q(options);
    auto out = q.producer();
    for (unsigned i = 0; i < 20; ++i)
        out.push(counting(7 * mega, i));
    BOOST_TEST(test::shared_memory() < 26 * mega);
    BOOST_TEST(q.stats().dropped == 17u);
    BOOST_TEST(counts(*q.consumer().pop(), 7 * mega, 17));
}

BOOST_AUTO_TEST_CASE(a_dead_letter_makes_room_for_the_next)
{
    auto options = bound(24 * mega);
    options.attempts = 1;
    queue<numbers> q(options);
    auto out = q.producer();
    auto in = q.consumer();
    for (unsigned i = 0; i < 9; ++i)
    {
        BOOST_REQUIRE((out.try_push(counting(20 * mega, i)) == outcome::done));
        in.lease().give_back();
        BOOST_REQUIRE(!in.lease(common::clock::now())); // nobody else has it
        const auto dead = q.dead_letters();
        BOOST_REQUIRE(dead.size() == 1u);
        BOOST_REQUIRE(counts(*dead[0].item, 20 * mega, i));
    }
    BOOST_TEST(test::shared_memory() < 26 * mega);
}

BOOST_AUTO_TEST_CASE(a_large_item_survives_its_consumers_and_holds_no_memory)
{
    auto options = bound(24 * mega);
    options.attempts = 100;
    queue<numbers> q(options);
    auto out = q.producer();
    auto in = q.consumer();
    for (unsigned i = 0; i < 8; ++i)
    {
        const counter has;
        process victim(
            [](consumer<numbers> from, counter h) {
                const auto one = from.lease();
                *h = one->size();
                for (;;) // until it is killed
                    ::pause();
            },
            q.consumer(), has);
        BOOST_REQUIRE((out.try_push(counting(20 * mega, i)) == outcome::done));
        BOOST_REQUIRE(eventually([&] { return *has != 0; }));
        victim.kill();
        auto again = in.lease();
        BOOST_TEST(again.redelivered() == 1u);
        BOOST_TEST(counts(*again, 20 * mega, i));
        BOOST_TEST(again.acknowledge());
        victim.join();
    }
    BOOST_TEST(test::shared_memory() < 26 * mega);
}

BOOST_AUTO_TEST_CASE(a_producer_that_is_killed_while_it_fills_leaves_nothing)
{
    queue<numbers> q(bound(24 * mega));
    auto open = q.producer();
    auto in = q.consumer();
    const auto begin = test::shared_memory();
    for (unsigned i = 0; i < 6; ++i)
    {
        process victim(
            [](producer<numbers> out, unsigned number) {
                out.push(counting(3 * mega, number));
                out.push({20 * mega / 8, [](std::span<std::uint64_t> room) {
                              std::fill(room.begin(), room.end(), 1u);
                              ::raise(SIGKILL);
                          }});
            },
            q.producer(), i);
        BOOST_TEST(counts(*in.pop(), 3 * mega, i));
        BOOST_TEST(victim.join().signal == SIGKILL);
        BOOST_TEST(q.size() == 0u);
        // It was all that its lane had: what it was filling goes back, too.
        BOOST_TEST(
            eventually([&] { return test::shared_memory() < begin + mega; }));
    }
    open.push(counting(20 * mega, 9));
    BOOST_TEST(counts(*in.pop(), 20 * mega, 9));
}

BOOST_AUTO_TEST_CASE(kills_on_both_sides_cost_no_large_item_and_no_memory)
{
    constexpr std::uint64_t items = 200;
    auto options = bound(16 * mega);
    options.attempts = 1000; // here nobody is to blame
    queue<numbers> q(options);
    std::optional open(q.producer());
    auto in = q.consumer();
    const counter next;
    const common::shared_array<std::atomic<std::uint64_t>> done(items);
    const counter torn;
    const auto produce = [](producer<numbers> out, counter n) {
        for (auto i = n->load(); i < items; i = ++*n)
            out.push(counting((i % 40 + 1) * 100 * kilo, i));
    };
    const auto consume = [](consumer<numbers> from,
                            common::shared_array<std::atomic<std::uint64_t>> d,
                            counter t) {
        while (auto one = from.lease())
        {
            const auto i = one->size() == 0 ? items : (*one)[0];
            *t += i >= items || !counts(*one, (i % 40 + 1) * 100 * kilo, i);
            one.acknowledge();
            if (i < items)
                ++d[i];
        }
    };
    ::setenv("COMMON_FAULT",
             "producer.written=0.03,ring.published=0.03,"
             "consumer.handed=0.03,consumer.finishing=0.03,"
             "consumer.finished=0.03,lanes.acknowledging=0.03",
             1);
    unsigned deaths = 0;
    std::uint64_t most = 0;
    process writer(produce, *open, next);
    std::vector<process> readers;
    for (int i = 0; i < 2; ++i)
        readers.emplace_back(consume, in, done, torn);
    for (bool writing = true; writing;) // ends: each death is made good
    {
        if (const auto end = writer.join_for(1ms))
        {
            writing = !end->success();
            deaths += writing;
            if (writing)
                writer = process(produce, *open, next);
        }
        for (auto& one : readers)
            if (const auto end = one.join_for(0ms))
            {
                BOOST_REQUIRE(end->signal == SIGKILL);
                ++deaths;
                one = process(consume, in, done, torn);
            }
        most = std::max(most, test::shared_memory());
    }
    ::unsetenv("COMMON_FAULT");
    open.reset();
    readers.emplace_back(consume, in, done, torn); // not to be killed
    for (auto& one : readers)
        one.join();
    BOOST_TEST(q.size() == 0u);
    BOOST_TEST(*torn == 0u);
    BOOST_TEST(deaths > 5u);
    // The next producer may come before the death of the last is known.
    BOOST_TEST(most < options.producers * 16 * mega + mega);
    std::uint64_t counted = 0; // who dies right behind it has not counted
    for (const auto& one : done)
        counted += one != 0;
    BOOST_TEST(counted + deaths + 2 >= items);
    // Nobody writes any more, and all is finished.
    in.leave();
    BOOST_TEST(eventually([] { return test::shared_memory() < mega; }));
}

// --- bounds ------------------------------------------------------------------

BOOST_AUTO_TEST_CASE(a_stalled_consumer_costs_no_more_memory_than_the_bound)
{
    constexpr std::size_t size = 256 * kilo, each = 32 * mega, producers = 2;
    constexpr std::uint64_t items = 400; // of each: three times the bound
    auto options = bound(each);
    options.producers = producers;
    queue<std::vector<char>> q(options);
    auto in = q.consumer();
    const auto shared_before = test::shared_memory();
    const auto own_before = test::private_memory(::getpid());
    common::shared_array<std::atomic<std::uint64_t>> own(producers);
    std::vector<process> writers;
    {
        auto open = q.producer();
        for (unsigned i = 0; i < producers; ++i)
            writers.emplace_back(
                [](producer<std::vector<char>> out, std::uint64_t n,
                   common::shared_array<std::atomic<std::uint64_t>> begin,
                   unsigned me) {
                    std::vector<char> item(size);
                    begin[me] = test::private_memory(::getpid());
                    for (std::uint64_t k = 0; k < n; ++k)
                        out.push(item);
                },
                open, items, own, i);
    }
    // No other item fits: then its producer can only wait.
    const auto full = producers * ((each - 16) / (size + 64 + 16));
    BOOST_TEST(eventually([&] { return q.size() >= full; }));
    std::uint64_t most = 0;
    for (int i = 0; i < 100; ++i) // whoever went on would be seen meanwhile
    {
        auto now = test::shared_memory() - shared_before;
        now += test::private_memory(::getpid()) - own_before;
        for (unsigned k = 0; k < producers; ++k)
            now += test::private_memory(writers[k].pid()) - own[k];
        most = std::max(most, now);
        ::poll(nullptr, 0, 2);
    }
    BOOST_TEST_MESSAGE("of " << producers * each << " bytes: " << most);
    BOOST_TEST(most <= producers * each * 12 / 10);
    BOOST_TEST(q.size() == full);
    for (const auto& one : q.stats().producers)
        BOOST_TEST(one.items == full / producers);
    std::uint64_t arrived = 0;
    while (in.pop())
        ++arrived;
    BOOST_TEST(arrived == producers * items);
}

BOOST_AUTO_TEST_CASE(a_long_stream_needs_no_more_memory_than_the_bound)
{
    constexpr std::size_t size = mega, each = 64 * mega;
    constexpr std::uint64_t items = 256;
    queue<numbers> q(bound(each));
    auto in = q.consumer();
    const auto begin = test::shared_memory() + test::private_memory(::getpid());
    process writer(
        [](producer<numbers> out, std::uint64_t n) {
            for (std::uint64_t i = 0; i < n; ++i)
                out.push(counting(size, i));
        },
        q.producer(), items);
    std::uint64_t arrived = 0, most = 0;
    for (const auto& one : in)
    {
        BOOST_REQUIRE(counts(one, size, arrived));
        ++arrived;
        most = std::max(most, test::shared_memory() +
                                  test::private_memory(::getpid()) - begin);
    }
    BOOST_TEST(arrived == items);
    BOOST_TEST(most <= each * 12 / 10);
}

BOOST_AUTO_TEST_SUITE_END()
