// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.

#pragma once

#include "combine_table.hpp"

#include "common/codec.hpp"

#include <boost/config.hpp>
#include <boost/endian/conversion.hpp>
#include <boost/sort/pdqsort/pdqsort.hpp>

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
/// A key that is a std::string is passed as a std::string_view.  What a job
/// lacks, the compiler names here.
template <class Job>
constexpr void check_job()
{
    static_assert(
        requires {
            typename Job::key;
            typename Job::value;
        },
        "a job says `using key = ...;`, what it groups by, and "
        "`using value = ...;`, what it adds up");
    if constexpr (requires {
                      typename Job::key;
                      typename Job::value;
                  })
    {
        using value = typename Job::value;
        static_assert(common::codable<Job>,
                      "a job is sent to the workers: its members are values");
        static_assert(key<typename Job::key>,
                      "a key is a std::string, or a value that is equal to "
                      "another when its bytes are");
        static_assert(common::codable<value>, "a value cannot be sent");
        static_assert(
            requires { &Job::combine; } || requires(value v) { v + v; },
            "a value needs operator+, or the job a `static value "
            "combine(value earlier, value later)`");
        if constexpr (key<typename Job::key>)
            static_assert(
                !requires { &Job::reduce; } ||
                    requires(const Job& job, const value& v,
                             const key_view<typename Job::key>& k) {
                        job.reduce(k, v);
                    },
                "reduce does not take a key and its value: a std::string key "
                "comes as a std::string_view");
    }
}

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

// Says where a key belongs.
template <class Job>
auto partition_of_keys(const Job& job)
{
    using view = key_view<typename Job::key>;
    if constexpr (requires(const view& one) { job.partition(one); })
        return [&job](const view& one, std::size_t partitions) {
            return static_cast<std::size_t>(job.partition(one)) % partitions;
        };
    else
        return by_hash();
}

template <class Job>
auto reduced(const Job& job, const key_view<typename Job::key>& one,
             const typename Job::value& value)
{
    if constexpr (requires { job.reduce(one, value); })
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

// The first bytes of a key, as a number that orders like them.
inline std::uint64_t rank_of(std::string_view key)
{
    return boost::endian::big_to_native(key.size() < sizeof(std::uint64_t)
                                            ? digest_of(key).first
                                            : load<std::uint64_t>(key.data()));
}
template <class Key>
std::uint64_t rank_of(const Key&)
{
    return 0;
}

// A result that is about to be sorted: the rank spares most of the looks at a
// key that lies elsewhere.
template <class Job>
struct ranked
{
    result_entry<Job> result;
    std::uint64_t rank = rank_of(result.key);
};

// The order of results.  To sort by it there is no branch to mispredict but
// where two keys begin with the same bytes.
template <class Job>
struct ordered
{
    Job job;

    bool operator()(const ranked<Job>& a, const ranked<Job>& b) const
    {
        if (BOOST_UNLIKELY(a.rank == b.rank))
            return (*this)(a.result, b.result);
        const bool first = before(a.result, b.result);
        const bool second = before(b.result, a.result);
        return first | (!second & (a.rank < b.rank));
    }
    bool operator()(const result_entry<Job>& a,
                    const result_entry<Job>& b) const
    {
        return before(a, b) || (!before(b, a) && b.key > a.key);
    }

private:
    bool before(const result_entry<Job>& a, const result_entry<Job>& b) const
    {
        if constexpr (requires { job.before(a, b); })
            return job.before(a, b);
        else
            return false;
    }
};

template <class Job>
void sort(std::vector<ranked<Job>>& all, const ordered<Job>& order)
{
    boost::sort::pdqsort_branchless(all.begin(), all.end(), order);
}

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

} // namespace detail

} // namespace map_reduce
