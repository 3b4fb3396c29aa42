// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.

#pragma once

#include "padded_view.hpp"

#include "common/codec.hpp"
#include "common/error.hpp"

#include <boost/config.hpp>

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <limits>
#include <memory_resource>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

namespace map_reduce {

/// A table held more than it may: the text says how much and of what.
struct memory_exceeded : std::runtime_error
{
    using std::runtime_error::runtime_error;
};

/// What a key may be: a std::string, or a value that is equal to another
/// when its bytes are (so no padding, and no floating point).
template <class T>
concept key = std::is_same_v<T, std::string> ||
    (common::codable<T>&& std::is_trivially_copyable_v<T>&&
         std::has_unique_object_representations_v<T>);

/// How a key is passed: strings as std::string_view, others as they are.
template <key Key>
using key_view =
    std::conditional_t<std::is_same_v<Key, std::string>, std::string_view, Key>;

namespace detail {

inline std::string_view bytes_of(std::string_view key)
{
    return key;
}

template <class Key>
std::string_view bytes_of(const Key& key)
{
    return {reinterpret_cast<const char*>(&key), sizeof key};
}

template <class Word>
std::uint64_t load(const char* from)
{
    Word word = 0;
    std::memcpy(&word, from, sizeof word);
    return word;
}

/// The steps of wyhash, by Wang Yi: both halves of a product, folded.
inline std::uint64_t mix(std::uint64_t a, std::uint64_t b)
{
    const auto product = static_cast<boost::uint128_type>(a) * b;
    return static_cast<std::uint64_t>(product) ^
           static_cast<std::uint64_t>(product >> 64);
}

/// A key, as far as two words tell: its bytes with zeros behind them, or, of
/// more than 16, its hash and anything.
struct digest
{
    std::uint64_t first = 0, second = 0;

    /// The same in every process.  Not meant for keys chosen by an enemy.
    std::uint64_t hash() const
    {
        return mix(first ^ 0x9e3779b97f4a7c15, second ^ 0xe7037ed1a0b428db);
    }
};

constexpr std::size_t short_size = sizeof(digest);

BOOST_NOINLINE inline digest digest_of_long(std::string_view key)
{
    constexpr std::uint64_t one = 0x9e3779b97f4a7c15, two = 0xe7037ed1a0b428db;
    const char* at = key.data();
    std::size_t size = key.size();
    std::uint64_t result = size * one;
    for (; size > 16; at += 8, size -= 8)
        result = mix(result ^ load<std::uint64_t>(at), two);
    // The last two words overlap what was there before.
    return {mix(load<std::uint64_t>(at + size - 16) ^ result ^ two,
                load<std::uint64_t>(at + size - 8) ^ one),
            0};
}

/// Of a key of which 16 bytes can be read: without a branch for its size.
inline digest digest_of(const padded_view& key)
{
    if (BOOST_UNLIKELY(key.size() > short_size))
        return digest_of_long(key);
    static constexpr unsigned char masks[2 * short_size] = {
        255, 255, 255, 255, 255, 255, 255, 255,
        255, 255, 255, 255, 255, 255, 255, 255};
    const auto* mask =
        reinterpret_cast<const char*>(masks) + short_size - key.size();
    return {load<std::uint64_t>(key.data()) & load<std::uint64_t>(mask),
            load<std::uint64_t>(key.data() + 8) &
                load<std::uint64_t>(mask + 8)};
}

inline digest digest_of(std::string_view key)
{
    static_assert(std::endian::native == std::endian::little);
    const char* const at = key.data();
    const std::size_t size = key.size();
    if (size > short_size)
        return digest_of_long(key);
    if (size > 8) // here and below two words overlap
        return {load<std::uint64_t>(at),
                load<std::uint64_t>(at + size - 8) >> 8 * (short_size - size)};
    if (size >= 4)
        return {load<std::uint32_t>(at) | load<std::uint32_t>(at + size - 4)
                                              << 8 * (size - 4),
                0};
    if (size > 0)
        return {load<std::uint8_t>(at) |
                    load<std::uint8_t>(at + size / 2) << 8 * (size / 2) |
                    load<std::uint8_t>(at + size - 1) << 8 * (size - 1),
                0};
    return {};
}

} // namespace detail

/// Spreads keys evenly over partitions.
struct by_hash
{
    template <class View>
    std::size_t operator()(const View& key, std::size_t partitions) const
    {
        const auto hash = detail::digest_of(detail::bytes_of(key)).hash();
        return of(hash, partitions);
    }

    static std::size_t of(std::uint64_t hash, std::size_t partitions)
    {
        // Not the bits by which the table of a reducer places the keys.
        return (hash & 0xffffffff) * partitions >> 32;
    }
};

/// Keys with their values, combined as they are emitted.
///
///     combine_table<std::string, std::uint64_t> counts;
///     counts.emit("word", 1);
///
/// A key that was there before gets `Combine()(old, value)`; the order of
/// calls for one key is the order of emits.  Private to one process: what
/// crosses to another are the bytes that `partial` returns.
template <key Key, common::codable Value, class Combine = std::plus<>>
class combine_table
{
    static constexpr bool strings = std::is_same_v<Key, std::string>;
    // With plain values, the value is all in the entry.
    static constexpr bool plain = std::is_trivially_copyable_v<Value>;

    struct entry
    {
        detail::digest what; // of a long key: its digest, and where it is kept
        std::size_t size;
        Value value;

        bool is_long() const { return size > detail::short_size; }
        std::uint64_t hash() const
        {
            return detail::digest{what.first, is_long() ? 0 : what.second}
                .hash();
        }
        std::string_view bytes() const
        {
            return {is_long() ? reinterpret_cast<const char*>(what.second)
                              : reinterpret_cast<const char*>(&what),
                    size};
        }
        key_view<Key> key() const
        {
            if constexpr (strings)
                return bytes();
            else
            {
                std::array<char, sizeof(Key)> copy;
                std::memcpy(&copy, bytes().data(), sizeof copy);
                return std::bit_cast<Key>(copy);
            }
        }
    };

public:
    /// Holds at most `limit` bytes; what values keep elsewhere is counted as
    /// large as it is when encoded.
    explicit combine_table(
        std::size_t limit = std::numeric_limits<std::size_t>::max())
        : limit_(limit)
    {
    }

    combine_table(const combine_table&) = delete;
    combine_table& operator=(const combine_table&) = delete;

    /// Throws memory_exceeded, after which only `clear` makes sense.
    void emit(const key_view<Key>& key, Value value)
    {
        const auto bytes = detail::bytes_of(key);
        emit(bytes, detail::digest_of(bytes), std::move(value));
    }

    /// The same, faster.
    void emit(const padded_view& key, Value value) requires strings
    {
        if (BOOST_UNLIKELY(key.size() > detail::short_size))
            return emit_long(key, std::move(value));
        emit(key, detail::digest_of(key), std::move(value));
    }

    std::size_t size() const { return entries_.size(); }

    class iterator
    {
    public:
        using value_type = std::pair<key_view<Key>, const Value&>;
        using difference_type = std::ptrdiff_t;

        value_type operator*() const { return {at_->key(), at_->value}; }
        iterator& operator++() { return ++at_, *this; }
        iterator operator++(int) { return iterator(at_++); }
        bool operator==(const iterator&) const = default;

    private:
        friend combine_table;
        explicit iterator(const entry* at) : at_(at) {}
        const entry* at_;
    };

    /// Pairs of a key_view<Key> and a Value, in the order in which keys were
    /// emitted first; valid until the next emit.
    iterator begin() const { return iterator(entries_.data()); }
    iterator end() const { return iterator(entries_.data() + size()); }

    /// How much memory the table takes, about.
    std::size_t bytes() const
    {
        return places_.size() * sizeof places_[0] +
               entries_.capacity() * sizeof(entry) + keys_size_ + values_size_;
    }

    /// Empty again; keeps the room for as many keys, if that is allowed.
    void clear()
    {
        entries_.clear();
        keys_.release();
        keys_size_ = values_size_ = 0;
        if (bytes() > limit_)
        {
            entries_ = std::vector<entry>(); // gives its memory back
            places_ = std::vector<std::uint32_t>();
            resize(fewest);
        }
        else
            std::fill(places_.begin(), places_.end(), 0);
    }

    /// The table as bytes, for `partition_of`.  `partition(key, partitions)`
    /// says where a key belongs.  Throws std::out_of_range when that is none.
    template <class Partition = by_hash>
    std::vector<std::byte> partial(std::size_t partitions,
                                   Partition partition = {}) const
    {
        std::vector<std::byte> result;
        partial(result, partitions, partition);
        return result;
    }

    /// The same, in memory that was there before.
    template <class Partition>
    void partial(std::vector<std::byte>& result, std::size_t partitions,
                 Partition partition) const
    {
        std::vector<std::size_t> sizes(partitions);
        std::vector<std::uint32_t> belongs;
        belongs.reserve(size());
        for (const entry& one : entries_)
        {
            std::size_t p = 0;
            if constexpr (std::is_same_v<Partition, by_hash>)
                p = by_hash::of(one.hash(), partitions);
            else
                p = partition(one.key(), partitions);
            sizes.at(p) += record_size(one);
            belongs.push_back(static_cast<std::uint32_t>(p));
        }

        std::size_t end = partitions * sizeof(std::uint64_t);
        for (const auto size : sizes)
            end += size;
        result.resize(end);
        std::span<std::byte> rest(result);
        std::vector<common::writer> to;
        for (const auto size : sizes)
        {
            to.push_back({rest.first(sizeof(std::uint64_t) + size)});
            common::encode<std::uint64_t>(to.back(), size);
            rest = rest.subspan(sizeof(std::uint64_t) + size);
        }
        auto p = belongs.begin();
        for (const entry& one : entries_)
            write_record(to[*p++], one);
    }

    /// Emits what a partition of another table holds.  Throws
    /// common::malformed when the bytes are not that, and memory_exceeded;
    /// some of it may have been emitted then.
    void merge(std::span<const std::byte> partition)
    {
        common::reader from{partition};
        while (!from.rest.empty()) // every record takes some bytes
        {
            if constexpr (strings)
            {
                const std::size_t size = from.count(); // moves on to the string
                const auto* at =
                    reinterpret_cast<const char*>(from.rest.data());
                const bool padded = from.rest.size() >= detail::short_size;
                from.rest = from.rest.subspan(size);
                if (padded)
                    emit(padded_view(at, size), common::decode<Value>(from));
                else
                    emit(std::string_view(at, size),
                         common::decode<Value>(from));
            }
            else
            {
                const auto key = common::decode<Key>(from);
                emit(key, common::decode<Value>(from));
            }
        }
    }

private:
    static constexpr std::size_t fewest = 1024; // places, a power of two

    void emit(std::string_view key, const detail::digest& what, Value value)
    {
        // Ends at a free place: half of them are.
        for (auto at = place(what.hash()); places_[at] != 0; at = after(at))
        {
            entry& one = entries_[places_[at] - 1];
            if (one.what.first != what.first || one.size != key.size())
                continue;
            if (BOOST_UNLIKELY(one.is_long()) ? one.bytes() == key
                                              : one.what.second == what.second)
                return combine(one.value, std::move(value));
        }
        insert(key, what, std::move(value));
    }

    // Apart from the others, which are a loop without calls then.
    BOOST_NOINLINE void emit_long(std::string_view key, Value value)
    {
        emit(key, detail::digest_of_long(key), std::move(value));
    }

    void combine(Value& old, Value value)
    {
        if constexpr (!plain)
            values_size_ += common::encoded_size(value);
        old = Combine()(std::move(old), std::move(value));
        if constexpr (!plain)
            check();
    }

    BOOST_NOINLINE void insert(std::string_view key, detail::digest what,
                               Value value)
    {
        if constexpr (!plain)
            values_size_ += common::encoded_size(value);
        const auto hash = what.hash();
        if (key.size() > detail::short_size)
        {
            keys_size_ += key.size();
            auto* kept = static_cast<char*>(keys_.allocate(key.size(), 1));
            key.copy(kept, key.size());
            what.second = reinterpret_cast<std::uintptr_t>(kept);
        }
        entries_.push_back({what, key.size(), std::move(value)});
        if (entries_.size() > places_.size() / 2)
            resize(places_.size() * 2);
        else
            enter(hash, entries_.size());
        check();
    }

    // Where to look for a key first: by the upper bits, since the lower ones
    // are the same for all keys of a partition.
    std::size_t place(std::uint64_t hash) const
    {
        return static_cast<std::size_t>(hash >> shift_);
    }
    std::size_t after(std::size_t at) const
    {
        return (at + 1) & (places_.size() - 1);
    }

    void enter(std::uint64_t hash, std::size_t number)
    {
        auto at = place(hash);
        while (places_[at] != 0) // ends at a free place: half of them are
            at = after(at);
        places_[at] = static_cast<std::uint32_t>(number);
    }

    void resize(std::size_t places)
    {
        places_.assign(places, 0);
        shift_ = 64 - std::countr_zero(places);
        for (std::size_t i = 0; i != entries_.size(); ++i)
            enter(entries_[i].hash(), i + 1);
    }

    void check()
    {
        if (bytes() <= limit_)
            return;
        if constexpr (!plain) // what was combined may have become smaller
        {
            values_size_ = 0;
            for (const entry& one : entries_)
                values_size_ += common::encoded_size(one.value);
            if (bytes() <= limit_)
                return;
        }
        throw memory_exceeded("a table of " + std::to_string(size()) +
                              " keys takes " + std::to_string(bytes()) +
                              " bytes, more than the " +
                              std::to_string(limit_) + " allowed");
    }

    // A record is a key, a string with its size before it, and a value.

    static std::size_t record_size(const entry& one)
    {
        return (strings ? sizeof(std::uint64_t) : 0) + one.size +
               common::encoded_size(one.value);
    }

    static void write_record(common::writer& to, const entry& one)
    {
        if constexpr (strings)
            common::encode<std::uint64_t>(to, one.size);
        if (!one.is_long() && to.rest.size() >= sizeof one.what)
        {
            // All of it, at a known size; what is too much is overwritten.
            std::memcpy(to.rest.data(), &one.what, sizeof one.what);
            to.rest = to.rest.subspan(one.size);
        }
        else
            to.bytes(one.bytes().data(), one.size);
        common::encode(to, one.value);
    }

    std::vector<entry> entries_;
    // Where an entry is: its number, from 1 on; 0 is a free place.
    std::vector<std::uint32_t> places_ = std::vector<std::uint32_t>(fewest);
    int shift_ = 64 - std::countr_zero(fewest);
    std::pmr::monotonic_buffer_resource keys_; // the long ones
    std::size_t keys_size_ = 0, values_size_ = 0, limit_;
};

/// The bytes of partition `p` of a partial result, for `merge`.  Throws
/// common::malformed when the bytes do not hold that many partitions.
inline std::span<const std::byte>
partition_of(std::span<const std::byte> partial, std::size_t p)
{
    common::reader from{partial};
    for (;; --p) // each turn takes some bytes, or throws
    {
        const std::size_t size = from.count(); // moves on to the bytes
        const auto partition = from.rest.first(size);
        if (p == 0)
            return partition;
        from.rest = from.rest.subspan(size);
    }
}

} // namespace map_reduce
