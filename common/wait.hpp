// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.

#pragma once

#include "common/linux/cpus.hpp"
#include "common/linux/futex.hpp"
#include "common/spin.hpp"

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <system_error>
#include <thread>

namespace common {

using kernel::clock;
using kernel::time_point;

/// The end of a wait that may take `time`, of any unit: now for none or less,
/// and never (time_point::max()) for what no clock will reach, as
/// std::chrono::hours::max(), which a plain sum would turn into the past.
template <class Rep, class Period>
time_point deadline_after(std::chrono::duration<Rep, Period> time)
{
    using seconds = std::chrono::duration<double>; // holds every unit's range
    const auto now = clock::now();
    if (!(seconds(time) > seconds(0)))
        return now;
    if (seconds(time) > time_point::max() - now - std::chrono::hours(1))
        return time_point::max();
    return now + std::chrono::duration_cast<clock::duration>(time);
}

/// How long it pays to spin before sleeping: as long as a sleep and the wake-up
/// that ends it would take.  Then waiting costs at most twice what the best
/// choice would have cost (Karlin et al., Competitive randomized algorithms
/// for non-uniform problems, 1990).  Measured once in a process; zero where
/// only one CPU is usable, since nothing can change while we spin on it.
inline std::chrono::nanoseconds measure_spin_budget()
{
    using namespace std::chrono;
    if (kernel::usable_cpus() == 1)
        return 0ns;
    kernel::futex_word ball{0};
    constexpr std::uint32_t rounds = 12, nobody = ~0u;
    // Each on its own half of the CPUs.  Left to itself, the kernel may put
    // both on one, where a wake-up costs a tenth of what it does elsewhere.
    const auto answer = [&] {
        kernel::use_part_of_cpus(1, 2);
        for (std::uint32_t at = 1; at < 2 * rounds; at += 2)
        {
            while (ball != at) // ends when the other side has played
            {
                if (ball == nobody)
                    return;
                kernel::futex_wait(ball, at - 1, time_point::max());
            }
            ball = at + 1;
            kernel::futex_wake(ball);
        }
    };
    std::array<nanoseconds, rounds> trips;
    const auto play = [&] {
        kernel::use_part_of_cpus(0, 2);
        for (std::uint32_t i = 0; i < rounds; ++i)
        {
            const auto start = clock::now();
            ball = 2 * i + 1;
            kernel::futex_wake(ball);
            while (ball != 2 * i + 2) // ends when the partner has played
                kernel::futex_wait(ball, 2 * i + 1, time_point::max());
            trips[i] = clock::now() - start;
        }
    };
    std::thread partner, player;
    try
    {
        partner = std::thread(answer);
        player = std::thread(play);
    }
    catch (const std::system_error&) // no thread to spare (ulimit -u)
    {
        ball = nobody;
        kernel::futex_wake(ball);
        if (partner.joinable())
            partner.join();
        return 10us;
    }
    player.join();
    partner.join();
    std::nth_element(trips.begin(), trips.begin() + rounds / 2, trips.end());
    return std::clamp<nanoseconds>(trips[rounds / 2] / 2, 2us, 60us);
}

/// The budget of this process.  A worker is `told` its parent's before it asks
/// for the first time, since a measurement would double its start-up.
inline std::chrono::nanoseconds&
spin_budget(std::chrono::nanoseconds told = std::chrono::nanoseconds(-1))
{
    static std::chrono::nanoseconds budget =
        told.count() < 0 ? measure_spin_budget() : told;
    return budget;
}

/// A word on which processes wait for something to become true.
///
/// The state itself is elsewhere; this word only wakes.  Bit 0: somebody may
/// be asleep.  A notifier pays one load unless somebody is.  A sleeper that is
/// killed leaves bit 0 set, which costs the next notifier one system call and
/// nothing else.  (The idea is the eventcount of Reed and Kanodia, 1979.)
class event_count
{
public:
    /// Wakes one waiter, if there is any.  Call it after the change itself,
    /// which must have been an atomic read-modify-write: that orders the
    /// change before the look at this word.
    void notify_one()
    {
        if ((word_.load() & 1) == 0) // in one order with the change before
            return;
        // The bit stays while there may be more sleepers: a second notifier
        // must find it, too.
        auto moved_on = word_.fetch_add(2) + 2;
        if (kernel::futex_wake(word_, 1) != 0)
            return;
        // Nobody slept.  Who went to sleep before the bit is cleared is woken
        // to set it again.  The word moves on as well: otherwise the next
        // sleeper's bit would restore the very word that the last one saw.
        if (word_.compare_exchange_strong(moved_on, (moved_on + 2) & ~1u))
            kernel::futex_wake(word_);
    }

    /// Wakes all waiters.
    void notify_all()
    {
        auto seen = word_.load();
        while ((seen & 1) != 0) // ends when somebody has cleared the bit
            if (word_.compare_exchange_weak(seen, (seen + 2) & ~1u))
            {
                kernel::futex_wake(word_);
                return;
            }
    }

    /// Whether anybody may be asleep.  Look after the change, as a notifier.
    bool awaited() const { return (word_.load() & 1) != 0; }

    /// Wakes all waiters even if the word says there are none: after a death,
    /// when a notifier may have been killed between change and wake-up.
    void notify_after_death()
    {
        word_.fetch_add(2);
        kernel::futex_wake(word_);
    }

    /// Waits until `ready()` is true; gives up at `deadline`.  Returns what
    /// `ready()` said last.  Ends by a notification after which it is true, by
    /// the deadline, or when `interrupted()` is true (looked at whenever the
    /// sleep ends, also by a signal).
    template <class Ready, class Interrupted>
    bool wait_until(Ready ready, time_point deadline, Interrupted interrupted)
    {
        return spin(ready, deadline) ||
               sleep_until(ready, deadline, interrupted);
    }

    /// The same without spinning first: for who knows that it takes long, or
    /// that others need the CPU meanwhile.
    template <class Ready, class Interrupted>
    bool sleep_until(Ready ready, time_point deadline, Interrupted interrupted)
    {
        for (;;) // ends as promised above
        {
            const auto seen = word_.fetch_or(1) | 1;
            // Either the notifier sees the bit, or we see its change.
            std::atomic_thread_fence(std::memory_order_seq_cst);
            if (ready())
                return true;
            if (interrupted() || !kernel::futex_wait(word_, seen, deadline))
                return ready();
        }
    }
    template <class Ready>
    bool wait_until(Ready ready, time_point deadline = time_point::max())
    {
        return wait_until(ready, deadline, [] { return false; });
    }
    template <class Ready>
    bool sleep_until(Ready ready, time_point deadline = time_point::max())
    {
        return sleep_until(ready, deadline, [] { return false; });
    }

private:
    // Most waits end here.  Always looks once.
    template <class Ready>
    static bool spin(Ready& ready, time_point deadline)
    {
        if (ready())
            return true;
        if (spin_budget().count() == 0)
            return false;
        const auto limit = std::min(deadline, clock::now() + spin_budget());
        while (clock::now() < limit)
        {
            beat();
            if (ready())
                return true;
        }
        return false;
    }

    kernel::futex_word word_{0}; // any process: waiters set bit 0, notifiers
                                 // clear it and count on
};

} // namespace common
