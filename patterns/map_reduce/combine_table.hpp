// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.

#pragma once

#include "common/codec.hpp"
#include "common/error.hpp"

#include <boost/config.hpp>
#include <boost/unordered/unordered_flat_map.hpp>

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

/// The same in every process.  Not meant for keys chosen by an enemy.
inline std::uint64_t hash(std::string_view key)
{
    constexpr std::uint64_t one = 0x9e3779b97f4a7c15, two = 0xe7037ed1a0b428db;
    const char* at = key.data();
    std::size_t size = key.size();
    std::uint64_t result = size * one, a = 0, b = 0;
    for (; size > 16; at += 8, size -= 8)
        result = mix(result ^ load<std::uint64_t>(at), two);
    if (size >= 8) // the two words overlap when there are less than 16 bytes
        a = load<std::uint64_t>(at), b = load<std::uint64_t>(at + size - 8);
    else if (size >= 4)
        a = load<std::uint32_t>(at), b = load<std::uint32_t>(at + size - 4);
    else if (size > 0)
        a = load<std::uint8_t>(at), b = load<std::uint8_t>(at + size / 2) << 8 |
                                        load<std::uint8_t>(at + size - 1);
    return mix(a ^ result ^ two, b ^ one);
}

/// For short keys several times as fast as a call of memcmp.
inline bool same(std::string_view a, std::string_view b)
{
    const char *x = a.data(), *y = b.data();
    const std::size_t size = a.size();
    if (size != b.size())
        return false;
    if (size >= 8) // the last two words overlap
    {
        for (std::size_t at = 0; at + 8 < size; at += 8)
            if (load<std::uint64_t>(x + at) != load<std::uint64_t>(y + at))
                return false;
        return load<std::uint64_t>(x + size - 8) ==
               load<std::uint64_t>(y + size - 8);
    }
    if (size >= 4)
        return load<std::uint32_t>(x) == load<std::uint32_t>(y) &&
               load<std::uint32_t>(x + size - 4) ==
                   load<std::uint32_t>(y + size - 4);
    for (std::size_t at = 0; at < size; ++at)
        if (x[at] != y[at])
            return false;
    return true;
}

// A record is a key, a string with its size before it, and a value.

template <key Key, class Value>
std::size_t record_size(const key_view<Key>& key, const Value& value)
{
    return bytes_of(key).size() + common::encoded_size(value) +
           (std::is_same_v<Key, std::string> ? sizeof(std::uint64_t) : 0);
}

template <key Key, class Value>
void write_record(common::writer& to, const key_view<Key>& key,
                  const Value& value)
{
    const auto bytes = bytes_of(key);
    if constexpr (std::is_same_v<Key, std::string>)
        common::encode<std::uint64_t>(to, bytes.size());
    to.bytes(bytes.data(), bytes.size());
    common::encode(to, value);
}

template <key Key, class Value>
std::pair<key_view<Key>, Value> read_record(common::reader& from)
{
    if constexpr (std::is_same_v<Key, std::string>)
    {
        const std::size_t size = from.count(); // moves on to the string
        const std::string_view key(
            reinterpret_cast<const char*>(from.rest.data()), size);
        from.rest = from.rest.subspan(size);
        return {key, common::decode<Value>(from)};
    }
    else // in braces: first the key, then the value
        return {common::decode<Key>(from), common::decode<Value>(from)};
}

} // namespace detail

/// Spreads keys evenly over partitions.
struct by_hash
{
    template <class View>
    std::size_t operator()(const View& key, std::size_t partitions) const
    {
        // Not the bits by which the table of a reducer places the keys.
        const auto middle = detail::hash(detail::bytes_of(key)) >> 8;
        return static_cast<std::uint32_t>(middle) * partitions >> 32;
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
    struct hasher
    {
        using is_avalanching = void; // Boost need not mix it again
        std::size_t operator()(const key_view<Key>& one) const
        {
            return detail::hash(detail::bytes_of(one));
        }
    };
    struct equal
    {
        bool operator()(const key_view<Key>& a, const key_view<Key>& b) const
        {
            return detail::same(detail::bytes_of(a), detail::bytes_of(b));
        }
    };
    using map = boost::unordered_flat_map<key_view<Key>, Value, hasher, equal>;

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
        if (const auto found = map_.find(key); found != map_.end())
            combine(found->second, std::move(value));
        else
            insert(key, std::move(value));
    }

    std::size_t size() const { return map_.size(); }

    /// Pairs of key_view<Key> and Value, in no order that means anything.
    auto begin() const { return map_.begin(); }
    auto end() const { return map_.end(); }

    /// How much memory the table takes, about.
    std::size_t bytes() const
    {
        return map_.bucket_count() * (sizeof(typename map::value_type) + 1) +
               keys_size_ + values_size_;
    }

    /// Empty again; keeps the room for as many keys, if that is allowed.
    void clear()
    {
        map_.clear();
        keys_.release();
        keys_size_ = values_size_ = 0;
        if (bytes() > limit_)
            map_ = map();
    }

    /// The table as bytes, for `partition_of`.  `partition(key, partitions)`
    /// says where a key belongs.  Throws std::out_of_range when that is none.
    template <class Partition = by_hash>
    std::vector<std::byte> partial(std::size_t partitions,
                                   Partition partition = {}) const
    {
        std::vector<std::size_t> sizes(partitions);
        std::vector<std::uint32_t> belongs;
        belongs.reserve(map_.size());
        for (const auto& [key, value] : map_)
        {
            const std::size_t p = partition(key, partitions);
            sizes.at(p) += detail::record_size<Key>(key, value);
            belongs.push_back(static_cast<std::uint32_t>(p));
        }

        std::size_t end = partitions * sizeof(std::uint64_t);
        for (const auto size : sizes)
            end += size;
        std::vector<std::byte> result(end);
        std::span<std::byte> rest(result);
        std::vector<common::writer> to;
        for (const auto size : sizes)
        {
            to.push_back({rest.first(sizeof(std::uint64_t) + size)});
            common::encode<std::uint64_t>(to.back(), size);
            rest = rest.subspan(sizeof(std::uint64_t) + size);
        }
        auto p = belongs.begin();
        for (const auto& [key, value] : map_)
            detail::write_record<Key>(to[*p++], key, value);
        return result;
    }

    /// Emits what a partition of another table holds.  Throws
    /// common::malformed when the bytes are not that, and memory_exceeded;
    /// some of it may have been emitted then.
    void merge(std::span<const std::byte> partition)
    {
        common::reader from{partition};
        while (!from.rest.empty()) // every record takes some bytes
        {
            auto [key, value] = detail::read_record<Key, Value>(from);
            emit(key, std::move(value));
        }
    }

private:
    // With plain values, the value is all in the map.
    static constexpr bool plain = std::is_trivially_copyable_v<Value>;

    void combine(Value& old, Value value)
    {
        if constexpr (!plain)
            values_size_ += common::encoded_size(value);
        old = Combine()(std::move(old), std::move(value));
        if constexpr (!plain)
            check();
    }

    BOOST_NOINLINE void insert(const key_view<Key>& key, Value value)
    {
        if constexpr (!plain)
            values_size_ += common::encoded_size(value);
        if constexpr (std::is_same_v<Key, std::string>)
        {
            keys_size_ += key.size();
            auto* kept = static_cast<char*>(keys_.allocate(key.size(), 1));
            key.copy(kept, key.size());
            map_.emplace(std::string_view(kept, key.size()), std::move(value));
        }
        else
            map_.emplace(key, std::move(value));
        check();
    }

    void check()
    {
        if (bytes() <= limit_)
            return;
        if constexpr (!plain) // what was combined may have become smaller
        {
            values_size_ = 0;
            for (const auto& [key, value] : map_)
                values_size_ += common::encoded_size(value);
            if (bytes() <= limit_)
                return;
        }
        throw memory_exceeded("a table of " + std::to_string(size()) +
                              " keys takes " + std::to_string(bytes()) +
                              " bytes, more than the " +
                              std::to_string(limit_) + " allowed");
    }

    map map_;
    std::pmr::monotonic_buffer_resource keys_;
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
