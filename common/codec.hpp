// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.

#pragma once

#include "common/error.hpp"

#include <boost/pfr/core.hpp>

#include <array>
#include <bit>
#include <concepts>
#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <exception>
#include <filesystem>
#include <functional>
#include <initializer_list>
#include <iterator>
#include <memory>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <tuple>
#include <type_traits>
#include <typeindex>
#include <utility>
#include <variant>
#include <vector>

namespace common {

/// Where values are written: bytes of a size that `encoded_size` told before.
/// `descriptors` is there only in a letter to a process that is about to be
/// started: what it collects, the new process inherits.
struct writer
{
    std::span<std::byte> rest;
    std::vector<int>* descriptors = nullptr;
    std::vector<std::shared_ptr<const void>>* kept = nullptr;

    void bytes(const void* from, std::size_t size)
    {
        if (size > rest.size())
            refuse();
        if (size != 0)
            std::memcpy(rest.data(), from, size);
        rest = rest.subspan(size);
    }

private:
    // Apart, so that the way of a few bytes is short enough to be inlined.
    [[noreturn, gnu::cold, gnu::noinline]] static void refuse()
    {
        throw malformed("value grew while it was encoded");
    }
};

/// Where values are read from: bytes that nobody has vouched for.
struct reader
{
    std::span<const std::byte> rest;
    bool stays = false; // as long as what is read: it may refer to the bytes

    void bytes(void* to, std::size_t size)
    {
        if (size > rest.size())
            refuse(size);
        if (size != 0)
            std::memcpy(to, rest.data(), size);
        rest = rest.subspan(size);
    }

    /// How many elements follow.  Each takes at least one byte, so a count
    /// beyond what remains is refused before anything is allocated for it.
    std::size_t count()
    {
        std::uint64_t n = 0;
        bytes(&n, sizeof n);
        if (n > rest.size())
            throw malformed("message claims " + std::to_string(n) +
                            " elements in " + std::to_string(rest.size()) +
                            " bytes");
        return static_cast<std::size_t>(n);
    }

private:
    [[noreturn, gnu::cold, gnu::noinline]] void refuse(std::size_t size) const
    {
        throw malformed("message ends early: " + std::to_string(size) +
                        " bytes wanted, " + std::to_string(rest.size()) +
                        " there");
    }
};

/// How a `T` crosses to another process.  Specialise it for a type of your
/// own with `size`, `write` and `read`; an element of a container takes at
/// least one byte.
///
/// Provided: trivially copyable types (their bytes), strings and containers of
/// the standard library, optional, pair, tuple, array, variant, path,
/// std::error_code, and aggregates of such types (by Boost.PFR).
template <class T>
struct codec;

namespace detail {

template <class T>
inline constexpr bool refers_elsewhere = false;
template <class C, class Traits>
inline constexpr bool refers_elsewhere<std::basic_string_view<C, Traits>> =
    true;
template <class T, std::size_t Extent>
inline constexpr bool refers_elsewhere<std::span<T, Extent>> = true;
template <class T>
inline constexpr bool refers_elsewhere<std::reference_wrapper<T>> = true;
template <class T>
inline constexpr bool refers_elsewhere<std::initializer_list<T>> = true;
template <class Promise>
inline constexpr bool refers_elsewhere<std::coroutine_handle<Promise>> = true;
template <>
inline constexpr bool refers_elsewhere<std::type_index> = true;

/// Says something about memory of one process only.
template <class T>
concept address = std::is_pointer_v<T> || std::is_reference_v<T> ||
    std::is_member_pointer_v<T> || std::is_null_pointer_v<T> ||
    refers_elsewhere<T> ||
    (std::input_or_output_iterator<T>&& std::is_trivially_copyable_v<T>);

/// A number, and the address of what explains it.
template <class T>
concept error_number = requires(const T& error)
{
    error.value();
    error.category().name();
};

template <class T, class... Before>
constexpr bool has_address();

/// What a member of an aggregate may be initialised with: anything, or nothing
/// but addresses and what has some.
struct any_value
{
    template <class T>
    operator T() const
    {
        std::terminate(); // nobody converts one
    }
};
struct any_address
{
    template <class T>
    requires(address<T> || error_number<T> || has_address<T>())
    operator T() const
    {
        std::terminate();
    }
};

template <class T, class... Values>
concept begins_with = requires
{
    T{Values()...};
};

/// Whether an aggregate has a member, behind so many, that is an address or
/// has one.  Looks at the first 32, among which elements of arrays count.
template <class T, class... Before>
constexpr bool has_address()
{
    if constexpr (!std::is_aggregate_v<T> || sizeof...(Before) == 32 ||
                  !begins_with<T, Before..., any_value>)
        return false;
    else
        return begins_with<T, Before..., any_address> ||
               has_address<T, Before..., any_value>();
}

template <class T>
inline constexpr bool is_optional = false;
template <class T>
inline constexpr bool is_optional<std::optional<T>> = true;
template <class T>
inline constexpr bool is_variant = false;
template <class... T>
inline constexpr bool is_variant<std::variant<T...>> = true;

/// Optionals and variants say themselves what they hold: that is checked.
template <class T>
concept plain =
    std::is_trivially_copyable_v<T> && !address<T> && !std::is_array_v<T> &&
    !is_optional<T> && !is_variant<T> && !error_number<T> && !has_address<T>();

template <class T>
concept container = requires(T& t, const T& c, typename T::value_type v)
{
    c.size();
    c.begin();
    c.end();
    t.insert(t.end(), std::move(v));
};

template <class T>
concept tuple_like = requires
{
    std::tuple_size<T>::value;
};

template <class T>
using element = std::remove_cvref_t<T>;

/// Map entries are pairs with a const key, which cannot be read into.
template <class T>
struct stored
{
    using type = T;
};
template <class K, class V>
struct stored<std::pair<const K, V>>
{
    using type = std::pair<K, V>;
};

template <class>
inline constexpr bool never = false;

} // namespace detail

template <class T>
std::size_t encoded_size(const T& value)
{
    return codec<T>::size(value);
}
template <class T>
void encode(writer& to, const T& value)
{
    codec<T>::write(to, value);
}
template <class T>
T decode(reader& from)
{
    return codec<T>::read(from);
}

template <class T>
requires detail::address<T>
struct codec<T>
{
    static_assert(detail::never<T>,
                  "a pointer, reference, string_view or span means nothing in "
                  "another process: pass a value (of a literal: "
                  "std::string(...)), or shared<T>");
    static std::size_t size(const T&);
    static void write(writer&, const T&);
    static T read(reader&);
};

template <detail::plain T>
struct codec<T>
{
    static constexpr bool as_bytes = true; // an author's codec need not be

    static constexpr std::size_t size(const T&) { return sizeof(T); }
    static void write(writer& to, const T& value)
    {
        to.bytes(&value, sizeof value);
    }
    static T read(reader& from)
    {
        std::array<std::byte, sizeof(T)> raw;
        from.bytes(raw.data(), raw.size());
        if constexpr (std::is_same_v<T, bool>) // any other byte is undefined
            return raw[0] != std::byte{0};
        else
            return std::bit_cast<T>(raw);
    }
};

namespace detail {

/// Crosses as its bytes, which cannot fail: nobody has specialised codec for
/// it.
template <class T>
concept as_bytes = plain<T> && requires
{
    codec<T>::as_bytes;
};

} // namespace detail

template <detail::container T>
requires(!detail::plain<T> && !detail::address<T>) struct codec<T>
{
    using value = typename detail::stored<typename T::value_type>::type;
    static constexpr bool block = detail::as_bytes<value> &&
                                  !std::is_same_v<value, bool> &&
                                  requires(T & t)
    {
        t.resize(t.size()), t.data();
    };

    static std::size_t size(const T& all)
    {
        if constexpr (block)
            return 8 + all.size() * sizeof(value);
        else
        {
            std::size_t total = 8;
            for (const auto& one : all)
                total += encoded_size<value>(one);
            return total;
        }
    }
    static void write(writer& to, const T& all)
    {
        const std::uint64_t n = all.size();
        to.bytes(&n, sizeof n);
        if constexpr (block)
            to.bytes(all.data(), all.size() * sizeof(value));
        else
            for (const auto& one : all)
                encode<value>(to, one);
    }
    static T read(reader& from)
    {
        T all;
        std::size_t n = from.count();
        if constexpr (block)
        {
            if (n > from.rest.size() / sizeof(value))
                throw malformed("message claims more elements than it holds");
            all.resize(n);
            from.bytes(all.data(), n * sizeof(value));
        }
        else
            for (; n != 0; --n)
                all.insert(all.end(), decode<value>(from));
        return all;
    }
};

/// Of the categories that every process has: writing another one throws
/// std::invalid_argument.
template <class T>
requires std::same_as<T, std::error_code> ||
    std::same_as<T, std::error_condition>
struct codec<T>
{
    static std::size_t size(const T&) { return sizeof(int) + sizeof(bool); }
    static void write(writer& to, const T& error)
    {
        const bool is_system = error.category() == std::system_category();
        if (!is_system && error.category() != std::generic_category())
            throw std::invalid_argument(std::string("an error of category '") +
                                        error.category().name() +
                                        "' means nothing in another process");
        encode(to, error.value());
        encode(to, is_system);
    }
    static T read(reader& from)
    {
        const auto value = decode<int>(from);
        return decode<bool>(from) ? T(value, std::system_category())
                                  : T(value, std::generic_category());
    }
};

template <>
struct codec<std::filesystem::path>
{
    static std::size_t size(const std::filesystem::path& path)
    {
        return encoded_size(path.native());
    }
    static void write(writer& to, const std::filesystem::path& path)
    {
        encode(to, path.native());
    }
    static std::filesystem::path read(reader& from)
    {
        return decode<std::string>(from);
    }
};

template <class T>
requires detail::is_optional<T>
struct codec<T>
{
    using value = typename T::value_type;
    static std::size_t size(const T& some)
    {
        return 1 + (some ? encoded_size<value>(*some) : 0);
    }
    static void write(writer& to, const T& some)
    {
        encode(to, some.has_value());
        if (some)
            encode<value>(to, *some);
    }
    static T read(reader& from)
    {
        if (decode<bool>(from))
            return decode<value>(from);
        return std::nullopt;
    }
};

template <class T>
requires detail::is_variant<T>
struct codec<T>
{
    static std::size_t size(const T& one)
    {
        return 4 +
               std::visit([](const auto& v) { return encoded_size(v); }, one);
    }
    static void write(writer& to, const T& one)
    {
        encode(to, static_cast<std::uint32_t>(one.index()));
        std::visit([&](const auto& v) { encode(to, v); }, one);
    }
    static T read(reader& from)
    {
        return pick(from, decode<std::uint32_t>(from),
                    std::make_index_sequence<std::variant_size_v<T>>());
    }

private:
    template <std::size_t... I>
    static T pick(reader& from, std::uint32_t index, std::index_sequence<I...>)
    {
        std::optional<T> result;
        static_cast<void>(
            ((index == I &&
              (result.emplace(std::in_place_index<I>,
                              decode<std::variant_alternative_t<I, T>>(from)),
               true)) ||
             ...));
        if (!result)
            throw malformed("message names alternative " +
                            std::to_string(index) + " of a variant of " +
                            std::to_string(sizeof...(I)));
        return std::move(*result);
    }
};

template <class T>
requires(detail::tuple_like<T> && !detail::plain<T> &&
         !detail::address<T>) struct codec<T>
{
    using indexes = std::make_index_sequence<std::tuple_size_v<T>>;

    static std::size_t size(const T& all)
    {
        return std::apply(
            [](const auto&... one) {
                return (std::size_t{0} + ... + encoded_size(one));
            },
            all);
    }
    static void write(writer& to, const T& all)
    {
        std::apply([&](const auto&... one) { (encode(to, one), ...); }, all);
    }
    static T read(reader& from) { return read(from, indexes()); }

private:
    template <std::size_t... I>
    static T read(reader& from, std::index_sequence<I...>)
    {
        return T{decode<std::tuple_element_t<I, T>>(from)...}; // in order
    }
};

template <class T>
requires(std::is_aggregate_v<T> && !detail::plain<T> &&
         !detail::tuple_like<T> && !std::is_array_v<T>) struct codec<T>
{
    using indexes = std::make_index_sequence<boost::pfr::tuple_size_v<T>>;

    static std::size_t size(const T& all) { return size(all, indexes()); }
    static void write(writer& to, const T& all) { write(to, all, indexes()); }
    static T read(reader& from) { return read(from, indexes()); }

private:
    template <std::size_t... I>
    static std::size_t size(const T& all, std::index_sequence<I...>)
    {
        return (std::size_t{0} + ... + encoded_size(boost::pfr::get<I>(all)));
    }
    template <std::size_t... I>
    static void write(writer& to, const T& all, std::index_sequence<I...>)
    {
        (encode(to, boost::pfr::get<I>(all)), ...);
    }
    template <std::size_t... I>
    static T read(reader& from, std::index_sequence<I...>)
    {
        return T{decode<boost::pfr::tuple_element_t<I, T>>(from)...};
    }
};

/// `T` crosses to another process.
template <class T>
concept codable =
    !detail::address<T> && requires(const T& t, writer& w, reader& r)
{
    codec<T>::size(t);
    codec<T>::write(w, t);
    {
        codec<T>::read(r)
        } -> std::same_as<T>;
};

/// A callable with captures that may travel: its bytes are copied.  Opt-in by
/// name, since the compiler cannot see whether what it captured is an address.
template <class F>
struct captured
{
    static_assert(std::is_trivially_copyable_v<F>,
                  "captures must be trivially copyable to cross to another "
                  "process: pass the others as arguments");
    F function;

    template <class... A>
    requires std::is_invocable_v<const F&, A...>
    decltype(auto) operator()(A&&... args) const
    {
        return function(std::forward<A>(args)...);
    }
};

template <class F>
captured<F> capture(F function)
{
    return {std::move(function)};
}

} // namespace common
