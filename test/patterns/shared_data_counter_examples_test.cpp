// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.

// What happens to the blocking types of Boost.Interprocess when a process is
// killed in or near them, and to what this pattern has instead.  Every case
// ends by itself: who is stuck is a process of its own, looked at for a while
// and then killed.

#define BOOST_TEST_MODULE shared_data_counter_examples

#include "common/process.hpp"
#include "test/fixture.hpp"
#include "test/glibc.hpp"
#include "test/patterns/shared_data_workers.hpp"

#include <boost/interprocess/ipc/message_queue.hpp>
#include <boost/interprocess/managed_shared_memory.hpp>
#include <boost/interprocess/sync/interprocess_condition.hpp>
#include <boost/interprocess/sync/interprocess_mutex.hpp>
#include <boost/interprocess/sync/interprocess_semaphore.hpp>
#include <boost/interprocess/sync/interprocess_sharable_mutex.hpp>
#include <boost/interprocess/sync/interprocess_upgradable_mutex.hpp>
#include <boost/interprocess/sync/named_mutex.hpp>
#include <boost/interprocess/sync/scoped_lock.hpp>
#include <boost/test/unit_test.hpp>

#include "patterns/shared_data/shared_data.hpp"
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <new>
#include <optional>
#include <string>
#include <thread>
#include <vector>

namespace {

namespace ipc = boost::interprocess;
using namespace std::chrono_literals;
using namespace test;
using common::process;
using common::shared;
using shared_data::clock;

using flag = shared<std::atomic<int>>;

/// An object with a destructor, in shared memory: built where it is first
/// said `create`, and never destroyed, since others may be stuck in it.
template <class T>
class foreign
{
public:
    template <class... A>
    T& create(A... arguments)
    {
        return *::new (bytes_) T(arguments...);
    }
    T* operator->() { return std::launder(reinterpret_cast<T*>(bytes_)); }

private:
    alignas(T) std::byte bytes_[sizeof(T)];
};
template <class T>
using theirs = shared<foreign<T>>;

/// Whether a process, once it says that it begins, does not come to its end
/// in a time in which it could have done so ten thousand times.  Kills it.
bool stuck(process& one, const flag& begun)
{
    BOOST_REQUIRE(eventually([&] { return *begun != 0; }));
    const bool ended = one.join_for(1500ms).has_value();
    one.kill();
    one.join();
    return !ended;
}

/// A name of shared memory, gone at the end.
struct name
{
    explicit name(const std::string& what)
        : text("common_counter_example_" + what + "_" +
               std::to_string(::getpid()))
    {
        remove();
    }
    ~name() { remove(); }
    void remove() const
    {
        ipc::shared_memory_object::remove(text.c_str());
        ipc::named_mutex::remove(text.c_str());
    }
    std::string text;
};

} // namespace

BOOST_FIXTURE_TEST_SUITE(counter_examples, test::clean)

BOOST_AUTO_TEST_CASE(interprocess_mutex_is_lost_for_good)
{
    theirs<ipc::interprocess_mutex> one;
    one->create();
    process(
        [](theirs<ipc::interprocess_mutex> m) {
            (*m)->lock();
            die();
        },
        one)
        .join();
    for (int i = 0; i < 3; ++i) // and ever after
        BOOST_CHECK_THROW((*one)->lock(), ipc::lock_exception);
}

BOOST_AUTO_TEST_CASE(guarded_is_not)
{
    using value = shared_data::guarded<int, [](int&) {}>;
    shared<value> one{1};
    process(
        [](shared<value> g) {
            const auto held = g->lock();
            die();
        },
        one)
        .join();
    BOOST_TEST(*one->lock_for(10s) == 1);
}

BOOST_AUTO_TEST_CASE(named_mutex_stays_locked)
{
    const name its("mutex");
    ipc::named_mutex created(ipc::create_only, its.text.c_str());
    process(
        [](std::string n) {
            ipc::named_mutex(ipc::open_only, n.c_str()).lock();
            die();
        },
        its.text)
        .join();
    flag begun{0};
    process next(
        [](std::string n, flag f) {
            ipc::named_mutex m(ipc::open_only, n.c_str());
            *f = 1;
            m.lock();
        },
        its.text, begun);
    BOOST_TEST(stuck(next, begun));
}

BOOST_AUTO_TEST_CASE(interprocess_semaphore_loses_the_permit)
{
    theirs<ipc::interprocess_semaphore> one;
    one->create(1u);
    process(
        [](theirs<ipc::interprocess_semaphore> s) {
            (*s)->wait();
            die();
        },
        one)
        .join();
    flag begun{0};
    process next(
        [](theirs<ipc::interprocess_semaphore> s, flag f) {
            *f = 1;
            (*s)->wait();
        },
        one, begun);
    BOOST_TEST(stuck(next, begun));
}

BOOST_AUTO_TEST_CASE(semaphore_does_not)
{
    shared<shared_data::semaphore<>> one{1u};
    process(
        [](shared<shared_data::semaphore<>> s) {
            const auto held = s->acquire();
            die();
        },
        one)
        .join();
    BOOST_TEST(one->try_acquire().has_value());
}

namespace {

template <class Mutex>
void a_dead_reader_locks_out_writers()
{
    theirs<Mutex> one;
    one->create();
    process(
        [](theirs<Mutex> m) {
            (*m)->lock_sharable();
            die();
        },
        one)
        .join();
    flag begun{0};
    process next(
        [](theirs<Mutex> m, flag f) {
            *f = 1;
            (*m)->lock();
        },
        one, begun);
    BOOST_TEST(stuck(next, begun));
}

} // namespace

BOOST_AUTO_TEST_CASE(interprocess_sharable_mutex_waits_for_the_dead)
{
    a_dead_reader_locks_out_writers<ipc::interprocess_sharable_mutex>();
}

BOOST_AUTO_TEST_CASE(interprocess_upgradable_mutex_waits_for_the_dead)
{
    a_dead_reader_locks_out_writers<ipc::interprocess_upgradable_mutex>();
}

BOOST_AUTO_TEST_CASE(shared_guarded_does_not)
{
    shared<shared_data::shared_guarded<int>> one{1};
    process(
        [](shared<shared_data::shared_guarded<int>> g) {
            const auto reading = g->read();
            die();
        },
        one)
        .join();
    BOOST_TEST(*one->write(clock::now() + 10s) == 1);
}

namespace {

struct bell
{
    foreign<ipc::interprocess_mutex> mutex;
    foreign<ipc::interprocess_condition> condition;
    std::atomic<int> waiting{0};
};

int wait_for_bell(shared<bell> b)
{
    ipc::scoped_lock<ipc::interprocess_mutex> hold(*b->mutex.operator->());
    ++b->waiting;
    b->condition->wait(hold);
    return 0;
}

} // namespace

// The victim only waits; who hangs has done nothing wrong.
BOOST_AUTO_TEST_CASE(
    interprocess_condition_hangs_who_notifies,
    *boost::unit_test::precondition(test::notifiers_wait_for_the_dead))
{
    shared<bell> one;
    one->mutex.create();
    one->condition.create();
    bool hung = false;
    for (int i = 0; i < 20 && !hung; ++i)
    {
        process waiter(&wait_for_bell, one);
        BOOST_REQUIRE(eventually([&] { return one->waiting == i + 1; }));
        // It waits once it has given up the mutex.
        ipc::scoped_lock<ipc::interprocess_mutex>(*one->mutex.operator->());
        waiter.kill();
        waiter.join();
        flag begun{0};
        process notifier(
            [](shared<bell> b, flag f) {
                *f = 1;
                b->condition->notify_one();
            },
            one, begun);
        hung = stuck(notifier, begun);
    }
    BOOST_TEST(hung);
}

BOOST_AUTO_TEST_CASE(condition_does_not)
{
    struct house
    {
        shared_data::guarded<int> waiting{0};
        shared_data::condition bell;
    };
    shared<house> one;
    for (int i = 0; i < 20; ++i)
    {
        process waiter(
            [](shared<house> h) {
                auto hold = h->waiting.lock_suspect();
                ++*hold;
                h->bell.wait(hold, [](int) { return false; });
            },
            one);
        BOOST_REQUIRE(
            eventually([&] { return *one->waiting.lock_suspect() == i + 1; }));
        waiter.kill();
        waiter.join();
        flag begun{0};
        process notifier(
            [](shared<house> h, flag f) {
                *f = 1;
                h->bell.notify_one();
                h->bell.notify_all();
            },
            one, begun);
        BOOST_TEST(notifier.join_for(20s).has_value());
        one->waiting.lock_suspect().repaired();
    }
}

BOOST_AUTO_TEST_CASE(
    message_queue_hangs_its_sender,
    *boost::unit_test::precondition(test::notifiers_wait_for_the_dead))
{
    const name its("queue");
    ipc::message_queue queue(ipc::create_only, its.text.c_str(), 100, 8);
    bool hung = false;
    for (int i = 0; i < 20 && !hung; ++i)
    {
        flag stage{0};
        process receiver(
            [](std::string n, flag f) {
                ipc::message_queue q(ipc::open_only, n.c_str());
                char text[8];
                std::size_t size = 0;
                unsigned priority = 0;
                *f = 1;
                for (;;) // until it is killed
                    q.receive(text, sizeof text, size, priority);
            },
            its.text, stage);
        BOOST_REQUIRE(eventually([&] { return *stage == 1; }));
        eventually([&] { return state(receiver.pid()) == 'S'; });
        receiver.kill(); // idle: it only waits
        receiver.join();
        flag begun{0};
        process sender(
            [](std::string n, flag f) {
                ipc::message_queue q(ipc::open_only, n.c_str());
                *f = 1;
                q.try_send("hello", 5, 0);
            },
            its.text, begun);
        hung = stuck(sender, begun);
    }
    BOOST_TEST(hung);
}

BOOST_AUTO_TEST_CASE(managed_shared_memory_is_lost_for_good)
{
    const name its("segment");
    ipc::managed_shared_memory memory(ipc::create_only, its.text.c_str(),
                                      65'536);
    memory.construct<int>("answer")(42);
    process(
        [](std::string n) {
            ipc::managed_shared_memory m(ipc::open_only, n.c_str());
            auto in_its_lock = [] { die(); };
            m.atomic_func(in_its_lock);
        },
        its.text)
        .join();
    for (int i = 0; i < 3; ++i) // not even to look something up
        BOOST_CHECK_THROW(memory.find<int>("answer"), ipc::lock_exception);
}

BOOST_AUTO_TEST_SUITE_END()
