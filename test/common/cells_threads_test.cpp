// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.

#define BOOST_TEST_MODULE cells_threads

// The protocol of the cells with threads of one process in the roles of
// processes, so that the thread sanitizer can watch it.

#include "common/cell_ends.hpp"
#include "test/fixture.hpp"

#include <boost/test/unit_test.hpp>

#include <atomic>
#include <cstdint>
#include <mutex>
#include <numeric>
#include <random>
#include <string>
#include <thread>
#include <vector>

namespace {

using common::cell_control;
using common::cells;
using common::submitter;
using common::worker_end;

std::uint64_t sum(std::vector<std::uint64_t> all)
{
    return std::accumulate(all.begin(), all.end(), std::uint64_t{0});
}

/// Sends `tasks` tasks through one lane; gives how many came back wrong.
int submit_and_check(const cells& table, unsigned lane_number, int tasks)
{
    using what = common::task<decltype(&sum), std::vector<std::uint64_t>>;
    submitter lane(table, lane_number);
    std::vector<std::uint64_t> expected(table.capacity());
    std::vector<bool> busy(table.capacity());
    int wrong = 0, sent = 0, back = 0;
    while (back < tasks) // every accepted task comes back
    {
        for (auto cell = sent < tasks ? lane.acquire() : std::nullopt; cell;
             cell = sent < tasks ? lane.acquire() : std::nullopt)
        {
            const auto n = static_cast<std::uint64_t>(sent++);
            const std::vector<std::uint64_t> input(n % 40, n);
            const auto size = what::size(&sum, input);
            common::writer to{lane.input(*cell, size)};
            what::write(to, &sum, input);
            expected[*cell - lane.first()] = n % 40 * n;
            busy[*cell - lane.first()] = true;
            lane.publish(*cell, what::id(), size, 0);
        }
        const auto final_cell = [&]() -> int {
            for (unsigned i = 0; i < table.capacity(); ++i)
                if (busy[i] && table.control(lane.first() + i).final())
                    return static_cast<int>(i);
            return -1;
        };
        table.done().wait_until([&] { return final_cell() >= 0; });
        for (int at = final_cell(); at >= 0; at = final_cell())
        {
            const auto i = static_cast<unsigned>(at);
            const auto cell = lane.first() + i;
            common::reader from{table.output(cell, table.at(cell).output_size)};
            wrong += table.control(cell).is != cell_control::state::done ||
                     common::decode<std::uint64_t>(from) != expected[i];
            busy[i] = false;
            ++back;
            lane.release(cell);
        }
    }
    return wrong;
}

bool take_one(worker_end& end)
{
    bool taken = false;
    end.table().work().wait_until(
        [&] { return (taken = end.take()) || end.table().closing() != 0; });
    return taken;
}

} // namespace

BOOST_FIXTURE_TEST_SUITE(cells_threads_laws, test::clean)

BOOST_AUTO_TEST_CASE(submitters_and_workers_never_mix_up_a_task)
{
    const cells table({3, false, 8, 3, 4096});
    std::vector<std::thread> workers, submitters;
    std::atomic<int> wrong{0};
    for (unsigned slot = 1; slot <= 3; ++slot)
        workers.emplace_back([&, slot] {
            worker_end end(table, slot);
            while (take_one(end))
                end.run();
        });
    for (unsigned lane = 0; lane < 3; ++lane)
        submitters.emplace_back(
            [&, lane] { wrong += submit_and_check(table, lane, 3000); });
    for (auto& one : submitters)
        one.join();
    table.close(false);
    for (auto& one : workers)
        one.join();
    BOOST_TEST(wrong == 0);
}

BOOST_AUTO_TEST_CASE(workers_that_abandon_their_tasks_lose_none)
{
    const cells table({2, false, 8, 3, 4096});
    std::vector<std::thread> workers, submitters;
    std::atomic<int> wrong{0}, abandoned{0};
    std::atomic<unsigned> retried{0};
    std::mutex supervisor;
    for (unsigned slot = 1; slot <= 3; ++slot)
        workers.emplace_back([&, slot] {
            std::minstd_rand dice(slot);
            for (;;) // ends when the table closes
            {
                worker_end end(table, slot);
                for (;;) // ends with this life
                {
                    if (!take_one(end))
                        return;
                    if (dice() % 3 == 0) // here it dies, and is buried
                    {
                        ++abandoned;
                        const std::lock_guard hold(supervisor);
                        table.recover(slot, [&](unsigned, unsigned) {
                            return ++retried != 0;
                        });
                        break;
                    }
                    end.run();
                }
            }
        });
    for (unsigned lane = 0; lane < 2; ++lane)
        submitters.emplace_back(
            [&, lane] { wrong += submit_and_check(table, lane, 3000); });
    for (auto& one : submitters)
        one.join();
    table.close(false);
    for (auto& one : workers)
        one.join();
    BOOST_TEST(wrong == 0);
    BOOST_TEST(retried == static_cast<unsigned>(abandoned));
    BOOST_TEST(abandoned > 100);
}

BOOST_AUTO_TEST_CASE(a_task_revoked_in_a_race_is_run_or_taken_back_never_both)
{
    const cells table({1, false, 1, 1, 4096});
    std::thread worker([&] {
        worker_end end(table, 1);
        while (take_one(end))
            if (!end.run()) // fenced: its successor goes on
                table.recover(1, [](unsigned, unsigned) { return true; });
    });
    using what = common::task<int (*)(int), int>;
    int (*const same)(int) = +[](int n) { return n; };
    submitter lane(table);
    int ran = 0, taken = 0, wrong = 0;
    for (int i = 0; i < 3000; ++i)
    {
        const auto cell = lane.acquire();
        BOOST_REQUIRE(cell.has_value());
        const auto size = what::size(same, i);
        common::writer to{lane.input(*cell, size)};
        what::write(to, same, i);
        const auto lap = lane.publish(*cell, what::id(), size, 0);
        for (int k = 0; k < i % 200; ++k)
            common::relax();
        const auto now = lane.revoke(*cell, lap);
        table.done().wait_until([&] { return table.control(*cell).final(); });
        if (now.is == cell_control::state::done)
        {
            common::reader from{
                table.output(*cell, table.at(*cell).output_size)};
            wrong += common::decode<int>(from) != i;
            ++ran;
        }
        else
        {
            wrong += table.control(*cell).is != cell_control::state::revoked;
            ++taken;
        }
        lane.release(*cell);
    }
    table.close(false);
    worker.join();
    BOOST_TEST(wrong == 0);
    BOOST_TEST(ran + taken == 3000);
}

BOOST_AUTO_TEST_SUITE_END()
