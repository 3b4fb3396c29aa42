// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.

#pragma once

#include "common/codec.hpp"

#include <algorithm>
#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <new>
#include <span>
#include <string>
#include <type_traits>
#include <utility>

namespace producer_consumer::detail {

/// Items that travel together: one record of the stream, a head and the items.
///
/// A producer adds to the last bundle until a consumer takes it; one that is
/// taken is finished item by item, and goes back to the others with a note of
/// what was finished when its consumer dies.

/// What became of 48 items in a row; a word for a question, a bit for an item.
/// In these words a number of 16 bits stands above the bits.
struct item_set
{
    static constexpr unsigned items = 48;

    // Items finished, above them the sign of the attempt that may say so: the
    // producer, for the first one; then whoever holds the bundle.  A late
    // acknowledgement of an item has another sign in it.
    std::atomic<std::uint64_t> finished;
    std::atomic<std::uint64_t> handed; // to a user, not finished: its holder
    // Items in hand when a holder failed, above them how often in a row: the
    // next holder.
    std::atomic<std::uint64_t> blamed;
    std::atomic<std::uint64_t> dead; // gave up on: its holder
};
static_assert(sizeof(item_set) == 32);

/// What a bundle begins with; its item sets follow.
struct bundle_head
{
    std::uint64_t first; // number in its lane: producer
    std::uint64_t sets;  // 1 to `most_sets`: producer
};
static_assert(sizeof(bundle_head) == 16);

inline constexpr unsigned most_sets = 5;
inline constexpr unsigned most_items = most_sets * item_set::items;

constexpr unsigned sets_for(unsigned items)
{
    return (items + item_set::items - 1) / item_set::items;
}
constexpr std::size_t head_size(std::size_t sets)
{
    return sizeof(bundle_head) + sets * sizeof(item_set);
}

// Items from this size on have a bundle of their own: to be written a second
// time, because a consumer has just taken the bundle, would cost too much.
inline constexpr std::size_t travels_alone = 64u << 10; // bytes

constexpr std::uint64_t set_of(std::uint64_t word)
{
    return word & ((std::uint64_t{1} << item_set::items) - 1);
}
constexpr unsigned number_of(std::uint64_t word)
{
    return static_cast<unsigned>(word >> item_set::items);
}
constexpr std::uint64_t word_of(unsigned number, std::uint64_t set)
{
    return std::uint64_t{number} << item_set::items | set;
}
/// Where an item has its bit: in which set, and the bit.
constexpr std::pair<unsigned, std::uint64_t> place_of(unsigned index)
{
    return {index / item_set::items,
            std::uint64_t{1} << index % item_set::items};
}
/// What tells this attempt at a bundle from others at the same place: before,
/// and behind, when other bundles are there.
constexpr unsigned sign_of(std::uint64_t first, unsigned attempt)
{
    return static_cast<unsigned>(first * 4099 + attempt + 1) & 0xffff;
}
constexpr std::uint64_t all_of(unsigned items)
{
    return (std::uint64_t{1} << items) - 1;
}

/// Where items of a type lie.  Those of one size are back to back, read in
/// place; others have their size before them.
template <class T>
struct layout
{
    static constexpr bool fixed =
        common::detail::as_bytes<T> && alignof(T) <= 16;
    static constexpr std::size_t grain = std::max<std::size_t>(8, alignof(T));
    // Before the bytes of each: its size.
    static constexpr std::size_t before = fixed ? 0 : 8;
    // As an array of T.
    static constexpr bool array = fixed && sizeof(T) % grain == 0;

    static constexpr std::size_t round_up(std::size_t n)
    {
        return (n + grain - 1) / grain * grain;
    }

    /// Bytes that an item takes.
    static std::size_t size(const T& item)
    {
        if constexpr (fixed)
            return round_up(sizeof(T));
        else
            return before + round_up(common::encoded_size(item));
    }

    static void write(std::span<std::byte> to, const T& item)
    {
        common::writer out{to};
        if constexpr (!fixed)
            common::encode(out, std::uint64_t{common::encoded_size(item)});
        common::encode(out, item);
    }

    /// The bytes of the first item in `rest`, which then begins behind it.
    /// Throws malformed when they cannot be there.
    static std::span<const std::byte> next(std::span<const std::byte>& rest)
    {
        common::reader from{rest};
        std::size_t size = sizeof(T);
        if constexpr (!fixed)
            size = common::decode<std::uint64_t>(from);
        if (size > from.rest.size())
            throw common::malformed("an item claims " + std::to_string(size) +
                                    " bytes where " +
                                    std::to_string(from.rest.size()) + " are");
        const auto item = from.rest.first(size);
        rest = from.rest.subspan(std::min(round_up(size), from.rest.size()));
        return item;
    }

    /// `stays`: the bytes, as long as the result.
    static T read(std::span<const std::byte> item, bool stays = false)
    {
        common::reader from{item, stays};
        T result = common::decode<T>(from);
        if (!from.rest.empty())
            throw common::malformed("an item is followed by " +
                                    std::to_string(from.rest.size()) +
                                    " bytes too many");
        return result;
    }
};

/// A record as a bundle.
class bundle
{
public:
    /// No sets where the bytes are no bundle: another process may be about to
    /// write one there.
    explicit bundle(std::span<std::byte> record)
    {
        if (record.size() < head_size(1))
            return;
        head_ = std::launder(reinterpret_cast<bundle_head*>(record.data()));
        const auto count = head_->sets;
        if (count == 0 || count > most_sets || record.size() < head_size(count))
            return;
        count_ = count;
        rest_ = record.size() - head_size(count);
    }

    /// Throws malformed where it is none.
    static bundle of(std::span<std::byte> record)
    {
        const bundle result(record);
        if (result.count_ == 0)
            refuse(record.size());
        return result;
    }

    /// The number of its first item in its lane.
    std::uint64_t first() const { return head_->first; }

    std::span<item_set> sets() const
    {
        if (count_ == 0)
            return {};
        return {std::launder(reinterpret_cast<item_set*>(head_ + 1)), count_};
    }
    std::span<const std::byte> items() const
    {
        if (count_ == 0)
            return {};
        return {reinterpret_cast<const std::byte*>(head_) + head_size(count_),
                rest_};
    }

    unsigned finished() const
    {
        unsigned count = 0;
        for (const auto& one : sets())
            count += static_cast<unsigned>(
                std::popcount(set_of(one.finished.load())));
        return count;
    }

private:
    [[noreturn]] static void refuse(std::size_t bytes) // keeps `of` short
    {
        throw common::malformed("a bundle of " + std::to_string(bytes) +
                                " bytes");
    }

    bundle_head* head_ = nullptr;
    std::size_t count_ = 0; // of sets
    std::size_t rest_ = 0;  // so many bytes follow them
};

} // namespace producer_consumer::detail
