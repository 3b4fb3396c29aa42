// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.

#pragma once

#include "error.hpp"
#include "group.hpp"

#include "common/fault.hpp"
#include "common/robust.hpp"

#include <algorithm>
#include <atomic>
#include <bit>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <type_traits>
#include <vector>

namespace shared_data {

/// What maps do, in memory that they own: see map and static_map.
///
/// The table has parts, each with a lock; a part has groups, each with a word
/// that says what is in it.  A search begins in the group that the key's hash
/// says, and goes on to the next ones of the part, round in a circle, as long
/// as entries have passed by there.
template <class K, class V, class Hash>
class table
{
    static_assert(std::is_trivially_copyable_v<K> &&
                      std::is_trivially_copyable_v<V>,
                  "keys and values of a map are trivially copyable: for text "
                  "there is shared_data::string<N>");
    static_assert(std::equality_comparable<K>, "keys of a map need operator==");

public:
    struct alignas(64) part
    {
        common::robust_mutex mutex;
        std::atomic<std::size_t> size{0}; // its holder
        // Read by all, and hardly ever written: not beside the lock.
        alignas(64) std::atomic<std::uint64_t> moves{0}; // its holder
    };
    using group = shared_data::group<K, V>;
    using word = typename group::word;
    using entries = typename group::entries;

    /// How many parts, and how many groups in each, for `bound` entries.
    static constexpr std::size_t parts_for(std::size_t bound)
    {
        return std::clamp<std::size_t>(std::bit_floor(bound / 512), 1, 256);
    }
    // Six of ten places are used on the average, and less of a small part: so
    // none is full before the map is.
    static constexpr std::size_t groups_for(std::size_t bound)
    {
        const auto of_part = bound / parts_for(bound) + 1;
        return (of_part * 10 / 6 + 64) / group_control::places;
    }

    /// Requires: `parts` is at least 1, and words and entries are there for
    /// `per_part` groups of each.
    table(part* first, std::size_t parts, word* words, entries* all,
          std::size_t per_part)
        : part_(first)
        , word_(words)
        , entry_(all)
        , total_(parts * per_part)
        , per_part_(per_part)
    {
    }

    /// A copy of the value.
    std::optional<V> find(const K& key) const
    {
        const auto at = place_of(key);
        __builtin_prefetch(entry_ + at.home); // while its word is on the way
        V value;
        const auto is = group_at(at.home).find(key, at.tag, value);
        if (is == seen::here) [[likely]]
            return value;
        if (is == seen::nowhere && !entries_move)
            return std::nullopt;
        return find_further(key);
    }
    bool contains(const K& key) const { return find(key).has_value(); }

    /// Returns false, and changes nothing, if the key is there.  Throws
    /// common::full when there is no room.
    bool insert(const K& key, const V& value)
    {
        const auto at = place_of(key);
        const holding lock(*this, at);
        if (locate(at, key))
            return false;
        add(at, key, value);
        return true;
    }

    /// Returns whether the key is new.  Throws common::full.
    bool insert_or_assign(const K& key, const V& value)
    {
        const auto at = place_of(key);
        const holding lock(*this, at);
        if (const auto old = locate(at, key))
        {
            replace(at, *old, key, value);
            return false;
        }
        add(at, key, value);
        return true;
    }

    /// Runs `change(V&)` on a copy, which then becomes the value.  Returns
    /// false if the key is not there.  If `change` throws nothing happens.  It
    /// runs under a lock, and must not change a map itself: two that do so
    /// could wait for each other.  Throws common::full.
    template <class F>
    bool update(const K& key, F change)
    {
        const auto at = place_of(key);
        const holding lock(*this, at);
        const auto old = locate(at, key);
        if (!old)
            return false;
        V value;
        group_at(at, old->distance).all.at[old->place].value.load(value);
        change(value);
        replace(at, *old, key, value);
        return true;
    }

    /// Returns whether the key was there.
    bool erase(const K& key)
    {
        const auto at = place_of(key);
        const holding lock(*this, at);
        const auto old = locate(at, key);
        if (!old)
            return false;
        take_out(at, *old);
        part_of(at).size.fetch_sub(1, std::memory_order_relaxed);
        return true;
    }

    /// How many entries there are; it may have changed since.
    std::size_t size() const
    {
        std::size_t result = 0;
        for (std::size_t i = 0; i < total_ / per_part_; ++i)
            result += part_[i].size.load(std::memory_order_relaxed);
        return result;
    }

    /// Calls `f(key, value)` with copies.  Entries that come or go meanwhile
    /// are seen or not; one that changes is seen, or not, or with both values.
    template <class F>
    void for_each(F f) const
    {
        K key;
        V value;
        for (std::size_t i = 0; i < total_; ++i)
            for (unsigned n = 0; n < group_control::places; ++n)
                if (group_at(i).copy(n, key, value))
                    f(key, value);
    }

private:
    using seen = typename group::seen;

    struct place // of a key
    {
        std::size_t home; // the group where a search for it begins
        std::uint32_t tag;
    };
    place place_of(const K& key) const
    {
        const std::uint64_t h = Hash{}(key);
        const auto tag = static_cast<std::uint32_t>(h & 0xff);
        return {static_cast<std::size_t>((h >> 32) * total_ >> 32),
                tag == 0 ? 1 : tag};
    }
    part& part_of(const place& at) const { return part_[at.home / per_part_]; }
    group group_at(std::size_t index) const
    {
        return {word_[index], entry_[index]};
    }
    // The groups of a part follow each other round in a circle.
    group group_at(const place& at, std::size_t distance) const
    {
        const auto first = at.home / per_part_ * per_part_;
        return group_at(first + (at.home - first + distance) % per_part_);
    }

    // Counts entries that were, for a moment, in two groups; a value of one
    // word is changed where it is.
    static constexpr bool entries_move = sizeof(V) > 8;
    std::uint64_t moves(const place& at) const
    {
        if constexpr (entries_move)
            return part_of(at).moves.load(std::memory_order_acquire);
        else
            return 0;
    }

    // All that can be in the way of a search; see find.
    [[gnu::noinline]] std::optional<V> find_further(const K& key) const
    {
        const auto at = place_of(key);
        V value;
        for (;;) // ends unless entries move all the time
        {
            const auto before = moves(at);
            auto is = group_at(at.home).find(key, at.tag, value);
            for (std::size_t n = 1; is == seen::not_here && n < per_part_; ++n)
                is = group_at(at, n).find(key, at.tag, value);
            if (is == seen::here)
                return value;
            if (moves(at) == before)
                return std::nullopt;
        }
    }

    // --- What follows is done with the lock of the part.

    class holding
    {
    public:
        // What recovery throws (no memory, a hash of the user) unlocks, too:
        // by then the other constructor has made this object whole.
        holding(const table& all, const place& at)
            : holding(all.part_of(at).mutex)
        {
            if (!mutex_.suspect())
                return;
            all.recover(at.home / all.per_part_);
            mutex_.consistent();
        }
        holding(const holding&) = delete;
        ~holding() { mutex_.unlock(); }

    private:
        explicit holding(common::robust_mutex& mutex) : mutex_(mutex)
        {
            mutex_.lock();
        }
        common::robust_mutex& mutex_;
    };

    struct location
    {
        std::size_t distance; // in groups, from the key's home
        unsigned place;
    };

    std::optional<location> locate(const place& at, const K& key) const
    {
        for (std::size_t n = 0; n < per_part_; ++n)
        {
            const auto here = group_at(at, n);
            const auto now = here.control();
            if (const auto found = here.find_place(now, key, at.tag))
                return location{n, *found};
            if (now.passed() == 0)
                break;
        }
        return std::nullopt;
    }

    location free_place(const place& at) const
    {
        for (std::size_t n = 0; n < per_part_; ++n)
            if (const auto free = group_at(at, n).control().free_place())
                return {n, *free};
        throw common::full("no room left in a map with places for " +
                           std::to_string(total_ * group_control::places) +
                           " entries, of which " + std::to_string(size()) +
                           " are used");
    }

    // An entry of `at` is put `distance` groups further, or taken from there.
    void pass_by(const place& at, std::size_t distance, int change) const
    {
        for (std::size_t n = 0; n < distance; ++n)
        {
            const auto here = group_at(at, n);
            const auto now = here.control();
            if (now.passed() != group_control::many)
                here.store(now.with_passed(now.passed() +
                                           static_cast<std::uint32_t>(change)));
        }
    }

    // All but the store that makes it true.
    location prepare(const place& at, const K& key, const V& value) const
    {
        const auto to = free_place(at);
        group_at(at, to.distance).write(to.place, key, value);
        COMMON_FAULT_POINT("map.written");
        pass_by(at, to.distance, +1);
        COMMON_FAULT_POINT("map.passed");
        return to;
    }
    void publish(const place& at, const location& to) const
    {
        const auto here = group_at(at, to.distance);
        here.store(here.control().with(to.place, at.tag));
        COMMON_FAULT_POINT("map.published");
    }
    void take_out(const place& at, const location& from) const
    {
        const auto here = group_at(at, from.distance);
        here.store(here.control().with(from.place, 0));
        COMMON_FAULT_POINT("map.taken_out");
        pass_by(at, from.distance, -1);
    }

    void add(const place& at, const K& key, const V& value) const
    {
        publish(at, prepare(at, key, value));
        part_of(at).size.fetch_add(1, std::memory_order_relaxed);
    }

    void replace(const place& at, const location& old, const K& key,
                 const V& value) const
    {
        const auto here = group_at(at, old.distance);
        if constexpr (!entries_move)
            here.all.at[old.place].value.store(value);
        else if (const auto to = prepare(at, key, value);
                 to.distance == old.distance) // one word says both
        {
            here.store(
                here.control().with(old.place, 0).with(to.place, at.tag));
            COMMON_FAULT_POINT("map.replaced");
            pass_by(at, to.distance, -1); // counted twice
        }
        else // both are there for a moment: the one that is nearer counts
        {
            publish(at, to);
            part_of(at).moves.fetch_add(1); // who has missed both looks again
            take_out(at, old);
        }
    }

    // After a death: an entry that is there twice, and counts that are too
    // high.  Readers go on meanwhile; such counts only cost them time.
    void recover(std::size_t number) const
    {
        const auto first = number * per_part_;
        std::vector<std::uint32_t> passed(per_part_);
        std::size_t size = 0;
        part_[number].moves.fetch_add(1);
        for (std::size_t n = 0; n < per_part_; ++n)
            for (unsigned i = 0; i < group_control::places; ++i)
            {
                const auto here = group_at(first + n);
                if (here.control().tag(i) == 0)
                    continue;
                K key;
                here.all.at[i].key.load(key);
                const auto at = place_of(key);
                const auto from = at.home - first;
                const auto distance = (n + per_part_ - from) % per_part_;
                const auto counts = locate(at, key);
                if (!counts || counts->distance != distance ||
                    counts->place != i)
                {
                    here.store(here.control().with(i, 0));
                    continue;
                }
                ++size;
                for (std::size_t d = 0; d < distance; ++d)
                    ++passed[(from + d) % per_part_];
            }
        for (std::size_t n = 0; n < per_part_; ++n)
        {
            const auto here = group_at(first + n);
            here.store(here.control().with_passed(
                std::min<std::uint32_t>(passed[n], group_control::many)));
        }
        part_[number].size.store(size, std::memory_order_relaxed);
    }

    part* part_;
    word* word_;
    entries* entry_;
    std::size_t total_, per_part_; // groups
};

} // namespace shared_data
