// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.

#define BOOST_TEST_MODULE map_reduce

#include "test/fixture.hpp"
#include "test/run_program.hpp"

#include <boost/test/unit_test.hpp>

#include "patterns/map_reduce/map_reduce.hpp"
#include "patterns/map_reduce/words.hpp"
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

namespace {

using map_reduce::files;
using map_reduce::index_split;
using map_reduce::indexes;
using map_reduce::text_split;

map_reduce::options with(unsigned workers)
{
    map_reduce::options how;
    how.staff.workers = workers;
    how.staff.restarts = 1'000'000;
    how.staff.backoff = {};
    how.attempts = 200;
    return how;
}

/// Arms fault points in the workers that are started meanwhile.
struct armed
{
    explicit armed(const std::string& points, unsigned seed = 1)
    {
        ::setenv("COMMON_FAULT", points.c_str(), 1);
        ::setenv("COMMON_FAULT_SEED", std::to_string(seed).c_str(), 1);
        BOOST_TEST_MESSAGE("COMMON_FAULT=" << points
                                           << " COMMON_FAULT_SEED=" << seed);
    }
    ~armed()
    {
        ::unsetenv("COMMON_FAULT");
        ::unsetenv("COMMON_FAULT_SEED");
    }
};

/// Wherever a task of a job can die.
constexpr auto everywhere =
    "cells.claimed=0.05,cells.output_written=0.05,cells.committed=0.05,"
    "map_reduce.emit=0.00002,map_reduce.mapped=0.05,map_reduce.merged=0.05,map_"
    "reduce.ordered=0.05,"
    "map_reduce.half_stored=0.05,map_reduce.stored=0.05,worker.ready=0.05";

std::filesystem::path write(const std::filesystem::path& path,
                            const std::string& text)
{
    std::ofstream(path, std::ios::binary) << text;
    return path;
}

std::string text_of(std::size_t size, const std::string& alphabet)
{
    std::string result;
    std::uint64_t x = size;
    for (; result.size() != size;
         x = x * 6364136223846793005 + 1442695040888963407)
        result += alphabet[(x >> 33) % alphabet.size()];
    return result;
}

std::string plain(const std::vector<map_reduce::failure>& failures)
{
    std::string result;
    for (const auto& one : failures)
        result += one.where + ": " + one.what + "\n";
    return result;
}

template <class Results>
auto in_order(const Results& results)
{
    using entry = typename Results::value_type;
    using key = std::conditional_t<
        std::is_same_v<decltype(entry::key), std::string_view>, std::string,
        decltype(entry::key)>;
    std::vector<std::pair<key, decltype(entry::value)>> all;
    for (const auto& [one, value] : results)
        all.emplace_back(one, value);
    return all;
}

using counts = std::map<std::string, std::uint64_t>;

template <class Results>
counts as_map(const Results& results)
{
    counts all;
    for (const auto& [key, value] : results)
        BOOST_TEST(all.emplace(key, value).second, "twice: " << key);
    return all;
}

counts words_in(const std::string& text)
{
    counts all;
    map_reduce::for_each_word(
        text, [&](std::string_view word) { ++all[std::string(word)]; });
    return all;
}

bool between_words(char c)
{
    return !map_reduce::is_word(c);
}

struct word_count
{
    using key = std::string;
    using value = std::uint64_t;

    void map(text_split& split, auto& emit) const
    {
        while (const auto text = split.next())
            map_reduce::for_each_word(
                *text, [&](std::string_view word) { emit(word, 1); });
    }
};

/// Sums of 1/n by the remainder of n: their rounding depends on the order.
struct harmonic
{
    using key = std::uint32_t;
    using value = double;

    void map(const index_split& split, auto& emit) const
    {
        for (auto n = split.first(); n != split.last(); ++n)
            emit(static_cast<key>(n % 7), 1.0 / static_cast<double>(n + 1));
    }
};

/// All numbers of a key, one after the other: nothing commutes less.
struct listing
{
    using key = std::uint32_t;
    using value = std::vector<std::uint64_t>;

    void map(const index_split& split, auto& emit) const
    {
        for (auto n = split.first(); n != split.last(); ++n)
            emit(static_cast<key>(n % 3), {n});
    }
    static value combine(value earlier, value later)
    {
        earlier.insert(earlier.end(), later.begin(), later.end());
        return earlier;
    }
};

std::vector<std::pair<std::uint32_t, std::uint64_t>>
bits(const map_reduce::results<harmonic>& sums)
{
    std::vector<std::pair<std::uint32_t, std::uint64_t>> all;
    for (const auto& [key, sum] : sums)
        all.emplace_back(key, std::bit_cast<std::uint64_t>(sum));
    return all;
}

} // namespace

BOOST_FIXTURE_TEST_SUITE(map_reduce_laws, test::clean)

// --- input -----------------------------------------------------------------

BOOST_AUTO_TEST_CASE(no_input_has_no_results)
{
    const test::directory here;
    const auto empty = write(here / "empty", "");
    const auto none = map_reduce::run(word_count{}, files({}), with(2));
    BOOST_TEST((none.begin() == none.end()));
    const auto nothing = map_reduce::run(word_count{}, files({empty}), with(2));
    BOOST_TEST((nothing.begin() == nothing.end()));
    BOOST_TEST(plain(nothing.failures()) == "");
    const auto range = map_reduce::run(harmonic{}, indexes(5, 5, 100), with(2));
    BOOST_TEST((range.begin() == range.end()));
}

BOOST_AUTO_TEST_CASE(input_without_keys_has_no_results)
{
    const test::directory here;
    const auto none = map_reduce::run(
        word_count{}, files({write(here / "blank", " \n \n")}), with(2));
    BOOST_TEST((none.begin() == none.end()));
    BOOST_TEST(none.stats().bytes == 4u);
}

BOOST_AUTO_TEST_CASE(a_range_without_size_is_refused)
{
    BOOST_CHECK_THROW(indexes(0, 10, 0), std::invalid_argument);
    BOOST_CHECK_THROW(indexes(10, 0, 1), std::invalid_argument);
    BOOST_CHECK_THROW(indexes(0, ~std::uint64_t{0}, 1), std::invalid_argument);
    BOOST_CHECK_NO_THROW(indexes(0, ~std::uint64_t{0}, std::uint64_t{1} << 60));
}

BOOST_AUTO_TEST_CASE(wherever_a_file_is_cut_each_record_is_in_one_split)
{
    const test::directory here;
    const auto text = text_of(300, "ab  \n");
    const auto path = write(here / "text", text);
    for (std::uint64_t size = 1; size <= 301; ++size)
    {
        std::string all;
        std::size_t pieces = 0;
        for (const auto& one :
             files({path}, map_reduce::end_of_line, size).splits())
        {
            text_split split(one);
            while (const auto part = split.next())
            {
                BOOST_REQUIRE((part->data()[part->size() - 1] == '\n' ||
                               all.size() + part->size() == text.size()));
                all += *part;
                ++pieces;
            }
            BOOST_REQUIRE_EQUAL(plain(split.failures()), "");
        }
        BOOST_REQUIRE_EQUAL(all, text);
        BOOST_REQUIRE((size > 10 || pieces > 20));
    }
}

BOOST_AUTO_TEST_CASE(a_record_longer_than_a_split_stays_whole)
{
    const test::directory here;
    const std::string text = "one\n" + std::string(20'000, 'x') + "\ntwo";
    std::vector<std::string> records;
    for (const auto& one :
         files({write(here / "text", text)}, map_reduce::end_of_line, 4096)
             .splits())
        for (text_split split(one); const auto part = split.next();)
            records.emplace_back(*part);
    BOOST_TEST(records.size() == 2u);
    BOOST_TEST(records[0] == text.substr(0, 20'005));
    BOOST_TEST(records[1] == "two");
}

BOOST_AUTO_TEST_CASE(a_word_ends_where_its_file_ends)
{
    const test::directory here;
    const auto a = write(here / "a", "one tw"),
               b = write(here / "b", "o three");
    const auto found = as_map(
        map_reduce::run(word_count{}, files({a, b}, between_words), with(1)));
    BOOST_TEST(
        (found == counts{{"one", 1}, {"tw", 1}, {"o", 1}, {"three", 1}}));
}

BOOST_AUTO_TEST_CASE(many_small_files_share_a_split)
{
    const test::directory here;
    std::vector<std::string> paths;
    std::string all;
    for (int i = 0; i < 1000; ++i)
    {
        const auto text = "word" + std::to_string(i % 10) + " common\n";
        paths.push_back(write(here / std::to_string(i), text));
        all += text;
    }
    const files input(paths, between_words);
    BOOST_TEST(input.splits().size() == 2u);
    BOOST_TEST((as_map(map_reduce::run(word_count{}, input, with(2))) ==
                words_in(all)));
}

BOOST_AUTO_TEST_CASE(splits_do_not_depend_on_anything_but_the_input)
{
    const test::directory here;
    const auto path = write(here / "text", text_of(1 << 20, "abc \n"));
    const auto a = files({path}, between_words, 100'000).splits();
    BOOST_TEST(a.size() == 11u);
    for (const unsigned workers : {1u, 2u, 5u})
        BOOST_TEST(map_reduce::run(word_count{},
                                   files({path}, between_words, 100'000),
                                   with(workers))
                       .stats()
                       .splits == a.size());
}

// --- results ---------------------------------------------------------------

BOOST_AUTO_TEST_CASE(each_key_comes_once_in_order_with_all_its_values)
{
    const test::directory here;
    const auto text = text_of(400'000, "abcdefg ABC_9\n.");
    const files input({write(here / "text", text)}, between_words, 20'000);
    const auto found = map_reduce::run(word_count{}, input, with(2));
    const auto all = in_order(found);
    BOOST_TEST(std::is_sorted(all.begin(), all.end()));
    BOOST_TEST((as_map(found) == words_in(text)));
    BOOST_TEST(found.stats().bytes == text.size());
    std::uint64_t total = 0;
    for (const auto& [word, n] : all)
        total += n;
    BOOST_TEST(found.stats().emitted == total);
}

BOOST_AUTO_TEST_CASE(the_number_of_partitions_changes_nothing)
{
    const auto once =
        in_order(map_reduce::run(listing{}, indexes(0, 1000, 77), with(2)));
    BOOST_TEST(once.size() == 3u);
    for (const unsigned partitions : {1u, 2u, 3u, 100u})
    {
        auto how = with(2);
        how.partitions = partitions;
        BOOST_TEST((in_order(map_reduce::run(listing{}, indexes(0, 1000, 77),
                                             how)) == once));
    }
}

BOOST_AUTO_TEST_CASE(values_are_combined_in_the_order_of_the_splits)
{
    for (const unsigned workers : {1u, 3u})
        for (const auto& [key, numbers] :
             map_reduce::run(listing{}, indexes(0, 1000, 7), with(workers)))
        {
            BOOST_TEST(numbers.size() == (key == 0 ? 334u : 333u));
            BOOST_TEST(std::is_sorted(numbers.begin(), numbers.end()));
            BOOST_TEST(numbers.front() == key);
        }
}

struct even_counts : word_count
{
    static bool before(const auto& a, const auto& b)
    {
        return a.value > b.value;
    }
    std::optional<std::string> reduce(std::string_view word,
                                      std::uint64_t n) const
    {
        if (n % 2 != 0)
            return std::nullopt;
        return std::string(n, '+') + std::string(word);
    }
};

BOOST_AUTO_TEST_CASE(the_reducer_decides_what_a_result_is_and_drops_keys)
{
    const test::directory here;
    const auto path = write(here / "text", "a a b c c c d d e e e e");
    const auto all =
        in_order(map_reduce::run(even_counts{}, files({path}), with(2)));
    // 'd' and above come after '+' wherever a run of '+' has ended.
    BOOST_TEST(
        (all == decltype(all){{"d", "++d"}, {"a", "++a"}, {"e", "++++e"}}));
}

struct by_count : word_count
{
    static bool before(const auto& a, const auto& b)
    {
        return a.value > b.value;
    }
};

BOOST_AUTO_TEST_CASE(a_limit_keeps_the_first_and_ties_are_in_order_of_key)
{
    const test::directory here;
    const auto text = text_of(50'000, "abcd ");
    const files input({write(here / "text", text)}, between_words, 5'000);
    std::vector<std::pair<std::string, std::uint64_t>> expected;
    const auto all = words_in(text);
    for (const auto& [word, n] : all)
        expected.emplace_back(word, n);
    std::sort(
        expected.begin(), expected.end(), [](const auto& a, const auto& b) {
            return std::tie(b.second, a.first) < std::tie(a.second, b.first);
        });
    for (const std::size_t limit : {0u, 1u, 5u, 100u, 1'000'000u})
    {
        auto how = with(2);
        how.limit = limit;
        const auto found = map_reduce::run(by_count{}, input, how);
        auto wanted = expected;
        if (limit != 0 && limit < wanted.size())
            wanted.resize(limit);
        BOOST_TEST((in_order(found) == wanted), "limit " << limit);
    }
}

struct one_partition : word_count
{
    std::size_t partition(std::string_view word) const
    {
        return word.size(); // any number
    }
};

BOOST_AUTO_TEST_CASE(the_job_says_which_keys_go_together)
{
    const test::directory here;
    const auto path = write(here / "text", "a bb cc d eee f");
    auto how = with(2);
    how.partitions = 3;
    const auto found = map_reduce::run(one_partition{}, files({path}), how);
    BOOST_TEST(
        (found.stats().partition_keys == std::vector<std::uint64_t>{1, 3, 2}));
    BOOST_TEST(as_map(found).size() == 6u);
}

// --- deaths ----------------------------------------------------------------

BOOST_AUTO_TEST_CASE(float_sums_are_the_same_bits_for_any_workers_and_kills)
{
    const indexes input(0, 200'000, 5'000);
    const auto expected = bits(map_reduce::run(harmonic{}, input, with(1)));
    BOOST_TEST(expected.size() == 7u);
    for (unsigned workers = 2; workers <= 5; ++workers)
        BOOST_TEST((bits(map_reduce::run(harmonic{}, input, with(workers))) ==
                    expected));
    std::uint64_t deaths = 0;
    for (unsigned workers = 1; workers <= 5; ++workers)
    {
        const armed points(everywhere, workers);
        const auto found = map_reduce::run(harmonic{}, input, with(workers));
        BOOST_TEST(plain(found.failures()) == "");
        BOOST_TEST((bits(found) == expected));
        deaths += found.stats().deaths;
    }
    BOOST_TEST_MESSAGE(deaths << " deaths");
    BOOST_TEST(deaths >= 20u);
}

BOOST_AUTO_TEST_CASE(a_death_at_any_point_changes_no_count)
{
    const test::directory here;
    const auto text = text_of(300'000, "abcdefgh \n");
    const files input({write(here / "text", text)}, between_words, 10'000);
    const auto expected = words_in(text);
    for (const std::string point :
         {"cells.claimed", "cells.output_written", "cells.committed",
          "map_reduce.mapped", "map_reduce.half_stored", "map_reduce.stored",
          "map_reduce.merged", "map_reduce.ordered", "worker.ready"})
    {
        const armed points(point + (point == "worker.ready" ? "=0.8" : "=0.3"));
        const auto found = map_reduce::run(word_count{}, input, with(2));
        BOOST_TEST(plain(found.failures()) == "", point);
        BOOST_TEST((as_map(found) == expected), point);
        BOOST_TEST(found.stats().deaths > 0u, point);
    }
}

struct dies_half_way : word_count
{
    void map(text_split& split, auto& emit) const
    {
        std::uint64_t words = 0;
        const auto text = split.next();
        map_reduce::for_each_word(*text, [&](std::string_view word) {
            if (common::attempt() < 2 && ++words == 500)
                ::raise(SIGKILL);
            emit(word, 1);
        });
    }
};

BOOST_AUTO_TEST_CASE(a_mapper_that_dies_half_way_counts_once)
{
    const test::directory here;
    const auto text = text_of(50'000, "abc \n");
    const files input({write(here / "text", text)}, between_words, 10'000);
    const auto found = map_reduce::run(dies_half_way{}, input, with(2));
    BOOST_TEST((as_map(found) == words_in(text)));
    BOOST_TEST(found.stats().deaths == 2 * found.stats().splits);
    BOOST_TEST(found.stats().retried == found.stats().deaths);
}

struct dies_after_storing : word_count
{
    void finishing(std::uint64_t) const
    {
        if (common::attempt() == 0)
            ::raise(SIGKILL);
    }
};

BOOST_AUTO_TEST_CASE(what_a_dead_attempt_stored_counts_once)
{
    const test::directory here;
    const auto text = text_of(50'000, "abc \n");
    auto how = with(2);
    how.partitions = 5;
    const auto found = map_reduce::run(
        dies_after_storing{},
        files({write(here / "text", text)}, between_words, 10'000), how);
    BOOST_TEST((as_map(found) == words_in(text)));
    BOOST_TEST(found.stats().deaths == found.stats().splits + 2 * 5);
}

struct poisoned : harmonic
{
    void map(const index_split& split, auto& emit) const
    {
        if (split.index() == 3)
            ::abort();
        if (split.index() == 5)
            throw std::domain_error("no fives");
        harmonic::map(split, emit);
    }
};

BOOST_AUTO_TEST_CASE(a_split_that_cannot_be_mapped_is_named_and_left_out)
{
    auto how = with(2);
    how.attempts = 2;
    const auto found = map_reduce::run(poisoned{}, indexes(0, 800, 100), how);
    BOOST_REQUIRE_EQUAL(found.failures().size(), 2u);
    BOOST_TEST(found.failures()[0].where == "split 3 (300 to 400)");
    BOOST_TEST(found.failures()[0].what.find("signal 6") != std::string::npos);
    BOOST_TEST(found.failures()[1].where == "split 5 (500 to 600)");
    BOOST_TEST(found.failures()[1].what == "no fives");
    BOOST_TEST(found.stats().emitted == 600u);
    BOOST_TEST(found.stats().deaths == 2u);
    BOOST_TEST(found.stats().poisoned == 1u);
    BOOST_TEST(in_order(found).size() == 7u);
}

struct poisoned_reducer : word_count
{
    std::size_t partition(std::string_view word) const { return word == "bad"; }
    std::uint64_t reduce(std::string_view word, std::uint64_t n) const
    {
        if (word == "bad")
            throw std::domain_error("bad word");
        return n;
    }
};

BOOST_AUTO_TEST_CASE(a_partition_that_cannot_be_reduced_is_named_and_left_out)
{
    const test::directory here;
    const auto found =
        map_reduce::run(poisoned_reducer{},
                        files({write(here / "a", "good bad good")}), with(2));
    BOOST_TEST(plain(found.failures()) == "partition 1: bad word\n");
    BOOST_TEST((as_map(found) == counts{{"good", 2}}));
}

BOOST_AUTO_TEST_CASE(without_workers_there_is_an_exception_not_a_hang)
{
    const armed points("worker.ready=1");
    map_reduce::options how;
    how.staff.workers = 2;
    how.staff.restarts = 2;
    how.staff.backoff = {};
    BOOST_CHECK_THROW(static_cast<void>(map_reduce::run(
                          harmonic{}, indexes(0, 100, 10), how)),
                      common::exhausted);
}

// --- memory ----------------------------------------------------------------

BOOST_AUTO_TEST_CASE(a_split_that_needs_too_much_memory_is_named)
{
    const test::directory here;
    std::string many, few;
    for (int i = 0; i < 50'000; ++i)
        many += "word" + std::to_string(i) + ' ';
    while (few.size() < many.size())
        few += "a b a\n";
    const auto small = write(here / "small", few);
    const auto large = write(here / "large", many);
    auto how = with(2);
    how.memory = 100'000;
    const auto found = map_reduce::run(
        word_count{}, files({small, large}, between_words, few.size()), how);
    BOOST_TEST((as_map(found) == words_in(few)));
    BOOST_REQUIRE_EQUAL(found.failures().size(), 1u);
    BOOST_TEST(found.failures()[0].where ==
               "split 1 (" + large.string() + " from byte 0)");
    BOOST_TEST(found.failures()[0].what.find("bytes, more than") !=
               std::string::npos);
}

BOOST_AUTO_TEST_CASE(numbers_that_make_no_job_are_refused_by_name)
{
    const test::directory here;
    const files input({write(here / "text", "a b a")}, between_words);
    const auto refused = [&](const map_reduce::options& how,
                             const std::string& name) {
        BOOST_CHECK_EXCEPTION(
            static_cast<void>(map_reduce::run(word_count{}, input, how)),
            std::invalid_argument, [&](const auto& e) {
                return std::string(e.what()).find(name) != std::string::npos;
            });
    };
    for (const auto memory : {std::size_t{0}, ~std::size_t{0},
                              ~std::size_t{0} - 5000, std::size_t{1} << 46})
    {
        auto how = with(2);
        how.memory = memory;
        refused(how, "memory");
    }
    for (const unsigned partitions : {0u, 1025u, 20'000u, ~0u})
    {
        auto how = with(2);
        how.partitions = partitions;
        refused(how, "partitions");
    }
    auto how = with(2);
    how.partitions = 1024;
    how.memory = 100'000;
    BOOST_TEST((as_map(map_reduce::run(word_count{}, input, how)) ==
                counts{{"a", 2}, {"b", 1}}));
}

struct throws_a_number : word_count
{
    void map(text_split& split, auto& emit) const
    {
        word_count::map(split, emit);
        if (split.index() == 0)
            throw 42;
    }
    static std::uint64_t reduce(std::string_view word, std::uint64_t count)
    {
        if (word == "bad")
            throw 42;
        return count;
    }
};

BOOST_AUTO_TEST_CASE(what_is_no_std_exception_is_a_failure_that_says_so)
{
    const test::directory here;
    const auto a = write(here / "a", "first"), b = write(here / "b", "bad");
    auto how = with(2);
    how.partitions = 1;
    const auto found = map_reduce::run(throws_a_number{},
                                       files({a, b}, between_words, 1), how);
    BOOST_REQUIRE(found.failures().size() == 2u);
    for (const auto& one : found.failures())
        BOOST_TEST(one.what == "(not a std::exception)", one.where);
}

BOOST_AUTO_TEST_CASE(a_partition_that_needs_too_much_memory_is_named)
{
    auto how = with(2);
    how.memory = 50'000; // a split's lists fit, those of all splits do not
    how.partitions = 1;
    const auto found =
        map_reduce::run(listing{}, indexes(0, 30'000, 1'000), how);
    BOOST_REQUIRE_EQUAL(found.failures().size(), 1u);
    BOOST_TEST(found.failures()[0].where == "partition 0");
}

// --- files that are not on a disk --------------------------------------------

BOOST_AUTO_TEST_CASE(a_file_that_the_kernel_makes_up_is_read)
{
    const std::string name = "/proc/version"; // no size, no mapping
    const auto found =
        map_reduce::run(word_count{}, files({name}, between_words), with(2));
    BOOST_TEST(plain(found.failures()) == "");
    BOOST_TEST((as_map(found) == words_in(test::slurp(name))));
    const std::string other = "/sys/kernel/mm/transparent_hugepage/enabled";
    if (!std::filesystem::exists(other)) // a size, but no mapping
        return;
    const auto more =
        map_reduce::run(word_count{}, files({other}, between_words), with(2));
    BOOST_TEST(plain(more.failures()) == "");
    BOOST_TEST((as_map(more) == words_in(test::slurp(other))));
}

// --- files that change -----------------------------------------------------

BOOST_AUTO_TEST_CASE(a_missing_file_is_named_and_all_others_are_done)
{
    const test::directory here;
    const auto good = write(here / "good", "one two");
    const auto gone = here / "gone";
    const auto found = map_reduce::run(
        word_count{}, files({gone, good, here.path()}), with(2));
    BOOST_TEST(plain(found.failures()) ==
               gone.string() + ": No such file or directory\n" +
                   here.path().string() + ": not a regular file\n");
    BOOST_TEST((as_map(found) == counts{{"one", 1}, {"two", 1}}));
}

BOOST_AUTO_TEST_CASE(a_file_that_vanishes_is_named_and_all_others_are_done)
{
    const test::directory here;
    const auto a = write(here / "a", "one"), b = write(here / "b", "two"),
               c = write(here / "c", "three");
    const files input({a, b, c});
    std::filesystem::remove(b);
    const auto found = map_reduce::run(word_count{}, input, with(2));
    BOOST_TEST(plain(found.failures()) ==
               b.string() + ": No such file or directory\n");
    BOOST_TEST((as_map(found) == counts{{"one", 1}, {"three", 1}}));
}

struct shrinks : word_count
{
    void map(text_split& split, auto& emit) const
    {
        while (const auto text = split.next())
        {
            // The file says itself which one is to lose its end.
            if (const auto at = text->find("shrink:"); at != text->npos)
            {
                const auto from = at + 7;
                ::truncate(
                    std::string(text->substr(from, text->find('\n') - from))
                        .c_str(),
                    10);
            }
            map_reduce::for_each_word(
                *text, [&](std::string_view word) { emit(word, 1); });
        }
    }
};

BOOST_AUTO_TEST_CASE(a_file_that_shrinks_is_named_and_all_others_are_done)
{
    const test::directory here;
    const auto b = here / "b";
    write(b, "shrink:" + b.string() + "\n" + std::string(100'000, 'x'));
    const auto a = write(here / "a", "one"), c = write(here / "c", "three");
    const auto found = map_reduce::run(shrinks{}, files({a, b, c}), with(1));
    BOOST_TEST(found.stats().deaths == 1u); // SIGBUS, once
    BOOST_REQUIRE_EQUAL(found.failures().size(), 1u);
    BOOST_TEST(found.failures()[0].where == b.string());
    BOOST_TEST(found.failures()[0].what.find("10 bytes") != std::string::npos);
    BOOST_TEST((as_map(found) == counts{{"one", 1}, {"three", 1}}));
}

BOOST_AUTO_TEST_CASE(a_pipe_in_the_place_of_a_file_makes_nobody_wait)
{
    const test::directory here;
    const auto a = write(here / "a", "one"), b = write(here / "b", "two");
    const files input({a, b});
    std::filesystem::remove(b);
    BOOST_REQUIRE(::mkfifo(b.c_str(), 0600) == 0);
    const auto found = map_reduce::run(word_count{}, input, with(2));
    BOOST_REQUIRE_EQUAL(found.failures().size(), 1u);
    BOOST_TEST(found.failures()[0].where == b.string());
    BOOST_TEST((as_map(found) == counts{{"one", 1}}));
}

// --- the program -----------------------------------------------------------

namespace {

std::string tools_count(const std::string& directory)
{
    return test::run_program(
               {{"sh", "-c",
                 "find '" + directory +
                     "' -type f -exec sh -c 'for f; do cat \"$f\"; echo; done'"
                     " _ {} + | tr -cs A-Za-z0-9_ '\\n' | tr A-Z a-z |"
                     " sed '/^$/d' | sort | uniq -c |"
                     " sed 's/^ *\\([0-9]*\\) /\\1\\t/' |"
                     " sort -t \"$(printf '\\t')\" -k1,1nr -k2,2"},
                {},
                {},
                {"LC_ALL=C"}})
        .out;
}

} // namespace

BOOST_AUTO_TEST_CASE(the_program_counts_as_tr_sort_and_uniq_do)
{
    const std::string headers = "/usr/include/linux"; // wherever a compiler is
    const auto expected = tools_count(headers);
    BOOST_TEST(expected.size() > 10'000u);
    for (const std::string workers : {"1", "2", "5"})
        for (const std::string chaos : {"0", "0.02", "0.5:7"})
        {
            const auto run = test::run_program(
                {{test::program("map_reduce"), headers, "--top", "0",
                  "--workers", workers, "--chaos", chaos}});
            BOOST_TEST(run.err == "");
            BOOST_TEST(run.code == 0);
            BOOST_TEST((run.out == expected),
                       workers << " workers, chaos " << chaos);
        }
}

BOOST_AUTO_TEST_CASE(the_program_names_what_it_cannot_read_and_does_the_rest)
{
    const test::directory here;
    const auto good = write(here / "good", "a A b"), gone = here / "gone";
    const auto run = test::run_program(
        {{test::program("map_reduce"), gone, good, "--top", "1"}});
    BOOST_TEST(run.out == "2\ta\n");
    BOOST_TEST(run.err == "map_reduce: " + gone.string() +
                              ": No such file or directory\n");
    BOOST_TEST(run.code == 1);
}

BOOST_AUTO_TEST_CASE(the_program_counts_nothing_in_nothing)
{
    const test::directory here;
    const auto run = test::run_program(
        {{test::program("map_reduce"), here.path(), write(here / "e", "")}});
    BOOST_TEST(run.out == "");
    BOOST_TEST(run.err == "");
    BOOST_TEST(run.code == 0);
}

BOOST_AUTO_TEST_CASE(the_program_refuses_a_bad_command_line)
{
    for (const std::vector<std::string>& arguments :
         {std::vector<std::string>{},
          {"/dev/null", "--workers", "0"},
          {"/dev/null", "--top", "many"},
          {"/dev/null", "--nonsense"}})
    {
        auto all = arguments;
        all.insert(all.begin(), test::program("map_reduce"));
        const auto run = test::run_program({all});
        BOOST_TEST(run.code == 2);
        BOOST_TEST(std::count(run.err.begin(), run.err.end(), '\n') == 1);
    }
}

BOOST_AUTO_TEST_SUITE_END()
