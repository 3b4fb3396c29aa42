// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.

#define BOOST_TEST_MODULE cells

#include "common/cell_ends.hpp"
#include "common/process.hpp"
#include "test/fixture.hpp"

#include <boost/test/unit_test.hpp>

#include <signal.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <random>
#include <string>
#include <vector>

namespace {

using common::cell_control;
using common::cells;
using common::submitter;
using common::worker_end;
using state = cell_control::state;

std::string twice(std::string text)
{
    return text + text;
}

/// Submits a call; gives the cell.
template <class F, class... A>
unsigned submit(submitter& to, const F& function, const A&... arguments)
{
    using what = common::task<F, A...>;
    const auto index = to.acquire();
    BOOST_REQUIRE(index.has_value());
    const auto size = what::size(function, arguments...);
    common::writer bytes{to.input(*index, size)};
    what::write(bytes, function, arguments...);
    to.publish(*index, what::id(), size, 0);
    return *index;
}

template <class T>
T result(const cells& table, unsigned index)
{
    BOOST_TEST((table.control(index).is == state::done));
    const auto& from = table.at(index);
    common::reader bytes{table.output(index, from.output_size)};
    if (from.output_kind == static_cast<std::uint8_t>(cells::kind::error))
        common::decode<common::error_message>(bytes).rethrow();
    return common::decode<T>(bytes);
}

unsigned submit_seven(submitter& to)
{
    return submit(
        to, [](int n) { return n; }, 7);
}

const auto always = [](unsigned, unsigned) { return true; };
const auto never = [](unsigned, unsigned) { return false; };

cells small(unsigned lanes = 1, unsigned capacity = 4, unsigned workers = 3)
{
    return cells({lanes, false, capacity, workers, 4096});
}

/// Arms fault points in the processes that are started meanwhile.
struct armed
{
    explicit armed(const std::string& points)
    {
        ::setenv("COMMON_FAULT", points.c_str(), 1);
    }
    ~armed() { ::unsetenv("COMMON_FAULT"); }
};

} // namespace

BOOST_FIXTURE_TEST_SUITE(cells_laws, test::clean)

BOOST_AUTO_TEST_CASE(a_control_word_keeps_all_that_is_put_into_it)
{
    const cell_control all{state::revoked, 0xfff, 0xff, (1ull << 40) - 1};
    const auto again = cell_control::of(all.word());
    BOOST_TEST((again.is == all.is));
    BOOST_TEST(again.owner == all.owner);
    BOOST_TEST(again.attempt == all.attempt);
    BOOST_TEST(again.lap == all.lap);
    BOOST_TEST(cell_control().word() == 0u);
}

BOOST_AUTO_TEST_CASE(a_task_goes_from_free_over_ready_and_running_to_done)
{
    const auto table = small();
    submitter lane(table);
    worker_end worker(table, 2);
    BOOST_TEST((table.control(0).is == state::free));
    BOOST_TEST(!worker.take());
    const auto cell = submit(lane, &twice, std::string("ab"));
    BOOST_TEST((table.control(cell).is == state::ready));
    BOOST_TEST(table.control(cell).owner == 0u);
    BOOST_REQUIRE(worker.take());
    BOOST_TEST((table.control(cell).is == state::running));
    BOOST_TEST(table.control(cell).owner == 2u);
    BOOST_TEST(worker.run());
    BOOST_TEST(table.control(cell).owner == 0u);
    BOOST_TEST(result<std::string>(table, cell) == "abab");
    BOOST_TEST(table.worker(2).finished.load() == 1u);
}

BOOST_AUTO_TEST_CASE(a_task_is_taken_by_one_worker_only)
{
    const auto table = small();
    submitter lane(table);
    worker_end one(table, 1), other(table, 2);
    submit_seven(lane);
    BOOST_TEST(one.take());
    BOOST_TEST(!other.take());
}

BOOST_AUTO_TEST_CASE(each_use_of_a_cell_has_a_lap_of_its_own)
{
    const auto table = small(1, 1);
    submitter lane(table);
    worker_end worker(table, 1);
    std::uint64_t last = table.control(0).lap;
    for (int i = 0; i < 5; ++i)
    {
        const auto cell = submit_seven(lane);
        BOOST_TEST(table.control(cell).lap == last + 1);
        last = table.control(cell).lap;
        BOOST_TEST(worker.take());
        BOOST_TEST(worker.run());
        BOOST_TEST(table.control(cell).lap == last);
        lane.release(cell);
    }
}

BOOST_AUTO_TEST_CASE(the_last_lap_is_followed_by_the_first)
{
    const auto table = small(1, 1);
    submitter lane(table);
    worker_end worker(table, 1);
    cell_control last{state::done, 0, 0, (1ull << 40) - 1};
    table.at(0).control.store(last.word());
    const auto cell = submit_seven(lane);
    BOOST_TEST(table.control(cell).lap == 0u);
    BOOST_TEST(worker.take());
    BOOST_TEST(worker.run());
    BOOST_TEST(result<int>(table, cell) == 7);
}

BOOST_AUTO_TEST_CASE(a_full_lane_has_no_cell_until_one_is_released)
{
    const auto table = small();
    submitter lane(table);
    for (unsigned i = 0; i < table.capacity(); ++i)
        submit_seven(lane);
    BOOST_TEST(!lane.acquire());
    BOOST_TEST(lane.in_use() == table.capacity());
    worker_end worker(table, 1);
    BOOST_TEST(worker.take());
    BOOST_TEST(worker.run());
    for (unsigned i = 0; i < table.capacity(); ++i)
        if (table.control(i).final())
            lane.release(i);
    BOOST_TEST(lane.acquire().has_value());
    BOOST_TEST(!lane.acquire());
}

BOOST_AUTO_TEST_CASE(cells_are_found_again_after_any_order_of_release)
{
    const auto table = small(1, 200);
    submitter lane(table);
    std::mt19937_64 dice(1);
    std::vector<unsigned> held;
    for (int step = 0; step < 20'000; ++step)
        if (held.size() < 200 && (held.empty() || dice() % 2 == 0))
        {
            const auto cell = lane.acquire();
            BOOST_REQUIRE(cell.has_value());
            BOOST_REQUIRE(std::count(held.begin(), held.end(), *cell) == 0);
            held.push_back(*cell);
        }
        else
        {
            std::swap(held[dice() % held.size()], held.back());
            lane.release(held.back());
            held.pop_back();
        }
    BOOST_TEST(lane.in_use() == held.size());
}

BOOST_AUTO_TEST_CASE(a_task_that_waits_can_be_taken_back)
{
    const auto table = small();
    submitter lane(table);
    worker_end worker(table, 1);
    const auto cell = submit_seven(lane);
    const auto now = lane.revoke(cell, table.control(cell).lap);
    BOOST_TEST((now.is == state::revoked));
    BOOST_TEST(now.owner == 0u);
    BOOST_TEST(table.control(cell).final());
    BOOST_TEST(!worker.take());
}

BOOST_AUTO_TEST_CASE(a_worker_whose_task_was_taken_from_it_finds_out)
{
    const auto table = small();
    submitter lane(table);
    worker_end worker(table, 3);
    const auto cell = submit_seven(lane);
    BOOST_TEST(worker.take());
    const auto now = lane.revoke(cell, table.control(cell).lap);
    BOOST_TEST((now.is == state::revoked));
    BOOST_TEST(now.owner == 3u); // who must be killed
    BOOST_TEST(!table.control(cell).final());
    BOOST_TEST(!worker.run()); // so it ends
    table.recover(3, always);
    BOOST_TEST(table.control(cell).final());
    BOOST_TEST((table.control(cell).is == state::revoked));
}

BOOST_AUTO_TEST_CASE(what_is_over_cannot_be_taken_back)
{
    const auto table = small();
    submitter lane(table);
    worker_end worker(table, 1);
    const auto cell = submit_seven(lane);
    const auto lap = table.control(cell).lap;
    BOOST_TEST(worker.take());
    BOOST_TEST(worker.run());
    BOOST_TEST((lane.revoke(cell, lap).is == state::done));
    BOOST_TEST(result<int>(table, cell) == 7);
    lane.release(cell);
    submit_seven(lane); // another task, in the same cell or in the next
    lane.revoke(cell, lap - 1);
    BOOST_TEST((table.control(cell).is != state::revoked));
}

BOOST_AUTO_TEST_CASE(the_task_of_a_dead_worker_is_ready_again_and_unharmed)
{
    const auto table = small();
    submitter lane(table);
    const auto cell = submit(lane, &twice, std::string(1000, 'x'));
    worker_end dead(table, 1);
    BOOST_TEST(dead.take());
    auto half = dead.room(1500); // it died while it wrote the result
    std::memset(half.data(), 0xff, 700);
    table.recover(1, always);
    BOOST_TEST((table.control(cell).is == state::ready));
    BOOST_TEST(table.control(cell).attempt == 1u);
    worker_end next(table, 2);
    BOOST_TEST(next.take());
    BOOST_TEST(next.attempt() == 1u);
    BOOST_TEST(next.run());
    BOOST_TEST(result<std::string>(table, cell) == std::string(2000, 'x'));
}

BOOST_AUTO_TEST_CASE(recovery_may_be_repeated_and_touches_one_worker_only)
{
    const auto table = small();
    submitter lane(table);
    worker_end dead(table, 1), busy(table, 2);
    const auto first = submit_seven(lane), second = submit_seven(lane),
               third = submit_seven(lane);
    BOOST_TEST(dead.take());
    BOOST_TEST(busy.take());
    const auto untouched = table.at(second).control.load();
    const auto waiting = table.at(third).control.load();
    for (int i = 0; i < 5; ++i)
        table.recover(1, always);
    BOOST_TEST(table.control(first).attempt == 1u);
    BOOST_TEST(table.at(second).control.load() == untouched);
    BOOST_TEST(table.at(third).control.load() == waiting);
    table.recover(0, never); // nobody's cells are nobody's
    BOOST_TEST(table.at(third).control.load() == waiting);
}

BOOST_AUTO_TEST_CASE(a_task_without_attempts_left_is_poisoned)
{
    const auto table = small();
    submitter lane(table);
    const auto cell = submit_seven(lane);
    for (unsigned attempt = 0; attempt < 3; ++attempt)
    {
        worker_end dead(table, 1);
        BOOST_TEST(dead.take());
        BOOST_TEST(dead.attempt() == attempt);
        table.recover(1, [&](unsigned index, unsigned past) {
            BOOST_TEST(index == cell);
            BOOST_TEST(past == attempt);
            return attempt + 1 < 3;
        });
    }
    BOOST_TEST((table.control(cell).is == state::poisoned));
    BOOST_TEST(table.control(cell).final());
    worker_end worker(table, 1);
    BOOST_TEST(!worker.take());
}

BOOST_AUTO_TEST_CASE(attempts_are_never_counted_beyond_what_the_word_holds)
{
    const auto table = small();
    submitter lane(table);
    const auto cell = submit_seven(lane);
    int tries = 0;
    for (worker_end dead(table, 1); dead.take(); ++tries)
    {
        BOOST_REQUIRE(tries < 1000);
        table.recover(1, always);
    }
    BOOST_TEST(tries == 256);
    BOOST_TEST((table.control(cell).is == state::poisoned));
    BOOST_TEST(table.control(cell).lap == 1u);
}

BOOST_AUTO_TEST_CASE(a_late_result_never_reaches_a_later_use_of_the_cell)
{
    const auto table = small(1, 1);
    submitter lane(table);
    worker_end late(table, 1), next(table, 1); // the slot is reused as well
    submit(
        lane, [](int n) { return n; }, 1);
    BOOST_TEST(late.take());
    lane.revoke(0, table.control(0).lap);
    table.recover(1, always);
    lane.release(0);
    const auto cell = submit(
        lane, [](int n) { return n; }, 2);
    BOOST_TEST(cell == 0u);
    BOOST_TEST(next.take());
    BOOST_TEST(!late.run());
    BOOST_TEST((table.control(0).is == state::running));
    BOOST_TEST(next.run());
    BOOST_TEST(result<int>(table, 0) == 2);
}

BOOST_AUTO_TEST_CASE(a_late_result_never_counts_for_the_next_attempt)
{
    const auto table = small();
    submitter lane(table);
    worker_end late(table, 1), next(table, 1);
    const auto cell = submit_seven(lane);
    BOOST_TEST(late.take());
    table.recover(1, always);
    BOOST_TEST(next.take());
    BOOST_TEST(!late.run());
    BOOST_TEST((table.control(cell).is == state::running));
    BOOST_TEST(next.run());
}

BOOST_AUTO_TEST_CASE(an_exception_is_a_result)
{
    const auto table = small();
    submitter lane(table);
    worker_end worker(table, 1);
    const auto cell =
        submit(lane, []() -> int { throw std::out_of_range("no such thing"); });
    BOOST_TEST(worker.take());
    BOOST_TEST(worker.run());
    BOOST_CHECK_EXCEPTION(
        result<int>(table, cell), std::out_of_range,
        [](const auto& e) { return e.what() == std::string("no such thing"); });
}

BOOST_AUTO_TEST_CASE(the_text_of_an_exception_is_cut_to_what_fits)
{
    const auto table = small();
    submitter lane(table);
    worker_end worker(table, 1);
    const auto cell = submit(
        lane,
        [](int n) -> int {
            throw std::runtime_error(
                std::string(static_cast<unsigned>(n), 'e'));
        },
        1'000'000);
    BOOST_TEST(worker.take());
    BOOST_TEST(worker.run());
    BOOST_CHECK_EXCEPTION(result<int>(table, cell), std::runtime_error,
                          [](const auto& e) { return e.what()[0] == 'e'; });
}

BOOST_AUTO_TEST_CASE(inputs_and_results_of_any_size_up_to_the_payload_arrive)
{
    const auto table = small();
    submitter lane(table);
    worker_end worker(table, 1);
    // 8 bytes of a string's encoding are its length.
    for (const unsigned size : {0u, 7u, 8u, 9u, 15u, 16u, 17u, 63u, 64u, 2040u})
    {
        const auto cell = submit(lane, &twice, std::string(size, 'y'));
        BOOST_TEST(worker.take());
        BOOST_TEST(worker.run());
        BOOST_TEST(result<std::string>(table, cell) ==
                   std::string(2 * size, 'y'));
        lane.release(cell);
    }
    BOOST_CHECK_THROW(lane.input(0, table.payload() + 1), std::length_error);
    const auto cell = submit(lane, &twice, std::string(3000, 'y'));
    BOOST_TEST(worker.take());
    BOOST_TEST(worker.run());
    BOOST_CHECK_THROW(result<std::string>(table, cell), std::length_error);
}

BOOST_AUTO_TEST_CASE(memory_of_large_values_is_given_back)
{
    const std::size_t large = 8u << 20;
    const cells table({1, false, 4, 1, 2 * large + 64});
    submitter lane(table);
    worker_end worker(table, 1);
    for (int round = 0; round < 3; ++round)
    {
        const auto cell = submit(lane, &twice, std::string(large, 'z'));
        BOOST_TEST(worker.take());
        BOOST_TEST(worker.run());
        BOOST_TEST(result<std::string>(table, cell).size() == 2 * large);
        lane.release(cell);
        for (const auto& byte : table.input(cell, 64))
            BOOST_TEST((byte == std::byte{0}));
    }
}

BOOST_AUTO_TEST_CASE(lanes_are_served_in_turn_unless_they_are_ranked)
{
    for (const bool ranked : {false, true})
    {
        const cells table({2, ranked, 4, 1, 4096});
        submitter first(table, 0), second(table, 1);
        for (int i = 0; i < 4; ++i)
        {
            submit_seven(second);
            submit_seven(first);
        }
        worker_end worker(table, 1);
        std::string order;
        while (worker.take())
        {
            BOOST_TEST(worker.run());
            order.clear();
            for (unsigned i = 0; i < table.size(); ++i)
                order += table.control(i).final() ? 'x' : '-';
            if (order == "xx--xx--")
                break;
            if (ranked && order == "xxxx----")
                break;
        }
        BOOST_TEST(order == (ranked ? "xxxx----" : "xx--xx--"));
    }
}

BOOST_AUTO_TEST_CASE(a_worker_goes_on_where_its_predecessor_stopped)
{
    const cells table = small();
    submitter mine(table);
    for (int i = 0; i < 3; ++i)
        submit_seven(mine);
    BOOST_TEST(worker_end(table, 1).take());
    table.recover(1, always);
    worker_end next(table, 1);
    BOOST_TEST(next.take());
    BOOST_TEST((table.control(0).is == state::ready));
    BOOST_TEST((table.control(1).is == state::running));
}

BOOST_AUTO_TEST_CASE(numbers_that_make_no_table_are_refused)
{
    using o = cells::options;
    for (const auto& bad :
         {o{0, false, 1, 1, 1}, o{1, false, 0, 1, 1}, o{1, false, 1, 1, 0},
          o{1, false, 1, 4096, 1}, o{2, false, 1u << 20, 1, 1},
          o{~0u, false, ~0u, 1, 1},
          o{1, false, 1, 1, (std::size_t{1} << 31) + 1}})
        BOOST_CHECK_THROW(cells{bad}, std::invalid_argument);
    const auto table = small();
    BOOST_CHECK_THROW(worker_end(table, 0), std::invalid_argument);
    BOOST_CHECK_THROW(worker_end(table, 4), std::invalid_argument);
}

BOOST_AUTO_TEST_CASE(a_table_travels_to_another_process)
{
    const auto table = small();
    submitter lane(table);
    const auto cell = submit(lane, &twice, std::string(500, 'p'));
    common::process worker(
        [](cells theirs) {
            worker_end end(theirs, 1);
            return end.take() && end.run() ? 0 : 1;
        },
        table);
    BOOST_TEST(worker.join().success());
    BOOST_TEST(result<std::string>(table, cell) == std::string(1000, 'p'));
}

// --- words that nobody has vouched for ------------------------------------

BOOST_AUTO_TEST_CASE(any_words_in_a_cell_are_refused_or_harmless)
{
    const auto table = small(2, 8, 3);
    std::mt19937_64 dice(20260101);
    BOOST_TEST_MESSAGE("seed 20260101");
    submitter lane(table, 0);
    worker_end worker(table, 1);
    for (int round = 0; round < 20'000; ++round)
    {
        for (unsigned i = 0; i < table.size(); ++i)
        {
            auto& one = table.at(i);
            auto word = dice();
            if (dice() % 2 == 0) // a state that is one
                word = (word & ~15ull) | dice() % 6;
            if (dice() % 2 == 0) // an owner that is one
                word = (word & ~0xfff0ull) | (dice() % 4) << 4;
            one.control.store(word);
            // Inside the program any number is an address of it: what is
            // checked is that nothing outside is ever called.
            one.entry = static_cast<common::entry_id>(
                dice() % 2 == 0 ? -static_cast<int>(dice() % (1u << 30))
                                : 0x7fff'0000 + static_cast<int>(dice() % 999));
            one.input_size = static_cast<std::uint32_t>(dice() >> dice() % 64);
            one.output_size = static_cast<std::uint32_t>(dice() >> dice() % 64);
            one.output_kind = static_cast<std::uint8_t>(dice());
            one.flags.store(static_cast<std::uint8_t>(dice()));
        }
        while (worker.take())
            BOOST_REQUIRE(worker.run());
        for (unsigned slot = 0; slot <= table.workers(); ++slot)
            table.recover(
                slot, round % 2 == 0 ? always
                                     : [](unsigned, unsigned) { return true; });
        const auto cell = static_cast<unsigned>(dice() % 8);
        lane.revoke(cell, table.control(cell).lap);
        table.settled(0);
        for (unsigned i = 0; i < table.size(); ++i)
            try
            {
                const auto bytes = table.output(i, table.at(i).output_size);
                BOOST_REQUIRE(bytes.size() <= table.payload());
            }
            catch (const common::malformed&)
            {
                BOOST_REQUIRE(table.at(i).output_size > table.payload());
            }
    }
}

BOOST_AUTO_TEST_CASE(a_size_beyond_the_payload_is_an_error_of_that_task)
{
    const auto table = small();
    submitter lane(table);
    worker_end worker(table, 1);
    const auto cell = submit_seven(lane);
    table.at(cell).input_size = 5000;
    BOOST_TEST(worker.take());
    BOOST_TEST(worker.run());
    BOOST_CHECK_THROW(result<int>(table, cell), common::remote_error);
    lane.release(cell);
    table.at(cell).output_size = 0xffff'ffff;
    BOOST_CHECK_THROW(table.output(cell, table.at(cell).output_size),
                      common::malformed);
    BOOST_TEST(lane.acquire().has_value());
    lane.release(cell); // looks at the size, too
}

BOOST_AUTO_TEST_CASE(a_head_that_does_not_fit_its_memory_is_refused)
{
    std::mt19937_64 dice(7);
    BOOST_TEST_MESSAGE("seed 7");
    int refused = 0;
    for (std::size_t at = 0; at < 72; at += 4) // where the head says the sizes
        for (int round = 0; round < 10; ++round)
        {
            const auto table = small();
            const auto record =
                reinterpret_cast<std::uintptr_t>(&table.worker(0));
            auto* const head =
                reinterpret_cast<std::byte*>(record - record % 4096);
            const auto noise =
                static_cast<std::uint32_t>(dice() >> (32 + dice() % 32));
            std::memcpy(head + at, &noise, sizeof noise);
            std::vector<std::byte> text(common::encoded_size(table));
            std::vector<std::shared_ptr<const void>> kept;
            common::writer to{text, nullptr, &kept};
            common::encode(to, table);
            common::reader from{text};
            try
            {
                const auto theirs = common::decode<cells>(from);
                for (unsigned i = 0; i < theirs.size(); ++i) // all of it there
                    BOOST_TEST((theirs.output(i, theirs.payload()).back() ==
                                std::byte{0}));
            }
            catch (const common::malformed&)
            {
                ++refused;
            }
        }
    BOOST_TEST(refused > 20);
}

// --- processes that submit, and die ---------------------------------------

namespace {

struct diary
{
    std::atomic<unsigned> begun{0}, accepted{0};
};

int submit_many(cells table, common::shared<diary> diary)
{
    submitter lane(table, 1);
    for (int i = 0; i < 1000; ++i)
    {
        const auto cell = lane.acquire();
        if (!cell)
            return 0; // full
        using what = common::task<int (*)(int), int>;
        int (*const same)(int) = +[](int n) { return n; };
        const auto size = what::size(same, i);
        common::writer to{lane.input(*cell, size)};
        what::write(to, same, i);
        ++diary->begun;
        lane.publish(*cell, what::id(), size, 0);
        ++diary->accepted;
    }
    return 0;
}

unsigned run_all(const cells& table)
{
    worker_end worker(table, 1);
    unsigned ran = 0;
    for (; worker.take(); ++ran)
        BOOST_REQUIRE(worker.run());
    return ran;
}

} // namespace

BOOST_AUTO_TEST_CASE(a_killed_submitter_costs_nothing_that_was_accepted)
{
    unsigned died[2] = {0, 0};
    for (const std::string point : {"cells.input_written", "cells.published"})
    {
        const armed points(point + "=0.05");
        const auto table = small(2, 64, 1);
        for (int i = 0; i < 20; ++i)
        {
            common::shared<diary> diary;
            common::process one(&submit_many, table, diary);
            const auto end = one.join();
            BOOST_TEST((end.success() || end.signal == SIGKILL));
            const bool dead = end.signal == SIGKILL;
            const bool published = point == "cells.published";
            died[published] += dead;
            // Whoever dies after it published never learnt that it had.
            const auto expected =
                diary->accepted.load() + (dead && published ? 1 : 0);
            BOOST_TEST(diary->begun.load() ==
                       diary->accepted.load() + (dead ? 1 : 0));
            BOOST_TEST(table.settled(1) == (expected == 0));
            BOOST_TEST(run_all(table) == expected);
            BOOST_TEST(table.settled(1)); // and the lane serves the next
        }
    }
    BOOST_TEST(died[0] > 5u);
    BOOST_TEST(died[1] > 5u);
}

BOOST_AUTO_TEST_CASE(a_killed_worker_leaves_its_task_to_the_supervisor)
{
    const struct
    {
        const char* point;
        bool again;
    } points[] = {{"cells.claimed", true},
                  {"cells.output_written", true},
                  {"cells.committed", false}};
    for (const auto& [point, again] : points)
    {
        const armed here(std::string(point) + "=1");
        const auto table = small();
        submitter lane(table);
        const auto cell = submit(lane, &twice, std::string("ab"));
        common::process worker(
            [](cells theirs) {
                worker_end end(theirs, 1);
                return end.take() && end.run() ? 0 : 1;
            },
            table);
        BOOST_TEST(worker.join().signal == SIGKILL);
        BOOST_TEST((table.control(cell).is == state::running) == again);
        unsigned retried = 0;
        table.recover(1, [&](unsigned, unsigned) { return ++retried != 0; });
        BOOST_TEST(retried == (again ? 1u : 0u));
        BOOST_TEST(run_all(table) == (again ? 1u : 0u));
        BOOST_TEST(result<std::string>(table, cell) == "abab");
    }
}

BOOST_AUTO_TEST_CASE(a_recovery_that_was_cut_short_is_finished_by_the_next)
{
    const armed here("cells.recovering=0.1");
    int cut_short = 0;
    for (int round = 0; round < 10; ++round)
    {
        const auto table = small(1, 16, 1);
        submitter lane(table);
        for (int i = 0; i < 16; ++i)
            submit_seven(lane);
        for (int i = 0; i < 16; ++i) // one slot never holds as many: harsher
        {
            worker_end dead(table, 1);
            BOOST_TEST(dead.take());
        }
        common::process supervisor(
            [](cells theirs) {
                theirs.recover(1, [](unsigned, unsigned) { return true; });
            },
            table);
        cut_short += supervisor.join().signal == SIGKILL;
        table.recover(1, always);
        for (unsigned i = 0; i < 16; ++i)
        {
            BOOST_TEST((table.control(i).is == state::ready));
            BOOST_TEST(table.control(i).attempt == 1u);
        }
    }
    BOOST_TEST(cut_short > 3);
}

BOOST_AUTO_TEST_SUITE_END()
