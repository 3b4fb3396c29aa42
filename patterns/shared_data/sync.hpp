// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.

#pragma once

#include "error.hpp"

#include "common/fault.hpp"
#include "common/robust.hpp"

#include <sys/random.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <stdexcept>

namespace shared_data {

/// Something that has happened, or has not.  One word: nobody's death harms
/// it, but who is killed between `set` and the wake-up of those who sleep
/// leaves them asleep for 50 ms more.
class event
{
public:
    void set()
    {
        set_.exchange(1);
        COMMON_FAULT_POINT("event.set");
        changed_.notify_all();
    }
    void clear() { set_.store(0); }
    bool is_set() const { return set_.load() != 0; }

    /// Returns whether it is set; false means that the deadline has passed.
    bool wait(time_point deadline = time_point::max())
    {
        return common::wait_in_naps(
            changed_, [this] { return is_set(); }, deadline);
    }

private:
    std::atomic<std::uint32_t> set_{0}; // anybody
    common::event_count changed_;
};

/// Waits for something to become true of a guarded value.
///
///     auto box = mailbox->lock();
///     if (!condition->wait(box, [](auto& b) { return b.full; }, deadline))
///
/// Always with a predicate, which everybody looks at again now and then: so
/// the death of one who was to notify, or of the very one who was woken, costs
/// the others 50 ms and nothing else.
class condition
{
public:
    /// `guard` is given up while this waits, and held again when it returns,
    /// with `ready(*guard)` true, or false once `deadline` has passed.
    /// Throws what the guard's lock throws (owner_died), and holds nothing
    /// then.
    template <class Guard, class Ready>
    bool wait(Guard& guard, Ready ready,
              time_point deadline = time_point::max())
    {
        while (!ready(*guard)) // ends as promised
        {
            const auto now = clock::now();
            if (now >= deadline)
                return false;
            const auto seen = turn_.load(); // changes after our unlock only
            guard.unlock();
            COMMON_FAULT_POINT("condition.waits");
            changed_.wait_until([&] { return turn_.load() != seen; },
                                std::min(deadline, now + common::longest_nap));
            guard.lock();
        }
        return true;
    }

    /// Wakes so many of those who wait.
    void notify_one() { notify(1); }
    void notify(unsigned count)
    {
        turn_.fetch_add(1);
        for (unsigned i = 0; i < count; ++i)
            changed_.notify_one();
    }
    void notify_all()
    {
        turn_.fetch_add(1);
        changed_.notify_all();
    }

private:
    std::atomic<std::uint32_t> turn_{0}; // who notifies
    common::event_count changed_;
};

/// A lock that its owner can take again.
class recursive_mutex
{
public:
    /// As robust_mutex::lock; at once if this thread holds it already.
    common::locked lock(time_point deadline = time_point::max())
    {
        if (owner_.load(std::memory_order_relaxed) == me())
        {
            ++depth_;
            return mutex_.suspect() ? common::locked::after_death
                                    : common::locked::yes;
        }
        const auto result = mutex_.lock(deadline);
        if (result != common::locked::no)
        {
            owner_.store(me(), std::memory_order_relaxed);
            depth_ = 1;
        }
        return result;
    }
    [[nodiscard]] common::locked try_lock() { return lock(time_point::min()); }

    /// As many times as it was locked.  Throws std::logic_error when the
    /// calling thread does not hold it.
    void unlock()
    {
        if (owner_.load(std::memory_order_relaxed) != me())
            throw std::logic_error(
                "unlocking a lock that this thread does not hold");
        if (--depth_ != 0)
            return;
        owner_.store(0, std::memory_order_relaxed);
        mutex_.unlock();
    }

    pid_t dead_owner() const { return mutex_.dead_owner(); }
    void consistent() { mutex_.consistent(); }
    std::uint32_t depth() const { return depth_; } // requires: it is held

private:
    // Drawn, not numbered: threads in two pid namespaces have equal numbers.
    static std::uint64_t me()
    {
        static thread_local std::uint64_t drawn = 0;
        static thread_local std::uint32_t thread = 0;
        const auto now = common::kernel::robust_list::of_this_thread().thread();
        if (thread != now) // the first time, and in a forked child
            if (::getrandom(&drawn, sizeof drawn, 0) != sizeof drawn)
                common::kernel::fail("drawing a number for this thread");
        thread = now;
        return drawn | 1;
    }

    common::robust_mutex mutex_;
    std::atomic<std::uint64_t> owner_{0}; // its holder
    std::uint32_t depth_ = 0;             // its holder
};

} // namespace shared_data
