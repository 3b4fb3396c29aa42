// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.

#pragma once

#include "common/fault.hpp"
#include "common/linux/robust_list.hpp"
#include "common/wait.hpp"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <system_error>

namespace common {

/// In code that may be killed: if anything that is written after this is there
/// for whoever repairs, so is everything that was written before.  (A thread
/// ends between two instructions: the compiler must keep the order, and that
/// is all.  It costs nothing.)
inline void settle()
{
    std::atomic_signal_fence(std::memory_order_seq_cst);
}

/// How an attempt to lock ended.
enum class locked
{
    no,         // somebody else holds it, and the deadline has passed
    yes,        // it is ours
    after_death // it is ours; an owner has died, and nobody has repaired yet
};

/// How long a sleeper sleeps at most before it looks again: what it costs when
/// somebody is killed between a wake-up and what should have followed it.
inline constexpr std::chrono::milliseconds longest_nap{50};

/// Waits until `ready()` is true, which changes with a notification, or with
/// a death, of which nobody notifies; gives up at `deadline`.
template <class Ready>
bool wait_in_naps(event_count& changed, Ready ready, time_point deadline)
{
    for (;;) // ends as promised
    {
        const auto nap = clock::now() + longest_nap;
        if (changed.wait_until(ready, std::min(deadline, nap)))
            return true;
        if (deadline <= nap)
            return false;
    }
}

/// A lock in shared memory whose owner may die at any instruction.
///
/// The kernel marks the locks of a thread that ends, and wakes a waiter.  From
/// then on whoever locks is told `after_death`, until one says `consistent`.
/// In words of POSIX: a robust process-shared mutex that is never lost for
/// good (ENOTRECOVERABLE), at half the price: of its two atomic operations the
/// first is left, since the fence of the second is paid by who goes to sleep.
///
/// It belongs to a thread, which may hold some 2,000; the memory stays mapped
/// until its unlock has returned.  Zeros are a free lock.
class robust_mutex
{
public:
    robust_mutex() = default;
    robust_mutex(const robust_mutex&) = delete;

    /// Waits until it is ours or `deadline` passes (time_point::min(): does
    /// not wait).  The owner's unlock or death ends the wait.  Throws
    /// std::system_error (resource_deadlock_would_occur) when nothing could end
    /// it, since the calling thread is the owner.
    locked lock(time_point deadline = time_point::max())
    {
        if (!take(0))
        {
            if (deadline == time_point::min())
                return locked::no;
            if (deadline == time_point::max() &&
                kernel::robust_list::of_this_thread().has(link_))
                throw std::system_error(
                    std::make_error_code(
                        std::errc::resource_deadlock_would_occur),
                    "locking a lock that this thread holds");
            if (!spin() && !sleep(deadline))
                return locked::no;
        }
        return suspect() ? locked::after_death : locked::yes;
    }
    [[nodiscard]] locked try_lock() { return lock(time_point::min()); }

    /// Throws std::logic_error when the calling thread does not hold it.
    void unlock()
    {
        const auto mine = kernel::robust_list::of_this_thread();
        if (!mine.is_first(link_) &&
            !names(mine, word_.load(std::memory_order_relaxed)))
            throw std::logic_error(
                "unlocking a lock that this thread does not hold");
        pid_.store(0, std::memory_order_relaxed);
        mine.announce(link_);
        mine.leave(link_);
        COMMON_FAULT_POINT("robust.leaving");
        const bool somebody = sleepers_.load(std::memory_order_relaxed) != 0;
        if (somebody) // only a holder may say so: see test/model/robust.pml
            sleepers_.store(0, std::memory_order_relaxed);
        word_.store(0, std::memory_order_release);
        mine.fence();
        if (somebody || sleepers_.load(std::memory_order_relaxed) != 0)
        {
            COMMON_FAULT_POINT("robust.freed");
            kernel::futex_wake(word_, 1);
        }
        mine.conclude();
    }

    /// Whether an owner has died and nobody has repaired since, and its pid
    /// (-1: it died too early to say); as far as somebody has locked since.
    bool suspect() const { return dead_owner() != 0; }
    pid_t dead_owner() const { return died_.load(std::memory_order_relaxed); }

    /// What the lock guards is whole again.  Requires: the caller holds it.
    void consistent()
    {
        settle();
        died_.store(0, std::memory_order_relaxed);
    }

    /// Whether the calling thread holds it.
    bool mine() const
    {
        return names(kernel::robust_list::of_this_thread(),
                     word_.load(std::memory_order_relaxed));
    }

    /// Whether anybody holds it at this moment.
    bool held() const
    {
        return (word_.load(std::memory_order_relaxed) & FUTEX_TID_MASK) != 0;
    }

    /// Whether nobody holds it, and nobody has died with it unnoticed.
    bool free() const { return word_.load() == 0; } // in one order with takes

    /// Whether its last owner has died, and nobody has locked since.
    bool orphaned() const
    {
        return (word_.load(std::memory_order_acquire) &
                (FUTEX_TID_MASK | FUTEX_OWNER_DIED)) == FUTEX_OWNER_DIED;
    }

    struct holder
    {
        pid_t pid;        // 0: nobody, or one that has not said yet
        time_point since; // a lower bound: when somebody had to wait for it
    };

    /// Who holds it.  A holder does not look at the clock, which would double
    /// the price of a lock; who waits for it does.
    holder who() const
    {
        return {pid_.load(std::memory_order_relaxed),
                time_point(
                    clock::duration(noticed_.load(std::memory_order_relaxed)))};
    }

private:
    static bool names(const kernel::robust_list& mine, std::uint32_t word)
    {
        return (word & FUTEX_TID_MASK) == mine.thread();
    }

    // Takes the lock if nobody holds it.  `sleepers`: the bit that says that
    // there may be some, from one who has slept itself.
    bool take(std::uint32_t sleepers)
    {
        auto seen = word_.load(std::memory_order_relaxed);
        if ((seen & FUTEX_TID_MASK) != 0)
            return false;
        const auto mine = kernel::robust_list::of_this_thread();
        mine.announce(link_);
        const bool taken = word_.compare_exchange_strong(
            seen, mine.thread() | (seen & FUTEX_WAITERS) | sleepers,
            std::memory_order_seq_cst, std::memory_order_relaxed);
        if (!taken)
        {
            mine.conclude();
            return false;
        }
        COMMON_FAULT_POINT("robust.taken");
        mine.enter(link_); // it stays announced, which does no harm
        if ((seen & FUTEX_OWNER_DIED) != 0)
        {
            const auto last = pid_.load(std::memory_order_relaxed);
            died_.store(last != 0 ? last : -1, std::memory_order_relaxed);
        }
        COMMON_FAULT_POINT("robust.entered");
        pid_.store(mine.process(), std::memory_order_relaxed);
        noticed_.store(0, std::memory_order_relaxed);
        return true;
    }

    // For about as long as two switches to another process take.  Less and less
    // often: each look takes the line from the holder, who may want the lock
    // again at once (measured: two processes get it four times as often as with
    // looks at equal distances).
    bool spin()
    {
        if (spin_budget().count() == 0)
            return false;
        for (int pauses = 8, left = 1'000; left > 0; left -= pauses)
        {
            if (take(0))
                return true;
            for (int pause = 0; pause < pauses; ++pause)
                relax();
            pauses = std::min(2 * pauses, 64);
        }
        return false;
    }

    // Naps: the kernel wakes one sleeper; if that one is killed before it has
    // the lock, the others must find out by themselves.  (A sleeper does not
    // announce itself to the kernel instead: in another pid namespace it may
    // have the holder's number, and its death would be taken for the holder's.)
    bool sleep(time_point deadline)
    {
        for (;;) // ends by the deadline, or when the lock is ours
        {
            if (take(FUTEX_WAITERS))
            {
                sleepers_.store(1, std::memory_order_release); // the others
                return true;
            }
            const auto now = clock::now();
            auto nobody = std::int64_t{0};
            noticed_.compare_exchange_strong(nobody,
                                             now.time_since_epoch().count());
            auto seen = word_.load(std::memory_order_relaxed);
            if ((seen & FUTEX_TID_MASK) == 0 ||
                ((seen & FUTEX_WAITERS) == 0 &&
                 !word_.compare_exchange_strong(seen, seen | FUTEX_WAITERS,
                                                std::memory_order_relaxed)))
                continue;
            // Never before the mark: see test/model/robust.pml.
            sleepers_.store(1, std::memory_order_release);
            // Either we see the owner's unlock, or the owner sees us.
            kernel::heavy_fence();
            if (now >= deadline)
            {
                kernel::futex_wake(word_, 1); // it may have been meant for us
                return false;
            }
            kernel::futex_wait(word_, seen | FUTEX_WAITERS,
                               std::min(deadline, now + longest_nap));
        }
    }

    // 0: free.  Else the number of the thread that holds it, or
    // FUTEX_OWNER_DIED; with FUTEX_WAITERS, which is for the kernel, if the
    // holder's death is to wake somebody.  By whoever takes it, its holder,
    // sleepers (that bit), and the kernel.
    kernel::futex_word word_{0};
    std::atomic<pid_t> pid_{0};            // holder
    std::atomic<std::int64_t> noticed_{0}; // holder: 0; then who waits for it
    std::atomic<pid_t> died_{0};           // holder
    // Whether somebody may be asleep: 1 by sleepers, 0 by the holder.
    std::atomic<std::uint32_t> sleepers_{0};
    kernel::robust_link link_; // holder

    friend struct robust_layout;
};

struct robust_layout
{
    static_assert(offsetof(robust_mutex, link_) +
                      offsetof(kernel::robust_link, next) ==
                  kernel::robust_link::distance);
    static_assert(sizeof(robust_mutex) == 40);
};

} // namespace common
