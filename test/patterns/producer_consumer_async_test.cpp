// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.

#define BOOST_TEST_MODULE producer_consumer_async

#include "common/process.hpp"
#include "test/fixture.hpp"

#include <boost/asio/awaitable.hpp>
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/test/unit_test.hpp>

#include "patterns/producer_consumer/producer_consumer.hpp"
#include <sys/resource.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

namespace {

namespace asio = boost::asio;
using namespace std::chrono_literals;
using boost::system::error_code;
using common::process;
using producer_consumer::async_consumer;
using producer_consumer::consumer;
using producer_consumer::leased;
using producer_consumer::outcome;
using producer_consumer::producer;
using producer_consumer::queue;
using producer_consumer::queue_options;
using counter = common::shared<std::atomic<std::uint64_t>>;
using test::eventually;

void push_numbers(producer<int> out, int from, int to)
{
    for (int i = from; i < to; ++i)
        out.push(i);
}

// tag::collect[]
asio::awaitable<void> collect(async_consumer<int>& in, std::vector<int>& all)
{
    while (const auto one = co_await in.async_pop(asio::use_awaitable))
        all.push_back(*one);
}
// end::collect[]

/// Nobody can read it.
struct unreadable
{
    int number = 0;
};

std::chrono::microseconds cpu_time()
{
    rusage now{};
    ::getrusage(RUSAGE_SELF, &now);
    const auto time = [](timeval t) {
        return std::chrono::seconds(t.tv_sec) +
               std::chrono::microseconds(t.tv_usec);
    };
    return time(now.ru_utime) + time(now.ru_stime);
}

} // namespace

template <>
struct common::codec<unreadable>
{
    static std::size_t size(const unreadable&) { return sizeof(int); }
    static void write(writer& to, const unreadable& one)
    {
        encode(to, one.number);
    }
    static unreadable read(reader&) { throw std::domain_error("unreadable"); }
};

BOOST_FIXTURE_TEST_SUITE(producer_consumer_async_laws, test::clean)

BOOST_AUTO_TEST_CASE(an_event_loop_gets_what_other_processes_push)
{
    asio::io_context io;
    queue<int> q;
    async_consumer<int> in(io, q.consumer());
    process one, other;
    {
        auto open = q.producer();
        one = process(&push_numbers, open, 0, 10'000);
        other = process(&push_numbers, open, 10'000, 20'000);
    }
    std::vector<int> all;
    co_spawn(io, collect(in, all), asio::detached);
    io.run(); // ends: the queue closes with its last producer
    std::vector<int> first, second;
    for (const int i : all)
        (i < 10'000 ? first : second).push_back(i);
    BOOST_REQUIRE(first.size() == 10'000u);
    BOOST_REQUIRE(second.size() == 10'000u);
    for (int i = 0; i < 10'000; ++i)
    {
        BOOST_REQUIRE(first[static_cast<unsigned>(i)] == i);
        BOOST_REQUIRE(second[static_cast<unsigned>(i)] == 10'000 + i);
    }
}

BOOST_AUTO_TEST_CASE(a_loop_sleeps_between_items_and_wakes_for_each)
{
    asio::io_context io;
    queue<int> there, back;
    async_consumer<int> in(io, back.consumer());
    auto out = there.producer();
    process echo(
        [](consumer<int> from, producer<int> to) {
            for (const int i : from)
                to.push(i);
        },
        there.consumer(), back.producer());
    int rounds = 0;
    co_spawn(
        io,
        [&]() -> asio::awaitable<void> {
            for (; rounds < 2'000; ++rounds)
            {
                out.push(rounds);
                BOOST_TEST(
                    (co_await in.async_pop(asio::use_awaitable) == rounds));
            }
            out.leave();
            BOOST_TEST(!(co_await in.async_pop(asio::use_awaitable)));
        },
        asio::detached);
    io.run();
    BOOST_TEST(rounds == 2'000);
}

BOOST_AUTO_TEST_CASE(a_pop_never_completes_within_its_call)
{
    asio::io_context io;
    queue<int> q;
    async_consumer<int> in(io, q.consumer());
    q.producer().push(7);
    std::optional<int> got;
    in.async_pop([&](error_code, std::optional<int> item) { got = item; });
    BOOST_TEST(!got);
    io.run();
    BOOST_TEST((got == 7));
}

BOOST_AUTO_TEST_CASE(the_end_of_the_queue_is_no_item_and_no_error)
{
    asio::io_context io;
    queue<int> q;
    async_consumer<int> in(io, q.consumer());
    auto out = q.producer();
    int ended = 0;
    for (int i = 0; i < 3; ++i)
        in.async_pop([&](error_code error, std::optional<int> item) {
            ended += !error && !item;
        });
    std::thread runs([&] { io.run(); });
    q.close();
    runs.join();
    BOOST_TEST(ended == 3);
}

BOOST_AUTO_TEST_CASE(the_end_comes_also_when_the_last_producer_is_killed)
{
    asio::io_context io;
    queue<int> q;
    async_consumer<int> in(io, q.consumer());
    const counter pushed;
    process writer(
        [](producer<int> out, counter p) {
            out.push(1);
            *p = 1;
            for (;;) // until it is killed
                ::pause();
        },
        q.producer(), pushed);
    std::vector<int> all;
    co_spawn(io, collect(in, all), asio::detached);
    std::thread runs([&] { io.run(); });
    BOOST_TEST(eventually([&] { return *pushed == 1; }));
    writer.kill();
    runs.join();
    BOOST_TEST(all == std::vector{1});
}

BOOST_AUTO_TEST_CASE(a_pop_completes_with_an_error_for_what_cannot_be_decoded)
{
    asio::io_context io;
    queue_options how;
    how.attempts = 2;
    queue<unreadable> q(how);
    auto out = q.producer();
    out.push({3});
    out.leave();
    async_consumer<unreadable> in(io, q.consumer());
    std::vector<error_code> errors(3);
    in.async_pop([&](error_code e, std::optional<unreadable> one) {
        BOOST_TEST(!one);
        errors[0] = e;
        in.async_lease([&](error_code f, leased<unreadable> same) {
            BOOST_TEST(!same);
            errors[1] = f;
            in.async_pop([&](error_code g, std::optional<unreadable> none) {
                BOOST_TEST(!none);
                errors[2] = g;
            });
        });
    });
    io.run();
    BOOST_TEST(errors[0] == boost::system::errc::bad_message);
    BOOST_TEST(errors[1] == boost::system::errc::bad_message);
    BOOST_TEST(!errors[2]); // the end
    BOOST_TEST(q.dead_letters().size() == 1u);
}

BOOST_AUTO_TEST_CASE(a_pop_that_is_cancelled_takes_nothing)
{
    asio::io_context io;
    queue<int> q;
    auto out = q.producer();
    async_consumer<int> in(io, q.consumer());
    asio::cancellation_signal cancel;
    error_code first;
    std::optional<int> second;
    in.async_pop(asio::bind_cancellation_slot(
        cancel.slot(),
        [&](error_code error, std::optional<int>) { first = error; }));
    io.poll(); // it waits now
    cancel.emit(asio::cancellation_type::total);
    out.push(5);
    in.async_pop([&](error_code, std::optional<int> item) { second = item; });
    io.run();
    BOOST_TEST(first == asio::error::operation_aborted);
    BOOST_TEST((second == 5));
}

BOOST_AUTO_TEST_CASE(pops_that_wait_end_with_their_object)
{
    asio::io_context io;
    queue<int> q;
    auto out = q.producer();
    int aborted = 0;
    {
        async_consumer<int> in(io, q.consumer());
        for (int i = 0; i < 3; ++i)
            in.async_pop([&](error_code error, std::optional<int>) {
                aborted += error == asio::error::operation_aborted;
            });
        io.poll();
        in.async_pop([&](error_code error, std::optional<int>) {
            aborted += error == asio::error::operation_aborted;
        });
    }
    io.run();
    BOOST_TEST(aborted == 4);
    out.push(1);
    BOOST_TEST(q.size() == 1u);
}

BOOST_AUTO_TEST_CASE(pops_that_wait_go_with_their_loop)
{
    queue<int> q;
    auto out = q.producer();
    const auto witness = std::make_shared<int>();
    {
        auto io = std::make_unique<asio::io_context>();
        async_consumer<int> in(*io, q.consumer());
        in.async_pop([witness](error_code, std::optional<int>) {});
        io->poll();
    }
    BOOST_TEST(witness.use_count() == 1);
}

BOOST_AUTO_TEST_CASE(a_loop_that_is_busy_keeps_no_item_from_an_idle_consumer)
{
    asio::io_context io;
    queue<int> q;
    auto out = q.producer();
    async_consumer<int> in(io, q.consumer());
    const counter taken;
    for (int i = 0; i < 2; ++i)
        in.async_pop([](error_code, std::optional<int>) {});
    io.poll(); // and is busy from now on: nobody runs it
    process other(
        [](consumer<int> from, counter t) {
            for ([[maybe_unused]] const int i : from)
                ++*t;
        },
        q.consumer(), taken);
    for (std::uint64_t i = 1; i <= 20; ++i)
    {
        out.push(static_cast<int>(i));
        BOOST_REQUIRE(eventually([&] { return *taken == i; }));
    }
    out.leave();
    io.run();
}

BOOST_AUTO_TEST_CASE(what_a_loop_had_leased_comes_again_when_it_is_killed)
{
    asio::io_context io;
    queue<int> q;
    auto out = q.producer();
    out.push(3);
    const counter has;
    process other(
        [](consumer<int> from, counter h) {
            asio::io_context own;
            async_consumer<int> in(own, std::move(from));
            std::vector<leased<int>> kept;
            in.async_lease([&](error_code, leased<int> one) {
                kept.push_back(std::move(one));
                ++*h;
                ::pause(); // until it is killed
            });
            own.run();
        },
        q.consumer(), has);
    BOOST_TEST(eventually([&] { return *has == 1; }));
    async_consumer<int> in(io, q.consumer());
    unsigned redelivered = 0;
    int item = 0;
    in.async_lease([&](error_code, leased<int> one) {
        item = *one;
        redelivered = one.redelivered();
        BOOST_TEST(one.acknowledge());
    });
    std::thread runs([&] { io.run(); });
    other.kill();
    runs.join();
    BOOST_TEST(item == 3);
    BOOST_TEST(redelivered == 1u);
    q.join();
}

BOOST_AUTO_TEST_CASE(a_loop_that_waits_uses_no_cpu)
{
    asio::io_context io;
    queue<int> q;
    auto out = q.producer();
    async_consumer<int> in(io, q.consumer());
    in.async_pop([](error_code, std::optional<int>) {});
    io.run_for(50ms);
    const auto start = cpu_time();
    io.run_for(1s);
    BOOST_TEST((cpu_time() - start < 20ms));
}

BOOST_AUTO_TEST_SUITE_END()
