// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.

#pragma once

#include "common/codec.hpp"
#include "common/error.hpp"
#include "common/task.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
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

/// Before each element: of which part it is, and these.  Then, where items do
/// not all have the same size, that of the item: what cannot be read can be
/// passed over.
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

/// Bytes that an item takes as an element.
template <class T>
std::size_t element_size(const T& item)
{
    const auto size = sizeof(std::uint32_t) + common::encoded_size<T>(item);
    return common::detail::as_bytes<T> ? size : size + sizeof(std::uint32_t);
}

/// Into as many bytes as `element_size` told.  Throws what the codec throws.
template <class T>
void write_element(std::span<std::byte> to, std::uint32_t tag, const T& item)
{
    common::writer out{to};
    common::encode(out, tag);
    if constexpr (!common::detail::as_bytes<T>)
        common::encode(
            out, static_cast<std::uint32_t>(out.rest.size() - sizeof tag));
    common::encode<T>(out, item);
}

/// An element that is not a failure, as for_each_element shows it.
struct element
{
    std::uint32_t index; // in the record
    std::uint32_t tag;
    std::size_t place;   // of the tag in the record
    common::reader from; // the bytes of the item
};

/// Calls `item(element)` or `failed(part, failure)` for all of a record of
/// `T`, which stays as long as what they read: that may show bytes of it.
template <class T, class Item, class Failed>
void for_each_element(std::span<const std::byte> record, unsigned parts,
                      Item item, Failed failed)
{
    common::reader from{record, true};
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
        {
            failed(part, common::decode<failure>(from));
            continue;
        }
        std::size_t size = sizeof(T);
        if constexpr (!common::detail::as_bytes<T>)
            size = common::decode<std::uint32_t>(from);
        if (size > from.rest.size())
            throw common::malformed("an item claims " + std::to_string(size) +
                                    " bytes where " +
                                    std::to_string(from.rest.size()) + " are");
        item(element{i, tag, place, {from.rest.first(size), true}});
        from.rest = from.rest.subspan(size);
    }
}

/// A record that is being put together.  Its elements are encoded at once, so
/// that what a codec throws is known where the item is.
class new_record
{
public:
    struct mark
    {
        std::size_t size;
        std::uint32_t elements;
    };

    void clear() { end_ = {}; }

    mark end() const { return end_; }
    /// Takes back what was added since.
    void back_to(mark where) { end_ = where; }

    /// Throws what the codec of the item throws; then nothing was added.
    template <class T>
    void add(std::uint32_t part, const T& item)
    {
        const auto size = element_size<T>(item);
        write_element<T>(room(size), part, item);
        added(size);
    }
    void add(std::uint32_t part, const failure& why)
    {
        const auto size = sizeof part + common::encoded_size(why);
        common::writer to{room(size)};
        common::encode(to, part | element_tag::failed);
        common::encode(to, why);
        added(size);
    }

    std::size_t size() const { return sizeof(record_head) + end_.size; }

    void write(std::span<std::byte> to, std::uint64_t first) const
    {
        common::writer out{to};
        common::encode(out, record_head{first, end_.elements});
        out.bytes(elements_.data(), end_.size);
    }

private:
    std::span<std::byte> room(std::size_t size)
    {
        if (elements_.size() - end_.size < size)
            elements_.resize(std::max(end_.size + size, 2 * elements_.size()));
        return std::span(elements_).subspan(end_.size, size);
    }
    void added(std::size_t size)
    {
        end_.size += size;
        ++end_.elements;
    }

    std::vector<std::byte> elements_; // behind `end_`, kept for its memory
    mark end_{};
};

} // namespace pipeline::detail
