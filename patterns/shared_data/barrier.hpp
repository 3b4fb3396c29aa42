// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.

#pragma once

#include "error.hpp"

#include "common/fault.hpp"
#include "common/robust.hpp"

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>

namespace shared_data {

/// A barrier that its parties will not pass: one has died or given up.
class broken_barrier : public std::runtime_error
{
public:
    explicit broken_barrier(pid_t pid)
        : std::runtime_error(text(pid))
        , pid_(pid)
    {
    }
    /// Who died; 0: nobody; -1: somebody, too early to say who.
    pid_t pid() const { return pid_; }

private:
    static std::string text(pid_t pid)
    {
        return pid == 0  ? "barrier: broken"
               : pid < 0 ? "barrier: one of its parties died"
                         : "barrier: its party, process " +
                               std::to_string(pid) + ", died";
    }
    pid_t pid_;
};

/// Where a number of parties wait for each other, again and again.
///
/// The death of a party, wherever it is, breaks the barrier: those who wait
/// learn of it within 50 ms, those who come later at once, until somebody
/// calls `reset`.
template <std::size_t Most = 64>
class barrier
{
public:
    explicit barrier(std::size_t parties) : parties_(parties)
    {
        if (parties == 0 || parties > Most)
            throw std::invalid_argument(
                "a barrier for " + std::to_string(parties) +
                " parties; it has room for 1 to " + std::to_string(Most));
    }

    /// A place at the barrier.  Belongs to a thread, which holds a robust lock
    /// meanwhile: so its death is known.
    class party
    {
    public:
        /// Throws common::full when all places are taken.
        explicit party(barrier& at) : at_(at), seat_(at.join()) {}
        party(const party&) = delete;
        ~party() { at_.seats_[seat_].alive.unlock(); }

        /// Waits for all the others.  The last to come runs `action()` before
        /// anybody goes on; there this returns true.  Throws broken_barrier
        /// as said above; timed_out at the deadline, after which the barrier
        /// is broken; and what the action throws, likewise.
        template <class Action>
        bool arrive_and_wait(Action action,
                             time_point deadline = time_point::max())
        {
            return at_.meet(seat_, action, deadline);
        }
        bool arrive_and_wait(time_point deadline = time_point::max())
        {
            return arrive_and_wait([] {}, deadline);
        }

    private:
        barrier& at_;
        const std::size_t seat_;
    };

    /// Those who wait, and those who come, get broken_barrier until `reset`.
    void abort() { shatter(0); }

    /// Opens the barrier again.  Those who wait get broken_barrier.
    void reset()
    {
        for (std::size_t i = 0; i < parties_; ++i)
            if (auto& seat = seats_[i].alive;
                seat.orphaned() && seat.try_lock() != common::locked::no)
            {
                seat.consistent();
                seat.unlock();
            }
        auto seen = state_.load();
        while (!state_.compare_exchange_weak(
            seen, (resets(seen) + 1) << 48)) // ends: it hardly changes
            continue;
        changed_.notify_all();
    }

    bool broken() const { return (state_.load() & mode) == is_broken; }

    /// How many have come.
    std::size_t waiting() const { return came(state_.load() & ~mode); }

private:
    // state_: resets:16 | rounds:46 | mode:2
    static constexpr std::uint64_t mode = 3, is_open = 0, is_acting = 1,
                                   is_broken = 2, nowhere = mode;
    static constexpr std::uint64_t one_round = mode + 1;
    static std::uint64_t resets(std::uint64_t state) { return state >> 48; }

    struct alignas(64) place
    {
        common::robust_mutex alive;               // its party
        std::atomic<std::uint64_t> came{nowhere}; // its party: the round
    };

    std::size_t join()
    {
        for (std::size_t i = 0; i < parties_; ++i)
        {
            auto& seat = seats_[i].alive;
            const auto taken = seat.try_lock();
            if (taken == common::locked::no)
                continue;
            if (taken == common::locked::after_death) // who waits for it must
                shatter(seat.dead_owner());           // hear of it
            seat.consistent();
            seats_[i].came.store(nowhere);
            return i;
        }
        throw common::full("all " + std::to_string(parties_) +
                           " places at the barrier are taken");
    }

    std::size_t came(std::uint64_t round) const
    {
        std::size_t result = 0;
        for (std::size_t i = 0; i < parties_; ++i)
            result += seats_[i].came.load() == round;
        return result;
    }

    void shatter(pid_t dead)
    {
        auto seen = state_.load();
        if ((seen & mode) != is_broken)
            dead_.store(dead);
        while ((seen & mode) != is_broken && // ends when it is broken
               !state_.compare_exchange_weak(seen, (seen & ~mode) | is_broken))
            continue;
        changed_.notify_all();
    }

    void mourn()
    {
        for (std::size_t i = 0; i < parties_; ++i)
            if (const auto& seat = seats_[i].alive; seat.orphaned())
            {
                const auto pid = seat.who().pid;
                shatter(pid != 0 ? pid : -1);
            }
    }

    template <class Action>
    bool meet(std::size_t seat, Action& action, time_point deadline)
    {
        mourn();
        const auto before = state_.load();
        if ((before & mode) == is_broken)
            throw broken_barrier(dead_.load());
        const auto round = before & ~mode;
        seats_[seat].came.exchange(round);
        COMMON_FAULT_POINT("barrier.came");
        auto open = round | is_open;
        if (came(round) == parties_ &&
            state_.compare_exchange_strong(open, round | is_acting))
        {
            act(action, round);
            return true;
        }
        await(round, deadline);
        return false;
    }

    template <class Action>
    void act(Action& action, std::uint64_t round)
    {
        try
        {
            action();
        }
        catch (...)
        {
            shatter(0);
            throw;
        }
        COMMON_FAULT_POINT("barrier.acted");
        auto acting = round | is_acting;
        if (!state_.compare_exchange_strong(acting, round + one_round))
            throw broken_barrier(dead_.load()); // aborted or reset meanwhile
        changed_.notify_all();
    }

    void await(std::uint64_t round, time_point deadline)
    {
        const auto over = [&] { return state_.load() != round && !acting(); };
        for (bool came = false; !came;) // ends with the round, or by deadline
        {
            mourn();
            const auto now = clock::now();
            came = changed_.wait_until(
                over, std::min(deadline, now + common::longest_nap));
            if (!came && now >= deadline)
            {
                shatter(0);
                throw common::timed_out("barrier: not all of " +
                                        std::to_string(parties_) +
                                        " parties came");
            }
        }
        const auto now = state_.load();
        if (resets(now) != resets(round) || now < round + one_round)
            throw broken_barrier(dead_.load());
    }
    bool acting() const { return (state_.load() & mode) == is_acting; }

    const std::size_t parties_;
    std::atomic<std::uint64_t> state_{0}; // the last to come, and who breaks
    std::atomic<pid_t> dead_{0};          // who breaks it
    common::event_count changed_;
    place seats_[Most];
};

} // namespace shared_data
