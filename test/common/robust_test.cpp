// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.

#define BOOST_TEST_MODULE robust

#include "common/process.hpp"
#include "common/robust.hpp"
#include "test/fixture.hpp"

#include <boost/test/unit_test.hpp>

#include <linux/futex.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <memory>
#include <stdexcept>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

namespace {

using namespace std::chrono_literals;
using common::clock;
using common::locked;
using common::robust_mutex;

struct desk
{
    robust_mutex mutex;
    std::uint64_t count = 0; // holder of the mutex
    std::atomic<std::uint32_t> stage{0};
    std::atomic<std::uint32_t> inside{0};
    std::atomic<std::uint32_t> broken{0};
};
using shared_desk = common::shared<desk>;

void die()
{
    ::kill(::getpid(), SIGKILL);
}

/// A process that locks and dies so.
pid_t die_with_lock(const shared_desk& one)
{
    common::process owner(
        [](shared_desk d) {
            d->mutex.lock();
            die();
        },
        one);
    const auto pid = owner.pid();
    owner.join();
    return pid;
}

/// Faults in the workers that are started while it lives.
struct faults
{
    explicit faults(const std::string& plan)
    {
        ::setenv("COMMON_FAULT", plan.c_str(), 1);
    }
    ~faults() { ::unsetenv("COMMON_FAULT"); }
};

} // namespace

BOOST_FIXTURE_TEST_SUITE(robust_laws, test::clean)

BOOST_AUTO_TEST_CASE(a_second_try_fails)
{
    robust_mutex one;
    BOOST_TEST((one.lock() == locked::yes));
    BOOST_TEST(one.held());
    BOOST_TEST(one.mine());
    BOOST_TEST((one.try_lock() == locked::no));
    std::jthread([&] {
        BOOST_TEST((one.try_lock() == locked::no));
        BOOST_TEST(!one.mine());
    });
    one.unlock();
    BOOST_TEST(!one.held());
    BOOST_TEST((one.try_lock() == locked::yes));
    one.unlock();
}

BOOST_AUTO_TEST_CASE(to_wait_for_oneself_is_an_error)
{
    robust_mutex one;
    BOOST_TEST((one.lock() == locked::yes));
    BOOST_CHECK_EXCEPTION(one.lock(), std::system_error, [](const auto& e) {
        return e.code() == std::errc::resource_deadlock_would_occur;
    });
    one.unlock();
    BOOST_TEST(!one.held());
}

BOOST_AUTO_TEST_CASE(who_does_not_hold_it_cannot_unlock_it)
{
    robust_mutex one;
    BOOST_CHECK_THROW(one.unlock(), std::logic_error);
    one.lock();
    std::jthread([&] { BOOST_CHECK_THROW(one.unlock(), std::logic_error); });
    one.unlock();
    BOOST_CHECK_THROW(one.unlock(), std::logic_error);
}

BOOST_AUTO_TEST_CASE(a_deadline_ends_the_wait)
{
    robust_mutex one;
    one.lock();
    std::jthread([&] {
        const auto start = clock::now();
        BOOST_TEST((one.lock(start + 120ms) == locked::no));
        BOOST_TEST((clock::now() - start >= 120ms));
        BOOST_TEST((one.lock(start) == locked::no));
    });
    one.unlock();
}

BOOST_AUTO_TEST_CASE(who_waits_learns_who_holds_it_and_since_when)
{
    shared_desk one;
    common::process owner(
        [](shared_desk d) {
            d->mutex.lock();
            d->stage = 1;
            while (d->stage == 1) // until the parent has looked
                std::this_thread::yield();
            d->mutex.unlock();
        },
        one);
    BOOST_REQUIRE(test::eventually([&] { return one->stage == 1; }));
    const auto start = clock::now();
    BOOST_TEST((one->mutex.lock(start + 30ms) == locked::no));
    BOOST_TEST((one->mutex.lock(clock::now() + 30ms) == locked::no));
    const auto holder = one->mutex.who();
    BOOST_TEST(holder.pid == owner.pid());
    BOOST_TEST((holder.since >= start));
    BOOST_TEST((clock::now() - holder.since >= 30ms));
    one->stage = 2;
    BOOST_TEST(owner.join().success());
    BOOST_TEST(one->mutex.who().pid == 0);
}

BOOST_AUTO_TEST_CASE(processes_exclude_each_other)
{
    shared_desk one;
    const auto add = [](shared_desk d) {
        for (int i = 0; i < 200'000; ++i)
        {
            d->mutex.lock();
            d->broken += d->inside.exchange(1);
            ++d->count;
            d->broken += 1 - d->inside.exchange(0);
            d->mutex.unlock();
        }
    };
    std::vector<common::process> all;
    for (int i = 0; i < 3; ++i)
        all.emplace_back(add, one);
    for (auto& each : all)
        BOOST_TEST(each.join().success());
    BOOST_TEST(one->count == 600'000u);
    BOOST_TEST(one->broken == 0u);
}

// Not by the end of a nap: then this would take minutes.
BOOST_AUTO_TEST_CASE(an_unlock_wakes_who_sleeps)
{
    shared_desk one;
    const auto add = [](shared_desk d) {
        common::spin_budget() = 0ns; // who has to wait sleeps
        for (int i = 0; i < 20'000; ++i)
        {
            d->mutex.lock();
            ++d->count;
            for (int pause = i % 32; pause > 0; --pause)
                common::relax();
            d->mutex.unlock();
            for (int pause = i % 7; pause > 0; --pause)
                common::relax();
        }
    };
    const auto start = clock::now();
    std::vector<common::process> all;
    for (int i = 0; i < 3; ++i)
        all.emplace_back(add, one);
    for (auto& each : all)
        BOOST_TEST(each.join().success());
    BOOST_TEST(one->count == 60'000u);
    BOOST_TEST((clock::now() - start < 20s));
}

BOOST_AUTO_TEST_CASE(the_next_owner_is_told_of_a_death_until_it_has_repaired)
{
    shared_desk one;
    const auto pid = die_with_lock(one);
    BOOST_TEST((one->mutex.lock() == locked::after_death));
    BOOST_TEST(one->mutex.suspect());
    BOOST_TEST(one->mutex.dead_owner() == pid);
    one->mutex.unlock();
    BOOST_TEST((one->mutex.try_lock() == locked::after_death));
    one->mutex.consistent();
    one->mutex.unlock();
    BOOST_TEST((one->mutex.lock() == locked::yes));
    one->mutex.unlock();
}

BOOST_AUTO_TEST_CASE(one_death_after_the_other_leaves_a_lock)
{
    shared_desk one;
    for (int i = 0; i < 20; ++i)
    {
        const auto pid = die_with_lock(one);
        BOOST_TEST((one->mutex.try_lock() == locked::after_death));
        BOOST_TEST(one->mutex.dead_owner() == pid);
        if (i % 2 == 0)
            one->mutex.consistent();
        one->mutex.unlock();
    }
}

BOOST_AUTO_TEST_CASE(a_death_wakes_who_waits)
{
    shared_desk one;
    common::process owner(
        [](shared_desk d) {
            d->mutex.lock();
            d->stage = 1;
            while (d->mutex.who().since == common::time_point()) // nobody
                std::this_thread::yield();                       // waits yet
            die();
        },
        one);
    BOOST_REQUIRE(test::eventually([&] { return one->stage == 1; }));
    BOOST_TEST((one->mutex.lock() == locked::after_death));
    one->mutex.unlock();
    BOOST_TEST(owner.join().signal == SIGKILL);
}

BOOST_AUTO_TEST_CASE(a_thread_that_ends_has_died_too)
{
    robust_mutex one;
    std::jthread([&] { one.lock(); }).join();
    BOOST_TEST((one.try_lock() == locked::after_death));
    BOOST_TEST(one.dead_owner() == ::getpid());
    one.consistent();
    one.unlock();
}

BOOST_AUTO_TEST_CASE(the_dead_gives_up_all_that_it_held)
{
    using many = std::array<robust_mutex, 100>;
    common::shared<many> all;
    common::process owner(
        [](common::shared<many> m) {
            for (auto& one : *m)
                one.lock();
            for (std::size_t i = 0; i < m->size(); i += 3)
                (*m)[i].unlock(); // from the midst of the list
            die();
        },
        all);
    owner.join();
    for (std::size_t i = 0; i < all->size(); ++i)
    {
        BOOST_TEST(((*all)[i].try_lock() ==
                    (i % 3 == 0 ? locked::yes : locked::after_death)));
        (*all)[i].unlock();
    }
}

namespace {

struct both
{
    robust_mutex first, second;
    pthread_mutex_t theirs;

    explicit both(int protocol)
    {
        pthread_mutexattr_t how;
        ::pthread_mutexattr_init(&how);
        ::pthread_mutexattr_setpshared(&how, PTHREAD_PROCESS_SHARED);
        ::pthread_mutexattr_setrobust(&how, PTHREAD_MUTEX_ROBUST);
        ::pthread_mutexattr_setprotocol(&how, protocol);
        ::pthread_mutex_init(&theirs, &how);
        ::pthread_mutexattr_destroy(&how);
    }
};

// Takes all, gives up some of them (f: first, t: theirs, s: second), from
// wherever they are in the list.
void hold_and_die(common::shared<both> b, std::string given_up)
{
    b->first.lock();
    ::pthread_mutex_lock(&b->theirs);
    b->second.lock();
    for (const char which : given_up)
        if (which == 't')
            ::pthread_mutex_unlock(&b->theirs);
        else
            (which == 'f' ? b->first : b->second).unlock();
    die();
}

} // namespace

// The C library keeps its own robust locks in the same list, and marks those
// that inherit priorities there.
BOOST_AUTO_TEST_CASE(it_lives_with_the_robust_locks_of_the_c_library)
{
    for (const int protocol : {PTHREAD_PRIO_NONE, PTHREAD_PRIO_INHERIT})
        for (const std::string given_up :
             {"", "t", "f", "s", "ts", "st", "sf", "fs", "tf", "ft", "stf",
              "fts", "tsf"})
        {
            const auto kept = [&](char which) {
                return given_up.find(which) == given_up.npos;
            };
            common::shared<both> one{protocol};
            common::process(&hold_and_die, one, given_up).join();
            BOOST_TEST((one->first.try_lock() ==
                        (kept('f') ? locked::after_death : locked::yes)));
            BOOST_TEST((one->second.try_lock() ==
                        (kept('s') ? locked::after_death : locked::yes)));
            BOOST_TEST(::pthread_mutex_trylock(&one->theirs) ==
                       (kept('t') ? EOWNERDEAD : 0));
            one->first.unlock();
            ::pthread_mutex_consistent(&one->theirs);
            ::pthread_mutex_unlock(&one->theirs);
            one->second.unlock();
        }
}

BOOST_AUTO_TEST_CASE(a_c_library_that_keeps_its_locks_otherwise_is_refused)
{
    std::jthread([] {
        robust_list_head *theirs = nullptr, other{};
        std::size_t size = 0;
        ::syscall(SYS_get_robust_list, 0, &theirs, &size);
        other.list.next = &other.list;
        other.futex_offset = -28; // as musl's
        ::syscall(SYS_set_robust_list, &other, sizeof other);
        robust_mutex one;
        BOOST_CHECK_EXCEPTION(one.lock(), std::system_error, [](auto& e) {
            return e.code().value() == ENOTSUP;
        });
        ::syscall(SYS_set_robust_list, theirs, size);
        BOOST_TEST((one.lock() == locked::yes));
        one.unlock();
    });
}

BOOST_AUTO_TEST_CASE(a_forked_child_is_an_owner_of_its_own)
{
    robust_mutex warm;
    warm.lock(); // this thread has looked for its list
    warm.unlock();
    void* const page = ::mmap(nullptr, 4096, PROT_READ | PROT_WRITE,
                              MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    auto* one = ::new (page) robust_mutex;
    const pid_t child = ::fork();
    if (child == 0)
    {
        one->lock();
        die();
    }
    ::waitpid(child, nullptr, 0);
    BOOST_TEST((one->try_lock() == locked::after_death));
    BOOST_TEST(one->dead_owner() == child);
    one->unlock();
    ::munmap(page, 4096);
}

// Whoever dies at any of these instants leaves a lock that can be taken, and a
// sum that does not lack what was added earlier.
BOOST_AUTO_TEST_CASE(a_death_at_any_instruction_costs_nobody_the_lock)
{
    for (const std::string point :
         {"robust.taken", "robust.entered", "robust.leaving", "robust.freed"})
    {
        const faults armed(point + "=0.05");
        shared_desk one;
        const auto add = [](shared_desk d) {
            for (int i = 0; i < 50'000; ++i)
            {
                d->mutex.lock();
                d->mutex.consistent();
                ++d->count;
                d->mutex.unlock();
            }
        };
        for (int i = 0; i < 4; ++i)
        {
            common::process first(add, one), second(add, one);
            // One finds nobody to wake, maybe, and lives.
            const bool always = point != "robust.freed";
            const auto a = first.join(), b = second.join();
            BOOST_TEST((a.signal == SIGKILL || !always));
            BOOST_TEST((b.signal == SIGKILL || !always));
            const auto start = clock::now();
            BOOST_TEST((one->mutex.lock(start + 10s) != locked::no), point);
            BOOST_TEST((clock::now() - start < 250ms));
            one->mutex.consistent();
            one->mutex.unlock();
        }
    }
}

BOOST_AUTO_TEST_SUITE_END()
