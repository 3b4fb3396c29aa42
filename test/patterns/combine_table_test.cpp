// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.

#define BOOST_TEST_MODULE combine_table

#include "test/fixture.hpp"

#include <boost/test/unit_test.hpp>

#include "patterns/map_reduce/combine_table.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <map>
#include <random>
#include <set>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

namespace {

using map_reduce::combine_table;
using map_reduce::partition_of;

using counts = combine_table<std::string, std::uint64_t>;
using lists = combine_table<std::string, std::string>;

/// The same draws in every run, or those of TEST_SEED.
std::mt19937_64 draws()
{
    const char* text = std::getenv("TEST_SEED");
    const auto seed = text ? std::strtoull(text, nullptr, 10) : 1;
    BOOST_TEST_MESSAGE("TEST_SEED=" << seed);
    return std::mt19937_64(seed);
}

/// Strings of 0 to 40 bytes of any value; few enough to come again, and many
/// of them differ in one byte only.
std::vector<std::string> keys(std::size_t count)
{
    auto draw = draws();
    std::vector<std::string> result;
    while (result.size() < count)
    {
        std::string one(draw() % 41, 'x');
        if (!one.empty())
            one[draw() % one.size()] = static_cast<char>(draw() % 256);
        result.push_back(std::move(one));
    }
    return result;
}

template <class Table>
auto sorted(const Table& table)
{
    using pair = std::remove_cvref_t<decltype(*table.begin())>;
    using key = std::remove_const_t<typename pair::first_type>;
    using kept = std::conditional_t<std::is_same_v<key, std::string_view>,
                                    std::string, key>;
    std::map<kept, std::remove_cvref_t<typename pair::second_type>> result;
    for (const auto& [one, value] : table)
        BOOST_TEST(result.emplace(one, value).second);
    return result;
}

struct append
{
    template <class List>
    List operator()(List earlier, const List& later) const
    {
        earlier.insert(earlier.end(), later.begin(), later.end());
        return earlier;
    }
};

struct unite
{
    using set = std::set<std::uint64_t>;
    set operator()(set earlier, set later) const
    {
        earlier.merge(later);
        return earlier;
    }
};

struct point
{
    std::int32_t x, y;
    auto operator<=>(const point&) const = default;
};

struct padded
{
    char c;
    int i;
};

static_assert(map_reduce::key<std::string> && map_reduce::key<point>);
static_assert(map_reduce::key<int> && map_reduce::key<bool>);
static_assert(!map_reduce::key<double>, "0 and -0 are equal");
static_assert(!map_reduce::key<padded>, "padding is anything");
static_assert(!map_reduce::key<std::string_view> && !map_reduce::key<int*>);

} // namespace

BOOST_FIXTURE_TEST_SUITE(combine_table_laws, test::clean)

BOOST_AUTO_TEST_CASE(a_table_counts_like_a_std_map)
{
    counts table;
    std::map<std::string, std::uint64_t> expected;
    for (const auto& one : keys(20'000))
    {
        table.emit(one, one.size() + 1);
        expected[one] += one.size() + 1;
    }
    BOOST_TEST(table.size() == expected.size());
    BOOST_TEST((sorted(table) == expected));
}

BOOST_AUTO_TEST_CASE(values_of_a_key_are_combined_in_the_order_emitted)
{
    lists table;
    std::map<std::string, std::string> expected;
    std::size_t n = 0;
    for (const auto& one : keys(2'000))
    {
        const auto text = std::to_string(++n) + " ";
        table.emit(one, text);
        expected[one] += text;
    }
    BOOST_TEST((sorted(table) == expected));
}

BOOST_AUTO_TEST_CASE(a_table_does_not_refer_to_the_keys_it_was_given)
{
    counts table;
    std::string one = "first";
    table.emit(one, 1);
    one = "later";
    table.emit("first", 1);
    BOOST_TEST(table.size() == 1);
    BOOST_TEST(sorted(table)["first"] == 2);
}

/// Whoever knows that 16 bytes can be read is only faster.
BOOST_AUTO_TEST_CASE(a_padded_key_is_the_same_key)
{
    counts table, plain;
    for (const auto& one : keys(5'000))
    {
        const auto roomy = one + "whatever follows";
        table.emit(map_reduce::padded_view(roomy.data(), one.size()), 1);
        table.emit(one, 1);
        plain.emit(one, 2);
    }
    BOOST_TEST((sorted(table) == sorted(plain)));
    BOOST_TEST((table.partial(16) == plain.partial(16)));
}

BOOST_AUTO_TEST_CASE(keys_that_differ_in_zeros_or_in_size_are_different)
{
    for (std::size_t size = 0; size != 40; ++size)
        for (const char c : {'\0', 'x'})
        {
            counts table;
            table.emit(std::string(size, c), 1);
            table.emit(std::string(size + 1, c), 1);
            table.emit(std::string(size, c) + '\0', 1);
            BOOST_TEST(table.size() == (c == '\0' ? 2 : 3), size);
        }
}

/// More than a short key, whatever it is.
BOOST_AUTO_TEST_CASE(a_large_key_need_not_be_a_string)
{
    using large = std::array<std::uint64_t, 5>;
    combine_table<large, std::uint64_t> table, back;
    std::map<large, std::uint64_t> expected;
    for (std::uint64_t n = 0; n < 3'000; ++n)
    {
        large key{};
        key[n % 5] = n % 100;
        table.emit(key, n);
        expected[key] += n;
    }
    BOOST_TEST((sorted(table) == expected));
    for (std::size_t p = 0; p < 3; ++p)
        back.merge(partition_of(table.partial(3), p));
    BOOST_TEST((sorted(back) == expected));
}

BOOST_AUTO_TEST_CASE(a_partition_is_what_by_hash_says)
{
    counts table;
    for (const auto& one : keys(1'000))
        table.emit(one, 1);
    const auto bytes = table.partial(7);
    for (std::size_t p = 0; p < 7; ++p)
    {
        counts one;
        one.merge(partition_of(bytes, p));
        for (const auto& [key, value] : one)
            BOOST_TEST(map_reduce::by_hash()(key, 7) == p);
    }
}

BOOST_AUTO_TEST_CASE(a_key_is_a_string_or_what_equals_by_its_bytes)
{
    combine_table<point, int> points;
    combine_table<std::uint8_t, int> bytes;
    std::map<point, int> expected;
    for (int n = 0; n < 5'000; ++n)
    {
        points.emit({n % 50, n % 3}, n);
        expected[{n % 50, n % 3}] += n;
        bytes.emit(static_cast<std::uint8_t>(n), 1);
    }
    BOOST_TEST((sorted(points) == expected));
    BOOST_TEST(bytes.size() == 256);

    combine_table<point, int> back;
    for (std::size_t p = 0; p < 4; ++p)
        back.merge(partition_of(points.partial(4), p));
    BOOST_TEST((sorted(back) == expected));
}

BOOST_AUTO_TEST_CASE(partitions_hold_every_key_once)
{
    counts table;
    for (const auto& one : keys(3'000))
        table.emit(one, 1);
    for (const std::size_t partitions : {1u, 2u, 16u, 5'000u})
    {
        const auto bytes = table.partial(partitions);
        counts all;
        std::size_t sum = 0;
        for (std::size_t p = 0; p < partitions; ++p)
        {
            counts one;
            one.merge(partition_of(bytes, p));
            sum += one.size();
            all.merge(partition_of(bytes, p));
        }
        BOOST_TEST(sum == table.size());
        BOOST_TEST((sorted(all) == sorted(table)));
    }
}

BOOST_AUTO_TEST_CASE(an_empty_table_has_empty_partitions)
{
    const auto bytes = counts().partial(3);
    for (std::size_t p = 0; p < 3; ++p)
        BOOST_TEST(partition_of(bytes, p).empty());
}

BOOST_AUTO_TEST_CASE(who_makes_the_partitions_says_what_belongs_where)
{
    combine_table<int, int> table;
    for (int n = 0; n < 100; ++n)
        table.emit(n, n);
    const auto tens = [](int key, std::size_t) {
        return static_cast<std::size_t>(key) / 10;
    };
    const auto bytes = table.partial(10, tens);
    for (int p = 0; p < 10; ++p)
    {
        combine_table<int, int> one;
        one.merge(partition_of(bytes, static_cast<std::size_t>(p)));
        BOOST_TEST(one.size() == 10);
        for (const auto& [key, value] : one)
            BOOST_TEST(key / 10 == p);
    }
    BOOST_CHECK_THROW(table.partial(9, tens), std::out_of_range);
}

BOOST_AUTO_TEST_CASE(by_hash_spreads_keys_evenly)
{
    constexpr std::size_t each = 1'000, partitions = 16;
    std::array<std::size_t, partitions> strings{}, numbers{};
    for (std::uint64_t n = 0; n < each * partitions; ++n)
    {
        const auto word = "boost_" + std::to_string(n);
        ++strings.at(map_reduce::by_hash()(std::string_view(word), partitions));
        ++numbers.at(map_reduce::by_hash()(n << 32, partitions));
    }
    for (const auto& filled : {strings, numbers}) // 5 standard deviations
        for (const auto count : filled)
            BOOST_TEST((count > each - 160 && count < each + 160), count);
}

/// The rounding of a sum depends on its order, and on nothing else here.
BOOST_AUTO_TEST_CASE(sums_are_bit_identical_for_any_number_of_partitions)
{
    using sums = combine_table<std::uint32_t, double>;
    std::vector<sums> splits(5);
    auto draw = draws();
    for (auto& split : splits)
        for (int n = 0; n < 1'000; ++n)
            split.emit(static_cast<std::uint32_t>(draw() % 50),
                       1.0 / static_cast<double>(1 + draw() % 1'000));

    std::map<std::uint32_t, std::uint64_t> expected;
    for (const std::size_t partitions : {1u, 2u, 7u})
    {
        std::map<std::uint32_t, std::uint64_t> bits;
        for (std::size_t p = 0; p < partitions; ++p)
        {
            sums all;
            for (const auto& split : splits)
                all.merge(partition_of(split.partial(partitions), p));
            for (const auto& [key, value] : all)
                bits[key] = std::bit_cast<std::uint64_t>(value);
        }
        BOOST_TEST(bits.size() == 50);
        if (expected.empty())
            expected = bits;
        BOOST_TEST((bits == expected));
    }
}

BOOST_AUTO_TEST_CASE(a_cleared_table_is_as_good_as_new)
{
    counts fresh, used;
    for (int n = 0; n < 100'000; ++n)
        used.emit("before " + std::to_string(n), 1);
    used.clear();
    BOOST_TEST(used.size() == 0);
    for (const auto& one : keys(1'000))
    {
        fresh.emit(one, 1);
        used.emit(one, 1);
    }
    BOOST_TEST((sorted(fresh) == sorted(used)));
    for (std::size_t p = 0; p < 4; ++p)
    {
        counts a, b;
        a.merge(partition_of(fresh.partial(4), p));
        b.merge(partition_of(used.partial(4), p));
        BOOST_TEST((sorted(a) == sorted(b)));
    }
}

BOOST_AUTO_TEST_CASE(bytes_that_end_early_are_refused)
{
    lists table;
    for (const auto& one : keys(20))
        table.emit(one, "value");
    const auto bytes = table.partial(1);
    const auto whole = partition_of(bytes, 0);
    std::size_t refused = 0;
    for (std::size_t size = 0; size < whole.size(); ++size)
    {
        // A copy of its own: a sanitizer sees a read beyond it.
        const auto first = whole.first(size);
        const std::vector<std::byte> cut(first.begin(), first.end());
        lists into;
        try
        {
            into.merge(cut); // between two records that is a shorter table
            BOOST_TEST(into.size() < table.size());
        }
        catch (const common::malformed&)
        {
            ++refused;
        }
    }
    BOOST_TEST(refused == whole.size() - table.size());
    for (std::size_t size = 0; size < bytes.size(); ++size)
    {
        const auto first = std::span(bytes).first(size);
        const std::vector<std::byte> cut(first.begin(), first.end());
        BOOST_CHECK_THROW(partition_of(cut, 0), common::malformed);
    }
    BOOST_CHECK_THROW(partition_of(bytes, 1), common::malformed);
    BOOST_CHECK_THROW(partition_of(bytes, SIZE_MAX), common::malformed);
}

BOOST_AUTO_TEST_CASE(bytes_that_are_damaged_do_no_harm)
{
    lists table;
    for (const auto& one : keys(20))
        table.emit(one, "value");
    const auto bytes = table.partial(2);
    auto draw = draws();
    std::size_t refused = 0;
    for (int n = 0; n < 20'000; ++n)
    {
        auto damaged = bytes;
        damaged[draw() % damaged.size()] = static_cast<std::byte>(draw());
        lists into;
        try
        {
            for (std::size_t p = 0; p < 2; ++p)
                into.merge(partition_of(damaged, p));
        }
        catch (const common::malformed&)
        {
            ++refused;
        }
    }
    BOOST_TEST(refused > 1'000);
}

BOOST_AUTO_TEST_CASE(a_table_that_is_full_says_so_and_can_be_cleared)
{
    counts table(1 << 20);
    const auto fill = [&table](std::size_t keys) {
        for (std::size_t n = 0; n < keys; ++n)
            table.emit("key " + std::to_string(n), 1);
    };
    for (int round = 0; round < 3; ++round)
    {
        fill(5'000);
        BOOST_TEST(table.size() == 5'000);
        BOOST_TEST(table.bytes() <= std::size_t{1 << 20});
        BOOST_CHECK_EXCEPTION(fill(1'000'000), map_reduce::memory_exceeded,
                              [](const map_reduce::memory_exceeded& e) {
                                  return std::string_view(e.what()).find(
                                             "1048576") != std::string::npos;
                              });
        table.clear();
        BOOST_TEST(table.size() == 0);
    }
}

BOOST_AUTO_TEST_CASE(what_values_hold_elsewhere_counts_as_memory)
{
    combine_table<int, std::vector<std::uint64_t>, append> table(1 << 20);
    const std::vector<std::uint64_t> kib(128);
    const auto fill = [&] {
        for (int n = 0; n < 2'000; ++n)
            table.emit(1, kib);
    };
    BOOST_CHECK_THROW(fill(), map_reduce::memory_exceeded);

    combine_table<int, std::string> strings(1 << 20);
    const auto insert = [&] {
        for (int n = 0; n < 2'000; ++n)
            strings.emit(n, std::string(1024, 'x'));
    };
    BOOST_CHECK_THROW(insert(), map_reduce::memory_exceeded);
}

BOOST_AUTO_TEST_CASE(values_that_do_not_grow_do_not_fill_a_table)
{
    combine_table<int, std::set<std::uint64_t>, unite> table(1 << 16);
    for (std::uint64_t n = 0; n < 100'000; ++n)
        table.emit(1, {n % 100});
    BOOST_TEST(sorted(table)[1].size() == 100);
}

BOOST_AUTO_TEST_SUITE_END()
