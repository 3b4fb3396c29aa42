// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.

#define BOOST_TEST_MODULE producer_consumer_crash

#include "common/crew.hpp"
#include "common/process.hpp"
#include "test/fixture.hpp"
#include "test/glibc.hpp"

#include <boost/interprocess/ipc/message_queue.hpp>
#include <boost/test/unit_test.hpp>

#include "patterns/producer_consumer/producer_consumer.hpp"
#include <signal.h>
#include <sys/syscall.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <iostream>
#include <numeric>
#include <optional>
#include <random>
#include <string>
#include <vector>

namespace {

using namespace std::chrono_literals;
using common::process;
using producer_consumer::consumer;
using producer_consumer::outcome;
using producer_consumer::producer;
using producer_consumer::queue;
using producer_consumer::queue_options;

queue_options small(std::size_t capacity)
{
    queue_options result;
    result.capacity = capacity;
    result.bytes = 256 << 10;
    result.attempts = 1000; // here nobody is to blame
    return result;
}

/// What became of each item; in shared memory.
struct fate
{
    std::atomic<std::uint32_t> tried{0}, pushed{0}, worked{0}, acknowledged{0};
};
using fates = common::shared_array<fate>;

struct armed
{
    explicit armed(const std::string& points)
    {
        ::setenv("COMMON_FAULT", points.c_str(), 1);
    }
    ~armed() { ::unsetenv("COMMON_FAULT"); }
};

/// Pushes what is not pushed yet, beginning with the number in `next`.
int push_from(producer<std::uint64_t> out, fates all,
              common::shared<std::atomic<std::uint64_t>> next,
              std::uint64_t end)
{
    for (auto i = next->load(); i < end; i = next->load())
    {
        ++all[i].tried;
        out.push(i);
        ++all[i].pushed;
        *next = i + 1;
    }
    return 0;
}

int work(consumer<std::uint64_t> in, fates all)
{
    while (auto one = in.lease()) // ends with the queue
    {
        const auto i = *one;
        ++all[i].worked;
        if (one.acknowledge())
            ++all[i].acknowledged;
    }
    return 0;
}

/// Works on one item, gives its seat up, and lives on.
int work_and_linger(consumer<std::uint64_t> in,
                    common::shared<std::atomic<std::uint64_t>> left)
{
    in.lease().acknowledge();
    in.leave();
    *left = 1;
    for (;;) // until it is killed
        ::pause();
}

/// The same without a lease.
int pop_and_work(consumer<std::uint64_t> in, fates all)
{
    while (const auto one = in.pop())
        ++all[*one].worked;
    return 0;
}

/// Two workers, until both have come to their end; returns how many were
/// killed before.
unsigned replace_the_killed(const std::function<process()>& start)
{
    unsigned deaths = 0;
    std::vector<process> workers;
    for (int i = 0; i < 2; ++i)
        workers.push_back(start());
    for (bool more = true; more;) // ends: every death is made good
    {
        more = false;
        for (auto& one : workers)
            if (const auto end = one.join_for(1ms); !end)
                more = true;
            else if (!end->success())
            {
                BOOST_REQUIRE(end->signal == SIGKILL);
                ++deaths;
                one = start();
                more = true;
            }
    }
    return deaths;
}

} // namespace

BOOST_FIXTURE_TEST_SUITE(producer_consumer_crash_laws, test::clean)

BOOST_AUTO_TEST_CASE(a_killed_consumer_costs_no_item_and_finishes_none_twice)
{
    constexpr std::uint64_t items = 3000;
    for (const std::string point :
         {"lanes.leased", "consumer.handed", "consumer.finishing",
          "consumer.finished", "lanes.acknowledging", "lanes.acknowledged"})
    {
        BOOST_TEST_CONTEXT("killed at " << point)
        {
            queue<std::uint64_t> q(small(64));
            const fates all(items);
            const common::shared<std::atomic<std::uint64_t>> next;
            auto in = q.consumer();
            process writer(&push_from, q.producer(), all, next, items);
            unsigned deaths = 0;
            {
                const armed points(
                    point + (point.rfind("lanes", 0) == 0 ? "=0.05" : "=0.01"));
                deaths =
                    replace_the_killed([&] { return process(&work, in, all); });
            }
            BOOST_TEST(writer.join().success());
            BOOST_TEST(q.size() == 0u);
            std::uint64_t acknowledged = 0;
            for (const auto& one : all)
            {
                BOOST_REQUIRE(one.worked >= 1u);
                BOOST_REQUIRE(one.acknowledged <= 1u);
                acknowledged += one.acknowledged;
            }
            // Who was killed right behind that has not counted it.
            BOOST_TEST(acknowledged + deaths >= items);
            BOOST_TEST(deaths > 3u);
        }
    }
}

BOOST_AUTO_TEST_CASE(
    who_is_killed_in_pop_costs_no_item_but_the_one_that_it_took)
{
    constexpr std::uint64_t items = 3000;
    for (const std::string point : {"consumer.copied", "lanes.acknowledged"})
    {
        BOOST_TEST_CONTEXT("killed at " << point)
        {
            queue<std::uint64_t> q(small(4)); // no two in a bundle
            const fates all(items);
            const common::shared<std::atomic<std::uint64_t>> next;
            auto in = q.consumer();
            process writer(&push_from, q.producer(), all, next, items);
            unsigned deaths = 0;
            {
                const armed points(point + "=0.02");
                deaths = replace_the_killed(
                    [&] { return process(&pop_and_work, in, all); });
            }
            BOOST_TEST(writer.join().success());
            BOOST_TEST(q.size() == 0u);
            std::uint64_t worked = 0;
            for (const auto& one : all)
            {
                BOOST_REQUIRE(one.worked <= 1u);
                worked += one.worked;
            }
            // Nothing is taken yet when its copy is made.
            const auto lost = point == "consumer.copied" ? 0 : deaths;
            BOOST_TEST(deaths > 3u);
            BOOST_TEST(worked + lost >= items);
        }
    }
}

namespace {

/// Pushes all of them, many at a time.
void push_in_batches(producer<std::uint64_t> out, std::uint64_t end)
{
    std::vector<std::uint64_t> some;
    for (std::uint64_t i = 0; i < end;)
    {
        some.resize(std::min<std::uint64_t>(end - i, 200));
        std::iota(some.begin(), some.end(), i);
        out.push_all(some);
        i += some.size();
    }
}

} // namespace

BOOST_AUTO_TEST_CASE(of_large_bundles_no_item_is_lost_with_a_killed_consumer)
{
    constexpr std::uint64_t items = 60'000;
    for (const std::string point :
         {"lanes.leased", "consumer.handed", "consumer.finishing",
          "consumer.opened", "lanes.acknowledging"})
    {
        BOOST_TEST_CONTEXT("killed at " << point)
        {
            queue<std::uint64_t> q(small(2048));
            const fates all(items);
            auto in = q.consumer();
            process writer(&push_in_batches, q.producer(), items);
            unsigned deaths = 0;
            {
                const bool often =
                    point == "consumer.handed" || point == "consumer.finishing";
                const armed points(point + (often ? "=0.0005" : "=0.02") +
                                   (point == "consumer.opened"
                                        ? ",consumer.handed=0.0005"
                                        : ""));
                for (bool done = false; !done;) // ends: each gets further
                {
                    process one(&work, in, all);
                    done = one.join().success();
                    deaths += !done;
                }
            }
            BOOST_TEST(writer.join().success());
            BOOST_TEST(q.size() == 0u);
            std::uint64_t acknowledged = 0;
            for (const auto& one : all)
            {
                BOOST_REQUIRE(one.worked >= 1u);
                BOOST_REQUIRE(one.acknowledged <= 1u);
                acknowledged += one.acknowledged;
            }
            BOOST_TEST(acknowledged + deaths >= items);
        }
    }
}

BOOST_AUTO_TEST_CASE(a_killed_producer_leaves_what_it_had_pushed_and_no_more)
{
    constexpr std::uint64_t items = 2000;
    for (const std::string point :
         {"ring.claimed", "producer.written", "ring.written", "ring.published",
          "ring.growing", "ring.grown"})
    {
        BOOST_TEST_CONTEXT("killed at " << point)
        {
            queue<std::uint64_t> q(small(1 << 16));
            const fates all(items);
            const common::shared<std::atomic<std::uint64_t>> next;
            unsigned deaths = 0;
            auto out = q.producer();
            {
                // An item whose push never returned may be there or not: the
                // next one pushes it again.
                const armed points(point + "=0.02");
                for (bool done = false; !done;) // ends: each gets further
                {
                    process one(&push_from, out, all, next, items);
                    done = one.join().success();
                    deaths += !done;
                }
            }
            out.leave();
            process worker(&work, q.consumer(), all);
            BOOST_TEST(worker.join().success());
            std::uint64_t doubled = 0;
            for (const auto& one : all)
            {
                BOOST_REQUIRE(one.pushed <= 1u);
                BOOST_REQUIRE(one.worked >= one.pushed);
                BOOST_REQUIRE(one.worked >= 1u);
                doubled += one.worked - 1;
            }
            BOOST_TEST(doubled <= deaths);
        }
    }
}

namespace {

/// The same in batches: the number in `next` is that of the batch to push.
int push_batches_from(producer<std::uint64_t> out,
                      common::shared<std::atomic<std::uint64_t>> next,
                      std::uint64_t end)
{
    std::vector<std::uint64_t> some;
    for (auto i = next->load(); i < end; i = next->load())
    {
        some.resize(std::min(end - i, i % 97 + 1));
        std::iota(some.begin(), some.end(), i);
        out.push_all(some);
        *next = i + some.size();
    }
    return 0;
}

/// What arrives has no gap: each number follows the last one, or begins again
/// where a producer has died.
int take_batches(consumer<std::uint64_t> in,
                 common::shared<std::atomic<std::uint64_t>> had)
{
    std::uint64_t expected = 0;
    for (auto some = in.pop_all(100); !some.empty(); some = in.pop_all(100))
        for (const auto one : some)
        {
            if (one > expected)
                return 1;
            expected = one + 1;
            *had = std::max(expected, had->load());
        }
    return 0;
}

} // namespace

BOOST_AUTO_TEST_CASE(a_batch_that_is_cut_by_a_kill_leaves_no_gap)
{
    constexpr std::uint64_t items = 200'000;
    for (const std::string point :
         {"ring.claimed", "producer.written", "ring.written", "ring.published",
          "ring.growing", "ring.grown"})
    {
        BOOST_TEST_CONTEXT("killed at " << point)
        {
            queue<std::uint64_t> q(small(1024));
            const common::shared<std::atomic<std::uint64_t>> next, had;
            unsigned deaths = 0;
            process reader(&take_batches, q.consumer(), had);
            auto out = q.producer();
            {
                // A record grows only where the reader has not taken it yet.
                const bool seldom = point.find("grow") != point.npos;
                const armed points(point + (seldom ? "=0.05" : "=0.002"));
                for (bool done = false; !done;) // ends: each gets further
                {
                    process one(&push_batches_from, out, next, items);
                    done = one.join().success();
                    deaths += !done;
                }
            }
            out.leave();
            BOOST_TEST(reader.join().success());
            BOOST_TEST(had->load() == items);
            BOOST_TEST(deaths > 0u);
        }
    }
}

BOOST_AUTO_TEST_CASE(
    a_producer_killed_before_it_woke_a_sleeper_wakes_it_all_the_same)
{
    queue<std::uint64_t> q(small(1 << 16));
    auto open = q.producer(); // so that the end does not wake anybody
    const common::shared<std::atomic<int>> got{0};
    process reader(
        [](consumer<std::uint64_t> in, common::shared<std::atomic<int>> to) {
            in.pop();
            *to = 1;
            in.pop(); // the end
        },
        q.consumer(), got);
    BOOST_REQUIRE(
        test::eventually([&] { return test::state(reader.pid()) == 'S'; }));
    {
        const armed points("ring.published=1");
        process writer([](producer<std::uint64_t> out) { out.push(7); },
                       q.producer());
        BOOST_TEST(writer.join().signal == SIGKILL);
    }
    BOOST_TEST(test::eventually([&] { return *got == 1; }));
    open.leave();
    BOOST_TEST(reader.join().success());
}

BOOST_AUTO_TEST_CASE(the_queue_closes_when_its_last_producer_is_killed)
{
    queue<int> q;
    process writer(
        [](producer<int> out) {
            out.push(1);
            ::pause();
        },
        q.producer());
    auto in = q.consumer();
    BOOST_TEST((in.pop() == 1));
    BOOST_TEST(!q.closed());
    writer.kill();
    BOOST_TEST(!in.pop()); // waits for the end, which comes
    BOOST_TEST(q.closed());
}

BOOST_AUTO_TEST_CASE(a_producer_that_dies_before_it_came_has_left)
{
    queue<int> q;
    {
        process writer([](producer<int>) {}, q.producer());
        writer.kill();
    }
    auto in = q.consumer();
    BOOST_TEST(!in.pop());
}

BOOST_AUTO_TEST_CASE(join_is_not_fooled_by_a_dead_consumer)
{
    queue<int> q;
    auto out = q.producer();
    out.push(1);
    const common::shared<std::atomic<int>> has;
    auto in = q.consumer();
    process worker(
        [](consumer<int> c, common::shared<std::atomic<int>> h) {
            const auto one = c.lease();
            *h = 1;
            ::pause();
        },
        in, has);
    BOOST_TEST(test::eventually([&] { return *has == 1; }));
    worker.kill();
    worker.join();
    auto again = in.lease(); // comes back by itself
    BOOST_TEST(*again == 1);
    BOOST_TEST(again.redelivered() == 1u);
    BOOST_TEST(!q.join_until(common::clock::now()));
    again.acknowledge();
    q.join();
}

BOOST_AUTO_TEST_CASE(to_join_when_the_last_consumer_has_died_is_an_error)
{
    queue<int> q;
    auto out = q.producer();
    BOOST_TEST(q.join_until(common::clock::now())); // it is empty
    out.push(1);
    BOOST_TEST(!q.join_until(common::clock::now())); // one may come
    process worker([](consumer<int>) { std::abort(); }, q.consumer());
    BOOST_CHECK_THROW(q.join(), common::closed);
    worker.join();
}

// Its workers would have been given ends of the queue.
BOOST_AUTO_TEST_CASE(a_crew_that_breaks_leaves_the_queue)
{
    queue<int> q(small(4)), answers;
    auto out = q.producer();
    common::crew::options staff;
    staff.workers = 1;
    staff.restarts = 1;
    common::crew workers(
        staff, {},
        [](common::crew_member me, consumer<int> in, producer<int>) {
            me.ready();
            if (in.pop())
                std::abort();
        },
        q.consumer(), answers.producer());
    BOOST_CHECK_THROW(for (int i = 0; i < 100; ++i) out.push(i),
                      common::closed);
    BOOST_TEST(!answers.consumer().pop()); // has no producer any more
}

BOOST_AUTO_TEST_CASE(a_crew_that_is_stopped_leaves_the_queue)
{
    queue<int> answers;
    common::crew::options staff;
    staff.workers = 1;
    staff.backoff = staff.longest_backoff = 60s;
    common::crew workers(
        staff, {},
        [](common::crew_member me, producer<int>) {
            me.ready();
            std::abort();
        },
        answers.producer());
    BOOST_TEST(test::eventually([&] { return workers.deaths() == 2; }));
    auto in = answers.consumer();
    workers.stop(common::clock::now()); // while the third one is to wait
    std::optional<int> none;
    BOOST_TEST((in.pop_for(none, 20s) == outcome::closed));
}

BOOST_AUTO_TEST_CASE(an_item_that_kills_its_consumers_is_a_dead_letter)
{
    auto options = small(256);
    options.attempts = 3;
    queue<std::uint64_t> q(options);
    const fates all(200);
    auto in = q.consumer();
    {
        auto out = q.producer();
        for (std::uint64_t i = 0; i < 200; ++i)
            out.push(i);
    }
    unsigned deaths = 0;
    for (bool done = false; !done;) // ends: each bad item kills three
    {
        process worker(
            [](consumer<std::uint64_t> c, fates f) {
                for (const auto item : c)
                {
                    if (item % 50 == 13)
                        ::kill(::getpid(), SIGKILL);
                    ++f[item].worked;
                }
            },
            in, all);
        done = worker.join().success();
        deaths += !done;
    }
    std::vector<std::uint64_t> dead;
    for (const auto& one : q.dead_letters())
        dead.push_back(*one.item);
    BOOST_TEST(dead == (std::vector<std::uint64_t>{13, 63, 113, 163}),
               boost::test_tools::per_element());
    BOOST_TEST(deaths == 12u);
    for (std::uint64_t i = 0; i < 200; ++i)
        BOOST_REQUIRE(all[i].worked == (i % 50 == 13 ? 0u : 1u));
    BOOST_TEST(q.size() == 0u);
}

BOOST_AUTO_TEST_CASE(an_item_is_not_blamed_for_deaths_before_it_was_handed_out)
{
    auto options = small(8);
    options.attempts = 3;
    queue<int> q(options);
    auto out = q.producer();
    auto in = q.consumer();
    out.push(1);
    in.lease().give_back(); // in hand, once
    for (int i = 0; i < 5; ++i)
    {
        const armed points("consumer.opened=1");
        process worker([](consumer<int> c) { static_cast<void>(c.lease()); },
                       in);
        BOOST_TEST(worker.join().signal == SIGKILL);
    }
    auto again = in.lease(common::clock::now() + 20s);
    BOOST_REQUIRE(again.operator bool());
    BOOST_TEST(again.redelivered() == 1u);
    BOOST_TEST(q.dead_letters().empty());
}

BOOST_AUTO_TEST_CASE(kills_from_outside_cost_no_item)
{
    constexpr std::uint64_t items = 30'000;
    const auto seed = std::random_device{}();
    std::cout << "seed " << seed << '\n';
    std::mt19937 dice(seed);
    queue<std::uint64_t> q(small(256));
    const fates all(2 * items);
    const common::shared<std::atomic<std::uint64_t>> next[2];
    next[1]->store(items);
    auto in = q.consumer();
    auto out = q.producer();
    const auto start = [&](unsigned which) {
        return which < 2 ? process(&push_from, out, all, next[which],
                                   (which + 1) * items)
                         : process(&work, in, all);
    };
    std::vector<process> everybody;
    for (unsigned i = 0; i < 4; ++i)
        everybody.push_back(start(i));
    unsigned kills = 0;
    for (bool more = true; more;) // ends: kills are bounded
    {
        if (kills < 150)
        {
            auto& victim = everybody[dice() % 4];
            if (victim.joinable())
                victim.kill(), ++kills;
        }
        more = false;
        bool written = true; // and the writers have ended, not only written
        for (unsigned i = 0; i < 4; ++i)
        {
            auto& one = everybody[i];
            const auto end = one.join_for(1ms);
            more = more || !end || !end->success();
            if (end && !end->success())
                one = start(i);
            written = written && end && end->success();
            if (i == 1 && written)
                out.leave();
        }
    }
    BOOST_TEST(kills > 0u);
    BOOST_TEST(q.size() == 0u);
    for (const auto& one : all)
    {
        BOOST_REQUIRE(one.worked >= 1u);
        BOOST_REQUIRE(one.acknowledged <= one.tried);
    }
}

namespace {

/// Whether it waits in futex(2).
bool asleep(pid_t pid)
{
    std::ifstream where("/proc/" + std::to_string(pid) + "/syscall");
    int number = -1;
    return where >> number && number == SYS_futex;
}

} // namespace

// --- beside it: what these laws are there for --------------------------------

BOOST_AUTO_TEST_CASE(idle_consumers_that_are_killed_stop_nobody)
{
    queue<int> q;
    auto out = q.producer();
    auto in = q.consumer();
    for (int i = 0; i < 20; ++i)
    {
        process idle([](consumer<int> c) { c.pop(); }, in);
        BOOST_TEST(
            test::eventually([&] { return q.stats().consumers.size() > 0; }));
        BOOST_TEST(test::eventually([&] { return asleep(idle.pid()); }));
        idle.kill();
    }
    auto here = q.consumer();
    for (int i = 0; i < 1000; ++i)
    {
        out.push(i);
        BOOST_REQUIRE((here.pop() == i));
    }
}

BOOST_AUTO_TEST_CASE(
    a_message_queue_hangs_after_idle_receivers_were_killed,
    *boost::unit_test::precondition(test::notifiers_wait_for_the_dead))
{
    namespace ipc = boost::interprocess;
    const auto name = "common-test-" + std::to_string(::getpid());
    ipc::message_queue::remove(name.c_str());
    ipc::message_queue theirs(ipc::create_only, name.c_str(), 64, 8);
    bool hangs = false;
    for (int i = 0; i < 8 && !hangs; ++i)
    {
        process idle(
            [](std::string n) {
                ipc::message_queue q(ipc::open_only, n.c_str());
                char text[8];
                ipc::message_queue::size_type size = 0;
                unsigned priority = 0;
                q.receive(text, sizeof text, size, priority);
            },
            name);
        BOOST_TEST(test::eventually([&] { return asleep(idle.pid()); }));
        idle.kill();
        idle.join();
        process sender( // there is always room
            [](std::string n) {
                ipc::message_queue q(ipc::open_only, n.c_str());
                q.send("x", 1, 0);
                char text[8]; // and takes it out again
                ipc::message_queue::size_type size = 0;
                unsigned priority = 0;
                q.try_receive(text, sizeof text, size, priority);
            },
            name);
        hangs = !sender.join_for(2s);
        sender.kill();
    }
    BOOST_TEST(hangs);
    ipc::message_queue::remove(name.c_str());
}

BOOST_AUTO_TEST_CASE(who_has_left_takes_nothing_from_who_has_its_seat_now)
{
    queue_options options = small(8);
    options.consumers = 1;
    queue<std::uint64_t> q(options);
    auto out = q.producer();
    out.push(1);
    out.push(2);
    const common::shared<std::atomic<std::uint64_t>> left;
    process earlier(&work_and_linger, q.consumer(), left);
    BOOST_REQUIRE(test::eventually([&] { return *left == 1; }));
    auto in = q.consumer();
    auto one = in.lease();
    BOOST_REQUIRE(one);
    BOOST_TEST(*one == 2u);
    ::kill(earlier.pid(), SIGKILL);
    earlier.join();
    BOOST_TEST(!in.lease(common::clock::now() + 100ms)); // not again
    BOOST_TEST(one.acknowledge());
    out.push(3);
    auto last = in.lease();
    BOOST_REQUIRE(last);
    BOOST_TEST(*last == 3u);
    BOOST_TEST(last.acknowledge());
}

BOOST_AUTO_TEST_SUITE_END()
