// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.

#pragma once

#include "combine_table.hpp"

#include "common/codec.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

namespace map_reduce {

/// A key, and what became of its values.
template <class Key, class Value>
struct entry
{
    Key key;
    Value value;
};

/// A job is a value that travels to the workers, and says what to do there:
///
///     struct word_count
///     {
///         using key = std::string;      // or a number, or such a struct
///         using value = std::uint64_t;  // or what a codec knows
///
///         void map(map_reduce::text_split& split, auto& emit) const;
///     };
///
/// `map` calls `emit(key, value)` any number of times.  Values of one key are
/// added up: first those of a split in the order emitted, then the sums in the
/// order of the splits.  So adding need not commute, and rounding errors are
/// the same in every run.  A job may say more:
///
///     static value combine(value, value);   instead of adding: earlier, later
///     std::size_t partition(key) const;     which keys go together; any number
///     auto reduce(key, value) const;        the result for a key; an empty
///                                           optional drops the key
///     bool before(a, b) const;              the order of results (entries);
///                                           ties, or all, are in order of key
///     void starting(n), finishing(n) const; around task n, in its worker
///
/// A key that is a std::string is passed as a std::string_view.
template <class Job>
concept job = common::codable<Job> && key<typename Job::key> &&
    common::codable<typename Job::value>;

namespace detail {

template <class Job>
struct combiner
{
    using value = typename Job::value;
    value operator()(value earlier, value later) const
    {
        if constexpr (requires { &Job::combine; })
            return Job::combine(std::move(earlier), std::move(later));
        else
            return std::move(earlier) + std::move(later);
    }
};

template <class Job>
struct partitioner
{
    const Job& job;
    using view = key_view<typename Job::key>;
    std::size_t operator()(const view& one, std::size_t partitions) const
    {
        if constexpr (requires { job.partition(one); })
            return static_cast<std::size_t>(job.partition(one)) % partitions;
        else
            return by_hash()(one, partitions);
    }
};

template <class Job>
auto reduced(const Job& job, const key_view<typename Job::key>& one,
             const typename Job::value& value)
{
    if constexpr (requires { &Job::reduce; })
        return std::optional(job.reduce(one, value)); // of an optional: itself
    else
        return std::optional(value);
}

/// What there is for a key in the end.
template <class Job>
using result = typename decltype(reduced(
    std::declval<const Job&>(),
    std::declval<const key_view<typename Job::key>&>(),
    std::declval<const typename Job::value&>()))::value_type;

template <class Job>
using result_entry = entry<key_view<typename Job::key>, result<Job>>;

template <class Job>
struct result_codec
{
    using key = typename Job::key;

    static std::size_t size(const result_entry<Job>& one)
    {
        return sizeof(std::uint64_t) + bytes_of(one.key).size() +
               common::encoded_size(one.value);
    }
    static void write(common::writer& to, const result_entry<Job>& one)
    {
        const auto bytes = bytes_of(one.key);
        common::encode<std::uint64_t>(to, bytes.size());
        to.bytes(bytes.data(), bytes.size());
        common::encode(to, one.value);
    }
    static result_entry<Job> read(common::reader& from)
    {
        const auto size = from.count();
        common::reader bytes{from.rest.first(size)};
        from.rest = from.rest.subspan(size);
        auto value = common::decode<result<Job>>(from);
        if constexpr (std::is_same_v<key, std::string>)
            return {{reinterpret_cast<const char*>(bytes.rest.data()), size},
                    std::move(value)};
        else
            return {common::decode<key>(bytes), std::move(value)};
    }
};

// The order of results.
template <class Job>
struct ordered
{
    Job job;

    template <class Entry>
    bool operator()(const Entry& a, const Entry& b) const
    {
        if constexpr (requires { job.before(a, b); })
        {
            if (job.before(a, b))
                return true;
            if (job.before(b, a))
                return false;
        }
        return b.key > a.key; // clang 14 takes `key <` for a template
    }
};

// Sorted results as bytes, read one by one.
template <class Job>
struct run
{
    std::span<const std::byte> rest;
    std::span<const std::byte> bytes; // of the result that was read last
    result_entry<Job> now{};

    explicit run(std::span<const std::byte> all) : rest(all) {}

    bool next()
    {
        if (rest.empty())
            return false;
        common::reader from{rest};
        now = result_codec<Job>::read(from);
        bytes = rest.first(rest.size() - from.rest.size());
        rest = from.rest;
        return true;
    }
};

// Calls `visit(run)` for the first result of all, then for the next, and so
// on.  Each run has been read once before.
template <class Job, class Visit>
void merge_runs(std::vector<run<Job>>& runs, const ordered<Job>& order,
                Visit visit)
{
    std::vector<run<Job>*> heap;
    for (auto& one : runs)
        heap.push_back(&one);
    const auto later = [&](const run<Job>* a, const run<Job>* b) {
        return order(b->now, a->now);
    };
    std::make_heap(heap.begin(), heap.end(), later);
    while (!heap.empty()) // each turn takes a result from a run
    {
        std::pop_heap(heap.begin(), heap.end(), later);
        visit(*heap.back());
        if (heap.back()->next())
            std::push_heap(heap.begin(), heap.end(), later);
        else
            heap.pop_back();
    }
}

} // namespace detail

} // namespace map_reduce
