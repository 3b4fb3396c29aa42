// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.

#pragma once

#include "error.hpp"

#include "common/fault.hpp"
#include "common/robust.hpp"

#include <atomic>
#include <cstddef>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>

namespace shared_data {

/// At most so many at a time, each of whom may die: then its permit comes back.
///
/// A permit is a robust lock, one of `Most`; there is no count that could be
/// wrong.  So it belongs to the thread that took it, and giving back more than
/// was taken is impossible: it is a bounded semaphore.
template <std::size_t Most = 64>
class semaphore
{
public:
    /// Throws std::invalid_argument for none, or more than `Most`.
    explicit semaphore(std::size_t permits) : permits_(permits)
    {
        if (permits == 0 || permits > Most)
            throw std::invalid_argument(
                "a semaphore of " + std::to_string(permits) +
                " permits; it has room for 1 to " + std::to_string(Most));
    }

    /// Given back by its destructor, by release, or by the kernel.
    class [[nodiscard]] permit
    {
    public:
        permit(semaphore& from, std::size_t seat) : from_(&from), seat_(seat) {}
        permit(permit&& other) noexcept
            : from_(std::exchange(other.from_, nullptr))
            , seat_(other.seat_)
        {
        }
        ~permit()
        {
            if (from_ != nullptr)
                release();
        }
        /// Throws std::logic_error when it has been released.
        void release()
        {
            if (from_ == nullptr)
                throw std::logic_error("this permit was given back before");
            std::exchange(from_, nullptr)->give_back(seat_);
        }

    private:
        semaphore* from_;
        std::size_t seat_;
    };

    /// Waits for a permit: somebody gives one back, or dies (50 ms at most
    /// until that is seen).  Throws timed_out at the deadline.
    permit acquire(time_point deadline = time_point::max())
    {
        if (auto one = try_acquire_until(deadline))
            return std::move(*one);
        throw common::timed_out("no permit of " + std::to_string(permits_) +
                                " came free");
    }
    [[nodiscard]] std::optional<permit> try_acquire()
    {
        if (const auto seat = take())
            return permit(*this, *seat);
        return std::nullopt;
    }
    [[nodiscard]] std::optional<permit> try_acquire_until(time_point deadline)
    {
        std::optional<std::size_t> seat;
        if (!common::wait_in_naps(
                freed_, [&] { return (seat = take()).has_value(); }, deadline))
            return std::nullopt;
        return permit(*this, *seat);
    }

    /// How many are free now.
    std::size_t available() const
    {
        std::size_t result = 0;
        for (std::size_t i = 0; i < permits_; ++i)
            result += !seats_[i].held();
        return result;
    }

private:
    std::optional<std::size_t> take()
    {
        const auto first = last_.load(std::memory_order_relaxed);
        for (std::size_t i = 0; i < permits_; ++i)
        {
            const auto seat = (first + i) % permits_;
            if (seats_[seat].try_lock() == common::locked::no)
                continue;
            seats_[seat].consistent(); // a permit cannot be half-written
            COMMON_FAULT_POINT("semaphore.taken");
            return seat;
        }
        return std::nullopt;
    }
    void give_back(std::size_t seat)
    {
        seats_[seat].unlock();
        COMMON_FAULT_POINT("semaphore.given_back");
        last_.exchange(static_cast<std::uint32_t>(seat)); // before the look
        freed_.notify_one();
    }

    const std::size_t permits_;
    std::atomic<std::uint32_t> last_{0}; // who gives back: a hint where to look
    common::event_count freed_;
    common::robust_mutex seats_[Most];
};

} // namespace shared_data
