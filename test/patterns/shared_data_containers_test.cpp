// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.

#define BOOST_TEST_MODULE shared_data_containers

#include "common/process.hpp"
#include "test/fixture.hpp"
#include "test/patterns/shared_data_workers.hpp"

#include <boost/test/unit_test.hpp>

#include "patterns/shared_data/shared_data.hpp"
#include <unistd.h>

#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <map>
#include <new>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

namespace {

using namespace std::chrono_literals;
using namespace test;
using common::process;
using common::shared;
using shared_data::clock;
using shared_data::map;

using number = std::uint64_t;

struct wide // whole when all are equal
{
    std::array<number, 3> word{};
    static wide of(number n) { return {{n, n, n}}; }
    bool whole() const { return word[0] == word[1] && word[1] == word[2]; }
};

using numbers = map<number, number>;
using wides = map<number, wide>;

/// All keys in one group, which is what a bad hash or bad luck does.
struct crowded
{
    number operator()(const number& key) const { return key & 3; }
};
using crowd = map<number, wide, crowded>;

/// Throws after so many.
struct failing
{
    static inline int left = 1'000'000;
    number operator()(const number& key) const
    {
        if (left-- == 0)
            throw std::domain_error("no hash");
        return key * 0x9e3779b97f4a7c15;
    }
};

} // namespace

BOOST_FIXTURE_TEST_SUITE(map_laws, test::clean)

BOOST_AUTO_TEST_CASE(what_was_inserted_is_found)
{
    numbers one(1'000);
    for (number i = 0; i < 1'000; ++i)
        BOOST_TEST(one.insert(i, i * i));
    BOOST_TEST(one.size() == 1'000u);
    for (number i = 0; i < 1'000; ++i)
        BOOST_TEST((one.find(i) == i * i));
    BOOST_TEST(!one.find(1'000));
    BOOST_TEST(!one.contains(1'001));
}

BOOST_AUTO_TEST_CASE(a_key_is_there_once)
{
    wides one(10);
    BOOST_TEST(one.insert(1, wide::of(1)));
    BOOST_TEST(!one.insert(1, wide::of(2)));
    BOOST_TEST(one.find(1)->word[0] == 1u);
    BOOST_TEST(!one.insert_or_assign(1, wide::of(3)));
    BOOST_TEST(one.find(1)->word[2] == 3u);
    BOOST_TEST(one.insert_or_assign(2, wide::of(4)));
    BOOST_TEST(one.size() == 2u);
}

BOOST_AUTO_TEST_CASE(an_update_that_throws_changes_nothing)
{
    wides one(10);
    one.insert(1, wide::of(1));
    BOOST_TEST(one.update(1, [](wide& w) { w = wide::of(2); }));
    BOOST_TEST(!one.update(2, [](wide&) {}));
    BOOST_CHECK_THROW(one.update(1,
                                 [](wide& w) {
                                     w.word[0] = 9;
                                     throw std::domain_error("no");
                                 }),
                      std::domain_error);
    BOOST_TEST(one.find(1)->whole());
    BOOST_TEST(one.find(1)->word[0] == 2u);
}

BOOST_AUTO_TEST_CASE(there_is_room_for_the_bound_and_an_error_beyond)
{
    for (const std::size_t bound : {0u, 1u, 100u, 5'000u, 200'000u})
    {
        numbers one(bound);
        for (number i = 0; i < bound; ++i)
            BOOST_REQUIRE(one.insert(i, i));
        BOOST_TEST(one.size() == bound);
    }
    numbers small(10);
    number n = 0;
    BOOST_CHECK_THROW(while (n < 10'000) small.insert(n++, 0), common::full);
    BOOST_TEST(n > 10u);
    BOOST_TEST(small.find(5).has_value());
    BOOST_TEST(small.erase(5));
    BOOST_TEST(small.insert(n, 1));
}

BOOST_AUTO_TEST_CASE(text_can_be_key_and_value)
{
    using text = shared_data::string<20>;
    map<text, text> one(100);
    one.insert("Berlin", "Spree");
    one.insert_or_assign("Berlin", "Havel");
    one.insert("", "nothing");
    BOOST_TEST(*one.find("Berlin") == "Havel");
    BOOST_TEST(*one.find("") == "nothing");
    BOOST_TEST(!one.find("Bonn"));
    BOOST_CHECK_THROW(one.insert("a name that is too long", ""), common::full);
}

// Against std::map, with few keys, many of which share a group.
BOOST_AUTO_TEST_CASE(it_does_what_a_map_does)
{
    const auto play = [](auto& one, unsigned seed) {
        BOOST_TEST_MESSAGE("seed " << seed);
        std::mt19937 dice(seed);
        std::map<number, number> model;
        for (int i = 0; i < 30'000; ++i)
        {
            const number key = dice() % 60, value = dice();
            switch (dice() % 5)
            {
            case 0:
                BOOST_REQUIRE(one.insert(key, wide::of(value)) ==
                              model.emplace(key, value).second);
                break;
            case 1:
                BOOST_REQUIRE(one.insert_or_assign(key, wide::of(value)) ==
                              model.insert_or_assign(key, value).second);
                break;
            case 2:
                BOOST_REQUIRE(one.erase(key) == (model.erase(key) == 1));
                break;
            default:
                const auto found = one.find(key);
                BOOST_REQUIRE(found.has_value() == (model.count(key) == 1));
                if (found)
                    BOOST_REQUIRE(found->word[1] == model[key]);
            }
            BOOST_REQUIRE(one.size() == model.size());
        }
        std::size_t seen = 0;
        one.for_each([&](number key, const wide& value) {
            ++seen;
            BOOST_TEST(model.at(key) == value.word[0]);
        });
        BOOST_TEST(seen == model.size());
    };
    wides one(60);
    play(one, 1);
    crowd other(60);
    play(other, 2);
    const shared<shared_data::static_map<number, wide, 60>> in_place;
    play(*in_place, 3);
    const shared<shared_data::static_map<number, wide, 60, crowded>> crowded_in;
    play(*crowded_in, 4);
}

BOOST_AUTO_TEST_CASE(a_static_map_has_room_for_its_bound)
{
    using small = shared_data::static_map<number, number, 10>;
    using large = shared_data::static_map<number, number, 20'000>;
    const shared<large> one;
    for (number i = 0; i < 20'000; ++i)
        BOOST_REQUIRE(one->insert(i, i));
    BOOST_TEST(one->size() == 20'000u);
    BOOST_TEST((one->find(777) == number{777}));
    const shared<small> other;
    number n = 0;
    BOOST_CHECK_THROW(while (n < 10'000) other->insert(n++, 0), common::full);
    BOOST_TEST(n > 10u);
}

// Keys 0 to 63 are always there; keys from 64 on come and go.
BOOST_AUTO_TEST_CASE(readers_find_whole_entries_while_others_write)
{
    const auto look = [](auto one) {
        const auto write = [](common::stop_token stop, decltype(one) all,
                              number seed) {
            std::mt19937_64 dice(seed);
            for (number i = 1; !stop.stop_requested(); ++i)
            {
                all.insert_or_assign(dice() % 64, wide::of(i));
                const auto guest = 64 + dice() % 64;
                if (!all.erase(guest))
                    all.insert(guest, wide::of(i));
            }
        };
        for (number key = 0; key < 64; ++key)
            one.insert(key, wide::of(0));
        process a(write, one, number{1}), b(write, one, number{2});
        number torn = 0, missed = 0, changes = 0, last = 0;
        const auto end = clock::now() + 2s;
        for (number i = 0; clock::now() < end; ++i)
        {
            const auto found = one.find(i % 64);
            missed += !found;
            torn += found && !found->whole();
            if (found && i % 64 == 0)
                changes +=
                    found->word[0] != std::exchange(last, found->word[0]);
            if (const auto guest = one.find(64 + i % 64))
                torn += !guest->whole();
        }
        BOOST_TEST(torn == 0u);
        BOOST_TEST(missed == 0u);
        BOOST_TEST(changes > 10u);
    };
    look(wides(128));
    look(crowd(128));
}

// Who dies anywhere leaves entries as they were, or as they were to be, once.
BOOST_AUTO_TEST_CASE(a_death_at_any_instruction_leaves_whole_entries)
{
    for (const std::string point :
         {"map.written", "map.passed", "map.published", "map.replaced",
          "map.taken_out", "robust.entered", "robust.leaving"})
    {
        crowd one(128);
        for (number key = 0; key < 64; ++key)
            one.insert(key, wide::of(0));
        const faults armed(point + "=0.005");
        const auto write = [](crowd all, number seed) {
            std::mt19937_64 dice(seed);
            for (number i = 1; i < 10'000; ++i)
            {
                all.insert_or_assign(dice() % 64, wide::of(i));
                const auto guest = 64 + dice() % 64;
                if (!all.erase(guest))
                    all.insert(guest, wide::of(i));
            }
        };
        int deaths = 0;
        for (number i = 0; i < 6; ++i)
        {
            process a(write, one, 2 * i), b(write, one, 2 * i + 1);
            deaths += !a.join().success();
            deaths += !b.join().success();
            // Only who changes it repairs it: finds are right before, too.
            number there = 0;
            for (number key = 0; key < 64; ++key)
            {
                const auto found = one.find(key);
                BOOST_REQUIRE_MESSAGE(found && found->whole(), point);
            }
            one.insert_or_assign(0, wide::of(7));
            std::map<number, int> times;
            one.for_each([&](number key, const wide& value) {
                ++there;
                BOOST_REQUIRE(value.whole());
                BOOST_REQUIRE_MESSAGE(++times[key] == 1, point);
            });
            BOOST_TEST(one.size() == there, point);
        }
        BOOST_TEST(deaths > 0, point);
    }
}

BOOST_AUTO_TEST_CASE(a_repair_that_throws_leaves_the_map_to_the_next)
{
    using weak = map<number, wide, failing>;
    weak one(10);
    {
        const faults armed("map.written=1");
        process([](weak all) { all.insert(1, wide::of(1)); }, one).join();
    }
    {
        const faults armed("map.published=1");
        process([](weak all) { all.insert(2, wide::of(2)); }, one).join();
    }
    failing::left = 1; // that of the key, and none for the repair
    BOOST_CHECK_THROW(one.insert(3, wide::of(3)), std::domain_error);
    failing::left = 1'000'000;
    BOOST_TEST(one.insert(3, wide::of(3)));
    BOOST_TEST(one.find(2)->whole());
    BOOST_TEST(one.size() == 2u);
}

// A process of the same user that has gone mad: what it writes may be found,
// but nobody reads outside the map, or for ever.
BOOST_AUTO_TEST_CASE(random_words_in_its_memory_are_survived)
{
    using text = shared_data::string<12>;
    using texts = shared_data::static_map<number, text, 100>;
    const shared<texts> one;
    std::mt19937_64 dice(5);
    std::size_t seen = 0;
    for (int run = 0; run < 300; ++run)
    {
        ::new (one.get()) texts;
        for (number key = 0; key < 100; ++key)
            one->insert(key, "text");
        for (int poke = 0; poke < 50; ++poke)
        {
            const auto at = dice() % (sizeof(texts) / sizeof(number));
            const auto word = dice() >> dice() % 64;
            std::memcpy(reinterpret_cast<std::byte*>(one.get()) +
                            at * sizeof word,
                        &word, sizeof word);
        }
        for (number key = 0; key < 200; ++key)
            if (const auto found = one->find(key))
                seen += found->view().size() <= text::capacity();
        one->for_each([&](number, const text& found) {
            seen += found.view().size() <= text::capacity();
        });
        ::new (one.get()) texts; // whatever locks were poked
    }
    BOOST_TEST(seen > 0u);
}

BOOST_AUTO_TEST_CASE(text_may_come_from_a_string_of_the_library)
{
    map<shared_data::string<16>, int> ages(10);
    const std::string name = "Ada";
    ages.insert(name, 36);
    BOOST_TEST((ages.find(name) == 36));
}

BOOST_AUTO_TEST_SUITE_END()

BOOST_FIXTURE_TEST_SUITE(vector_laws, test::clean)

using shared_data::vector;

BOOST_AUTO_TEST_CASE(it_grows_up_to_its_bound)
{
    vector<number> one(100'000);
    BOOST_TEST(one.empty());
    for (number i = 0; i < 100'000; ++i)
        BOOST_REQUIRE(one.push_back(i) == i);
    BOOST_CHECK_THROW(one.push_back(1), common::full);
    BOOST_TEST(one.size() == 100'000u);
    BOOST_TEST(one.at(99'999) == 99'999u);
    BOOST_CHECK_THROW(one.at(100'000), std::out_of_range);
    BOOST_TEST(one.pop_back() == 99'999u);
    BOOST_CHECK_THROW(one.at(99'999), std::out_of_range);
    vector<number> none(0);
    BOOST_CHECK_EXCEPTION(
        none.pop_back(), std::out_of_range, [](const std::out_of_range& e) {
            return std::string(e.what()).find("empty") != std::string::npos;
        });
    BOOST_CHECK_THROW(none.push_back(1), common::full);
}

BOOST_AUTO_TEST_CASE(what_one_process_adds_the_others_see)
{
    vector<wide> one(10'000);
    const auto add = [](vector<wide> v, number first) {
        for (number i = 0; i < 2'000; ++i)
            v.push_back(wide::of(first + i));
    };
    process a(add, one, number{0}), b(add, one, number{2'000});
    number seen = 0;
    while (seen < 4'000) // each element is pushed
        for (; seen < one.size(); ++seen)
            BOOST_REQUIRE(one[seen].whole());
    a.join(), b.join();
    BOOST_TEST(one.size() == 4'000u);
    number sum = 0;
    for (number i = 0; i < 4'000; ++i)
        sum += one[i].word[0];
    BOOST_TEST(sum == 4'000u * 3'999u / 2);
}

BOOST_AUTO_TEST_CASE(a_death_leaves_the_old_element_or_the_new_one)
{
    vector<wide> one(1'000);
    one.push_back(wide::of(1));
    for (const std::string point : {"vector.half_written", "vector.written"})
    {
        const faults armed(point + "=1");
        const auto old_size = one.size();
        process([](vector<wide> v) { v.push_back(wide::of(5)); }, one).join();
        BOOST_TEST(one.size() == old_size);
        process([](vector<wide> v) { v.set(0, wide::of(6)); }, one).join();
        BOOST_TEST(one[0].whole());
        one.set(0, wide::of(1));
        BOOST_TEST(one.push_back(wide::of(2)) == old_size);
        BOOST_TEST(one[old_size].word[2] == 2u);
    }
}

BOOST_AUTO_TEST_CASE(a_static_vector_has_its_memory_with_it)
{
    using wide_ones = shared_data::static_vector<wide, 100>;
    const shared<wide_ones> one;
    const auto fill = [](shared<wide_ones> v) {
        while (v->size() < wide_ones::capacity()) // one is added each time
            v->push_back(wide::of(v->size()));
    };
    for (const std::string point : {"vector.half_written", "vector.written"})
    {
        const faults armed(point + "=0.1");
        process(fill, one).join();
        for (number i = 0; i < one->size(); ++i)
            BOOST_TEST(one->at(i).whole());
    }
    process(fill, one).join();
    BOOST_TEST(one->size() == 100u);
    BOOST_TEST((*one)[99].word[0] == 99u);
    BOOST_CHECK_THROW(one->push_back(wide::of(1)), common::full);
    one->update(5, [](wide& w) { w = wide::of(7); });
    one->set(6, wide::of(8));
    BOOST_TEST(one->at(5).word[1] == 7u);
    BOOST_TEST(one->at(6).word[2] == 8u);
    BOOST_TEST(one->pop_back().word[0] == 99u);
    BOOST_CHECK_THROW(one->at(99), std::out_of_range);
}

BOOST_AUTO_TEST_CASE(an_absurd_bound_is_an_error)
{
    BOOST_CHECK_THROW(vector<number>(SIZE_MAX / 2), std::length_error);
    BOOST_CHECK_THROW(
        vector<number>(std::size_t{1} << 42, std::size_t{1} << 42),
        std::system_error);
}

BOOST_AUTO_TEST_SUITE_END()

BOOST_FIXTURE_TEST_SUITE(counter_laws, test::clean)

BOOST_AUTO_TEST_CASE(no_addition_is_lost_by_a_death)
{
    struct both
    {
        shared_data::counter<> sharded;
        std::atomic<std::int64_t> plain{0};
    };
    shared<both> one;
    for (int round = 0; round < 5; ++round)
    {
        std::vector<process> all;
        for (int i = 0; i < 3; ++i)
            all.emplace_back(
                [](shared<both> b) {
                    for (;;) // until it is killed
                    {
                        b->sharded.add(2);
                        ++b->plain;
                    }
                },
                one);
        const auto now = one->plain.load();
        BOOST_TEST(eventually([&] { return one->plain > now + 30'000; }));
        for (auto& each : all)
            each.kill();
        for (auto& each : all)
            each.join();
        // Who was killed between the two has added to the first only.
        const auto beyond = one->sharded.value() - 2 * one->plain.load();
        BOOST_TEST(beyond >= 0);
        BOOST_TEST(beyond <= 2 * 3 * (round + 1));
    }
}

BOOST_AUTO_TEST_SUITE_END()
