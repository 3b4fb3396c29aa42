// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.

#pragma once

#include "snapshot.hpp"

#include <array>
#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <type_traits>

namespace shared_data {

/// Spreads a key over 64 bits, the same in every process.  A key with padding
/// needs a hash of its own.
template <class K>
struct hash
{
    static_assert(std::has_unique_object_representations_v<K>,
                  "equal keys of this type may differ in their bytes: give "
                  "shared_data::map a hash for it");

    std::uint64_t operator()(const K& key) const
    {
        std::array<std::uint64_t, (sizeof(K) + 7) / 8> words{};
        std::memcpy(words.data(), &key, sizeof key);
        std::uint64_t result = 0;
        for (const auto word : words)
            result = mix(result ^ word);
        return result;
    }

private:
    // Both halves of a product, as in wyhash, by Wang Yi.
    static std::uint64_t mix(std::uint64_t x)
    {
        __extension__ using wide = unsigned __int128;
        const wide product = static_cast<wide>(x) * 0x9e3779b97f4a7c15u;
        return static_cast<std::uint64_t>(product >> 64) ^
               static_cast<std::uint64_t>(product);
    }
};

/// The word that says which of the four places of a group hold an entry.
///
///     version:24 | passed:8 | tag:8 of each place
///
/// A tag is 8 bits of the key's hash, and 0 where a place is free.  `passed`
/// counts the entries that found the group full and went on to the next (255:
/// many): where it is 0 a search ends.  Each change is a new version.
/// (Tags: Abseil's Swiss tables.  The count: Folly's F14.)
struct group_control
{
    static constexpr unsigned places = 4, many = 255;

    std::uint64_t word = 0;

    std::uint32_t tags() const { return static_cast<std::uint32_t>(word); }
    std::uint32_t tag(unsigned place) const
    {
        return tags() >> 8 * place & 0xff;
    }
    std::uint32_t passed() const { return word >> 32 & 0xff; }

    /// The highest bit of each byte that equals `tag`; exactly: a free place
    /// may hold the very key that somebody looks for.
    std::uint32_t matches(std::uint32_t tag) const
    {
        constexpr std::uint32_t low = 0x7f7f7f7f;  // all but that bit
        const auto x = tags() ^ tag * 0x01010101u; // 0 where they are equal
        return ~(((x & low) + low) | x | low);
    }
    static unsigned first(std::uint32_t matches)
    {
        return static_cast<unsigned>(std::countr_zero(matches)) / 8;
    }

    std::optional<unsigned> free_place() const
    {
        for (unsigned i = 0; i < places; ++i)
            if (tag(i) == 0)
                return i;
        return std::nullopt;
    }

    group_control with(unsigned place, std::uint32_t tag) const
    {
        const auto others = tags() & ~(0xffu << 8 * place);
        return next(others | tag << 8 * place, passed());
    }
    group_control with_passed(std::uint32_t count) const
    {
        return next(tags(), count);
    }

private:
    group_control next(std::uint32_t tags, std::uint32_t passed) const
    {
        return {((word >> 40) + 1) << 40 |
                static_cast<std::uint64_t>(passed) << 32 | tags};
    }
};

/// Four entries and their control word, which lie apart: who looks for what is
/// not there reads little memory.
///
/// Whoever holds the lock of the group writes into places that are free, then
/// stores the word; readers take no lock, and look at the word again when they
/// have copied.  (Seqlocks; the word is never odd, so nobody waits for a
/// writer, and none that dies holds anybody up.)
template <class K, class V>
struct group
{
    struct entry
    {
        torn<K> key;
        torn<V> value;
    };
    struct entries
    {
        entry at[group_control::places];
    };
    using word = std::atomic<std::uint64_t>;

    word& control_word;
    entries& all;

    enum class seen
    {
        here,
        not_here,
        nowhere, // and not in the groups behind this one either
        unclear  // somebody changed the group meanwhile
    };

    group_control control() const
    {
        return {control_word.load(std::memory_order_acquire)};
    }

    /// Copies the value of `key`, if it is here.
    seen find(const K& key, std::uint32_t tag, V& value) const
    {
        for (;;) // ends when nobody changed the group meanwhile
            if (const auto is = look(key, tag, value); is != seen::unclear)
                return is;
    }

    /// Copies what is in a place.  Returns false if it is free.
    bool copy(unsigned place, K& key, V& value) const
    {
        for (;;) // ends when nobody changed the group meanwhile
        {
            const auto now = control();
            if (now.tag(place) == 0)
                return false;
            all.at[place].key.load(key);
            all.at[place].value.load(value);
            if (unchanged(now))
                return true;
        }
    }

    std::optional<unsigned> find_place(group_control now, const K& key,
                                       std::uint32_t tag) const
    {
        for (auto left = now.matches(tag); left != 0; left &= left - 1)
            if (has(group_control::first(left), key))
                return group_control::first(left);
        return std::nullopt;
    }

    // --- With the lock.

    void store(group_control next) const
    {
        control_word.store(next.word, std::memory_order_release);
    }
    void write(unsigned place, const K& key, const V& value) const
    {
        // Whoever sees a word of this sees that the place was freed before.
        std::atomic_thread_fence(std::memory_order_release);
        all.at[place].key.store(key);
        all.at[place].value.store(value);
    }

private:
    seen look(const K& key, std::uint32_t tag, V& value) const
    {
        const auto now = control();
        const auto all_matches = now.matches(tag);
        for (auto left = all_matches; left != 0; left &= left - 1)
            if (const auto place = group_control::first(left); has(place, key))
            {
                all.at[place].value.load(value);
                return unchanged(now) ? seen::here : seen::unclear;
            }
        if (all_matches != 0 && !unchanged(now))
            return seen::unclear;
        return now.passed() == 0 ? seen::nowhere : seen::not_here;
    }
    bool has(unsigned place, const K& key) const
    {
        K there;
        all.at[place].key.load(there);
        return there == key;
    }
    bool unchanged(group_control since) const
    {
        std::atomic_thread_fence(std::memory_order_acquire);
        return control_word.load(std::memory_order_relaxed) == since.word;
    }
};

} // namespace shared_data
