// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.

#define BOOST_TEST_MODULE lanes

#include "common/lane_ends.hpp"
#include "common/process.hpp"
#include "test/fixture.hpp"
#include "test/memory.hpp"

#include <boost/test/unit_test.hpp>

#include <signal.h>

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <map>
#include <numeric>
#include <random>
#include <string>
#include <vector>

namespace {

using common::lane_reader;
using common::lane_writer;
using common::lanes;
using common::lease;
using common::slot_control;
using common::time_point;
using state = slot_control::state;

lanes small(unsigned count = 1, unsigned attempts = 3)
{
    return lanes({count, 4096, 64, 8, attempts});
}

bool write(lane_writer& to, const std::string& text)
{
    const auto room = to.claim(text.size());
    if (!room)
        return false;
    std::memcpy(room->data(), text.data(), text.size());
    to.commit();
    return true;
}

std::string text(const lease& one)
{
    return {reinterpret_cast<const char*>(one.bytes.data()), one.bytes.size()};
}

/// The next record's text, acknowledged; "" when there is none.
std::string next(lane_reader& from)
{
    const auto one = from.take();
    if (!one)
        return "";
    const auto result = text(*one);
    BOOST_TEST(from.acknowledge(*one));
    return result;
}

struct armed
{
    explicit armed(const std::string& points)
    {
        ::setenv("COMMON_FAULT", points.c_str(), 1);
    }
    ~armed() { ::unsetenv("COMMON_FAULT"); }
};

} // namespace

BOOST_FIXTURE_TEST_SUITE(lanes_laws, test::clean)

BOOST_AUTO_TEST_CASE(records_of_a_lane_come_in_order)
{
    const auto stream = small();
    lane_writer in(stream, 0);
    lane_reader out(stream, 1);
    BOOST_TEST(next(out) == "");
    for (const std::string one : {"a", "", "ccc"})
        BOOST_TEST(write(in, one));
    BOOST_TEST(next(out) == "a");
    BOOST_TEST(text(*out.take()) == "");
    BOOST_TEST(next(out) == "ccc");
    BOOST_TEST(!out.take());
}

BOOST_AUTO_TEST_CASE(the_ring_turns_round_and_round_with_records_of_any_size)
{
    const auto stream = small();
    lane_writer in(stream, 0);
    lane_reader out(stream, 1);
    std::mt19937 dice(7);
    std::vector<std::string> waiting;
    std::size_t at = 0;
    for (int i = 0; i < 20'000; ++i)
    {
        std::string one(1 + dice() % 700, static_cast<char>('a' + i % 26));
        while (!write(in, one)) // ends: the reader makes room
            BOOST_REQUIRE(next(out) == waiting[at++]);
        waiting.push_back(std::move(one));
    }
    while (at < waiting.size())
        BOOST_REQUIRE(next(out) == waiting[at++]);
    BOOST_TEST(stream.settled(0));
}

BOOST_AUTO_TEST_CASE(a_ring_that_ran_empty_keeps_what_is_written_then)
{
    const auto stream = small();
    lane_writer in(stream, 0);
    lane_reader out(stream, 1);
    std::mt19937 dice(7);
    std::vector<std::string> sent;
    std::size_t got = 0;
    for (int i = 0; i < 2'000; ++i)
    {
        for (bool room = true; room;) // ends: the ring gets full
        {
            sent.emplace_back(1 + dice() % 1'500,
                              static_cast<char>('a' + sent.size() % 26));
            room = write(in, sent.back());
        }
        sent.pop_back(); // had no room
        for (auto n = dice() % 2 ? sent.size() - got : 1; n > 0; --n)
            BOOST_REQUIRE(next(out) == sent[got++]);
    }
}

BOOST_AUTO_TEST_CASE(the_largest_record_fits_wherever_the_last_one_ended)
{
    for (std::size_t start = 0; start < 4096; start += 16)
    {
        const auto stream = small();
        lane_writer in(stream, 0);
        lane_reader out(stream, 1);
        const auto largest = stream.memory_of(0).largest();
        for (std::size_t n = 0; n < start; n += 16)
        {
            BOOST_REQUIRE(write(in, ""));
            BOOST_REQUIRE(out.acknowledge(*out.take()));
        }
        BOOST_REQUIRE(write(in, std::string(largest, 'x')));
        BOOST_REQUIRE(next(out).size() == largest);
        BOOST_CHECK_THROW(in.claim(largest + 1), std::length_error);
    }
}

BOOST_AUTO_TEST_CASE(a_full_lane_takes_nothing_and_loses_nothing)
{
    const auto stream = small();
    lane_writer in(stream, 0);
    lane_reader out(stream, 1);
    int written = 0;
    while (write(in, std::to_string(written))) // ends: the ring is small
        ++written;
    BOOST_TEST(written == 63);
    BOOST_TEST(!in.claim(1));
    BOOST_TEST(next(out) == "0");
    BOOST_TEST(write(in, std::to_string(written++)));
    for (int i = 1; i < written; ++i)
        BOOST_REQUIRE(next(out) == std::to_string(i));
}

BOOST_AUTO_TEST_CASE(a_lane_may_be_full_to_its_last_byte)
{
    const auto stream = small();
    lane_writer in(stream, 0);
    lane_reader out(stream, 1);
    for (char i = 'a'; i < 'e'; ++i)
        BOOST_REQUIRE(write(in, std::string(1024, i)));
    for (char i = 'e'; i <= 'z'; ++i)
    {
        BOOST_REQUIRE(!write(in, ""));
        BOOST_REQUIRE(!in.grow(1, 2));
        const auto old = static_cast<char>(i - 4);
        BOOST_REQUIRE(next(out) == std::string(1024, old));
        BOOST_REQUIRE(write(in, std::string(1024, i)));
    }
}

BOOST_AUTO_TEST_CASE(records_grow_into_no_other_record)
{
    const auto stream = small();
    lane_writer in(stream, 0);
    lane_reader out(stream, 1);
    std::mt19937 dice(3);
    std::vector<std::string> sent;
    std::vector<lease> held; // acknowledged in any order
    std::size_t got = 0;
    const auto size = [&] {
        return dice() % 4 * 16 * (dice() % 16) + dice() % 2;
    };
    for (int i = 0; i < 50'000; ++i)
    {
        const auto letter = static_cast<char>('a' + i % 26);
        const std::string more(size(), letter);
        switch (dice() % 4)
        {
        case 0:
            if (write(in, more))
                sent.push_back(more);
            break;
        case 1:
            if (const auto room = in.grow(more.size(), 60))
            {
                std::memcpy(room->data(), more.data(), more.size());
                BOOST_REQUIRE(in.commit_growth());
                sent.back() += more;
            }
            break;
        case 2:
            if (const auto one = out.take())
            {
                BOOST_REQUIRE(got < sent.size());
                ++got;
                held.push_back(*one);
            }
            break;
        default:
            if (held.empty())
                break;
            std::swap(held[dice() % held.size()], held.back());
            // Others that were held meanwhile: nobody has written there.
            BOOST_REQUIRE(text(held.back()) == sent[held.back().number]);
            BOOST_REQUIRE(out.acknowledge(held.back()));
            held.pop_back();
        }
    }
    BOOST_TEST(sent.size() > 5000u);
}

BOOST_AUTO_TEST_CASE(a_lane_that_nobody_writes_costs_next_to_nothing)
{
    constexpr std::size_t mega = 1u << 20;
    const auto begin = test::shared_memory();
    const lanes stream({100, 64 * mega, mega, 8, 3}); // 16 MiB of slots each
    lane_reader out(stream, 1);
    BOOST_TEST(!out.take());
    {
        lane_writer in(stream, 1);
        BOOST_REQUIRE(write(in, "a"));
    }
    BOOST_TEST(next(out) == "a");
    stream.close();
    BOOST_TEST(stream.finished());
    BOOST_TEST(test::shared_memory() < begin + 18 * mega);
}

BOOST_AUTO_TEST_CASE(a_lane_has_the_memory_that_its_records_need)
{
    constexpr std::size_t mega = 1u << 20;
    const lanes stream({1, 64 * mega, 64, 8, 3});
    const auto begin = test::shared_memory();
    lane_reader out(stream, 1);
    {
        lane_writer in(stream, 0);
        for (int i = 0; i < 100; ++i) // each time it begins again
        {
            BOOST_REQUIRE(write(in, std::string(600'000, 'x')));
            BOOST_REQUIRE(next(out).size() == 600'000u);
        }
        BOOST_TEST(test::shared_memory() < begin + 3 * mega);
        BOOST_REQUIRE(write(in, std::string(10 * mega, 'x')));
        BOOST_TEST(test::shared_memory() >= begin + 10 * mega);
        BOOST_TEST(test::shared_memory() < begin + 13 * mega);
    }
    stream.release(0); // does nothing: there is a record
    BOOST_TEST(next(out) == std::string(10 * mega, 'x'));
    stream.release(0);
    BOOST_TEST(test::shared_memory() < begin + mega);
    lane_writer again(stream, 0);
    BOOST_REQUIRE(write(again, std::string(40 * mega, 'y')));
    BOOST_TEST(next(out) == std::string(40 * mega, 'y'));
}

BOOST_AUTO_TEST_CASE(what_is_leased_holds_what_was_written_behind_it)
{
    const auto stream = small();
    lane_writer in(stream, 0);
    lane_reader out(stream, 1);
    write(in, "slow");
    const auto slow = out.take();
    int behind = 0;
    for (; write(in, std::string(100, 'x')); ++behind) // ends when it is full
        next(out);
    BOOST_TEST(behind > 10);
    BOOST_TEST(text(*slow) == "slow");
    BOOST_TEST(out.acknowledge(*slow));
    BOOST_TEST(write(in, std::string(4000, 'x'))); // all of it is free again
}

BOOST_AUTO_TEST_CASE(a_record_is_leased_to_one_reader_only)
{
    const auto stream = small();
    lane_writer in(stream, 0);
    lane_reader one(stream, 1), two(stream, 2);
    write(in, "a");
    const auto mine = one.take();
    BOOST_TEST(mine.has_value());
    BOOST_TEST(!two.take());
    write(in, "b");
    BOOST_TEST(next(two) == "b");
    BOOST_TEST(!stream.settled(0));
    BOOST_TEST(one.acknowledge(*mine));
    BOOST_TEST(stream.settled(0));
}

BOOST_AUTO_TEST_CASE(what_is_given_back_comes_again_to_any_reader)
{
    const auto stream = small();
    lane_writer in(stream, 0);
    lane_reader one(stream, 1), two(stream, 2);
    for (const std::string t : {"a", "b", "c"})
        write(in, t);
    const auto a = one.take();
    BOOST_TEST(next(two) == "b");
    BOOST_TEST(one.give_back(*a));
    const auto again = two.take();
    BOOST_TEST(text(*again) == "a");
    BOOST_TEST(again->attempt() == 1u);
    BOOST_TEST(!one.acknowledge(*a)); // too late
    BOOST_TEST(!one.give_back(*a));
    BOOST_TEST(next(one) == "c");
    BOOST_TEST(two.acknowledge(*again));
    BOOST_TEST(stream.settled(0));
}

BOOST_AUTO_TEST_CASE(a_late_acknowledgement_never_reaches_a_later_record)
{
    const auto stream = small(1, 200);
    lane_writer in(stream, 0);
    lane_reader one(stream, 1), two(stream, 2);
    write(in, "old");
    const auto old = one.take();
    one.give_back(*old);
    BOOST_TEST(next(two) == "old");
    std::optional<lease> same_place;
    while (!same_place || same_place->number % 64 != old->number)
    {
        write(in, "new");
        same_place = one.take();
        if (same_place->number % 64 != old->number)
            one.acknowledge(*same_place);
    }
    BOOST_TEST(!one.acknowledge(*old));
    BOOST_TEST(one.acknowledge(*same_place));
}

BOOST_AUTO_TEST_CASE(
    a_record_without_attempts_left_is_dead_and_can_be_taken_out)
{
    const auto stream = small(1, 2);
    lane_writer in(stream, 0);
    lane_reader out(stream, 1);
    write(in, "bad");
    write(in, "good");
    for (unsigned i = 0; i < 2; ++i)
    {
        const auto one = out.take();
        BOOST_TEST(text(*one) == "bad");
        BOOST_TEST(one->attempt() == i);
        BOOST_TEST(out.give_back(*one));
    }
    BOOST_TEST(next(out) == "good");
    BOOST_TEST(!out.take());
    std::string buried;
    stream.take_dead([&](std::span<const std::byte> b, slot_control) {
        buried.append(reinterpret_cast<const char*>(b.data()), b.size());
    });
    BOOST_TEST(buried == "bad");
    BOOST_TEST(stream.settled(0));
}

BOOST_AUTO_TEST_CASE(
    recovery_returns_the_records_of_one_seat_and_may_be_repeated)
{
    const auto stream = small(2);
    lane_writer in(stream, 0), in2(stream, 1);
    lane_reader dead(stream, 1), other(stream, 2);
    write(in, "a");
    write(in, "b");
    write(in2, "c");
    write(in, "d");
    for (int i = 0; i < 2; ++i)
        BOOST_TEST(dead.take().has_value());
    const auto b = other.take();
    stream.recover(1);
    stream.recover(1);
    std::map<std::string, int> seen;
    for (auto one = other.take(); one; one = other.take())
    {
        ++seen[text(*one)];
        BOOST_TEST(other.acknowledge(*one));
    }
    BOOST_TEST(other.acknowledge(*b));
    ++seen[text(*b)];
    BOOST_TEST(seen.size() == 4u);
    BOOST_TEST((stream.settled(0) && stream.settled(1)));
}

BOOST_AUTO_TEST_CASE(what_a_reader_wrote_into_a_record_the_next_one_finds)
{
    const auto stream = small();
    lane_writer in(stream, 0);
    lane_reader dead(stream, 1), other(stream, 2);
    write(in, "abc");
    dead.take()->bytes[1] = std::byte{'!'};
    stream.recover(1);
    BOOST_TEST(next(other) == "a!c");
}

BOOST_AUTO_TEST_CASE(numbers_that_make_no_stream_are_refused)
{
    const lanes::options wrong[] = {
        {0, 4096, 0, 8, 3},   {4096, 4096, 0, 8, 3}, {1, 4095, 0, 8, 3},
        {1, 4096, 0, 0, 3},   {1, 4096, 0, 4096, 3}, {1, 4096, 0, 8, 0},
        {1, 4096, 0, 8, 4096}};
    for (const auto& one : wrong)
        BOOST_CHECK_THROW(lanes{one}, std::invalid_argument);
    BOOST_CHECK_THROW(lane_reader(small(), 0), std::invalid_argument);
    BOOST_CHECK_THROW(lane_reader(small(), 9), std::invalid_argument);
}

BOOST_AUTO_TEST_CASE(any_words_in_a_lane_are_refused_or_harmless)
{
    std::mt19937_64 dice(3);
    for (int round = 0; round < 500; ++round)
    {
        const auto stream = small();
        lane_writer in(stream, 0);
        lane_reader out(stream, 1);
        for (int i = 0; i < 10; ++i)
            write(in, std::string(dice() % 50, 'x'));
        auto* const words =
            reinterpret_cast<std::uint64_t*>(&stream.memory_of(0).at(0));
        words[dice() % 64] = dice() % 2 == 0 ? dice() : dice() % 1000;
        try
        {
            for (int i = 0; i < 20; ++i)
                if (const auto one = out.take())
                    out.acknowledge(*one);
        }
        catch (const common::malformed&)
        {
        }
    }
}

BOOST_AUTO_TEST_CASE(a_lane_that_was_empty_does_not_overlap_its_first_record)
{
    const auto stream = small();
    lane_writer in(stream, 0);
    lane_reader out(stream, 1);
    const auto put = [&](std::size_t size, char with) {
        return write(in, std::string(size, with));
    };
    BOOST_TEST(put(2000, 'a'));
    BOOST_TEST(put(1000, 'b'));
    BOOST_TEST((next(out) == std::string(2000, 'a')));
    stream.advance(0);
    BOOST_TEST(put(1500, 'c')); // at the beginning again
    BOOST_TEST((next(out) == std::string(1000, 'b')));
    BOOST_TEST((next(out) == std::string(1500, 'c')));
    stream.advance(0);
    BOOST_TEST(put(3000, 'd')); // the only one
    BOOST_TEST(!put(1500, 'e'));
    BOOST_TEST((next(out) == std::string(3000, 'd')));
}

// --- records that grow -------------------------------------------------------

namespace {

/// Adds a number to the last record, or begins one with it.
bool append(lane_writer& to, std::uint64_t number, unsigned most = 4)
{
    if (const auto more = to.grow(sizeof number, most))
    {
        std::memcpy(more->data(), &number, sizeof number);
        if (to.commit_growth())
            return true;
    }
    const auto room = to.claim(sizeof number);
    if (!room)
        return false;
    std::memcpy(room->data(), &number, sizeof number);
    return to.commit();
}

std::vector<std::uint64_t> numbers(const lease& one)
{
    std::vector<std::uint64_t> result(one.parts());
    std::memcpy(result.data(), one.bytes.data(), 8 * result.size());
    return result;
}

} // namespace

BOOST_AUTO_TEST_CASE(a_record_grows_until_a_reader_takes_it)
{
    const auto stream = small();
    lane_writer in(stream, 0);
    lane_reader out(stream, 1);
    for (std::uint64_t i = 1; i <= 6; ++i)
        BOOST_TEST(append(in, i));
    const auto one = out.take();
    BOOST_TEST(numbers(*one) == (std::vector<std::uint64_t>{1, 2, 3, 4}));
    BOOST_TEST(append(in, 7)); // to the second one
    const auto two = out.take();
    BOOST_TEST(numbers(*two) == (std::vector<std::uint64_t>{5, 6, 7}));
    BOOST_TEST(append(in, 8)); // which has been taken
    BOOST_TEST(numbers(*out.take()) == (std::vector<std::uint64_t>{8}));
    BOOST_TEST(numbers(*two) == (std::vector<std::uint64_t>{5, 6, 7}));
}

BOOST_AUTO_TEST_CASE(a_record_grows_by_several_parts_up_to_its_bound)
{
    const auto stream = small();
    lane_writer in(stream, 0);
    lane_reader out(stream, 1);
    append(in, 1);
    const auto more = in.grow(16, 4, 2);
    const std::uint64_t both[] = {2, 3};
    std::memcpy(more->data(), both, sizeof both);
    BOOST_TEST(in.commit_growth());
    BOOST_TEST(!in.grow(16, 4, 2)); // five parts
    BOOST_TEST(append(in, 4));
    BOOST_TEST(numbers(*out.take()) ==
               (std::vector<std::uint64_t>{1, 2, 3, 4}));
}

BOOST_AUTO_TEST_CASE(readers_look_at_lanes_that_had_a_writer_alone)
{
    const auto stream = small(2);
    BOOST_TEST(stream.used() == 0u);
    lane_reader out(stream, 1);
    BOOST_TEST(!out.take());
    lane_writer second(stream, 1);
    BOOST_TEST(stream.used() == 2u);
    BOOST_TEST(append(second, 7));
    lane_writer first(stream, 0);
    BOOST_TEST(stream.used() == 2u);
    BOOST_TEST(append(first, 8));
    std::vector<std::uint64_t> both{numbers(*out.take())[0],
                                    numbers(*out.take())[0]};
    std::sort(both.begin(), both.end());
    BOOST_TEST(both == (std::vector<std::uint64_t>{7, 8}));
}

BOOST_AUTO_TEST_CASE(what_was_about_to_be_added_is_not_in_the_record)
{
    const auto stream = small();
    lane_writer in(stream, 0);
    lane_reader out(stream, 1);
    append(in, 1);
    const auto more = in.grow(8, 4);
    const std::uint64_t two = 2;
    std::memcpy(more->data(), &two, sizeof two);
    const auto one = out.take();
    BOOST_TEST(!in.commit_growth());
    BOOST_TEST(numbers(*one) == (std::vector<std::uint64_t>{1}));
    BOOST_TEST(append(in, 3));
    BOOST_TEST(numbers(*out.take()) == (std::vector<std::uint64_t>{3}));
}

BOOST_AUTO_TEST_CASE(a_successor_adds_nothing_to_a_record_that_was_growing)
{
    const auto stream = small();
    const std::uint64_t two = 2;
    {
        lane_writer dies(stream, 0);
        append(dies, 1);
        std::memcpy(dies.grow(8, 4)->data(), &two, sizeof two);
    }
    lane_writer in(stream, 0);
    lane_reader out(stream, 1);
    append(in, 3);
    append(in, 4);
    BOOST_TEST(numbers(*out.take()) == (std::vector<std::uint64_t>{1}));
    BOOST_TEST(numbers(*out.take()) == (std::vector<std::uint64_t>{3, 4}));
}

BOOST_AUTO_TEST_CASE(what_was_not_added_after_all_is_written_over)
{
    const auto stream = small();
    lane_writer in(stream, 0);
    lane_reader out(stream, 1);
    const std::uint64_t two = 2;
    append(in, 1);
    std::memcpy(in.grow(8, 4)->data(), &two, sizeof two);
    append(in, 3);
    BOOST_TEST(numbers(*out.take()) == (std::vector<std::uint64_t>{1, 3}));
}

BOOST_AUTO_TEST_CASE(records_that_grow_round_the_ring_keep_their_bytes)
{
    const auto stream = small();
    lane_writer in(stream, 0);
    lane_reader out(stream, 1);
    std::mt19937 dice(1);
    std::uint64_t written = 0, read = 0;
    while (read < 20'000) // each turn reads, or the lane has room
    {
        for (auto n = dice() % 200; n > 0 && append(in, written, 63); --n)
            ++written;
        for (auto n = dice() % 20; n > 0; --n)
            if (const auto one = out.take())
            {
                for (const auto number : numbers(*one))
                    BOOST_REQUIRE(number == read++);
                out.acknowledge(*one);
            }
    }
}

// --- the end -----------------------------------------------------------------

BOOST_AUTO_TEST_CASE(what_was_written_before_the_end_is_read_and_then_it_ends)
{
    const auto stream = small(2);
    lane_writer in(stream, 0);
    lane_reader out(stream, 1);
    write(in, "one");
    write(in, "two");
    const auto room = in.claim(5);
    std::memcpy(room->data(), "three", 5);
    stream.close();
    stream.close();
    BOOST_TEST(!in.commit());
    BOOST_TEST(!in.claim(5));
    BOOST_TEST(in.closed());
    BOOST_TEST(!lane_writer(stream, 1).claim(5));
    BOOST_TEST(!stream.finished());
    BOOST_TEST(next(out) == "one");
    const auto two = out.take();
    BOOST_TEST(!stream.finished());
    BOOST_TEST(out.give_back(*two));
    BOOST_TEST(next(out) == "two");
    BOOST_TEST(!out.take());
    BOOST_TEST(stream.finished());
}

BOOST_AUTO_TEST_CASE(a_full_lane_can_be_closed)
{
    const auto stream = small();
    lane_writer in(stream, 0);
    lane_reader out(stream, 1);
    for (int turn = 0; turn < 100; ++turn)
    {
        write(in, "x");
        next(out);
    }
    int written = 0;
    while (write(in, "x"))
        ++written;
    stream.close();
    while (next(out) == "x")
        --written;
    BOOST_TEST(written == 0);
    BOOST_TEST(stream.finished());
}

// --- drills: processes that are killed --------------------------------------

namespace {

struct tally
{
    std::atomic<std::uint64_t> begun{0}, written{0}; // the writer
};

int write_many(lanes stream, common::shared<tally> counts, std::uint64_t from,
               std::uint64_t to)
{
    lane_writer in(stream, 0);
    for (auto i = from; i < to; ++i)
    {
        const std::string one(8 + i % 100, static_cast<char>(i));
        ++counts->begun;
        const auto room =
            in.claim_until(time_point::max(), one.size(), [] { return false; });
        std::memcpy(room->data(), one.data(), one.size());
        std::memcpy(room->data(), &i, sizeof i);
        in.commit();
        ++counts->written;
    }
    return 0;
}

/// Reads until the number `last`; counts who it saw.
int read_many(lanes stream, unsigned seat,
              common::shared_array<std::atomic<std::uint32_t>> seen)
{
    lane_reader out(stream, seat);
    for (;;) // ends with the last record, or by a kill
    {
        std::optional<lease> one;
        stream.work().wait_until(
            [&] { return (one = out.take()) || seen[seen.size() - 1] != 0; });
        if (!one)
            return 0;
        std::uint64_t i = 0;
        std::memcpy(&i, one->bytes.data(), sizeof i);
        if (one->bytes.size() != 8 + i % 100 ||
            (one->bytes.size() > 8 &&
             one->bytes.back() != static_cast<std::byte>(i)))
            return 2; // torn
        if (!out.acknowledge(*one))
            return 3;
        ++seen[i];
    }
}

} // namespace

BOOST_AUTO_TEST_CASE(
    a_killed_writer_leaves_whole_records_and_its_successor_goes_on)
{
    for (const std::string point :
         {"ring.claimed", "ring.written", "ring.published"})
    {
        const armed points(point + "=0.02");
        const auto stream = small();
        const common::shared<tally> counts;
        lane_reader out(stream, 1);
        int deaths = 0;
        std::uint64_t expected = 0;
        for (unsigned life = 0; life < 30; ++life)
        {
            common::process writer(&write_many, stream, counts, expected,
                                   expected + 30);
            const auto end = writer.join();
            deaths += end.signal == SIGKILL;
            // Whoever died after it published never learnt that it had.
            for (auto one = out.take(); one; one = out.take())
            {
                std::uint64_t i = 0;
                std::memcpy(&i, one->bytes.data(), sizeof i);
                BOOST_REQUIRE(i == expected);
                ++expected;
                out.acknowledge(*one);
            }
            BOOST_REQUIRE(expected - counts->written <= life + 1u);
        }
        BOOST_TEST(deaths > 3);
        BOOST_TEST(stream.settled(0));
    }
}

BOOST_AUTO_TEST_CASE(a_writer_killed_while_a_record_grows_leaves_whole_parts)
{
    for (const std::string point : {"ring.growing", "ring.grown"})
    {
        const armed points(point + "=0.02");
        const auto stream = small();
        lane_reader out(stream, 1);
        int deaths = 0;
        std::uint64_t expected = 0;
        for (unsigned life = 0; life < 30; ++life)
        {
            common::process writer(
                [](lanes to, std::uint64_t from) {
                    lane_writer in(to, 0);
                    for (auto i = from; i < from + 50; ++i)
                        append(in, i);
                },
                stream, expected);
            deaths += writer.join().signal == SIGKILL;
            for (auto one = out.take(); one; one = out.take())
            {
                for (const auto number : numbers(*one))
                    BOOST_REQUIRE(number == expected++);
                out.acknowledge(*one);
            }
        }
        BOOST_TEST(deaths > 3);
        BOOST_TEST(stream.settled(0));
    }
}

BOOST_AUTO_TEST_CASE(a_killed_reader_costs_no_record_and_doubles_none)
{
    for (const std::string point :
         {"lanes.leased", "lanes.acknowledging", "lanes.acknowledged"})
    {
        const armed points(point + "=0.02");
        const auto stream = small(1, 200);
        const common::shared_array<std::atomic<std::uint32_t>> seen(1000);
        const common::shared<tally> counts;
        std::vector<common::process> readers;
        int deaths = 0;
        for (unsigned seat = 1; seat <= 2; ++seat)
            readers.emplace_back(&read_many, stream, seat, seen);
        ::unsetenv("COMMON_FAULT"); // not the writer
        common::process writer(&write_many, stream, counts, std::uint64_t{0},
                               std::uint64_t{1000});
        ::setenv("COMMON_FAULT", (point + "=0.02").c_str(), 1);
        while (!stream.settled(0) || counts->written < 1000) // every death is
            for (unsigned seat = 1; seat <= 2; ++seat)       // made good
            {
                auto& one = readers[seat - 1];
                const auto end = one.join_for(std::chrono::milliseconds(1));
                if (!end || end->success())
                    continue;
                BOOST_REQUIRE(end->signal == SIGKILL);
                ++deaths;
                stream.recover(seat);
                one = common::process(&read_many, stream, seat, seen);
            }
        BOOST_TEST(writer.join().success());
        seen[seen.size() - 1] = 1;
        stream.work().notify_after_death();
        for (auto& one : readers)
            deaths += one.join().signal == SIGKILL;
        // Who died between acknowledging and counting: acknowledged, uncounted.
        std::uint64_t once = 0, none = 0;
        for (const auto& one : seen)
        {
            BOOST_REQUIRE(one <= 1u);
            ++(one == 1 ? once : none);
        }
        BOOST_TEST(once + none == 1000u);
        BOOST_TEST(none <= (point == "lanes.acknowledged"
                                ? static_cast<std::uint64_t>(deaths)
                                : 0u));
        BOOST_TEST(deaths > 3);
    }
}

BOOST_AUTO_TEST_SUITE_END()
