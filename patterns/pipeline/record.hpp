// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.

#pragma once

#include "common/codec.hpp"
#include "common/error.hpp"
#include "common/task.hpp"

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <vector>

namespace pipeline::detail {

/// What stands before the elements of a record.
///
/// A record carries all that has become of a few items of the source (its
/// parts), mostly of one: an element each; none, where a stage dropped it;
/// several, where a stage made several of it; or the error that ended it.  So
/// each number arrives, and order can always be restored.
struct record_head
{
    static constexpr std::uint32_t as_parts = ~std::uint32_t{0};

    std::uint64_t first = 0;           // number at the source, of its part 0
    std::uint32_t elements = as_parts; // that follow
    // What follows is for the stage that reads, and all its reader's:
    std::uint32_t running = 0; // the element that it runs, from 1 on
    std::uint32_t blamed = 0;  // the element that has killed a reader ...
    std::uint32_t deaths = 0;  // ... so often, in a row
};

/// The word of the head that changes for each element.
inline void set_running(std::span<std::byte> record, std::uint32_t element)
{
    common::writer to{
        record.subspan(offsetof(record_head, running), sizeof element)};
    common::encode(to, element);
}

/// Before each element: of which part it is, and these.
struct element_tag
{
    static constexpr std::uint32_t failed = 1u << 31; // a failure, no item
    static constexpr std::uint32_t killer = 1u << 30; // is not to be run again
    static constexpr std::uint32_t part = killer - 1;
};

/// What stands in the place of an item.
struct failure
{
    std::uint32_t stage = 0;
    common::error_message error;
};

inline record_head head_of(std::span<const std::byte> record)
{
    common::reader from{record};
    return common::decode<record_head>(from);
}
inline void set_head(std::span<std::byte> record, const record_head& head)
{
    common::writer to{record};
    common::encode(to, head);
}

/// An element that is not a failure, as for_each_element shows it.
struct element
{
    std::uint32_t index; // in the record
    std::uint32_t tag;
    std::size_t place;    // of the tag in the record
    common::reader& from; // behind the tag: the item is read from here
};

/// Calls `item(element)` or `failed(part, failure)` for all of a record.
template <class Item, class Failed>
void for_each_element(std::span<const std::byte> record, unsigned parts,
                      Item item, Failed failed)
{
    common::reader from{record};
    const auto head = common::decode<record_head>(from);
    const auto count =
        head.elements == record_head::as_parts ? parts : head.elements;
    for (std::uint32_t i = 0; i < count; ++i)
    {
        const auto place = record.size() - from.rest.size();
        const auto tag = common::decode<std::uint32_t>(from);
        const auto part = tag & element_tag::part;
        if (part >= parts)
            throw common::malformed("part " + std::to_string(part) +
                                    " of a record of " + std::to_string(parts));
        if ((tag & element_tag::failed) != 0)
            failed(part, common::decode<failure>(from));
        else
            item(element{i, tag, place, from});
    }
}

/// A record that is being put together.
template <class T>
class new_record
{
public:
    std::vector<T> items; // append an item here, then call `added`

    void clear()
    {
        items.clear();
        failures_.clear();
        tags_.clear();
    }

    /// All items appended since are of this part.
    void added(std::uint32_t part)
    {
        for (auto n = items.size() + failures_.size(); tags_.size() < n;)
            tags_.push_back(part);
    }
    void add(std::uint32_t part, failure why)
    {
        failures_.push_back(std::move(why));
        tags_.push_back(part | element_tag::failed);
    }

    std::size_t size() const
    {
        auto result = sizeof(record_head) + tags_.size() * sizeof tags_[0];
        if constexpr (common::detail::plain<T>)
            result += items.size() * sizeof(T);
        else
            for (const auto& one : items)
                result += common::encoded_size<T>(one);
        for (const auto& one : failures_)
            result += common::encoded_size(one);
        return result;
    }

    void write(std::span<std::byte> to, std::uint64_t first) const
    {
        common::writer out{to};
        common::encode(
            out, record_head{first, static_cast<std::uint32_t>(tags_.size())});
        auto item = items.begin();
        auto why = failures_.begin();
        for (const auto tag : tags_)
        {
            common::encode(out, tag);
            if ((tag & element_tag::failed) != 0)
                common::encode(out, *why++);
            else
                common::encode<T>(out, *item++);
        }
    }

private:
    std::vector<failure> failures_;
    std::vector<std::uint32_t> tags_; // of items and failures, in order
};

} // namespace pipeline::detail
