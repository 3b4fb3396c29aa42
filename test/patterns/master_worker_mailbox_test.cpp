// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.

#define BOOST_TEST_MODULE master_worker_mailbox

// What a worker can do to its master through its mailbox: nothing.

#include "test/fixture.hpp"
#include "test/patterns/master_worker_tasks.hpp"

#include <boost/test/unit_test.hpp>

#include "patterns/master_worker/mailbox.hpp"
#include "patterns/master_worker/master_worker.hpp"
#include "patterns/master_worker/worker_end.hpp"
#include <signal.h>
#include <unistd.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <random>
#include <set>
#include <span>
#include <string>
#include <vector>

namespace {

using namespace test;
using master_worker::assignment;
using master_worker::bytes;
using master_worker::cost;
using master_worker::handle;
using master_worker::mailbox_memory;
using master_worker::master;
using master_worker::master_end;
using master_worker::worker_end;

int env(const char* name, int otherwise)
{
    const char* text = std::getenv(name);
    return text == nullptr ? otherwise : std::atoi(text);
}

/// All that a worker has in common with its master.
std::span<std::byte> everything(const mailbox_memory& m)
{
    return {reinterpret_cast<std::byte*>(&m.at()),
            sizeof(mailbox_memory::head)};
}

void scribble(std::span<std::byte> where, std::mt19937_64& dice)
{
    for (auto& one : where)
        one = static_cast<std::byte>(dice());
}

/// The end of the worker that this code runs in.
worker_end& own_end()
{
    return *master_worker::detail::this_worker::get().end;
}

/// Writes random bytes over the whole mailbox of its worker, then goes on as
/// if nothing was, or ends, or never ends.
int rogue(std::uint64_t seed)
{
    std::mt19937_64 dice(seed);
    for (auto n = dice() % 20 + 1; n != 0; --n)
        scribble(everything(own_end().memory()), dice);
    switch (seed % 4)
    {
    case 0:
        ::_exit(0);
    case 1:
        for (;;) // until it is killed
            scribble(everything(own_end().memory()), dice);
    case 2:
        ::pause();
    }
    return 1;
}

/// One wrong thing about an answer, all else as it should be.
enum class lie
{
    turn,
    later_turn,
    task,
    size,
    kind,
    error,
    seal
};

/// What a worker that says all that stands in its mailbox would put there.
std::uint64_t honest_seal(const mailbox_memory& memory, std::uint64_t turn,
                          std::size_t size, bool failed)
{
    const auto& task = memory.task(turn);
    return mailbox_memory::seal(
        mailbox_memory::question(task.task, task.entry, task.attempt,
                                 memory.input(turn, task.size)),
        failed, memory.output(turn, size));
}

void liar(lie what)
{
    auto& memory = own_end().memory();
    const auto turn = mailbox_memory::slots; // the first task of this worker
    auto& result = memory.result(turn);
    result.task = memory.task(turn).task;
    result.size = 4;
    result.failed = 0;
    result.seal = honest_seal(memory, turn, 4, what == lie::error);
    std::uint64_t word = turn;
    switch (what)
    {
    case lie::turn:
        word = turn - 1;
        break;
    case lie::later_turn:
        word = turn + mailbox_memory::slots;
        break;
    case lie::task:
        ++result.task;
        break;
    case lie::size:
        result.size = static_cast<std::uint32_t>(memory.payload() + 1);
        break;
    case lie::kind:
        result.failed = 2;
        break;
    case lie::error:
        result.failed = 1;
        break;
    case lie::seal:
        ++result.seal;
        break;
    }
    result.word.store(word);
    for (;;) // until it is killed; the master may be asleep
        ::kill(::getppid(), 0), own_end().progress();
}

assignment some_task(std::uint64_t number, std::span<const std::byte> input)
{
    assignment a;
    a.task = number;
    a.input = input;
    return a;
}

} // namespace

BOOST_FIXTURE_TEST_SUITE(master_worker_mailbox_laws, test::clean)

BOOST_AUTO_TEST_CASE(random_bytes_are_refused_and_harm_nobody)
{
    const auto seed = std::random_device{}();
    BOOST_TEST_MESSAGE("seed " << seed);
    std::mt19937_64 dice(seed);
    const auto memory = mailbox_memory::create(5000);
    int accepted = 0, looked = 0;
    for (int round = env("MAILBOX_ROUNDS", 10'000); round != 0; --round)
    {
        master_end end(memory);
        const bytes input(dice() % 5000, std::byte{1});
        const auto out = dice() % mailbox_memory::slots + 1;
        for (unsigned i = 0; i < out; ++i)
            end.post(some_task(i + 1, input), i == 0);
        scribble(everything(memory), dice);
        const auto now = master_worker::clock::now();
        const auto times = end.times(now - 1s, now);
        if (times)
            BOOST_TEST((times->first >= now - 1s && times->second <= now));
        BOOST_TEST(end.cause().size() <= 400u);
        end.phase();
        end.begun();
        end.recall();
        end.await(0);
        end.awake();
        while (end.news()) // ends with the first refusal
        {
            ++looked;
            bytes content;
            bool failed = false;
            cost spent;
            if (!end.read(1, content, failed, spent).empty())
                break;
            ++accepted;
        }
        end.close();
    }
    BOOST_TEST(looked > 0);
    BOOST_TEST(accepted == 0);
}

BOOST_AUTO_TEST_CASE(an_answer_is_taken_only_with_its_seal_whatever_its_size)
{
    const auto seed = std::random_device{}();
    BOOST_TEST_MESSAGE("seed " << seed);
    std::mt19937_64 dice(seed);
    const auto memory = mailbox_memory::create(5000);
    int accepted = 0, refused = 0;
    for (int round = env("MAILBOX_ROUNDS", 10'000); round != 0; --round)
    {
        master_end end(memory);
        end.post(some_task(7, {}), true);
        const auto turn = end.oldest();
        auto& result = memory.result(turn);
        scribble(everything(memory), dice);
        result.word.store(turn);
        result.task = 7;
        result.size = static_cast<std::uint32_t>(dice() % 10'000);
        result.failed = 0;
        const bool fits = result.size <= memory.payload();
        const bool sealed = fits && dice() % 2 == 0;
        if (sealed)
            result.seal =
                mailbox_memory::seal(mailbox_memory::question(7, 0, 0, {}),
                                     false, memory.output(turn, result.size));
        bytes content;
        bool failed = false;
        cost spent;
        const auto size = result.size;
        const auto wrong = end.read(7, content, failed, spent);
        ++(wrong.empty() ? accepted : refused);
        BOOST_TEST(wrong.empty() == sealed);
        BOOST_TEST((!sealed || content.size() == size));
    }
    BOOST_TEST(accepted > 0);
    BOOST_TEST(refused > 0);
}

BOOST_AUTO_TEST_CASE(a_stray_write_to_what_waits_behind_a_task_is_found_out)
{
    master m(sturdy(1));
    for (int i = 0; i < 2000; ++i) // quick ones: they are batched from now on
        m.submit(&square, i);
    m.run();
    const auto spoiler = [] {
        auto& memory = own_end().memory();
        for (std::uint64_t i = 0; i < mailbox_memory::slots; ++i)
            if (memory.task(i).attempt == 0) // the arguments of its neighbours
                for (std::size_t j = 4; j < 8; ++j)
                    memory.task(i).small[j] ^= std::byte{1};
        return 5;
    };
    std::vector<handle<int>> all;
    for (int i = 0; i < 200; ++i)
    {
        if (i % 20 == 10)
            m.submit(tries(1), spoiler);
        all.push_back(m.submit(tries(100), &square, i));
    }
    int wrong = 0;
    for (int i = 0; i < 200; ++i)
        wrong += all[static_cast<std::size_t>(i)].get() != i * i;
    BOOST_TEST(wrong == 0);
}

BOOST_AUTO_TEST_CASE(workers_that_scribble_are_expelled_and_others_go_on)
{
    const auto seed = std::random_device{}();
    BOOST_TEST_MESSAGE("seed " << seed);
    const int rounds = env("ROGUE_ROUNDS", 60);
    master m(sturdy(2));
    std::vector<handle<int>> good, bad;
    for (int i = 0; i < rounds; ++i)
    {
        auto how = tries(1);
        how.silence = 300ms; // one that says nothing any more
        bad.push_back(m.submit(how, &rogue, std::uint64_t{seed} + unsigned(i)));
        for (int j = 0; j < 5; ++j)
            good.push_back(m.submit(&square, i + j));
    }
    for (const auto& one : bad)
        BOOST_CHECK_THROW(one.get(), std::runtime_error);
    int wrong = 0;
    for (int i = 0; i < rounds; ++i)
        for (int j = 0; j < 5; ++j)
            wrong += good[static_cast<std::size_t>(5 * i + j)].get() !=
                     square(i + j);
    BOOST_TEST(wrong == 0);
    BOOST_TEST(m.poisoned().size() == bad.size());
}

BOOST_AUTO_TEST_CASE(who_ran_beside_one_that_scribbles_is_charged_nothing)
{
    master m(sturdy(1));
    for (int i = 0; i < 2000; ++i) // quick ones: they are batched from now on
        m.submit(&square, i);
    m.run();
    const auto vandal = [] {
        std::mt19937_64 dice(1);
        scribble(everything(own_end().memory()), dice);
    };
    std::vector<handle<int>> good;
    std::vector<handle<void>> bad;
    for (int i = 0; i < 100; ++i)
    {
        if (i % 10 == 5)
            bad.push_back(m.submit(tries(1), vandal));
        good.push_back(m.submit(tries(1), &square, i));
    }
    int wrong = 0;
    for (int i = 0; i < 100; ++i)
        wrong += good[static_cast<std::size_t>(i)].get() != square(i);
    BOOST_TEST(wrong == 0);
    for (const auto& one : bad)
        BOOST_CHECK_THROW(one.get(), common::worker_died);
    BOOST_TEST(m.poisoned().size() == bad.size());
}

BOOST_AUTO_TEST_CASE(each_single_lie_expels_its_worker_and_says_which)
{
    master m(sturdy(1));
    std::set<std::string> said;
    for (const auto what : {lie::turn, lie::later_turn, lie::task, lie::size,
                            lie::kind, lie::error, lie::seal})
    {
        auto how = tries(1);
        how.deadline = 20s;
        const auto bad = m.submit(how, &liar, what);
        BOOST_CHECK_THROW(bad.get(), common::worker_died);
        BOOST_REQUIRE(bad.failures().size() == 1u);
        BOOST_TEST(
            (bad.failures()[0].what == master_worker::failure::kind::expelled));
        said.insert(
            bad.failures()[0].text.substr(bad.failures()[0].text.find(')')));
    }
    BOOST_TEST(said.size() == 5u); // two each about the turn and the size
    BOOST_TEST(m.submit(&square, 3).get() == 9);
}

BOOST_AUTO_TEST_CASE(what_an_expelled_worker_ran_runs_again)
{
    master m(sturdy(1));
    const auto once = [] {
        if (master_worker::attempt() == 0)
            liar(lie::task);
        return 5;
    };
    BOOST_TEST(m.submit(tries(2), once).get() == 5);
    BOOST_TEST(m.stats().deaths == 1u);
}

BOOST_AUTO_TEST_CASE(a_turn_that_was_recalled_is_posted_again_and_run_once)
{
    const auto memory = mailbox_memory::create(100);
    master_end end(memory);
    end.post(some_task(1, {}), true);
    end.post(some_task(2, {}), false);
    BOOST_TEST(end.recall());
    BOOST_TEST(end.out() == 1u);
    BOOST_TEST(!end.recall()); // the first is the worker's
    end.post(some_task(3, {}), false);
    BOOST_TEST(!end.begun());
    BOOST_TEST(!end.news());
}

BOOST_AUTO_TEST_SUITE_END()
