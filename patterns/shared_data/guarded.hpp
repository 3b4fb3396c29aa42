// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.

#pragma once

#include "error.hpp"

#include "common/fault.hpp"
#include "common/robust.hpp"
#include "common/shared.hpp"

#include <boost/core/demangle.hpp>

#include <functional>
#include <optional>
#include <string>
#include <type_traits>
#include <typeinfo>
#include <utility>

namespace shared_data {

/// A value that several processes change, reachable only through its lock.
///
///     common::shared<shared_data::guarded<account>> mine;
///     {
///         auto a = mine->lock();
///         a->balance += 1;
///     }
///
/// An owner that dies may leave the value half-written.  Whoever locks next
/// runs `Repair(value)`, a function or a lambda without captures, and has the
/// value; a repair that is itself killed is run again, by the next.  Without a
/// repair `lock` throws owner_died until somebody has taken the value by
/// `lock_suspect` and said that it is `repaired`.
///
/// `Repair` is part of the type, not a value in shared memory: every process
/// runs its own code.
template <common::shareable T, auto Repair = nullptr>
class guarded
{
public:
    template <class... A>
    requires std::is_constructible_v<T, A...>
    explicit guarded(A&&... arguments) : value_(std::forward<A>(arguments)...)
    {
    }

    /// The value, while it lives.  Belongs to the thread that locked.
    class [[nodiscard]] guard
    {
    public:
        explicit guard(guarded& owner, pid_t dead) : owner_(owner), dead_(dead)
        {
        }
        guard(const guard&) = delete;
        ~guard()
        {
            if (held_)
                unlock();
        }

        /// Gives the value up for a while; see condition::wait.
        void unlock()
        {
            held_ = false;
            owner_.mutex_.unlock();
        }
        void lock()
        {
            owner_.mutex_.lock();
            dead_ = owner_.judge();
            held_ = true;
        }

        T& operator*() const { return owner_.value_; }
        T* operator->() const { return &owner_.value_; }

        /// Whose death came before this lock; 0: nobody's, or it was repaired
        /// by somebody else.
        pid_t dead_owner() const { return dead_; }

        /// The value is whole again.
        void repaired() const { owner_.mutex_.consistent(); }

    private:
        guarded& owner_;
        pid_t dead_;
        bool held_ = true;
    };

    /// Waits for the value.  Throws still_locked at the deadline, owner_died
    /// as said above, and what the repair throws (it then counts as not done).
    guard lock() { return lock_until(time_point::max()); }
    guard lock_until(time_point deadline)
    {
        if (mutex_.lock(deadline) == common::locked::no)
            throw still_locked(name(), mutex_.who());
        return guard(*this, judge());
    }
    template <class Rep, class Period>
    guard lock_for(std::chrono::duration<Rep, Period> time)
    {
        return lock_until(common::deadline_after(time));
    }

    /// Nothing where the others throw still_locked.
    [[nodiscard]] std::optional<guard> try_lock()
    {
        return try_lock_until(time_point::min());
    }
    [[nodiscard]] std::optional<guard> try_lock_until(time_point deadline)
    {
        if (mutex_.lock(deadline) == common::locked::no)
            return std::nullopt;
        return std::optional<guard>(std::in_place, *this, judge());
    }
    template <class Rep, class Period>
    [[nodiscard]] std::optional<guard>
    try_lock_for(std::chrono::duration<Rep, Period> time)
    {
        return try_lock_until(common::deadline_after(time));
    }

    /// The value as it was left, with the news in `guard::dead_owner`; it
    /// stays suspect until the guard is told that it is `repaired`.
    guard lock_suspect(time_point deadline = time_point::max())
    {
        if (mutex_.lock(deadline) == common::locked::no)
            throw still_locked(name(), mutex_.who());
        return guard(*this, mutex_.dead_owner());
    }

private:
    static std::string name()
    {
        return "guarded<" + boost::core::demangle(typeid(T).name()) + ">";
    }

    // The lock is ours.  Gives the dead owner after whom we have repaired.
    pid_t judge()
    {
        if (!mutex_.suspect())
            return 0;
        const auto dead = mutex_.dead_owner();
        if constexpr (std::is_null_pointer_v<decltype(Repair)>)
        {
            mutex_.unlock();
            throw owner_died(name(), dead);
        }
        else
            try
            {
                std::invoke(Repair, value_);
                COMMON_FAULT_POINT("guarded.repaired");
                mutex_.consistent();
                return dead;
            }
            catch (...)
            {
                mutex_.unlock();
                throw;
            }
    }

    common::robust_mutex mutex_;
    T value_; // the holder of the mutex
};

} // namespace shared_data
