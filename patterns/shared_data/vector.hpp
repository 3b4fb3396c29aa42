// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.

#pragma once

#include "row.hpp"

#include "common/error.hpp"
#include "common/shared.hpp"

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <new>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>

namespace shared_data {

/// A vector in shared memory that grows while others read it.  It travels as
/// an argument; copies refer to the same vector.
///
/// An element is there once it is whole: `push_back` writes it and then, by
/// one store, the size.  Who is killed has added one or none.  Elements do not
/// move; memory is taken as the vector grows, never beyond `bound`.
///
/// `set` replaces an element; a reader sees the old or the new one, and so do
/// all after a kill.
template <class T>
requires common::shareable<T> && std::is_trivially_copyable_v<T>
class vector : public row<T>
{
    using typename row<T>::head;
    using typename row<T>::element;

public:
    /// Memory for the first `reserved` elements is there from the start.
    /// Throws std::system_error where there is not enough.
    explicit vector(std::size_t bound, std::size_t reserved = 0)
        : vector(
              common::segment("shared vector", bytes(bound), bytes(reserved)),
              bound)
    {
        ::new (memory_.data()) head;
        this->top().room.store(bytes(reserved));
    }

    /// Returns where it is.  Throws common::full beyond the bound, and
    /// std::system_error when there is no memory left: nothing happened then.
    std::size_t push_back(const T& value)
    {
        return row<T>::push_back(value,
                                 [this](std::size_t n) { make_room(n); });
    }

private:
    friend struct common::codec<vector>;

    vector(common::segment memory, std::size_t bound)
        : row<T>(reinterpret_cast<head*>(memory.data()),
                 reinterpret_cast<element*>(memory.data() + sizeof(head)),
                 bound)
        , memory_(std::move(memory))
    {
        if (memory_.size() < bytes(bound))
            throw common::malformed("shared memory is smaller than its vector");
    }

    static std::size_t bytes(std::size_t elements)
    {
        if (elements > (std::size_t{1} << 46) / sizeof(element))
            throw std::length_error("shared vector of " +
                                    std::to_string(elements) + " elements");
        return sizeof(head) + elements * sizeof(element);
    }

    // Doubles the memory: taking it costs a system call.
    void make_room(std::size_t elements)
    {
        const auto there = this->top().room.load(std::memory_order_relaxed);
        if (bytes(elements) <= there)
            return;
        const auto wanted =
            std::min(bytes(this->capacity()),
                     std::max(bytes(elements), 2 * there) + (64u << 10));
        memory_.memory().reserve(there, wanted - there);
        this->top().room.store(wanted, std::memory_order_relaxed);
    }

    common::segment memory_;
};

/// A vector as a value: it lies where it is made, in common::shared or, for
/// programs that are not parent and child, in shared_data::named.  All else is
/// as with vector, but for its memory, which is there from the start.
template <class T, std::size_t Bound>
class static_vector
{
    using row = shared_data::row<T>;

public:
    std::size_t size() const { return all().size(); }
    bool empty() const { return size() == 0; }
    static constexpr std::size_t capacity() { return Bound; }
    T at(std::size_t i) const { return all().at(i); }
    T operator[](std::size_t i) const { return all()[i]; }
    std::size_t push_back(const T& value)
    {
        return all().push_back(value, [](std::size_t) {});
    }
    void set(std::size_t i, const T& value) { all().set(i, value); }
    template <class F>
    void update(std::size_t i, F change)
    {
        all().update(i, std::move(change));
    }
    T pop_back() { return all().pop_back(); }

private:
    // No pointer lies in shared memory: they are made anew for each call.
    row all() const { return {&top_, element_, Bound}; }

    mutable typename row::head top_; // both as the row says
    mutable typename row::element element_[Bound];
};

} // namespace shared_data

template <class T>
struct common::codec<shared_data::vector<T>>
{
    using vector = shared_data::vector<T>;

    static std::size_t size(const vector& v)
    {
        return sizeof(std::uint64_t) + encoded_size(v.memory_);
    }
    static void write(writer& to, const vector& v)
    {
        encode(to, std::uint64_t{v.capacity()});
        encode(to, v.memory_);
    }
    static vector read(reader& from)
    {
        const auto bound = decode<std::uint64_t>(from);
        return vector(decode<segment>(from), static_cast<std::size_t>(bound));
    }
};
