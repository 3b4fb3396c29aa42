// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.

#define BOOST_TEST_MODULE producer_consumer_memory

#include "common/process.hpp"
#include "test/fixture.hpp"

#include <boost/test/unit_test.hpp>

#include "patterns/producer_consumer/producer_consumer.hpp"
#include <sys/stat.h>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <sstream>
#include <string>
#include <vector>

namespace {

using common::process;
using producer_consumer::bytes;
using producer_consumer::consumer;
using producer_consumer::outcome;
using producer_consumer::producer;
using producer_consumer::queue;
using producer_consumer::queue_options;
using counter = common::shared<std::atomic<std::uint64_t>>;
using test::eventually;

constexpr std::uint64_t mega = 1 << 20;

queue_options of_bytes(std::size_t size)
{
    queue_options result;
    result.bytes = size;
    result.producers = 1;
    return result;
}

/// Bytes that tell where they come from.
std::vector<std::byte> pattern(std::size_t size, unsigned number)
{
    std::vector<std::byte> result(size);
    for (std::size_t i = 0; i < size; ++i)
        result[i] = static_cast<std::byte>((i >> 3) * 31 + number);
    return result;
}

bool same(bytes one, const std::vector<std::byte>& other)
{
    return std::equal(one.data.begin(), one.data.end(), other.begin(),
                      other.end());
}

/// Whether an address is in the memory of a queue.
bool in_a_queue(const void* address)
{
    const auto wanted = reinterpret_cast<std::uintptr_t>(address);
    std::istringstream maps(test::slurp("/proc/self/maps"));
    for (std::string line; std::getline(maps, line);)
    {
        std::uintptr_t from = 0, to = 0;
        char dash = 0;
        std::istringstream(line) >> std::hex >> from >> dash >> to;
        if (from <= wanted && wanted < to)
            return line.find("memfd:stream") != line.npos;
    }
    return false;
}

/// Bytes of shared memory that are in use by queues of this process.
std::uint64_t used_by_queues()
{
    std::uint64_t result = 0;
    for (const auto& one : std::filesystem::directory_iterator("/proc/self/fd"))
    {
        std::error_code none;
        const auto name = std::filesystem::read_symlink(one, none).string();
        struct stat is
        {
        };
        if (name.find("memfd:stream") != name.npos &&
            ::stat(one.path().c_str(), &is) == 0)
            result += static_cast<std::uint64_t>(is.st_blocks) * 512;
    }
    return result;
}

/// Bytes of private memory of a process.
std::uint64_t private_bytes(pid_t pid)
{
    std::istringstream status(test::slurp(test::proc(pid) / "status"));
    for (std::string word; status >> word;)
        if (word == "RssAnon:")
        {
            std::uint64_t kilobytes = 0;
            status >> kilobytes;
            return kilobytes << 10;
        }
    return 0;
}

} // namespace

BOOST_FIXTURE_TEST_SUITE(producer_consumer_memory_laws, test::clean)

BOOST_AUTO_TEST_CASE(large_items_are_read_where_they_lie)
{
    queue<bytes> q(of_bytes(64 * mega));
    process writer(
        [](producer<bytes> out) {
            for (unsigned i = 0; i < 7; ++i)
                out.push({pattern(20 * mega + i, i)});
        },
        q.producer());
    auto in = q.consumer();
    for (unsigned i = 0; i < 7; ++i)
    {
        auto one = in.lease();
        BOOST_REQUIRE(same(*one, pattern(20 * mega + i, i)));
        BOOST_TEST(in_a_queue(one->data.data()));
        BOOST_TEST(reinterpret_cast<std::uintptr_t>(one->data.data()) % 8 ==
                   0u);
        BOOST_TEST(one.acknowledge());
    }
    BOOST_TEST(!in.lease());
}

BOOST_AUTO_TEST_CASE(bytes_may_be_none_or_too_many)
{
    queue<bytes> q(of_bytes(mega));
    auto out = q.producer();
    auto in = q.consumer();
    out.push({});
    auto none = in.lease();
    BOOST_TEST(none->data.size() == 0u);
    none.acknowledge();
    BOOST_CHECK_THROW(out.push({std::vector<std::byte>(mega)}),
                      std::length_error);
    out.push({pattern(mega - 100, 1)});
    auto one = in.lease();
    BOOST_TEST(same(*one, pattern(mega - 100, 1)));
}

BOOST_AUTO_TEST_CASE(a_large_item_whose_reader_was_killed_comes_again_whole)
{
    queue<bytes> q(of_bytes(16 * mega));
    q.producer().push({pattern(10 * mega, 3)});
    const counter has;
    process reader(
        [](consumer<bytes> in, counter h) {
            const auto one = in.lease();
            *h = one->data.size();
            ::pause(); // until it is killed
        },
        q.consumer(), has);
    BOOST_TEST(eventually([&] { return *has == 10 * mega; }));
    reader.kill();
    reader.join();
    auto in = q.consumer();
    auto one = in.lease();
    BOOST_TEST(one.redelivered() == 1u);
    BOOST_TEST(same(*one, pattern(10 * mega, 3)));
}

BOOST_AUTO_TEST_CASE(a_large_dead_letter_is_whole)
{
    auto how = of_bytes(16 * mega);
    how.attempts = 1;
    queue<bytes> q(how);
    q.producer().push({pattern(10 * mega, 3)});
    auto in = q.consumer();
    in.lease().give_back();
    BOOST_TEST(!in.lease());
    const auto dead = q.dead_letters();
    BOOST_REQUIRE(dead.size() == 1u);
    BOOST_TEST((dead[0].item == pattern(10 * mega, 3)));
}

BOOST_AUTO_TEST_CASE(memory_stays_within_its_bound_when_consumers_stall)
{
    auto how = of_bytes(16 * mega);
    how.capacity = 1 << 16;
    queue<std::string> q(how);
    auto in = q.consumer(); // takes one item, and no more
    const counter pushed;
    process writer(
        [](producer<std::string> out, counter p) {
            for (;;) // until it is killed
            {
                out.push(std::string(500 + *p % 1000, 'x'));
                ++*p;
            }
        },
        q.producer(), pushed);
    auto stalled = in.lease();
    // Full: for as long as that nothing was pushed any more.
    std::uint64_t last = 0;
    BOOST_TEST(eventually([&] {
        const auto old = std::exchange(last, pushed->load());
        ::poll(nullptr, 0, 100);
        return old != 0 && old == last;
    }));
    const auto lies = q.size() * 1000; // bytes, about
    BOOST_TEST(lies > 12 * mega);
    BOOST_TEST(used_by_queues() < 16 * mega * 12 / 10);
    BOOST_TEST(private_bytes(writer.pid()) < 16 * mega / 5);
    stalled.acknowledge();
    BOOST_TEST(eventually([&] { // and on it goes
        for (int i = 0; i < 100; ++i)
            in.pop();
        return pushed->load() > last + 1000;
    }));
    writer.kill();
}

BOOST_AUTO_TEST_CASE(ten_gigabytes_pass_through_64_megabytes)
{
    constexpr std::uint64_t items = 10'000, each = mega;
    queue<bytes> q(of_bytes(64 * mega));
    process writer(
        [](producer<bytes> out) {
            auto item = pattern(each, 0);
            for (std::uint64_t i = 0; i < items; ++i)
            {
                std::memcpy(item.data(), &i, sizeof i);
                std::memcpy(item.data() + each - 8, &i, sizeof i);
                out.push({item});
            }
        },
        q.producer());
    const auto middle = pattern(each, 0);
    std::uint64_t count = 0, wrong = 0, most = 0, own = 0, early = 0;
    for (const auto& one : q.consumer())
    {
        std::uint64_t first = 0, last = 0;
        std::memcpy(&first, one.data.data(), sizeof first);
        std::memcpy(&last, one.data.data() + each - 8, sizeof last);
        wrong +=
            one.data.size() != each || first != count || last != count ||
            std::memcmp(one.data.data() + 8, middle.data() + 8, each - 16) != 0;
        if (++count % 500 == 0)
        {
            most = std::max(most, used_by_queues());
            own = private_bytes(::getpid()) + private_bytes(writer.pid());
            if (early == 0)
                early = own;
        }
    }
    BOOST_TEST(count == items);
    BOOST_TEST(wrong == 0u);
    BOOST_TEST(most < 64 * mega * 12 / 10);
    BOOST_TEST(own < early + 4 * mega);
}

BOOST_AUTO_TEST_SUITE_END()
