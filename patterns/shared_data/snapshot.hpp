// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.

#pragma once

#include "error.hpp"

#include "common/fault.hpp"
#include "common/robust.hpp"
#include "common/shared.hpp"

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>

namespace shared_data {

#if defined(__SANITIZE_THREAD__)
#define SHARED_DATA_WORD_BY_WORD true
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define SHARED_DATA_WORD_BY_WORD true
#endif
#endif
#ifndef SHARED_DATA_WORD_BY_WORD
#define SHARED_DATA_WORD_BY_WORD false
#endif

/// A value whose bytes are read while others write them.  Who reads finds out
/// by other means whether the bytes belong together; up to 8 always do.
///
/// The memory model, and with it the thread sanitizer, knows such reads of
/// atomic words only, which costs twice as much as a copy.  Without the
/// sanitizer it is a copy, between two fences for the compiler: it then reads
/// each byte here and now.  (So do the seqlocks of Linux.)
template <class T>
requires std::is_trivially_copyable_v<T>
class torn
{
public:
    void store(const T& value)
    {
        if constexpr (by_words)
            store_words(value);
        else
            copy(word_, &value);
    }
    void load(T& value) const
    {
        if constexpr (by_words)
            load_words(value);
        else
            copy(&value, word_);
    }

private:
    static constexpr std::size_t words = (sizeof(T) + 7) / 8;
    static constexpr bool by_words = words == 1 || SHARED_DATA_WORD_BY_WORD;

    static void copy(void* to, const void* from)
    {
        std::atomic_signal_fence(std::memory_order_seq_cst);
        std::memcpy(to, from, sizeof(T));
        std::atomic_signal_fence(std::memory_order_seq_cst);
    }

    void store_words(const T& value)
    {
        const auto* from = reinterpret_cast<const std::byte*>(&value);
        for (std::size_t i = 0; i < words; ++i)
        {
            std::uint64_t word = 0;
            std::memcpy(&word, from + 8 * i, size_of(i));
            word_[i].store(word, std::memory_order_relaxed);
        }
    }
    void load_words(T& value) const
    {
        auto* to = reinterpret_cast<std::byte*>(&value);
        for (std::size_t i = 0; i < words; ++i)
        {
            const auto word = word_[i].load(std::memory_order_relaxed);
            std::memcpy(to + 8 * i, &word, size_of(i));
        }
    }
    static constexpr std::size_t size_of(std::size_t word)
    {
        return std::min<std::size_t>(8, sizeof(T) - 8 * word);
    }

    std::atomic<std::uint64_t> word_[words]; // whoever the owner says
};

/// The last whole version of a value: one writes, any number read.
///
/// Readers never wait, never write, and cost about a copy.  The writer never
/// waits for readers.  One that dies leaves the last version that it had
/// published; the next goes on from there.
///
/// Versions go round in four places, and one word says which is the last.  So
/// a reader starts again only when three versions were published while it
/// copied one.  (The two fences: Boehm, Can seqlocks get along with programming
/// language memory models?, 2012.)
template <class T>
requires common::shareable<T> && std::is_trivially_copyable_v<T>
class snapshot
{
public:
    snapshot() : snapshot(T{}) {}
    explicit snapshot(const T& first) { place_[0].store(first); }

    /// The last version that was published.
    T read() const
    {
        T result;
        read(result);
        return result;
    }
    void read(T& into) const
    {
        for (;;) // ends when the copy was faster than three versions
        {
            const auto seen = last_.load(std::memory_order_acquire);
            place_[seen / step % places].load(into);
            // Had we seen a byte of the fourth version after this one, we would
            // now see that the third has been published.
            std::atomic_thread_fence(std::memory_order_acquire);
            const auto now = last_.load(std::memory_order_relaxed);
            if (now == seen) [[likely]] // a comparison with memory: cheapest
                return;
            if (now - seen < (places - 1) * step)
                return;
        }
    }

    /// How many versions there have been; changes when there is a new one.
    std::uint64_t version() const
    {
        return last_.load(std::memory_order_acquire) / step;
    }

    /// Publishes the next version.  Requires: the caller is the only writer
    /// now, and knows of all that was published before.
    void publish(const T& value)
    {
        const auto next = last_.load(std::memory_order_relaxed) + step;
        std::atomic_thread_fence(std::memory_order_release);
        place_[next / step % places].store(value);
        COMMON_FAULT_POINT("snapshot.written");
        last_.store(next, std::memory_order_release);
    }

private:
    static constexpr std::uint64_t places = 4;

    // Versions are counted in bytes of a cache line: then a small place is
    // found by a single `and`, and a read of 64 bytes costs a fifth less.
    static constexpr std::uint64_t step = 64;

    struct alignas(64) place : torn<T>
    {
    };
    alignas(64) std::atomic<std::uint64_t> last_{0}; // the writer: in steps
    place place_[places];                            // the writer
};

} // namespace shared_data
