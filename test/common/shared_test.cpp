// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.

#define BOOST_TEST_MODULE shared

#include "common/process.hpp"
#include "common/shared.hpp"
#include "test/fixture.hpp"

#include <boost/test/unit_test.hpp>

#include <malloc.h>
#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <cstring>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

namespace {

using common::process;
using common::segment;
using common::shared;
using common::shared_array;

struct pair
{
    pair(int a, int b) : first(a), second(b) {}
    int first, second;
};

/// Sends a value to this same process, by way of /proc.
template <class T>
T sent(const T& value)
{
    std::vector<std::byte> text(common::encoded_size(value));
    std::vector<std::shared_ptr<const void>> kept;
    common::writer to{text, nullptr, &kept};
    common::encode(to, value);
    common::reader from{text};
    return common::decode<T>(from);
}

} // namespace

BOOST_FIXTURE_TEST_SUITE(shared_laws, test::clean)

BOOST_AUTO_TEST_CASE(an_object_is_one_for_all_processes)
{
    const shared<std::atomic<long>> sum{5};
    const auto copy = sum;
    std::vector<process> all;
    for (int i = 0; i < 4; ++i)
        all.emplace_back(
            [](shared<std::atomic<long>> n) {
                for (int k = 0; k < 10'000; ++k)
                    ++*n;
            },
            sum);
    for (auto& one : all)
        BOOST_TEST(one.join().success());
    BOOST_TEST(*copy == 40'005);
}

BOOST_AUTO_TEST_CASE(an_object_is_built_from_arguments)
{
    const shared<pair> both(3, 4);
    BOOST_TEST(both->first == 3);
    BOOST_TEST(both->second == 4);
}

BOOST_AUTO_TEST_CASE(an_array_is_zero_at_first_and_all_of_it_is_shared)
{
    const shared_array<int> all(100'000);
    for (const int one : all)
        BOOST_REQUIRE(one == 0);
    process other(
        [](shared_array<int> there) {
            for (std::size_t i = 0; i < there.size(); ++i)
                there[i] = static_cast<int>(i);
        },
        all);
    BOOST_TEST(other.join().success());
    for (std::size_t i = 0; i < all.size(); ++i)
        BOOST_REQUIRE(all[i] == static_cast<int>(i));
}

BOOST_AUTO_TEST_CASE(an_empty_array_is_an_array)
{
    const shared_array<int> none(0);
    BOOST_TEST(none.size() == 0u);
    BOOST_TEST((none.begin() == none.end()));
    process other([](shared_array<int> all) { return all.size() == 0 ? 0 : 1; },
                  none);
    BOOST_TEST(other.join().code == 0);
}

BOOST_AUTO_TEST_CASE(too_much_memory_is_refused_before_it_is_touched)
{
    BOOST_CHECK_THROW(shared_array<int>(std::size_t{1} << 50),
                      std::length_error);
    BOOST_CHECK_THROW(shared_array<int>(~std::size_t{0}), std::length_error);
    struct large
    {
        std::byte bytes[std::size_t{1} << 20];
    };
    BOOST_CHECK_THROW(shared_array<large>((std::size_t{1} << 44) + 1),
                      std::length_error); // of which the sum is one of them
    const auto all = static_cast<std::size_t>(::sysconf(_SC_PHYS_PAGES)) *
                     static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
    BOOST_CHECK_THROW(shared_array<char>(4 * all), std::system_error);
}

BOOST_AUTO_TEST_CASE(a_process_that_dies_leaves_what_it_wrote)
{
    const shared<std::atomic<long>> last{0};
    process other(
        [](shared<std::atomic<long>> n) {
            *n = 7;
            ::raise(SIGKILL);
        },
        last);
    BOOST_TEST(other.join().signal == SIGKILL);
    BOOST_TEST(*last == 7);
}

BOOST_AUTO_TEST_CASE(memory_outlives_the_process_that_made_it)
{
    const shared<std::atomic<long>> told{0};
    process maker(
        [](shared<std::atomic<long>> out) {
            const shared<std::atomic<long>> inner{41};
            process reader(
                [](shared<std::atomic<long>> from,
                   shared<std::atomic<long>> to) { *to = *from + 1; },
                inner, out);
            return reader.join().code;
        },
        told);
    BOOST_TEST(maker.join().success());
    BOOST_TEST(*told == 42);
}

BOOST_AUTO_TEST_CASE(the_same_memory_is_mapped_once)
{
    const shared<std::atomic<long>> one{1};
    const auto again = sent(one), third = sent(one);
    BOOST_TEST(again.get() == third.get());
    process other(
        [](shared<std::atomic<long>> a, shared<std::atomic<long>> b) {
            return a.get() == b.get() ? 0 : 1;
        },
        one, one);
    BOOST_TEST(other.join().code == 0);
}

BOOST_AUTO_TEST_CASE(who_reads_much_memory_keeps_no_trace_of_what_is_gone)
{
    const auto heap = [] { return ::mallinfo2().uordblks; };
    const auto send_some = [] {
        for (int i = 0; i < 500; ++i)
            BOOST_REQUIRE(*sent(shared<int>(i)) == i);
    };
    send_some(); // what is there once, for all
    const auto start = heap();
    for (int round = 0; round < 4; ++round)
        send_some();
    BOOST_TEST(heap() <= start + 20'000);
}

BOOST_AUTO_TEST_CASE(memory_that_is_gone_is_said_to_be_gone)
{
    std::vector<std::byte> text;
    {
        const shared<std::atomic<long>> gone{1};
        text.resize(common::encoded_size(gone));
        std::vector<std::shared_ptr<const void>> kept;
        common::writer to{text, nullptr, &kept};
        common::encode(to, gone);
    }
    common::reader from{text};
    BOOST_CHECK_THROW(common::decode<shared<std::atomic<long>>>(from),
                      std::runtime_error);
}

BOOST_AUTO_TEST_CASE(a_label_of_other_memory_is_refused)
{
    const shared_array<char> small(10);
    std::vector<std::byte> text(common::encoded_size(small));
    std::vector<std::shared_ptr<const void>> kept;
    common::writer to{text, nullptr, &kept};
    common::encode(to, small);
    // The element count stands in front: more than the memory holds.
    const std::uint64_t many = 1'000'000;
    std::memcpy(text.data(), &many, sizeof many);
    common::reader from{text};
    BOOST_CHECK_THROW(common::decode<shared_array<char>>(from),
                      std::runtime_error);
}

BOOST_AUTO_TEST_CASE(shared_memory_is_no_result)
{
    const shared<std::atomic<long>> one{1};
    std::vector<std::byte> text(common::encoded_size(one));
    common::writer to{text};
    BOOST_CHECK_THROW(common::encode(to, one), std::invalid_argument);
}

BOOST_AUTO_TEST_CASE(nobody_can_resize_the_memory)
{
    const segment memory("sealed", 8192, 8192);
    BOOST_TEST(::ftruncate(memory.memory().get(), 0) == -1);
    BOOST_TEST(::ftruncate(memory.memory().get(), 1 << 20) == -1);
    BOOST_TEST((memory.data()[8191] == std::byte{0}));
}

BOOST_AUTO_TEST_CASE(only_what_means_the_same_elsewhere_is_shareable)
{
    struct with_virtual
    {
        virtual void f() {}
    };
    static_assert(common::shareable<int>);
    static_assert(common::shareable<std::atomic<long>>);
    static_assert(common::shareable<pair>);
    static_assert(!common::shareable<int*>);
    static_assert(!common::shareable<std::string>);
    static_assert(!common::shareable<std::string_view>);
    static_assert(!common::shareable<with_virtual>);
    BOOST_TEST(true); // it compiled
}

BOOST_AUTO_TEST_SUITE_END()
