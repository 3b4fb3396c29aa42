// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.

#pragma once

#include "error.hpp"

#include "common/fault.hpp"
#include "common/robust.hpp"
#include "common/shared.hpp"

#include <boost/core/demangle.hpp>

#include <atomic>
#include <cstddef>
#include <functional>
#include <optional>
#include <string>
#include <type_traits>
#include <typeinfo>
#include <utility>

namespace shared_data {

/// Many readers or one writer, each of whom may die.
///
/// A count of readers would stay too high for ever when one of them is killed.
/// So a reader locks one of `Readers` seats, each a robust lock, and a writer
/// locks them all; the kernel gives up the seat of who dies.  More readers than
/// seats wait for each other.  While a writer waits, no new reader gets in.
template <std::size_t Readers = 16>
class shared_mutex
{
public:
    /// Gives the number of the seat; nothing at the deadline.
    std::optional<std::size_t>
    lock_shared(time_point deadline = time_point::max())
    {
        for (;;) // ends when no writer comes between, or by the deadline
        {
            if (!pass_gate(deadline))
                return std::nullopt;
            const auto seat = sit_down(deadline);
            if (!seat)
                return std::nullopt;
            // A writer that came, or died, meanwhile is seen at the gate.
            if (gate_.free())
                return seat;
            seats_[*seat].mutex.unlock();
        }
    }
    void unlock_shared(std::size_t seat) { seats_[seat].mutex.unlock(); }

    /// Waits until all readers are gone.  A writer's death is told as by a
    /// robust_mutex.  Throws std::system_error (resource_deadlock_would_occur)
    /// when the calling thread is a reader, or the writer, itself.
    common::locked lock(time_point deadline = time_point::max())
    {
        if (gate_.lock(deadline) == common::locked::no)
            return common::locked::no;
        forgive();
        std::size_t seated = 0;
        try
        {
            while (seated < Readers && take_seat(seated, deadline))
                ++seated;
        }
        catch (...)
        {
            step_back(seated);
            throw;
        }
        if (seated < Readers)
            return step_back(seated), common::locked::no;
        half_written_.store(true, std::memory_order_relaxed);
        common::settle();
        return gate_.suspect() ? common::locked::after_death
                               : common::locked::yes;
    }
    void unlock()
    {
        common::settle();
        half_written_.store(gate_.suspect(), std::memory_order_relaxed);
        common::settle();
        step_back(Readers);
    }

    /// Of a writer: see robust_mutex.
    bool suspect() const { return gate_.suspect(); }
    pid_t dead_owner() const { return gate_.dead_owner(); }
    void consistent() { gate_.consistent(); }

    /// Who holds up others: the writer, or else one of the readers.
    common::robust_mutex::holder who() const
    {
        auto result = gate_.who();
        for (std::size_t i = 0; i < Readers; ++i)
            if (result.pid == 0 || result.pid == ::getpid())
                result = seats_[i].mutex.who();
        return result;
    }

private:
    // Waits for writers.  Afterwards a writer's death is known.
    bool pass_gate(time_point deadline)
    {
        if (gate_.free())
            return true;
        if (gate_.lock(deadline) == common::locked::no)
            return false;
        forgive();
        gate_.unlock();
        return true;
    }

    // A writer that died before it could write has changed nothing.
    void forgive()
    {
        if (!half_written_.load(std::memory_order_relaxed))
            gate_.consistent();
    }

    std::optional<std::size_t> sit_down(time_point deadline)
    {
        const std::size_t home =
            common::kernel::robust_list::of_this_thread().thread() % Readers;
        for (std::size_t i = 0; i < Readers; ++i)
            if (const auto seat = (home + i) % Readers;
                take_seat(seat, time_point::min()))
                return seat;
        if (take_seat(home, deadline))
            return home;
        return std::nullopt;
    }
    bool take_seat(std::size_t seat, time_point deadline)
    {
        if (seats_[seat].mutex.lock(deadline) == common::locked::no)
            return false;
        seats_[seat].mutex.consistent(); // a reader has changed nothing
        COMMON_FAULT_POINT("shared_mutex.seated");
        return true;
    }
    // Of a writer with so many seats.
    void step_back(std::size_t seated)
    {
        while (seated != 0)
            seats_[--seated].mutex.unlock();
        COMMON_FAULT_POINT("shared_mutex.stood_up");
        gate_.unlock();
    }

    struct alignas(64) place // of a reader: a cache line of its own
    {
        common::robust_mutex mutex;
    };
    common::robust_mutex gate_;             // who writes, or waits to
    std::atomic<bool> half_written_{false}; // who holds all seats
    place seats_[Readers];
};

/// A value that many read or one writes; like guarded in all else.
template <common::shareable T, auto Repair = nullptr>
class shared_guarded
{
    template <bool Writes>
    class [[nodiscard]] basic_guard
    {
    public:
        using value = std::conditional_t<Writes, T, const T>;

        basic_guard(shared_guarded& from, std::size_t seat, pid_t dead)
            : from_(from)
            , seat_(seat)
            , dead_(dead)
        {
        }
        basic_guard(const basic_guard&) = delete;
        ~basic_guard()
        {
            if constexpr (Writes)
                from_.mutex_.unlock();
            else
                from_.mutex_.unlock_shared(seat_);
        }
        value& operator*() const { return from_.value_; }
        value* operator->() const { return &from_.value_; }

        /// Of a writer: whose death came before this lock; 0: nobody's.
        pid_t dead_owner() const { return dead_; }
        void repaired() const requires Writes { from_.mutex_.consistent(); }

    private:
        shared_guarded& from_;
        std::size_t seat_;
        pid_t dead_;
    };

public:
    using reader = basic_guard<false>;
    using writer = basic_guard<true>;

    template <class... A>
    requires std::is_constructible_v<T, A...>
    explicit shared_guarded(A&&... arguments)
        : value_(std::forward<A>(arguments)...)
    {
    }

    /// Both throw still_locked at the deadline, owner_died if a writer died
    /// and there is no repair, and what the repair throws.
    reader read(time_point deadline = time_point::max())
    {
        if (const auto seat = sit_down(deadline))
            return reader(*this, *seat, 0);
        throw still_locked(name(), mutex_.who());
    }
    [[nodiscard]] std::optional<reader>
    try_read(time_point deadline = time_point::min())
    {
        if (const auto seat = sit_down(deadline))
            return std::optional<reader>(std::in_place, *this, *seat, 0);
        return std::nullopt;
    }
    writer write(time_point deadline = time_point::max())
    {
        if (mutex_.lock(deadline) == common::locked::no)
            throw still_locked(name(), mutex_.who());
        return writer(*this, 0, judge());
    }

    /// As it was left by who died; see guarded.
    writer write_suspect(time_point deadline = time_point::max())
    {
        if (mutex_.lock(deadline) == common::locked::no)
            throw still_locked(name(), mutex_.who());
        return writer(*this, 0, mutex_.dead_owner());
    }

private:
    static std::string name()
    {
        return "shared_guarded<" + boost::core::demangle(typeid(T).name()) +
               ">";
    }

    // A reader's seat, of a value that is whole.
    std::optional<std::size_t> sit_down(time_point deadline)
    {
        for (;;) // ends with the repair, or by the deadline
        {
            const auto seat = mutex_.lock_shared(deadline);
            if (!seat || !mutex_.suspect())
                return seat;
            mutex_.unlock_shared(*seat);
            if (mutex_.lock(deadline) == common::locked::no)
                return std::nullopt;
            judge();
            mutex_.unlock();
        }
    }

    pid_t judge()
    {
        const auto dead = mutex_.dead_owner();
        if (dead == 0)
            return 0;
        try
        {
            if constexpr (std::is_null_pointer_v<decltype(Repair)>)
                throw owner_died(name(), dead);
            else
                std::invoke(Repair, value_);
            mutex_.consistent();
            return dead;
        }
        catch (...)
        {
            mutex_.unlock();
            throw;
        }
    }

    shared_mutex<> mutex_;
    T value_; // who holds the mutex as a writer
};

} // namespace shared_data
