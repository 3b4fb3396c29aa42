// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.

#define BOOST_TEST_MODULE shared_data

#include "common/process.hpp"
#include "test/fixture.hpp"
#include "test/patterns/shared_data_workers.hpp"
#include "test/run_program.hpp"

#include <boost/test/unit_test.hpp>

#include "patterns/shared_data/shared_data.hpp"
#include <poll.h>
#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace {

using namespace std::chrono_literals;
using namespace test;
using shared_data::clock;
using shared_data::guarded;
using shared_data::owner_died;
using shared_data::snapshot;
using shared_data::still_locked;
using shared_data::transactional;

struct pair // whole when both are equal
{
    std::int64_t left = 0;
    std::int64_t right = 0;
};

void make_whole(pair& p)
{
    COMMON_FAULT_POINT("test.repairing");
    p.right = p.left;
}

using plain_pair = guarded<pair>;
using mended_pair = guarded<pair, &make_whole>;

/// A process that dies between the two halves of a change.
template <class Guarded>
pid_t die_halfway(const common::shared<Guarded>& one)
{
    common::process owner(
        [](common::shared<Guarded> g) {
            auto p = g->lock_suspect();
            ++p->left;
            common::settle();
            die();
        },
        one);
    const auto pid = owner.pid();
    owner.join();
    return pid;
}

/// Holds the lock in another process while this object lives.
template <class Guarded>
class held_elsewhere
{
public:
    explicit held_elsewhere(const common::shared<Guarded>& one)
        : owner_(
              [](common::stop_token stop, common::shared<Guarded> g,
                 common::shared<std::atomic<int>> s) {
                  const auto p = g->lock();
                  *s = 1;
                  stop.wait_until(common::time_point::max());
              },
              one, stage_)
    {
        BOOST_REQUIRE(eventually([&] { return *stage_ == 1; }));
    }
    common::process& owner() { return owner_; }

private:
    common::shared<std::atomic<int>> stage_{0};
    common::process owner_;
};

} // namespace

BOOST_FIXTURE_TEST_SUITE(guarded_laws, test::clean)

BOOST_AUTO_TEST_CASE(additions_of_several_processes_add_up)
{
    common::shared<guarded<int>> sum{5};
    std::vector<common::process> all;
    for (int i = 0; i < 3; ++i)
        all.emplace_back(
            [](common::shared<guarded<int>> s) {
                for (int n = 0; n < 100'000; ++n)
                    *s->lock() += 1;
            },
            sum);
    for (auto& one : all)
        BOOST_TEST(one.join().success());
    BOOST_TEST(*sum->lock() == 300'005);
}

BOOST_AUTO_TEST_CASE(a_value_that_is_held_is_not_given_out)
{
    common::shared<plain_pair> one;
    held_elsewhere other(one);
    BOOST_TEST(!one->try_lock());
    const auto start = clock::now();
    BOOST_TEST(!one->try_lock_for(50ms));
    BOOST_TEST((clock::now() - start >= 50ms));
    BOOST_CHECK_THROW(static_cast<void>(one->lock_for(1ms)), still_locked);
    other.owner().request_stop();
    other.owner().join();
    BOOST_TEST(one->try_lock().has_value());
}

BOOST_AUTO_TEST_CASE(a_timeout_says_who_holds_the_value_and_since_when)
{
    common::shared<plain_pair> one;
    held_elsewhere other(one);
    try
    {
        static_cast<void>(one->lock_for(100ms));
        BOOST_ERROR("it is held");
    }
    catch (const still_locked& e)
    {
        BOOST_TEST(e.pid() == other.owner().pid());
        BOOST_TEST((clock::now() - e.since() >= 90ms));
        const std::string text = e.what();
        BOOST_TEST_MESSAGE(text);
        BOOST_TEST(text.find("held by process " +
                             std::to_string(other.owner().pid())) != text.npos);
        BOOST_TEST(text.find("pair") != text.npos);
    }
}

BOOST_AUTO_TEST_CASE(without_a_repair_a_death_is_an_error_until_it_is_mended)
{
    common::shared<plain_pair> one;
    const auto pid = die_halfway(one);
    for (int i = 0; i < 2; ++i)
        try
        {
            static_cast<void>(one->lock());
            BOOST_ERROR("the value may be half-written");
        }
        catch (const owner_died& e)
        {
            BOOST_TEST(e.pid() == pid);
            BOOST_TEST(std::string(e.what()).find(std::to_string(pid)) !=
                       std::string::npos);
        }
    BOOST_CHECK_THROW(static_cast<void>(one->try_lock()), owner_died);
    {
        const auto p = one->lock_suspect();
        BOOST_TEST(p.dead_owner() == pid);
        BOOST_TEST(p->left == p->right + 1);
        make_whole(*p);
        p.repaired();
    }
    BOOST_TEST(one->lock()->right == 1);
    BOOST_TEST(one->lock().dead_owner() == 0);
}

BOOST_AUTO_TEST_CASE(the_next_owner_runs_the_repair_and_hears_of_it)
{
    common::shared<mended_pair> one;
    const auto pid = die_halfway(one);
    {
        const auto p = one->lock();
        BOOST_TEST(p.dead_owner() == pid);
        BOOST_TEST(p->right == 1);
    }
    BOOST_TEST(one->lock().dead_owner() == 0);
}

BOOST_AUTO_TEST_CASE(a_lambda_can_be_the_repair)
{
    using named = guarded<int, [](int& i) { i = -1; }>;
    common::shared<named> one{7};
    common::process(
        [](common::shared<named> g) {
            const auto p = g->lock();
            die();
        },
        one)
        .join();
    BOOST_TEST(*one->lock() == -1);
}

BOOST_AUTO_TEST_CASE(a_repair_that_throws_is_not_done)
{
    using stubborn = guarded<int, [](int& i) {
        if (i++ == 0)
            throw std::domain_error("not now");
    }>;
    common::shared<stubborn> one{0};
    common::process(
        [](common::shared<stubborn> g) {
            const auto p = g->lock();
            die();
        },
        one)
        .join();
    BOOST_CHECK_THROW(static_cast<void>(one->lock()), std::domain_error);
    BOOST_TEST(*one->lock() == 2);
    BOOST_TEST(*one->lock() == 2);
}

// The second owner dies while it repairs, or just after; the third repairs.
BOOST_AUTO_TEST_CASE(a_repair_whose_process_dies_is_run_again)
{
    for (const std::string point :
         {"test.repairing", "guarded.repaired", "robust.entered"})
    {
        common::shared<mended_pair> one;
        die_halfway(one);
        const faults armed(point + "=1");
        common::process second(
            [](common::shared<mended_pair> g) { static_cast<void>(g->lock()); },
            one);
        BOOST_TEST(second.join().signal == SIGKILL, point);
        const auto p = one->lock();
        BOOST_TEST(p.dead_owner() != 0);
        BOOST_TEST(p->left == p->right);
    }
}

// Nobody waits longer than a quarter of a second because of a death.
BOOST_AUTO_TEST_CASE(waiters_are_not_stuck_when_owners_die)
{
    common::shared<mended_pair> one;
    const faults armed("robust.taken=0.001,robust.entered=0.001,"
                       "test.halfway=0.001,robust.leaving=0.001,"
                       "robust.freed=0.001");
    const auto change = [](common::shared<mended_pair> g) {
        for (int i = 0; i < 20'000; ++i)
        {
            const auto p = g->lock();
            ++p->left;
            common::settle();
            COMMON_FAULT_POINT("test.halfway");
            ++p->right;
        }
    };
    int deaths = 0;
    clock::duration longest{};
    for (int i = 0; i < 30; ++i)
    {
        std::vector<common::process> all;
        for (int n = 0; n < 3; ++n)
            all.emplace_back(change, one);
        bool running = true;
        while (running) // ends with the processes
        {
            const auto start = clock::now();
            {
                const auto p = one->lock();
                BOOST_REQUIRE(p->left == p->right);
            }
            longest = std::max(longest, clock::now() - start);
            running = false;
            for (auto& each : all)
                running |= !each.status();
        }
        for (auto& each : all)
            deaths += each.join().signal == SIGKILL;
    }
    BOOST_TEST_MESSAGE(deaths << " deaths");
    BOOST_TEST(deaths > 30);
    BOOST_TEST((longest < 250ms));
}

BOOST_AUTO_TEST_SUITE_END()

BOOST_FIXTURE_TEST_SUITE(snapshot_laws, test::clean)

namespace {

struct wide // whole when all are equal
{
    std::array<std::uint64_t, 8> word{};

    static wide of(std::uint64_t n)
    {
        wide result;
        result.word.fill(n);
        return result;
    }
    bool whole() const
    {
        for (const auto one : word)
            if (one != word[0])
                return false;
        return true;
    }
};

} // namespace

BOOST_AUTO_TEST_CASE(a_reader_sees_the_last_version)
{
    common::shared<snapshot<wide>> one{wide::of(3)};
    BOOST_TEST(one->read().word[7] == 3u);
    one->publish(wide::of(4));
    BOOST_TEST(one->read().word[0] == 4u);
    BOOST_TEST(one->version() == 1u);
}

BOOST_AUTO_TEST_CASE(readers_see_whole_versions_in_their_order)
{
    common::shared<snapshot<wide>> one;
    common::process writer(
        [](common::stop_token stop, common::shared<snapshot<wide>> s) {
            for (std::uint64_t i = 1; !stop.stop_requested(); ++i)
                s->publish(wide::of(i));
        },
        one);
    std::uint64_t last = 0, news = 0;
    const auto end = clock::now() + 30s;
    while (news < 1'000 && clock::now() < end)
    {
        const auto now = one->read();
        BOOST_REQUIRE(now.whole());
        BOOST_REQUIRE(now.word[0] >= last);
        news += now.word[0] != last;
        last = now.word[0];
    }
    BOOST_TEST(news == 1'000u);
}

BOOST_AUTO_TEST_CASE(readers_that_are_killed_are_not_missed)
{
    common::shared<snapshot<wide>> one;
    for (std::uint64_t i = 1; i <= 10; ++i)
    {
        common::shared<std::atomic<int>> reads{0};
        common::process reader(
            [](common::shared<snapshot<wide>> s,
               common::shared<std::atomic<int>> n) {
                for (;; ++*n) // until it is killed
                    static_cast<void>(s->read());
            },
            one, reads);
        BOOST_REQUIRE(test::eventually([&] { return *reads > 100; }));
        one->publish(wide::of(i));
        reader.kill();
        BOOST_TEST(reader.join().signal == SIGKILL);
        BOOST_TEST(one->read().word[0] == i);
        BOOST_TEST(one->version() == i);
    }
}

BOOST_AUTO_TEST_CASE(a_size_that_is_no_multiple_of_a_word_is_fine)
{
    struct odd
    {
        char text[13];
    };
    common::shared<snapshot<odd>> one{odd{"hello, world"}};
    BOOST_TEST(std::string(one->read().text) == "hello, world");
}

BOOST_AUTO_TEST_CASE(a_writer_that_dies_leaves_the_last_whole_version)
{
    common::shared<snapshot<wide>> one{wide::of(1)};
    one->publish(wide::of(2));
    const faults armed("snapshot.written=1");
    for (int i = 0; i < 6; ++i)
    {
        common::process writer(
            [](common::shared<snapshot<wide>> s) { s->publish(wide::of(9)); },
            one);
        BOOST_TEST(writer.join().signal == SIGKILL);
        BOOST_TEST(one->read().word[0] == 2u);
    }
    one->publish(wide::of(3));
    BOOST_TEST(one->read().word[5] == 3u);
}

BOOST_AUTO_TEST_SUITE_END()

BOOST_FIXTURE_TEST_SUITE(transactional_laws, test::clean)

BOOST_AUTO_TEST_CASE(an_update_is_seen_as_a_whole)
{
    common::shared<transactional<pair>> one{pair{10, 0}};
    common::process mover(
        [](common::stop_token stop, common::shared<transactional<pair>> t) {
            while (!stop.stop_requested())
                t->update([](pair& p) { --p.left, ++p.right; });
        },
        one);
    const auto end = clock::now() + 30s;
    while (one->version() < 10'000 && clock::now() < end)
    {
        const auto now = one->read();
        BOOST_REQUIRE(now.left + now.right == 10);
    }
    BOOST_TEST(one->version() >= 10'000u);
}

BOOST_AUTO_TEST_CASE(an_update_gives_back_what_its_function_returns)
{
    common::shared<transactional<pair>> one;
    BOOST_TEST(one->update([](pair& p) { return ++p.left; }) == 1);
    BOOST_TEST(one->read().left == 1);
}

BOOST_AUTO_TEST_CASE(an_update_that_throws_changes_nothing)
{
    common::shared<transactional<pair>> one;
    BOOST_CHECK_THROW(one->update([](pair& p) {
        p.left = 5;
        throw std::domain_error("no");
    }),
                      std::domain_error);
    BOOST_TEST(one->read().left == 0);
    one->update([](pair& p) { p.left = 6; });
    BOOST_TEST(one->read().left == 6);
}

BOOST_AUTO_TEST_CASE(an_update_has_a_deadline)
{
    common::shared<transactional<int>> one{0};
    std::atomic<int> stage{0};
    std::jthread other([&] {
        one->update([&](int&) {
            stage = 1;
            while (stage == 1) // until the other has given up
                std::this_thread::yield();
        });
    });
    BOOST_REQUIRE(eventually([&] { return stage == 1; }));
    BOOST_CHECK_THROW(one->update([](int&) {}, clock::now() + 20ms),
                      still_locked);
    BOOST_TEST(one->read() == 0); // readers do not wait
    stage = 2;
}

// Each update adds one to both; an update is counted by who did it, after it.
BOOST_AUTO_TEST_CASE(a_death_at_any_instruction_is_all_or_nothing)
{
    for (const std::string point :
         {"robust.taken", "robust.entered", "test.halfway", "snapshot.written",
          "transactional.committed", "robust.leaving", "robust.freed"})
    {
        common::shared<transactional<pair>> one;
        common::shared<std::atomic<std::int64_t>> counted{0};
        const faults armed(point + "=0.01");
        const auto change = [](common::shared<transactional<pair>> t,
                               common::shared<std::atomic<std::int64_t>> c) {
            for (int i = 0; i < 2'000; ++i)
            {
                t->update([](pair& p) {
                    ++p.left;
                    COMMON_FAULT_POINT("test.halfway");
                    ++p.right;
                });
                ++*c;
            }
        };
        std::int64_t deaths = 0;
        for (int i = 0; i < 3; ++i)
        {
            common::process a(change, one, counted), b(change, one, counted);
            deaths += !a.join().success();
            deaths += !b.join().success();
        }
        const auto last = one->read();
        BOOST_TEST(last.left == last.right, point);
        // Who died after its commit could not count it any more.
        BOOST_TEST(last.left >= *counted, point);
        BOOST_TEST(last.left <= *counted + deaths, point);
        if (point != "robust.freed") // needs one that sleeps
            BOOST_TEST(deaths > 0, point);
    }
}

BOOST_AUTO_TEST_SUITE_END()

BOOST_FIXTURE_TEST_SUITE(shared_data_program_laws, test::clean)

namespace {

outcome run(std::vector<std::string> arguments)
{
    arguments.insert(arguments.begin(), program("shared_data"));
    return run_program({arguments});
}

} // namespace

BOOST_AUTO_TEST_CASE(the_answer_does_not_depend_on_workers_or_deaths)
{
    const auto one = run({"--transfers", "20000", "--workers", "1"});
    BOOST_TEST(one.code == 0);
    BOOST_TEST(one.out.find("money      1000000\n") != std::string::npos);
    BOOST_TEST(one.err.find(" 0 wrong") != std::string::npos);
    const auto four = run({"--transfers", "20000", "--workers", "4"});
    BOOST_TEST(four.out == one.out);
    const auto killed = run({"--transfers", "20000", "--workers", "3",
                             "--chaos", "0.01:7", "--stats"});
    BOOST_TEST(killed.code == 0);
    BOOST_TEST(killed.out == one.out);
    BOOST_TEST(killed.err.find(" 0 wrong") != std::string::npos);
    BOOST_TEST(killed.err.find("\"deaths\":0") == std::string::npos);
}

BOOST_AUTO_TEST_CASE(kills_from_outside_cost_no_money)
{
    const auto calm = run({"--transfers", "3000000"});
    running bank(
        {{program("shared_data"), "--transfers", "3000000", "--workers", "3"}});
    int kills = 0;
    // Bounded: a worker under a sanitizer needs longer to start than it lives.
    while (alive(bank.pid()) && kills < 200)
    {
        for (const pid_t one : workers_of(bank.pid()))
            if (::kill(one, SIGKILL) == 0)
            {
                ++kills;
                ::poll(nullptr, 0, 5);
            }
        ::poll(nullptr, 0, 1);
    }
    const auto end = bank.wait();
    BOOST_TEST_MESSAGE(kills << " kills; " << end.err);
    BOOST_TEST(kills > 3);
    BOOST_TEST(end.out == calm.out);
    BOOST_TEST(end.err.find(" 0 wrong") != std::string::npos);
}

BOOST_AUTO_TEST_CASE(the_death_of_the_program_ends_its_workers)
{
    running bank({{program("shared_data"), "--transfers", "1000000000000",
                   "--workers", "3"}});
    std::vector<pid_t> workers;
    BOOST_TEST(eventually([&] {
        workers = workers_of(bank.pid());
        return workers.size() == 4; // and the auditor
    }));
    ::kill(bank.pid(), SIGKILL);
    BOOST_TEST(bank.wait().signal == SIGKILL);
    for (const pid_t one : workers)
        BOOST_TEST(eventually([&] { return !alive(one); }));
}

BOOST_AUTO_TEST_CASE(workers_that_cannot_be_replaced_end_the_program)
{
    running bank({{program("shared_data"), "--transfers", "1000000000000",
                   "--workers", "2"}});
    BOOST_TEST(eventually([&] { return workers_of(bank.pid()).size() == 3; }));
    const rlimit none{3, 3};
    ::prlimit(bank.pid(), RLIMIT_NOFILE, &none, nullptr);
    for (const pid_t one : workers_of(bank.pid()))
        ::kill(one, SIGKILL);
    BOOST_TEST(eventually([&] { return !alive(bank.pid()); }));
    ::kill(bank.pid(), SIGKILL);
    const auto end = bank.wait();
    BOOST_TEST(end.code == 1);
    BOOST_TEST(end.err.find("no replacement") != std::string::npos);
    BOOST_TEST(std::count(end.err.begin(), end.err.end(), '\n') == 1);
}

BOOST_AUTO_TEST_CASE(few_accounts_and_no_transfers_are_fine)
{
    const auto end = run({"--accounts", "2", "--transfers", "0"});
    BOOST_TEST(end.code == 0);
    BOOST_TEST(end.out.find("money      2000\n") != std::string::npos);
    BOOST_TEST(run({"--accounts", "33", "--transfers", "999"}).code == 0);
}

BOOST_AUTO_TEST_CASE(a_bad_command_line_is_told_in_one_line)
{
    for (const auto& wrong : std::vector<std::vector<std::string>>{
             {"--accounts", "1"}, {"--transfers", "many"}, {"--chaos", "2"}})
    {
        const auto end = run(wrong);
        BOOST_TEST(end.code == 2);
        BOOST_TEST(end.err.find('\n') == end.err.size() - 1);
    }
}

BOOST_AUTO_TEST_SUITE_END()
