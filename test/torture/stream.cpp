// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.

// Sends many bytes through a queue of few, and checks that they arrive whole
// and that memory stays below the queue's bound and does not grow:
//
//     stream [--gigabytes N] [--megabytes BOUND]
//
// Prints one line; exit status 1 when a promise was broken.

#include "common/process.hpp"
#include "test/memory.hpp"
#include "test/torture/ordeal.hpp"

#include "patterns/producer_consumer/producer_consumer.hpp"

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <numeric>
#include <stdexcept>
#include <string>

namespace {

using producer_consumer::producer;
using numbers = producer_consumer::large<std::uint64_t>;

constexpr std::size_t most = 128u << 10; // numbers in an item: 1 MiB

/// So many bytes: numbers from 0 on, in items that are not all of one size.
void count_to(producer<numbers> out, std::uint64_t end)
{
    for (std::uint64_t at = 0, i = 0; at < end; ++i)
    {
        const auto size =
            std::min<std::uint64_t>(most - i % 100 * 1000, end - at);
        out.push({size, [at](std::span<std::uint64_t> room) {
                      std::iota(room.begin(), room.end(), at);
                  }});
        at += size;
    }
}

struct amounts
{
    double gigabytes = 10;
    std::size_t megabytes = 64;

    static amounts parse(int argc, char** argv)
    {
        amounts result;
        for (int i = 1; i + 1 < argc; i += 2)
        {
            const std::string name = argv[i];
            if (name == "--gigabytes")
                result.gigabytes = std::strtod(argv[i + 1], nullptr);
            else if (name == "--megabytes")
                result.megabytes = std::strtoull(argv[i + 1], nullptr, 10);
            else
                throw std::invalid_argument(name + " is not an option");
        }
        return result;
    }
};

/// Memory that two processes and what they share have more than at first.
class usage
{
public:
    explicit usage(pid_t other) : other_(other), first_(now()) {}

    std::uint64_t more() const { return std::max(now(), first_) - first_; }

private:
    std::uint64_t now() const
    {
        return test::shared_memory() + test::private_memory(::getpid()) +
               test::private_memory(other_);
    }
    pid_t other_;
    std::uint64_t first_;
};

bool run(const amounts& wanted)
{
    const auto bound = wanted.megabytes << 20;
    const auto end = static_cast<std::uint64_t>(wanted.gigabytes * 1e9 / 8);
    producer_consumer::queue_options options;
    options.bytes = bound;
    producer_consumer::queue<numbers> q(options);
    auto in = q.consumer();
    const auto start = std::chrono::steady_clock::now();
    common::process writer(&count_to, q.producer(), end);
    const usage memory(writer.pid());
    std::uint64_t at = 0, items = 0, early = 0, late = 0;
    bool whole = true;
    for (const auto& one : in) // ends with the writer
    {
        for (const auto number : one)
            whole = whole && number == at++;
        if (++items % 64 == 0)
        {
            auto& peak = at < end / 10 ? early : late;
            peak = std::max(peak, memory.more());
        }
    }
    const std::chrono::duration<double> took =
        std::chrono::steady_clock::now() - start;
    std::printf("a stream of %.1f GB through %zu MiB: %.1f s, %.2f GB/s, at "
                "most %.1f MiB of memory in the first tenth, %.1f behind it\n",
                static_cast<double>(at) * 8e-9, wanted.megabytes, took.count(),
                static_cast<double>(at) * 8e-9 / took.count(),
                static_cast<double>(early) / (1 << 20),
                static_cast<double>(late) / (1 << 20));
    test::verdict verdict;
    verdict.require(at == end && whole, "it did not arrive whole");
    verdict.require(std::max(early, late) <= bound + bound / 5,
                    "it took more memory than the bound and a fifth");
    verdict.require(late <= std::max(early, bound) + (4u << 20),
                    "memory grows with the stream");
    verdict.require(writer.join().success(), "the writer failed");
    return verdict.good();
}

} // namespace

int main(int argc, char** argv)
try
{
    common::worker_main(argc, argv);
    ::alarm(100);          // a hang ends here
    common::spin_budget(); // measured by a thread: not to be taken for a leak
    const auto before = test::holdings();
    bool good = run(amounts::parse(argc, argv));
    if (test::has_children() || test::holdings() != before)
    {
        std::printf("broken: something is left behind\n");
        good = false;
    }
    return good ? EXIT_SUCCESS : EXIT_FAILURE;
}
catch (const std::exception& e)
{
    std::fprintf(stderr, "stream: %s\n", e.what());
    return 2;
}
