// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.

#pragma once

#include "common/codec.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <memory>
#include <span>
#include <stdexcept>
#include <string>
#include <utility>

namespace common {

/// Many elements, as an item of a stream or a member of one, that are written
/// where they will be read: in the memory of the queue or the pipeline.
///
///     queue<large<float>> frames({.bytes = 64u << 20});
///     out.push({n, [&](std::span<float> room) { render(room); }});
///     const auto frame = in.lease();         // shows(frame->elements()) ...
///
/// What a lease shows lies in the queue, and is there as long as the lease is;
/// what `pop` returns is a copy of its own.  A stage or a sink of a pipeline is
/// shown what it may read until it returns.  Copies show the same elements.
template <common::detail::plain E>
class large
{
    static_assert(alignof(E) <= 16, "records are aligned to 16 bytes");

public:
    large() = default;

    /// Shows elements of somebody else, who keeps them until they are pushed,
    /// or passed on by the pipeline: that copies them, once.
    explicit large(std::span<const E> those) : those_(those) {}

    /// For `push`, which has `fill` write `size` elements, of no value yet, in
    /// place: once when they have 64 KiB or more, perhaps twice when they have
    /// less.  When it throws, nothing is pushed.
    large(std::size_t size, std::function<void(std::span<E>)> fill)
        : wanted_(size)
        , fill_(std::move(fill))
    {
    }

    /// Empty before it was filled.
    std::span<const E> elements() const { return those_; }
    const E* data() const { return those_.data(); }
    std::size_t size() const { return those_.size(); }
    const E& operator[](std::size_t i) const { return those_[i]; }
    auto begin() const { return those_.begin(); }
    auto end() const { return those_.end(); }

private:
    friend struct common::codec<large>;

    std::span<const E> those_;
    std::shared_ptr<const E[]> own_; // they are in here, if anything is
    std::size_t wanted_ = 0;
    std::function<void(std::span<E>)> fill_;
};

} // namespace common

/// Their number, how far they are from there, and the elements; aligned where
/// the whole is.
template <class E>
struct common::codec<common::large<E>>
{
    using large = common::large<E>;
    static constexpr std::size_t slack = alignof(E) - 1;

    static std::size_t size(const large& one)
    {
        if (count(one) > (std::size_t{1} << 46) / sizeof(E))
            throw std::length_error("an item of " + std::to_string(count(one)) +
                                    " elements");
        return 16 + slack + count(one) * sizeof(E);
    }

    static void write(writer& to, const large& one)
    {
        if (to.rest.size() < size(one))
            throw malformed("value grew while it was encoded");
        const std::uint64_t n = count(one);
        const auto pad = to_aligned(to.rest.data() + 16);
        encode(to, n);
        encode(to, std::uint64_t{pad});
        std::fill_n(to.rest.begin(), pad, std::byte{0});
        const auto room = to.rest.subspan(pad, n * sizeof(E));
        if (one.fill_)
            one.fill_({reinterpret_cast<E*>(room.data()), n});
        else if (n != 0)
            std::memcpy(room.data(), one.data(), room.size());
        const auto rest = to.rest.subspan(pad + room.size());
        std::fill_n(rest.begin(), slack - pad, std::byte{0});
        to.rest = rest.subspan(slack - pad);
    }

    static large read(reader& from)
    {
        const auto n = decode<std::uint64_t>(from);
        const auto pad = decode<std::uint64_t>(from);
        if (pad > slack || from.rest.size() < slack ||
            n > (from.rest.size() - slack) / sizeof(E))
            throw malformed("message claims " + std::to_string(n) +
                            " elements in " + std::to_string(from.rest.size()) +
                            " bytes");
        const auto bytes = from.rest.subspan(pad, n * sizeof(E));
        from.rest = from.rest.subspan(slack + bytes.size());
        large one;
        if (from.stays && to_aligned(bytes.data()) == 0)
        {
            one.those_ = {reinterpret_cast<const E*>(bytes.data()), n};
            return one;
        }
        const auto copy = std::make_shared_for_overwrite<E[]>(n);
        if (n != 0)
            std::memcpy(copy.get(), bytes.data(), bytes.size());
        one.those_ = {copy.get(), n};
        one.own_ = copy;
        return one;
    }

private:
    static std::size_t count(const large& one)
    {
        return one.fill_ ? one.wanted_ : one.size();
    }
    // Bytes from here to the next place for an E.
    static std::size_t to_aligned(const std::byte* here)
    {
        return (0 - reinterpret_cast<std::uintptr_t>(here)) & slack;
    }
};
