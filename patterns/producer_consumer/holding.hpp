// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.

#pragma once

#include "bundle.hpp"

#include "common/fault.hpp"
#include "common/lane_ends.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

namespace producer_consumer::detail {

/// Items of one bundle, a bit for each.
struct some_items
{
    std::array<std::uint64_t, most_sets> sets{};

    static some_items range(unsigned first, unsigned count)
    {
        some_items some;
        for (unsigned i = 0; i < most_sets; ++i)
        {
            const auto begin = i * item_set::items;
            const auto from = std::max(first, begin);
            const auto to = std::min(first + count, begin + item_set::items);
            if (from < to)
                some.sets[i] = all_of(to - from) << (from - begin);
        }
        return some;
    }
    bool has(unsigned index) const
    {
        const auto [set, bit] = place_of(index);
        return (sets[set] & bit) != 0;
    }
    bool has(const some_items& others) const
    {
        bool all = true;
        for (unsigned i = 0; i < most_sets; ++i)
            all = all && (others.sets[i] & ~sets[i]) == 0;
        return all;
    }
    void add(const some_items& more)
    {
        for (unsigned i = 0; i < most_sets; ++i)
            sets[i] |= more.sets[i];
    }
};

struct found // an item of a bundle
{
    unsigned index;
    std::span<const std::byte> bytes;
};

/// A bundle that a consumer has leased.
struct holding
{
    common::lease lease;
    std::span<item_set> sets;        // in the bundle
    std::span<const std::byte> rest; // of items that nobody has looked at
    unsigned next = 0;               // the first of them
    unsigned parts = 0;
    unsigned sign = 0;      // of this attempt
    unsigned in_hand = 0;   // leases of the user
    bool returning = false; // when nothing is in hand any more
    some_items open;        // not finished
    unsigned left = 0;      // so many are open

    struct blame
    {
        std::uint64_t items = 0; // in hand at `deaths` ends of their holder
        unsigned deaths = 0;
    };
    std::array<blame, most_sets> blamed; // of a bundle that comes again

    void begin() // with `lease`
    {
        const auto all = bundle::of(lease.bytes);
        sets = all.sets();
        rest = all.items();
        next = 0;
        parts = std::min(lease.parts(),
                         static_cast<unsigned>(sets.size()) * item_set::items);
        sign = sign_of(all.first(), lease.attempt());
        in_hand = 0;
        returning = false;
        open = some_items::range(0, parts);
        left = parts;
    }

    bool again() const { return lease.attempt() != 0; }

    /// In how many hands in a row an item was that then failed.
    unsigned deaths_of(unsigned index) const
    {
        const auto [set, bit] = place_of(index);
        return again() && (blamed[set].items & bit) != 0 ? blamed[set].deaths
                                                         : 0;
    }

    /// Goes to the next item that is open; false when there is none.
    template <class T>
    bool next_item(found& item)
    {
        while (next < parts && left != 0)
        {
            item = {next, layout<T>::next(rest)};
            if (open.has(next++))
                return true;
        }
        return false;
    }

    /// The item that `next_item` gave last is the next one again.
    template <class T>
    void look_again(const found& last)
    {
        next = last.index;
        const auto* const begin = last.bytes.data() - layout<T>::before;
        rest = {begin, rest.data() + rest.size()};
    }

    void hand_out(unsigned index)
    {
        const auto [set, bit] = place_of(index);
        auto& handed = sets[set].handed;
        ++in_hand;
        handed.store(handed.load(std::memory_order_relaxed) | bit);
        COMMON_FAULT_POINT("consumer.handed");
    }

    /// Somebody had the bundle before.  What was in hand then is suspect;
    /// returns how many, and adds to `dead` what was in hand `attempts` times.
    unsigned look_back(unsigned attempts, some_items& dead)
    {
        unsigned suspects = 0;
        for (unsigned i = 0; i < sets.size(); ++i)
        {
            suspects += look_back_at(i);
            if (blamed[i].items != 0 && blamed[i].deaths >= attempts)
            {
                sets[i].dead.fetch_or(blamed[i].items);
                dead.sets[i] = blamed[i].items;
            }
        }
        COMMON_FAULT_POINT("consumer.opened");
        return suspects;
    }

    /// These are open no more.
    void close(unsigned set, std::uint64_t items)
    {
        open.sets[set] &= ~items;
        left -= static_cast<unsigned>(std::popcount(items));
    }

    bool anything_dead() const
    {
        return std::any_of(sets.begin(), sets.end(), [](const item_set& one) {
            return one.dead.load(std::memory_order_relaxed) != 0;
        });
    }

private:
    unsigned look_back_at(unsigned set)
    {
        auto& all = sets[set];
        auto word = all.finished.load();
        // From now on nobody else finishes anything.
        while (!all.finished.compare_exchange_weak(word,
                                                   word_of(sign, set_of(word))))
        { // its holder was faster
        }
        close(set, set_of(word) & open.sets[set]);
        // Each end is counted once: who dies right here counts none.
        const auto suspects = all.handed.exchange(0) & open.sets[set];
        auto before = all.blamed.load();
        if (suspects != 0)
        {
            const bool same = suspects == set_of(before);
            before = word_of(same ? number_of(before) + 1 : 1, suspects);
            all.blamed.store(before);
        }
        blamed[set] = {set_of(before) & open.sets[set], number_of(before)};
        return static_cast<unsigned>(std::popcount(suspects));
    }
};

} // namespace producer_consumer::detail
