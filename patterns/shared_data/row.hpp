// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.

#pragma once

#include "error.hpp"
#include "snapshot.hpp"

#include "common/fault.hpp"
#include "common/robust.hpp"
#include "common/shared.hpp"

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <type_traits>

namespace shared_data {

/// What vectors do, in memory that they own: see vector and static_vector.
template <class T>
requires common::shareable<T> && std::is_trivially_copyable_v<T>
class row
{
    // Two copies, and which of them counts.  One word is its own copy.
    class pair_of
    {
    public:
        T read() const
        {
            T result;
            for (;;) // ends when nobody wrote twice meanwhile
            {
                const auto now = turn_.load(std::memory_order_acquire);
                copy_[now % 2].load(result);
                std::atomic_thread_fence(std::memory_order_acquire);
                if (turn_.load(std::memory_order_relaxed) == now)
                    return result;
            }
        }
        void publish(const T& value)
        {
            const auto next = turn_.load(std::memory_order_relaxed) + 1;
            std::atomic_thread_fence(std::memory_order_release);
            copy_[next % 2].store(value);
            COMMON_FAULT_POINT("vector.half_written");
            turn_.store(next, std::memory_order_release);
        }

    private:
        std::atomic<std::uint64_t> turn_{0}; // holder of the mutex
        torn<T> copy_[2];                    // holder of the mutex
    };
    class word
    {
    public:
        T read() const
        {
            T result;
            only_.load(result);
            return result;
        }
        void publish(const T& value) { only_.store(value); }

    private:
        torn<T> only_; // holder of the mutex
    };

public:
    struct alignas(64) head
    {
        common::robust_mutex mutex;
        std::atomic<std::size_t> size{0}; // its holder
        std::atomic<std::size_t> room{0}; // its holder: bytes with memory
    };
    using element = std::conditional_t<sizeof(T) <= 8, word, pair_of>;

    row(head* top, element* first, std::size_t bound)
        : top_(top)
        , first_(first)
        , bound_(bound)
    {
    }

    /// At most the bound, whatever somebody else has done to this memory.
    std::size_t size() const
    {
        return std::min(top_->size.load(std::memory_order_acquire), bound_);
    }
    bool empty() const { return size() == 0; }
    std::size_t capacity() const { return bound_; }

    /// A copy of element `i`.  Throws std::out_of_range.
    T at(std::size_t i) const
    {
        if (i >= size())
            throw std::out_of_range("element " + std::to_string(i) +
                                    " of a shared vector of " +
                                    std::to_string(size()));
        return (*this)[i];
    }
    /// Requires: i < size().
    T operator[](std::size_t i) const { return first_[i].read(); }

    /// Returns where it is.  Throws common::full beyond the bound.  Calls
    /// `make_room(size)` before; what that throws is the end of it.
    template <class Room>
    std::size_t push_back(const T& value, Room make_room)
    {
        const holding lock(top_->mutex);
        const auto n = size();
        if (n == bound_)
            throw common::full("a shared vector is limited to " +
                               std::to_string(bound_) + " elements");
        make_room(n + 1);
        first_[n].publish(value);
        COMMON_FAULT_POINT("vector.written");
        top_->size.store(n + 1, std::memory_order_release);
        return n;
    }

    /// Throws std::out_of_range.
    void set(std::size_t i, const T& value)
    {
        update(i, [&](T& old) { old = value; });
    }

    /// Runs `change(T&)` on a copy, which then becomes the element.  If it
    /// throws nothing happens.  Throws std::out_of_range.
    template <class F>
    void update(std::size_t i, F change)
    {
        const holding lock(top_->mutex);
        T value = at(i);
        change(value);
        first_[i].publish(value);
    }

    /// Takes the last element away.  Throws std::out_of_range.
    T pop_back()
    {
        const holding lock(top_->mutex);
        const auto n = size();
        if (n == 0)
            throw std::out_of_range("there is no last element of an empty "
                                    "shared vector");
        T last = at(n - 1);
        top_->size.store(n - 1, std::memory_order_release);
        return last;
    }

protected:
    head& top() const { return *top_; }

private:
    class holding
    {
    public:
        explicit holding(common::robust_mutex& m) : mutex_(m)
        {
            mutex_.lock();
            mutex_.consistent(); // every step is one store
        }
        holding(const holding&) = delete;
        ~holding() { mutex_.unlock(); }

    private:
        common::robust_mutex& mutex_;
    };

    head* top_;
    element* first_;
    std::size_t bound_;
};

} // namespace shared_data
