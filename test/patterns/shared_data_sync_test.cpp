// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.

#define BOOST_TEST_MODULE shared_data_sync

#include "common/process.hpp"
#include "test/fixture.hpp"
#include "test/patterns/shared_data_workers.hpp"

#include <boost/test/unit_test.hpp>

#include "patterns/shared_data/shared_data.hpp"
#include <signal.h>
#include <sys/time.h>
#include <unistd.h>

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
using common::locked;
using common::process;
using common::shared;
using shared_data::broken_barrier;
using shared_data::clock;
using shared_data::owner_died;
using shared_data::shared_guarded;
using shared_data::still_locked;

using flag = shared<std::atomic<int>>;

bool comes(const flag& f, int value)
{
    return eventually([&] { return *f == value; });
}

struct pair // whole when both are equal
{
    std::int64_t left = 0;
    std::int64_t right = 0;
};

void make_whole(pair& p)
{
    p.right = p.left;
}

using plain = shared_guarded<pair>;
using mended = shared_guarded<pair, &make_whole>;

} // namespace

BOOST_FIXTURE_TEST_SUITE(shared_mutex_laws, test::clean)

BOOST_AUTO_TEST_CASE(readers_read_together_and_writers_alone)
{
    shared<plain> one;
    flag stage{0};
    process reader(
        [](common::stop_token stop, shared<plain> p, flag s) {
            const auto r = p->read();
            *s = 1;
            stop.wait_until(common::time_point::max());
        },
        one, stage);
    BOOST_REQUIRE(comes(stage, 1));
    BOOST_TEST(one->read(clock::now() + 10s)->left == 0);
    BOOST_CHECK_THROW(static_cast<void>(one->write(clock::now() + 20ms)),
                      still_locked);
    try
    {
        static_cast<void>(one->write(clock::now() + 20ms));
    }
    catch (const still_locked& e)
    {
        BOOST_TEST(e.pid() == reader.pid());
    }
    reader.request_stop();
    reader.join();
    const auto w = one->write(clock::now() + 10s);
    std::jthread([&] {
        BOOST_CHECK_THROW(static_cast<void>(one->read(clock::now() + 20ms)),
                          still_locked);
    });
}

BOOST_AUTO_TEST_CASE(a_reader_that_dies_lets_writers_in)
{
    shared<plain> one;
    for (int i = 0; i < 40; ++i) // more than there are seats
    {
        process(
            [](shared<plain> p) {
                const auto r = p->read();
                die();
            },
            one)
            .join();
        const auto w = one->write(clock::now() + 10s);
        BOOST_TEST(w.dead_owner() == 0);
    }
}

BOOST_AUTO_TEST_CASE(a_reader_that_dies_lets_in_who_waits)
{
    shared<plain> one;
    flag stage{0};
    process reader(
        [](common::stop_token stop, shared<plain> p, flag s) {
            const auto r = p->read();
            *s = 1;
            stop.wait_until(common::time_point::max());
        },
        one, stage);
    BOOST_REQUIRE(comes(stage, 1));
    std::jthread killer([&] {
        while (one->try_read()) // until the writer stands at the gate
            std::this_thread::yield();
        reader.kill();
    });
    BOOST_TEST(one->write(clock::now() + 20s)->left == 0);
    killer.join();
    reader.join();
}

BOOST_AUTO_TEST_CASE(a_writer_that_dies_is_news_for_readers_and_writers)
{
    shared<plain> one;
    process writer(
        [](shared<plain> p) {
            const auto w = p->write();
            ++w->left;
            common::settle();
            die();
        },
        one);
    const auto pid = writer.pid();
    writer.join();
    BOOST_CHECK_THROW(static_cast<void>(one->read()), owner_died);
    BOOST_CHECK_THROW(static_cast<void>(one->write()), owner_died);
    {
        const auto w = one->write_suspect();
        BOOST_TEST(w.dead_owner() == pid);
        make_whole(*w);
        w.repaired();
    }
    BOOST_TEST(one->read()->right == 1);
}

BOOST_AUTO_TEST_CASE(the_first_reader_after_a_death_has_it_repaired)
{
    shared<mended> one;
    process(
        [](shared<mended> p) {
            const auto w = p->write();
            ++w->left;
            common::settle();
            die();
        },
        one)
        .join();
    BOOST_TEST(one->read()->right == 1);
}

// A reader that wants to write: its own seat would never come free.
BOOST_AUTO_TEST_CASE(a_reader_that_wants_to_write_is_told_and_blocks_nobody)
{
    shared<plain> one;
    {
        const auto r = one->read();
        BOOST_CHECK_THROW(static_cast<void>(one->write()), std::system_error);
    }
    std::jthread other([&] {
        BOOST_CHECK_NO_THROW(static_cast<void>(one->write(clock::now() + 10s)));
    });
    other.join();
    BOOST_TEST(one->try_read().has_value());
}

// Nobody is to find halves, or to be stuck, whoever dies where.
BOOST_AUTO_TEST_CASE(deaths_at_any_instruction_leave_the_value_whole)
{
    for (const std::string point :
         {"robust.taken", "robust.entered", "shared_mutex.seated",
          "test.halfway", "test.reading", "shared_mutex.stood_up",
          "robust.leaving"})
    {
        shared<mended> one;
        flag halves{0};
        const faults armed(point + "=0.003");
        const auto body = [](shared<mended> p, flag h) {
            for (int i = 0; i < 3'000; ++i)
                if (i % 4 == 0)
                {
                    const auto w = p->write();
                    ++w->left;
                    common::settle();
                    COMMON_FAULT_POINT("test.halfway");
                    ++w->right;
                }
                else
                {
                    const auto r = p->read();
                    COMMON_FAULT_POINT("test.reading");
                    *h += r->left != r->right;
                }
        };
        for (int i = 0; i < 3; ++i)
        {
            process a(body, one, halves), b(body, one, halves),
                c(body, one, halves);
            a.join(), b.join(), c.join();
            const auto r = one->read(clock::now() + 10s);
            BOOST_TEST(r->left == r->right, point);
        }
        BOOST_TEST(*halves == 0, point);
    }
}

BOOST_AUTO_TEST_SUITE_END()

BOOST_FIXTURE_TEST_SUITE(semaphore_laws, test::clean)

using semaphore = shared_data::semaphore<>;

BOOST_AUTO_TEST_CASE(there_are_so_many_permits_and_no_more)
{
    semaphore one(3);
    BOOST_TEST(one.available() == 3u);
    std::vector<semaphore::permit> held;
    for (int i = 0; i < 3; ++i)
        held.push_back(one.acquire());
    BOOST_TEST(!one.try_acquire());
    BOOST_TEST(one.available() == 0u);
    const auto start = clock::now();
    BOOST_TEST(!one.try_acquire_until(start + 60ms));
    BOOST_TEST((clock::now() - start >= 60ms));
    BOOST_CHECK_THROW(static_cast<void>(one.acquire(start)), common::timed_out);
    held.pop_back();
    BOOST_TEST(one.try_acquire().has_value());
}

BOOST_AUTO_TEST_CASE(a_permit_cannot_be_given_back_twice)
{
    semaphore one(1);
    auto held = one.acquire();
    held.release();
    BOOST_CHECK_THROW(held.release(), std::logic_error);
    BOOST_TEST(one.available() == 1u);
}

BOOST_AUTO_TEST_CASE(a_number_of_permits_that_has_no_room_is_refused)
{
    BOOST_CHECK_THROW(semaphore(0), std::invalid_argument);
    BOOST_CHECK_THROW(semaphore(65), std::invalid_argument);
}

BOOST_AUTO_TEST_CASE(the_permits_of_the_dead_come_back)
{
    shared<semaphore> one{4u};
    process(
        [](shared<semaphore> s) {
            const auto a = s->acquire(), b = s->acquire();
            die();
        },
        one)
        .join();
    BOOST_TEST(one->available() == 4u);
}

BOOST_AUTO_TEST_CASE(a_waiter_gets_the_permit_of_the_dead)
{
    shared<semaphore> one{1u};
    flag stage{0};
    process holder(
        [](shared<semaphore> s, flag f) {
            const auto p = s->acquire();
            *f = 1;
            while (*f == 1) // until the parent is about to wait
                std::this_thread::yield();
            die();
        },
        one, stage);
    BOOST_REQUIRE(comes(stage, 1));
    *stage = 2;
    const auto start = clock::now();
    BOOST_TEST(one->try_acquire_until(start + 20s).has_value());
    holder.join();
}

BOOST_AUTO_TEST_CASE(never_more_inside_than_permits_and_nobody_is_stuck)
{
    shared<semaphore> one{2u};
    shared<std::atomic<int>> most{0};
    shared<shared_data::semaphore<>> unused{1u};
    const faults armed("semaphore.taken=0.002,semaphore.given_back=0.002,"
                       "robust.taken=0.001,robust.leaving=0.001");
    // Who is inside is counted by a permit of its own: it dies with its owner.
    const auto body = [](shared<semaphore> s, shared<semaphore> seats,
                         shared<std::atomic<int>> m) {
        for (int i = 0; i < 500; ++i)
        {
            const auto p = s->acquire();
            const auto seat = seats->try_acquire();
            if (!seat)
                ++*m;
        }
    };
    shared<semaphore> seats{2u};
    int deaths = 0;
    for (int i = 0; i < 4; ++i)
    {
        process a(body, one, seats, most), b(body, one, seats, most),
            c(body, one, seats, most);
        for (auto* each : {&a, &b, &c})
            deaths += !each->join().success();
        BOOST_TEST(one->available() == 2u);
    }
    BOOST_TEST(deaths > 0);
    BOOST_TEST(*most == 0);
}

BOOST_AUTO_TEST_SUITE_END()

BOOST_FIXTURE_TEST_SUITE(event_laws, test::clean)

BOOST_AUTO_TEST_CASE(an_event_is_seen_by_all_until_it_is_cleared)
{
    shared<shared_data::event> one;
    BOOST_TEST(!one->is_set());
    BOOST_TEST(!one->wait(clock::now() + 20ms));
    BOOST_TEST(!one->wait(common::time_point::min()));
    std::vector<process> all;
    for (int i = 0; i < 3; ++i)
        all.emplace_back(
            [](shared<shared_data::event> e) { return e->wait() ? 0 : 1; },
            one);
    one->set();
    for (auto& each : all)
        BOOST_TEST(each.join().success());
    BOOST_TEST(one->wait(common::time_point::min()));
    one->clear();
    BOOST_TEST(!one->is_set());
}

BOOST_AUTO_TEST_CASE(who_dies_between_set_and_wake_up_leaves_nobody_asleep)
{
    shared<shared_data::event> one;
    flag stage{0};
    process waiter(
        [](shared<shared_data::event> e, flag f) {
            *f = 1;
            e->wait();
        },
        one, stage);
    BOOST_REQUIRE(comes(stage, 1));
    const faults armed("event.set=1");
    process setter([](shared<shared_data::event> e) { e->set(); }, one);
    BOOST_TEST(setter.join().signal == SIGKILL);
    BOOST_TEST(waiter.join_for(20s).has_value());
}

BOOST_AUTO_TEST_SUITE_END()

BOOST_FIXTURE_TEST_SUITE(condition_laws, test::clean)

namespace {

struct basket
{
    int apples = 0;
    int waiting = 0;
    int taken = 0;
};
struct kitchen
{
    shared_data::guarded<basket> table;
    shared_data::condition more;
};

// Takes an apple when there is one.
int take_apple(shared<kitchen> k)
{
    auto b = k->table.lock_suspect();
    ++b->waiting;
    k->more.wait(b, [](const basket& now) { return now.apples > 0; });
    --b->apples;
    ++b->taken;
    return 0;
}

bool all_wait(const shared<kitchen>& k, int count)
{
    return eventually(
        [&] { return k->table.lock_suspect()->waiting == count; });
}

} // namespace

BOOST_AUTO_TEST_CASE(a_notification_wakes_as_many_as_there_is_something_for)
{
    shared<kitchen> one;
    std::vector<process> others;
    std::vector<std::jthread> threads;
    for (int i = 0; i < 3; ++i)
    {
        others.emplace_back(&take_apple, one);
        threads.emplace_back([&] { take_apple(one); });
    }
    BOOST_REQUIRE(all_wait(one, 6));
    const auto taken = [&] { return one->table.lock()->taken; };
    one->table.lock()->apples = 1;
    one->more.notify_one();
    BOOST_TEST(eventually([&] { return taken() == 1; }));
    one->table.lock()->apples = 2;
    one->more.notify(2);
    BOOST_TEST(eventually([&] { return taken() == 3; }));
    one->table.lock()->apples = 3;
    one->more.notify_all();
    BOOST_TEST(eventually([&] { return taken() == 6; }));
    for (auto& each : others)
        BOOST_TEST(each.join().success());
}

BOOST_AUTO_TEST_CASE(a_wait_ends_at_its_deadline_with_the_lock_held)
{
    shared<kitchen> one;
    auto b = one->table.lock();
    const auto start = clock::now();
    BOOST_TEST(!one->more.wait(
        b, [](const basket&) { return false; }, start + 70ms));
    BOOST_TEST((clock::now() - start >= 70ms));
    b->apples = 1;
    BOOST_TEST(one->more.wait(
        b, [](const basket& now) { return now.apples == 1; }, start));
}

BOOST_AUTO_TEST_CASE(waiters_that_are_killed_swallow_no_notification)
{
    shared<kitchen> one;
    {
        std::vector<process> doomed;
        for (int i = 0; i < 5; ++i)
            doomed.emplace_back(&take_apple, one);
        BOOST_REQUIRE(all_wait(one, 5));
        for (auto& each : doomed)
            each.kill();
        for (auto& each : doomed)
            each.join();
    }
    {
        const auto b = one->table.lock_suspect();
        b.repaired();
        b->waiting = 0;
    }
    process last(&take_apple, one);
    BOOST_REQUIRE(all_wait(one, 1));
    one->table.lock()->apples = 1;
    one->more.notify_one();
    BOOST_TEST(last.join_for(20s).has_value());
}

BOOST_AUTO_TEST_SUITE_END()

BOOST_FIXTURE_TEST_SUITE(signal_laws, test::clean)

namespace {

// A signal every millisecond, which ends system calls and nothing else.
void ring_all_the_time()
{
    struct sigaction nothing
    {
    };
    nothing.sa_handler = [](int) {};
    ::sigaction(SIGALRM, &nothing, nullptr);
    const itimerval often{{0, 1'000}, {0, 1'000}};
    ::setitimer(ITIMER_REAL, &often, nullptr);
}

struct all_kinds
{
    shared_data::guarded<pair> guarded;
    shared_data::shared_guarded<pair> read_or_written;
    shared_data::semaphore<> semaphore{1u};
    shared_data::event event;
    shared_data::condition condition;
    shared_data::barrier<> barrier{2u};
};

// Waits for what does not come.  Returns how many waits ended before their
// time, or otherwise than by a timeout.
int wait_for_all(shared<all_kinds> k)
{
    ring_all_the_time();
    int wrong = 0;
    const auto ends_in_time = [&](auto wait) {
        const auto deadline = clock::now() + 60ms;
        try
        {
            wrong += wait(deadline);
        }
        catch (const common::timed_out&)
        {
        }
        wrong += clock::now() < deadline;
    };
    ends_in_time([&](auto until) {
        return k->guarded.try_lock_until(until).has_value();
    });
    ends_in_time([&](auto until) {
        return k->read_or_written.try_read(until).has_value();
    });
    ends_in_time([&](auto until) {
        return k->semaphore.try_acquire_until(until).has_value();
    });
    ends_in_time([&](auto until) { return k->event.wait(until); });
    ends_in_time([&](auto until) {
        shared_data::barrier<>::party me(k->barrier);
        return me.arrive_and_wait(until);
    });
    shared_data::guarded<pair> own;
    ends_in_time([&](auto until) {
        auto b = own.lock();
        return k->condition.wait(
            b, [](const pair&) { return false; }, until);
    });
    return wrong;
}

} // namespace

BOOST_AUTO_TEST_CASE(signals_end_no_wait)
{
    shared<all_kinds> one;
    const auto locked = one->guarded.lock();
    const auto written = one->read_or_written.write();
    const auto permit = one->semaphore.acquire();
    process waiter(&wait_for_all, one);
    BOOST_TEST(waiter.join().code == 0);
}

BOOST_AUTO_TEST_SUITE_END()

BOOST_FIXTURE_TEST_SUITE(recursive_mutex_laws, test::clean)

BOOST_AUTO_TEST_CASE(it_is_locked_until_it_was_unlocked_as_often)
{
    shared_data::recursive_mutex one;
    BOOST_TEST((one.lock() == locked::yes));
    BOOST_TEST((one.lock() == locked::yes));
    BOOST_TEST(one.depth() == 2u);
    const auto others_try = [&] {
        locked result{};
        std::jthread([&] {
            result = one.try_lock();
            if (result != locked::no)
                one.unlock();
        });
        return result;
    };
    one.unlock();
    BOOST_TEST((others_try() == locked::no));
    one.unlock();
    BOOST_TEST((others_try() == locked::yes));
    BOOST_CHECK_THROW(one.unlock(), std::logic_error);
}

BOOST_AUTO_TEST_CASE(an_owner_that_dies_deep_inside_frees_it_all)
{
    shared<shared_data::recursive_mutex> one;
    process(
        [](shared<shared_data::recursive_mutex> m) {
            m->lock(), m->lock(), m->lock();
            die();
        },
        one)
        .join();
    BOOST_TEST((one->lock(clock::now() + 10s) == locked::after_death));
    one->consistent();
    BOOST_TEST(one->depth() == 1u);
    one->unlock();
    BOOST_TEST((one->lock() == locked::yes));
    one->unlock();
}

BOOST_AUTO_TEST_SUITE_END()

BOOST_FIXTURE_TEST_SUITE(barrier_laws, test::clean)

using barrier = shared_data::barrier<>;

BOOST_AUTO_TEST_CASE(all_go_on_together_and_one_runs_the_action)
{
    struct field
    {
        barrier start{3};
        std::atomic<int> actions{0}, early{0}, came{0};
    };
    shared<field> one;
    const auto run = [](shared<field> f) {
        barrier::party me(f->start);
        for (int i = 1; i <= 500; ++i)
        {
            ++f->came;
            me.arrive_and_wait([&] {
                if (f->came != 3 * i)
                    ++f->early;
                ++f->actions;
            });
        }
    };
    process a(run, one), b(run, one), c(run, one);
    for (auto* each : {&a, &b, &c})
        BOOST_TEST(each->join().success());
    BOOST_TEST(one->actions == 500);
    BOOST_TEST(one->early == 0);
    BOOST_TEST(!one->start.broken());
}

BOOST_AUTO_TEST_CASE(a_single_party_passes)
{
    barrier one(1);
    barrier::party me(one);
    BOOST_TEST(me.arrive_and_wait());
    BOOST_TEST(me.arrive_and_wait(clock::now()));
    BOOST_CHECK_THROW(barrier::party{one}, common::full);
}

BOOST_AUTO_TEST_CASE(a_timeout_breaks_it_for_all_until_it_is_reset)
{
    barrier one(2);
    std::atomic<int> broken{0};
    std::jthread other([&] {
        barrier::party it(one);
        try
        {
            while (broken == 0) // until the main thread has given up
                std::this_thread::yield();
            it.arrive_and_wait();
        }
        catch (const broken_barrier& e)
        {
            broken += e.pid() == 0 ? 1 : 100;
        }
    });
    barrier::party me(one);
    BOOST_CHECK_THROW(me.arrive_and_wait(clock::now() + 20ms),
                      common::timed_out);
    broken = 1;
    other.join();
    BOOST_TEST(broken == 2);
    BOOST_TEST(one.broken());
    one.reset();
    BOOST_TEST(!one.broken());
    std::jthread again([&] { barrier::party(one).arrive_and_wait(); });
    me.arrive_and_wait(clock::now() + 20s);
}

// Waits as a party of its own.
bool hears_of_a_break(barrier& one)
try
{
    barrier::party(one).arrive_and_wait();
    return false;
}
catch (const broken_barrier&)
{
    return true;
}

BOOST_AUTO_TEST_CASE(an_abort_wakes_who_waits)
{
    barrier one(2);
    std::atomic<bool> broken{false};
    std::jthread other([&] { broken = hears_of_a_break(one); });
    BOOST_REQUIRE(eventually([&] { return one.waiting() == 1; }));
    one.abort();
    other.join();
    BOOST_TEST(broken);
}

BOOST_AUTO_TEST_CASE(a_reset_wakes_who_waits_with_an_error)
{
    barrier one(2);
    std::atomic<bool> broken{false};
    std::jthread other([&] { broken = hears_of_a_break(one); });
    BOOST_REQUIRE(eventually([&] { return one.waiting() == 1; }));
    one.reset();
    other.join();
    BOOST_TEST(broken);
    BOOST_TEST(!one.broken());
}

BOOST_AUTO_TEST_CASE(an_action_that_throws_breaks_it)
{
    barrier one(1);
    barrier::party me(one);
    BOOST_CHECK_THROW(me.arrive_and_wait([] { throw std::domain_error("no"); }),
                      std::domain_error);
    BOOST_CHECK_THROW(me.arrive_and_wait(), broken_barrier);
}

// Before it came, after it came, in the action: the others hear of it.
BOOST_AUTO_TEST_CASE(the_death_of_a_party_breaks_it)
{
    for (const std::string point :
         {"test.joined", "barrier.came", "barrier.acted"})
    {
        shared<barrier> one{2u};
        flag stage{0};
        const faults armed(point + "=1");
        process doomed(
            [](shared<barrier> b, flag s) {
                barrier::party it(*b);
                *s = 1;
                while (b->waiting() == 0) // until the other is there
                    std::this_thread::yield();
                COMMON_FAULT_POINT("test.joined");
                it.arrive_and_wait();
            },
            one, stage);
        BOOST_REQUIRE(comes(stage, 1));
        barrier::party me(*one);
        try
        {
            me.arrive_and_wait(clock::now() + 30s);
            BOOST_ERROR("should break at " + point);
        }
        catch (const broken_barrier& e)
        {
            BOOST_TEST(e.pid() == doomed.pid(), point);
        }
        BOOST_TEST(doomed.join().signal == SIGKILL);
        BOOST_CHECK_THROW(me.arrive_and_wait(), broken_barrier);
        one->reset();
        std::jthread other([&] { barrier::party(*one).arrive_and_wait(); });
        me.arrive_and_wait(clock::now() + 30s);
    }
}

BOOST_AUTO_TEST_SUITE_END()
