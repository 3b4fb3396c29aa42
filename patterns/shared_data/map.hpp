// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.

#pragma once

#include "table.hpp"

#include "common/error.hpp"
#include "common/shared.hpp"

#include <cstddef>
#include <optional>
#include <utility>

namespace shared_data {

/// A hash map in shared memory.  It travels as an argument; copies refer to
/// the same map.
///
///     shared_data::map<std::uint64_t, price> prices(1'000'000);
///
/// `find` takes no lock and writes nothing.  Changes lock one part of the map,
/// and each becomes true by one store: at any time, and after a kill at any
/// instruction, an entry is there as a whole, with its old value or its new
/// one, or it is not there.
///
/// There is room for at least `bound` entries, and memory for them is reserved
/// from the start.
template <class K, class V, class Hash = hash<K>>
class map : public table<K, V, Hash>
{
    using base = table<K, V, Hash>;

public:
    /// Throws std::system_error where there is not enough memory.
    explicit map(std::size_t bound)
        : map(parts(base::parts_for(bound)),
              words(base::parts_for(bound) * base::groups_for(bound)),
              entries(base::parts_for(bound) * base::groups_for(bound)))
    {
    }

private:
    friend struct common::codec<map>;
    using parts = common::shared_array<typename base::part>;
    using words = common::shared_array<typename base::word>;
    using entries = common::shared_array<typename base::entries>;

    map(parts p, words w, entries e)
        : base(p.data(), p.size(), w.data(), e.data(),
               p.size() == 0 ? 0 : w.size() / p.size())
        , parts_(std::move(p))
        , words_(std::move(w))
        , entries_(std::move(e))
    {
        const auto groups = words_.size();
        if (groups == 0 || parts_.size() == 0 || groups % parts_.size() != 0 ||
            entries_.size() != groups || groups >> 32 != 0)
            throw common::malformed("this shared memory is no map");
    }

    parts parts_;
    words words_;
    entries entries_;
};

/// A map as a value: it lies where it is made, in common::shared or, for
/// programs that are not parent and child, in shared_data::named.  All else is
/// as with map.
template <class K, class V, std::size_t Bound, class Hash = hash<K>>
class static_map
{
    using table = shared_data::table<K, V, Hash>;
    static constexpr std::size_t parts = table::parts_for(Bound);
    static constexpr std::size_t per_part = table::groups_for(Bound);
    static_assert(parts * per_part >> 32 == 0, "too many entries");

public:
    std::optional<V> find(const K& key) const { return all().find(key); }
    bool contains(const K& key) const { return all().contains(key); }
    bool insert(const K& key, const V& value)
    {
        return all().insert(key, value);
    }
    bool insert_or_assign(const K& key, const V& value)
    {
        return all().insert_or_assign(key, value);
    }
    template <class F>
    bool update(const K& key, F change)
    {
        return all().update(key, std::move(change));
    }
    bool erase(const K& key) { return all().erase(key); }
    std::size_t size() const { return all().size(); }
    template <class F>
    void for_each(F f) const
    {
        all().for_each(std::move(f));
    }

private:
    // No pointer lies in shared memory: they are made anew for each call.
    table all() const { return {part_, parts, word_, entry_, per_part}; }

    // All written as the table says.
    mutable typename table::part part_[parts];
    mutable typename table::word word_[parts * per_part]{};
    mutable typename table::entries entry_[parts * per_part];
};

} // namespace shared_data

template <class K, class V, class Hash>
struct common::codec<shared_data::map<K, V, Hash>>
{
    using map = shared_data::map<K, V, Hash>;

    static std::size_t size(const map& m)
    {
        return encoded_size(m.parts_) + encoded_size(m.words_) +
               encoded_size(m.entries_);
    }
    static void write(writer& to, const map& m)
    {
        encode(to, m.parts_);
        encode(to, m.words_);
        encode(to, m.entries_);
    }
    static map read(reader& from)
    {
        auto parts = decode<typename map::parts>(from);
        auto words = decode<typename map::words>(from);
        return map(std::move(parts), std::move(words),
                   decode<typename map::entries>(from));
    }
};
