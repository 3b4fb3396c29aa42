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
#include <utility>

namespace shared_data {

/// A vector in shared memory that grows while others read it.  It travels as
/// an argument; copies refer to the same vector.
///
/// An element is there once it is whole: `push_back` writes it and then, by
/// one store, the size.  Who is killed has added one or none.  Elements do not
/// move; memory is taken as the vector grows, never beyond `bound`.
///
/// `set` replaces an element; a reader sees the old or the new one, and so do
/// all after a kill.
template <class T>
requires common::shareable<T> && std::is_trivially_copyable_v<T>
class vector
{
public:
    /// Memory for the first `reserved` elements is there from the start.
    /// Throws std::system_error where there is not enough.
    explicit vector(std::size_t bound, std::size_t reserved = 0)
        : memory_("shared vector", bytes(bound), bytes(reserved))
        , bound_(bound)
    {
        ::new (memory_.data()) head;
        top().room.store(bytes(reserved));
    }

    /// At most the bound, whatever somebody else has done to this memory.
    std::size_t size() const
    {
        return std::min(top().size.load(std::memory_order_acquire), bound_);
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
    T operator[](std::size_t i) const { return slot(i).read(); }

    /// Returns where it is.  Throws common::full beyond the bound, and
    /// std::system_error when there is no memory left: nothing happened then.
    std::size_t push_back(const T& value)
    {
        const holding lock(top().mutex);
        const auto n = size();
        if (n == bound_)
            throw common::full("a shared vector is limited to " +
                               std::to_string(bound_) + " elements");
        make_room(n + 1);
        slot(n).publish(value);
        COMMON_FAULT_POINT("vector.written");
        top().size.store(n + 1, std::memory_order_release);
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
        const holding lock(top().mutex);
        T value = at(i);
        change(value);
        slot(i).publish(value);
    }

    /// Takes the last element away.  Throws std::out_of_range.
    T pop_back()
    {
        const holding lock(top().mutex);
        const auto n = size();
        T last = at(n - 1);
        top().size.store(n - 1, std::memory_order_release);
        return last;
    }

private:
    friend struct common::codec<vector>;

    struct alignas(64) head
    {
        common::robust_mutex mutex;
        std::atomic<std::size_t> size{0}; // its holder
        std::atomic<std::size_t> room{0}; // its holder: bytes with memory
    };

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
    using element = std::conditional_t<sizeof(T) <= 8, word, pair_of>;

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

    vector(common::segment memory, std::size_t bound)
        : memory_(std::move(memory))
        , bound_(bound)
    {
        if (memory_.size() < bytes(bound))
            throw common::malformed("shared memory is smaller than its vector");
    }

    static std::size_t bytes(std::size_t elements)
    {
        if (elements > (std::size_t{1} << 46) / sizeof(element))
            throw std::length_error("shared vector of " +
                                    std::to_string(elements) + " elements");
        return sizeof(head) + elements * sizeof(element);
    }

    // Doubles the memory: taking it costs a system call.
    void make_room(std::size_t elements)
    {
        const auto there = top().room.load(std::memory_order_relaxed);
        if (bytes(elements) <= there)
            return;
        const auto wanted = std::min(
            bytes(bound_), std::max(bytes(elements), 2 * there) + (64u << 10));
        memory_.memory().reserve(there, wanted - there);
        top().room.store(wanted, std::memory_order_relaxed);
    }

    head& top() const
    {
        return *std::launder(reinterpret_cast<head*>(memory_.data()));
    }
    element& slot(std::size_t i) const
    {
        return reinterpret_cast<element*>(memory_.data() + sizeof(head))[i];
    }

    common::segment memory_;
    std::size_t bound_;
};

} // namespace shared_data

template <class T>
struct common::codec<shared_data::vector<T>>
{
    using vector = shared_data::vector<T>;

    static std::size_t size(const vector& v)
    {
        return sizeof(std::uint64_t) + encoded_size(v.memory_);
    }
    static void write(writer& to, const vector& v)
    {
        encode(to, std::uint64_t{v.bound_});
        encode(to, v.memory_);
    }
    static vector read(reader& from)
    {
        const auto bound = decode<std::uint64_t>(from);
        return vector(decode<segment>(from), static_cast<std::size_t>(bound));
    }
};
