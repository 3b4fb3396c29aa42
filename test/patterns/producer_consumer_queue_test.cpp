// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.

#define BOOST_TEST_MODULE producer_consumer_queue

#include "common/process.hpp"
#include "test/fixture.hpp"
#include "test/sanitizer.hpp"

#include <boost/test/unit_test.hpp>

#include "patterns/producer_consumer/producer_consumer.hpp"
#include <sys/resource.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <numeric>
#include <optional>
#include <random>
#include <string>
#include <thread>
#include <vector>

namespace {

using namespace std::chrono_literals;
using common::process;
using common::time_point;
using producer_consumer::consumer;
using producer_consumer::outcome;
using producer_consumer::overflow;
using producer_consumer::producer;
using producer_consumer::queue;
using producer_consumer::queue_options;
using counter = common::shared<std::atomic<std::uint64_t>>;

queue_options small(std::size_t capacity)
{
    queue_options result;
    result.capacity = capacity;
    result.bytes = 64 << 10;
    result.producers = 4;
    result.consumers = 4;
    return result;
}

void push_numbers(producer<int> out, int from, int to)
{
    for (int i = from; i < to; ++i)
        out.push(i);
}

template <class T>
std::vector<T> drain(consumer<T>& in)
{
    std::vector<T> result;
    std::optional<T> item;
    while (in.try_pop(item) == outcome::done)
        result.push_back(*item);
    return result;
}

template <class E, class F>
void refused(F f, const std::string& why)
{
    BOOST_CHECK_EXCEPTION(f(), E, [&](const E& e) {
        const std::string text = e.what();
        const bool said = text.find(why) != std::string::npos;
        if (!said)
            BOOST_TEST_MESSAGE("it said: " << text);
        return said;
    });
}

/// Nobody can read one of 3.
struct fragile
{
    int number = 0;
};

/// No default constructor, no bytes that could be copied.
struct named
{
    explicit named(std::string is) : name(std::move(is)) {}
    std::string name;
};

/// An argument that arrives when it is allowed to.
struct gate
{
    counter open{0u};
};

/// While it lives, this process is given no more descriptors.
class no_descriptors
{
public:
    no_descriptors()
    {
        ::getrlimit(RLIMIT_NOFILE, &before_);
        auto none = before_;
        none.rlim_cur = 0;
        ::setrlimit(RLIMIT_NOFILE, &none);
    }
    no_descriptors(const no_descriptors&) = delete;
    ~no_descriptors() { ::setrlimit(RLIMIT_NOFILE, &before_); }

private:
    rlimit before_;
};

} // namespace

template <>
struct common::codec<named>
{
    static std::size_t size(const named& n) { return encoded_size(n.name); }
    static void write(writer& to, const named& n) { encode(to, n.name); }
    static named read(reader& from) { return named(decode<std::string>(from)); }
};

template <>
struct common::codec<gate>
{
    static std::size_t size(const gate& g) { return encoded_size(g.open); }
    static void write(writer& to, const gate& g) { encode(to, g.open); }
    static gate read(reader& from)
    {
        gate result{decode<counter>(from)};
        if (!test::eventually([&] { return *result.open != 0; }))
            throw malformed("the gate stayed closed");
        return result;
    }
};

template <>
struct common::codec<fragile>
{
    static std::size_t size(const fragile&) { return sizeof(int); }
    static void write(writer& to, const fragile& one)
    {
        encode(to, one.number);
    }
    static fragile read(reader& from)
    {
        const fragile one{decode<int>(from)};
        if (one.number == 3)
            throw std::domain_error("three");
        return one;
    }
};

BOOST_FIXTURE_TEST_SUITE(producer_consumer_queue_laws, test::clean)

BOOST_AUTO_TEST_CASE(items_of_a_producer_come_out_in_order)
{
    queue<int> q;
    auto in = q.consumer();
    process writer(&push_numbers, q.producer(), 0, 20'000);
    for (int i = 0; i < 20'000; ++i)
        BOOST_REQUIRE(in.pop() == i);
    BOOST_TEST(!in.pop());
    BOOST_TEST(writer.join().success());
}

BOOST_AUTO_TEST_CASE(every_item_reaches_exactly_one_of_several_consumers)
{
    queue<int> q;
    const counter sum, count;
    {
        auto out = q.producer();
        std::vector<process> all;
        for (int i = 0; i < 3; ++i)
            all.emplace_back(&push_numbers, out, i * 10'000, (i + 1) * 10'000);
        out.leave();
        for (int i = 0; i < 3; ++i)
            all.emplace_back(
                [](consumer<int> in, counter s, counter c) {
                    for (const auto item : in)
                    {
                        *s += static_cast<std::uint64_t>(item);
                        ++*c;
                    }
                },
                q.consumer(), sum, count);
    }
    BOOST_TEST(*count == 30'000u);
    BOOST_TEST(*sum == 30'000u * 29'999u / 2);
    BOOST_TEST(q.size() == 0u);
}

BOOST_AUTO_TEST_CASE(items_of_any_size_cross_unchanged)
{
    queue<std::string> q(small(64));
    auto in = q.consumer();
    process writer(
        [](producer<std::string> out) {
            std::mt19937 dice(7);
            for (int i = 0; i < 3000; ++i)
                out.push(std::string(dice() % 9000, static_cast<char>(i)));
        },
        q.producer());
    std::mt19937 dice(7);
    int i = 0;
    for (const auto& item : in)
    {
        BOOST_REQUIRE(
            (item == std::string(dice() % 9000, static_cast<char>(i))));
        ++i;
    }
    BOOST_TEST(i == 3000);
}

BOOST_AUTO_TEST_CASE(an_item_that_never_fits_is_refused_and_the_queue_goes_on)
{
    queue<std::string> q(small(8));
    auto out = q.producer();
    auto in = q.consumer();
    refused<std::length_error>([&] { out.push(std::string(70'000, 'x')); },
                               "the largest that fits");
    out.push("small");
    BOOST_TEST((in.pop() == "small"));
}

BOOST_AUTO_TEST_CASE(full_empty_timed_out_and_closed_are_told_apart)
{
    queue<int> q(small(3));
    auto out = q.producer();
    auto in = q.consumer();
    std::optional<int> item;
    BOOST_CHECK(in.try_pop(item) == outcome::empty);
    BOOST_CHECK(in.pop_for(item, 5ms) == outcome::timed_out);
    for (int i = 0; i < 3; ++i)
        BOOST_CHECK(out.try_push(i) == outcome::done);
    BOOST_CHECK(out.try_push(9) == outcome::full);
    BOOST_CHECK(out.push_for(9, 5ms) == outcome::timed_out);
    BOOST_TEST(q.size() == 3u);
    q.close();
    q.close();
    BOOST_CHECK(out.try_push(9) == outcome::closed);
    refused<common::closed>([&] { out.push(9); }, "closed");
    BOOST_TEST(drain(in) == (std::vector<int>{0, 1, 2}));
    BOOST_CHECK(in.try_pop(item) == outcome::closed);
    BOOST_CHECK(in.pop_for(item, 1h) == outcome::closed);
    BOOST_TEST(!in.pop());
}

BOOST_AUTO_TEST_CASE(room_is_there_again_as_soon_as_an_item_is_finished)
{
    queue<int> q(small(2));
    auto out = q.producer();
    auto in = q.consumer();
    for (int round = 0; round < 1000; ++round)
    {
        while (out.try_push(round) == outcome::done)
        {
        }
        BOOST_REQUIRE(q.size() == 2u);
        BOOST_REQUIRE(in.pop());
        BOOST_REQUIRE(q.size() == 1u);
    }
}

BOOST_AUTO_TEST_CASE(a_producer_waits_until_there_is_room)
{
    queue<int> q(small(1));
    auto in = q.consumer();
    process writer(&push_numbers, q.producer(), 0, 100);
    for (int i = 0; i < 100; ++i)
        BOOST_REQUIRE(in.pop() == i);
    BOOST_TEST(writer.join().success());
}

BOOST_AUTO_TEST_CASE(a_consumer_waits_until_there_is_an_item)
{
    queue<int> q;
    auto out = q.producer();
    std::optional<int> got;
    std::jthread reader([&, in = q.consumer()]() mutable { got = in.pop(); });
    out.push(7);
    reader.join();
    BOOST_TEST((got == 7));
}

BOOST_AUTO_TEST_CASE(the_queue_closes_with_its_last_producer)
{
    queue<int> q;
    auto one = q.producer();
    {
        auto two = one; // the same end
        two.push(1);
    }
    auto three = q.producer();
    one.leave();
    BOOST_TEST(!q.closed());
    three.push(3);
    three.leave();
    BOOST_TEST(q.closed());
    auto in = q.consumer();
    BOOST_TEST(drain(in) == (std::vector<int>{1, 3}));
    refused<common::closed>([&] { three.push(4); }, "has left");
}

BOOST_AUTO_TEST_CASE(an_end_is_given_away_only_to_a_process_that_starts)
{
    queue<int> q;
    auto out = q.producer();
    std::vector<std::byte> place(1000);
    common::writer to{place};
    refused<std::invalid_argument>([&] { common::encode(to, out); },
                                   "being started");
    out.leave();
    refused<std::logic_error>([&] { process p(&push_numbers, out, 0, 1); },
                              "ends that have not left");
}

BOOST_AUTO_TEST_CASE(more_ends_than_seats_are_refused)
{
    auto options = small(4);
    options.producers = 1;
    queue<int> q(options);
    auto one = q.producer(), two = q.producer();
    one.push(1);
    refused<std::length_error>([&] { two.push(2); }, "all 1 seats");
    one.leave();
    two.push(2);
    auto in = q.consumer();
    BOOST_TEST(drain(in) == (std::vector<int>{1, 2}));
}

BOOST_AUTO_TEST_CASE(numbers_that_make_no_queue_are_refused)
{
    for (auto wrong : {0, 1, 2, 3})
    {
        auto options = small(4);
        (wrong == 0   ? options.producers
         : wrong == 1 ? options.consumers
                      : options.attempts) = 0;
        if (wrong == 3)
            options = small(0);
        BOOST_CHECK_THROW(queue<int> q(options), std::invalid_argument);
    }
    auto backwards = small(4);
    backwards.visibility = -1ms;
    refused<std::invalid_argument>([&] { queue<int> q(backwards); }, "-1 ms");
}

BOOST_AUTO_TEST_CASE(items_need_no_default_constructor)
{
    queue<named> q(small(100));
    auto out = q.producer();
    for (int i = 0; i < 50; ++i)
        out.push(named(std::to_string(i)));
    auto in = q.consumer();
    BOOST_TEST(in.pop()->name == "0");
    BOOST_TEST(in.lease()->name == "1");
    std::size_t count = 0;
    while (q.size() != 0)
        for (const auto& one : in.pop_all(100))
            count += one.name.size() != 0;
    BOOST_TEST(count == 49u); // the lease was dropped: it came again
}

BOOST_AUTO_TEST_CASE(who_comes_when_descriptors_are_short_is_let_in_later,
                     *test::unless_sanitized())
{
    queue<int> q(small(4));
    auto in = q.consumer();
    const gate closed;
    process writer{[](gate, producer<int> out) { out.push(5); }, closed,
                   q.producer()};
    std::optional<int> item;
    {
        const no_descriptors at_all;
        *closed.open = 1;
        BOOST_TEST((in.pop_for(item, 100ms) == outcome::timed_out));
    }
    BOOST_TEST((in.pop_for(item, 10s) == outcome::done));
    BOOST_TEST((item == 5));
    if (!item)
        writer.kill();
}

// --- leases ------------------------------------------------------------------

BOOST_AUTO_TEST_CASE(a_lease_is_acknowledged_once)
{
    queue<int> q(small(4));
    auto out = q.producer();
    auto in = q.consumer();
    out.push(1);
    auto one = in.lease();
    BOOST_TEST(*one == 1);
    BOOST_TEST(one.redelivered() == 0u);
    BOOST_TEST(q.size() == 1u);
    BOOST_TEST(one.acknowledge());
    BOOST_TEST(!one.acknowledge());
    BOOST_TEST(q.size() == 0u);
}

BOOST_AUTO_TEST_CASE(a_lease_that_is_given_back_comes_again)
{
    queue<std::string> q(small(4));
    auto out = q.producer();
    auto in = q.consumer(), other = q.consumer();
    out.push("a");
    out.push("b");
    in.lease().give_back();
    auto again = other.lease();
    BOOST_TEST(*again == "a");
    BOOST_TEST(again.redelivered() == 1u);
    BOOST_TEST(again.acknowledge());
    BOOST_TEST(*in.lease() == "b"); // which goes back with the lease
    auto b = in.lease();
    BOOST_TEST(*b == "b");
    BOOST_TEST(b.redelivered() == 1u);
}

BOOST_AUTO_TEST_CASE(leases_are_acknowledged_in_any_order)
{
    queue<int> q(small(400));
    auto out = q.producer();
    auto in = q.consumer();
    for (int i = 0; i < 300; ++i)
        out.push(i);
    std::mt19937 dice(3);
    std::vector<producer_consumer::leased<int>> all;
    for (int i = 0; i < 300; ++i)
        all.push_back(in.lease());
    std::shuffle(all.begin(), all.end(), dice);
    std::uint64_t left = 300;
    for (auto& one : all)
    {
        BOOST_REQUIRE(one.acknowledge());
        BOOST_REQUIRE(q.size() == --left);
    }
    q.join();
}

namespace {

/// Numbers from 0 on, as many as travel in one bundle; `in` has finished enough
/// of them before to know that they take no time.
std::vector<int> push_one_bundle(producer<int>& out, consumer<int>& in)
{
    std::vector<int> all(240);
    std::iota(all.begin(), all.end(), 0);
    for (int i = 0; i < 50; ++i)
    {
        out.push_all(all);
        drain(in);
    }
    out.push_all(all);
    return all;
}

} // namespace

BOOST_AUTO_TEST_CASE(items_of_a_large_bundle_are_finished_one_by_one)
{
    queue<int> q(small(2000));
    auto out = q.producer();
    auto in = q.consumer(), other = q.consumer();
    const auto all = push_one_bundle(out, in);
    std::vector<producer_consumer::leased<int>> held;
    for (std::size_t i = 0; i < all.size(); ++i)
        held.push_back(in.lease());
    std::optional<int> none;
    BOOST_REQUIRE(other.try_pop(none) == outcome::empty); // it is one bundle
    std::mt19937 dice(5);
    std::shuffle(held.begin(), held.end(), dice);
    std::vector<int> rest;
    for (std::size_t i = 0; i < held.size(); ++i)
        if (i % 3 == 0)
            rest.push_back(*held[i]);
        else
            BOOST_REQUIRE(held[i].acknowledge());
    BOOST_TEST(q.size() == rest.size());
    held.clear(); // what was not acknowledged goes back
    std::vector<int> again;
    while (auto one = other.lease(common::clock::now()))
    {
        BOOST_REQUIRE(one.redelivered() == 1u);
        again.push_back(*one);
        one.acknowledge();
    }
    std::sort(rest.begin(), rest.end());
    BOOST_TEST(again == rest, boost::test_tools::per_element());
    BOOST_TEST(q.size() == 0u);
    q.join();
}

BOOST_AUTO_TEST_CASE(a_dead_letter_anywhere_in_a_large_bundle_is_named)
{
    queue<int> q(small(2000));
    auto out = q.producer();
    auto in = q.consumer();
    const auto all = push_one_bundle(out, in);
    const auto is_bad = [](int i) { return i == 60 || i == 239; };
    std::size_t done = 0;
    for (unsigned tries = 0; done < all.size() - 2 && tries < 1000; ++tries)
    {
        auto one = in.lease();
        if (is_bad(*one))
            continue; // gone back
        BOOST_REQUIRE(one.acknowledge());
        ++done;
    }
    while (auto one = in.lease(common::clock::now()))
        BOOST_REQUIRE(is_bad(*one)); // ends: three times, then it is dead
    std::vector<int> dead;
    for (const auto& one : q.dead_letters())
        dead.push_back(*one.item);
    BOOST_TEST(dead == (std::vector{60, 239}),
               boost::test_tools::per_element());
    BOOST_TEST(q.size() == 0u);
}

BOOST_AUTO_TEST_CASE(batches_that_might_be_taken_back_arrive_whole)
{
    auto how = small(2000);
    how.visibility = std::chrono::hours(1); // may be taken away, but is not
    queue<int> q(how);
    auto out = q.producer();
    auto in = q.consumer();
    const auto all = push_one_bundle(out, in);
    std::vector<int> got;
    while (got.size() < all.size())
        for (const auto one : in.pop_all(100))
            got.push_back(one);
    BOOST_TEST(got == all, boost::test_tools::per_element());
    BOOST_TEST(q.size() == 0u);
}

BOOST_AUTO_TEST_CASE(an_item_that_is_given_back_too_often_is_a_dead_letter)
{
    queue<std::string> q(small(8));
    auto out = q.producer();
    auto in = q.consumer();
    for (const std::string item : {"good", "bad", "fine"})
        out.push(item);
    std::vector<std::string> done;
    for (unsigned tries = 0; done.size() < 2 && tries < 20; ++tries)
    {
        auto one = in.lease();
        if (*one == "bad")
            continue; // gone back
        done.push_back(*one);
        one.acknowledge();
    }
    BOOST_TEST(in.lease(common::clock::now()).operator bool() == false);
    BOOST_TEST(done == (std::vector<std::string>{"good", "fine"}),
               boost::test_tools::per_element());
    const auto dead = q.dead_letters();
    BOOST_REQUIRE(dead.size() == 1u);
    BOOST_TEST(*dead[0].item == "bad");
    BOOST_TEST(q.size() == 0u);
    BOOST_TEST(q.dead_letters().empty());
}

namespace {

/// Pushes 1, 3, 5; takes with `take` until that returns false, and expects
/// that it throws for each attempt, and gets the others.
template <class Take>
void takes_all_but_three(Take take)
{
    auto how = small(64);
    how.attempts = 2;
    queue<fragile> q(how);
    auto out = q.producer();
    auto in = q.consumer();
    for (const int i : {1, 3, 5})
        out.push({i});
    out.leave();
    std::vector<int> got;
    unsigned thrown = 0;
    for (bool more = true; more;) // ends: three items, each twice at most
        try
        {
            more = take(in, got);
        }
        catch (const std::domain_error&)
        {
            BOOST_REQUIRE(++thrown <= 2);
        }
    BOOST_TEST(got == (std::vector{1, 5}), boost::test_tools::per_element());
    BOOST_TEST(thrown == 2u);
    BOOST_TEST(q.size() == 0u);
    BOOST_TEST(q.join_until(common::clock::now() + 100s));
    const auto dead = q.dead_letters();
    BOOST_REQUIRE(dead.size() == 1u);
    BOOST_TEST(!dead[0].item);
    BOOST_TEST(dead[0].error.type == "std::domain_error");
    BOOST_TEST(dead[0].error.what == "three");
}

} // namespace

BOOST_AUTO_TEST_CASE(an_item_that_cannot_be_decoded_is_a_dead_letter_in_the_end)
{
    using fragiles = consumer<fragile>;
    takes_all_but_three([](fragiles& in, std::vector<int>& got) {
        const auto one = in.pop();
        if (one)
            got.push_back(one->number);
        return one.has_value();
    });
    takes_all_but_three([](fragiles& in, std::vector<int>& got) {
        std::optional<fragile> one;
        const auto how = in.try_pop(one);
        if (how == outcome::done)
            got.push_back(one->number);
        return how == outcome::done;
    });
    takes_all_but_three([](fragiles& in, std::vector<int>& got) {
        std::optional<fragile> one;
        const auto how = in.pop_for(one, 1h);
        if (how == outcome::done)
            got.push_back(one->number);
        return how == outcome::done;
    });
    takes_all_but_three([](fragiles& in, std::vector<int>& got) {
        for (const auto& one : in)
            got.push_back(one.number);
        return false;
    });
    takes_all_but_three([](fragiles& in, std::vector<int>& got) {
        auto one = in.lease();
        if (!one)
            return false;
        got.push_back(one->number);
        return one.acknowledge();
    });
    takes_all_but_three([](fragiles& in, std::vector<int>& got) {
        const auto all = in.pop_all(100);
        for (const auto& one : all)
            got.push_back(one.number);
        return !all.empty();
    });
}

BOOST_AUTO_TEST_CASE(an_item_that_one_consumer_cannot_decode_comes_to_another)
{
    queue<fragile> q(small(64));
    auto out = q.producer();
    out.push({3});
    std::optional<fragile> one;
    {
        auto in = q.consumer();
        BOOST_CHECK_THROW(in.pop_for(one, 1s), std::domain_error);
    }
    auto other = q.consumer();
    for (int i = 0; i < 2; ++i)
        BOOST_CHECK_THROW(other.try_pop(one), std::domain_error);
    BOOST_CHECK(other.try_pop(one) == outcome::empty);
    BOOST_TEST(q.dead_letters().size() == 1u);
}

BOOST_AUTO_TEST_CASE(a_loop_that_is_left_gives_its_item_back)
{
    queue<int> q(small(8));
    auto out = q.producer();
    auto in = q.consumer();
    for (int i = 0; i < 3; ++i)
        out.push(i);
    for (const auto item : in)
        if (item == 1)
            break;
    BOOST_TEST(q.size() == 2u);
    BOOST_TEST((in.pop() == 1));
}

BOOST_AUTO_TEST_CASE(a_lease_past_its_deadline_goes_back_and_is_refused_late)
{
    auto options = small(8);
    options.visibility = 40ms;
    queue<int> q(options);
    auto out = q.producer();
    auto slow = q.consumer(), quick = q.consumer();
    out.push(1);
    auto late = slow.lease();
    auto again = quick.lease(); // waits until the other one is taken away
    BOOST_TEST(*again == 1);
    BOOST_TEST(again.redelivered() == 1u);
    BOOST_TEST(!late.acknowledge());
    BOOST_TEST(q.size() == 1u);
    BOOST_TEST(again.acknowledge());
    BOOST_TEST(q.size() == 0u);
}

BOOST_AUTO_TEST_CASE(a_late_acknowledgement_says_nothing_of_a_later_item)
{
    auto options = small(8);
    options.visibility = 40ms;
    queue<std::string> q(options);
    auto out = q.producer();
    auto slow = q.consumer(), quick = q.consumer();
    const std::string one(40'000, '1'), two(40'000, '2');
    out.push(one);
    auto late = slow.lease();
    BOOST_TEST(quick.lease().acknowledge());
    q.join();
    out.push(two); // where the first one was: there is no other room
    BOOST_TEST(!late.acknowledge());
    BOOST_TEST(q.size() == 1u);
    BOOST_TEST((quick.pop() == two));
}

BOOST_AUTO_TEST_CASE(a_dead_letter_is_finished_for_who_joins)
{
    for (int round = 0; round < 50; ++round)
    {
        queue_options how;
        how.attempts = 1;
        queue<int> q(how);
        auto out = q.producer();
        auto in = q.consumer();
        out.push(7);
        in.lease().give_back(); // which was its only attempt
        producer_consumer::leased<int> none;
        BOOST_REQUIRE((in.try_lease(none) == outcome::empty));
        in.leave();
        q.join();
        BOOST_REQUIRE(q.dead_letters().size() == 1u);
    }
}

BOOST_AUTO_TEST_CASE(join_returns_when_every_item_is_acknowledged)
{
    queue<int> q(small(8));
    auto out = q.producer();
    auto in = q.consumer();
    q.join();
    out.push(1);
    out.push(2);
    BOOST_TEST(!q.join_until(common::clock::now() + 5ms));
    auto one = in.lease(), two = in.lease();
    two.acknowledge();
    BOOST_TEST(!q.join_until(common::clock::now()));
    std::jthread later([&] { one.acknowledge(); });
    q.join();
}

// --- what a full queue does --------------------------------------------------

BOOST_AUTO_TEST_CASE(a_queue_may_fail_when_it_is_full)
{
    auto options = small(2);
    options.when_full = overflow::fail;
    queue<int> q(options);
    auto out = q.producer();
    out.push(1);
    out.push(2);
    refused<common::full>([&] { out.push(3); }, "full");
}

BOOST_AUTO_TEST_CASE(a_queue_may_drop_the_oldest)
{
    auto options = small(3);
    options.when_full = overflow::drop_oldest;
    queue<int> q(options);
    auto out = q.producer();
    auto in = q.consumer();
    for (int i = 0; i < 10; ++i)
        out.push(i);
    BOOST_TEST(drain(in) == (std::vector<int>{7, 8, 9}));
    BOOST_TEST(q.stats().dropped == 7u);
}

BOOST_AUTO_TEST_CASE(as_many_are_dropped_as_a_longer_item_needs)
{
    auto options = small(100);
    options.when_full = overflow::drop_oldest;
    queue<std::string> q(options);
    auto out = q.producer();
    auto in = q.consumer();
    for (int i = 0; i < 6; ++i)
        out.push(std::string(10'000, static_cast<char>('a' + i)));
    out.push(std::string(35'000, 'z'));
    const auto left = drain(in);
    BOOST_TEST(left.back() == std::string(35'000, 'z'));
    BOOST_TEST(left.size() == 7u - q.stats().dropped);
}

BOOST_AUTO_TEST_CASE(a_queue_may_keep_the_latest_only)
{
    auto options = small(3);
    options.when_full = overflow::keep_latest;
    queue<int> q(options);
    auto out = q.producer();
    auto in = q.consumer();
    for (int i = 0; i < 10; ++i)
        out.push(i);
    BOOST_TEST(drain(in) == (std::vector<int>{9}));
}

BOOST_AUTO_TEST_CASE(a_producer_does_not_wait_where_nobody_will_ever_read)
{
    queue<int> q(small(1));
    auto out = q.producer();
    q.consumer().pop_all(0); // came, and left
    out.push(1);
    refused<common::closed>([&] { out.push(2); }, "no consumer left");
    auto in = q.consumer();
    BOOST_TEST((in.pop() == 1));
    out.push(3);
    BOOST_TEST((in.pop() == 3));
}

BOOST_AUTO_TEST_CASE(batches_of_any_size_arrive_whole_and_in_order)
{
    constexpr int items = 60'000;
    const auto text = [](int i) {
        const auto n = static_cast<unsigned>(i);
        return std::to_string(i) + std::string(n * n % 301, 'x');
    };
    queue<std::string> q(small(700));
    std::thread writer([&, out = q.producer()]() mutable {
        std::mt19937 dice(1);
        std::vector<std::string> some;
        for (int i = 0; i < items;)
        {
            some.clear();
            for (auto n = dice() % 200; n > 0 && i < items; --n)
                some.push_back(text(i++));
            out.push_all(some);
        }
    });
    auto in = q.consumer();
    std::mt19937 dice(2);
    int expected = 0;
    while (expected < items)
        for (const auto& one : in.pop_all(1 + dice() % 300))
            BOOST_REQUIRE(one == text(expected++));
    writer.join();
    BOOST_TEST(q.stats().pushed == unsigned{items});
    BOOST_TEST(q.stats().finished == unsigned{items});
    BOOST_TEST(q.size() == 0u);
}

BOOST_AUTO_TEST_CASE(a_batch_larger_than_the_queue_waits_for_room)
{
    queue<int> q(small(8));
    std::thread reader([in = q.consumer()]() mutable {
        for (int i = 0; i < 5000; ++i)
            if (in.pop() != i)
                throw std::logic_error("out of order");
    });
    std::vector<int> all(5000);
    std::iota(all.begin(), all.end(), 0);
    auto out = q.producer();
    out.push_all(all);
    reader.join();
}

BOOST_AUTO_TEST_CASE(statistics_tell_who_pushed_and_finished_what)
{
    queue<int> q(small(64));
    auto out = q.producer();
    auto in = q.consumer();
    for (int i = 0; i < 20; ++i)
        out.push(i);
    BOOST_TEST(in.pop_all(5).size() == 5u);
    const auto stats = q.stats();
    BOOST_TEST(stats.depth == 15u);
    BOOST_TEST(stats.pushed == 20u);
    BOOST_TEST(stats.finished == 5u);
    BOOST_REQUIRE(stats.producers.size() == 1u);
    BOOST_TEST(stats.producers[0].pid == ::getpid());
}

BOOST_AUTO_TEST_CASE(items_that_take_long_are_not_hoarded_by_one_consumer)
{
    queue<int> q(small(1024));
    auto out = q.producer();
    auto in = q.consumer(), other = q.consumer();
    for (int i = 0; i < 100; ++i)
        out.push(i);
    auto one = in.lease();
    BOOST_TEST(drain(other).size() == 99u);
}

BOOST_AUTO_TEST_SUITE_END()
