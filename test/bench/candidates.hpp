// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.
//
// What this project does, called as its users call it.

#pragma once

#include "harness.hpp"
#include "peers.hpp"
#include "text.hpp"

#include "common/process.hpp"
#include "common/shared.hpp"

#include "patterns/map_reduce/map_reduce.hpp"
#include "patterns/map_reduce/words.hpp"
#include "patterns/parallel_execution/parallel_execution.hpp"
#include "patterns/worker_pool/worker_pool.hpp"

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <numeric>
#include <string>
#include <string_view>
#include <vector>

namespace bench {

// --- worker_pool -----------------------------------------------------------

namespace detail {

/// A pool of one worker, on the other CPU.
inline std::shared_ptr<worker_pool::pool> pool_of_one()
{
    auto pool = std::make_shared<worker_pool::pool>(1u);
    pool->submit([] {}).get(); // the worker is up
    for (const auto& worker : pool->stats().workers)
        pin(worker.pid, {cpus().there});
    return pool;
}

inline double window_of_futures(worker_pool::pool& pool, std::size_t count,
                                const std::string& name)
{
    constexpr std::size_t window = 64;
    std::vector<std::uint64_t> results(count);
    std::vector<worker_pool::future<std::uint64_t>> futures(window);
    const stopwatch time;
    for (std::size_t i = 0; i < count + window; ++i)
    {
        auto& next = futures[i % window];
        if (i >= window && i - window < count)
            results[i - window] = next.get();
        if (i < count)
            next = pool.submit(square, std::uint64_t{i});
    }
    const double took = time.read();
    verify_squares(results, name);
    return took;
}

} // namespace detail

/// submit, get; one after the other.
inline contestant submit_to_result()
{
    const std::string name = "worker_pool, submit to get";
    return {name,
            [pool = detail::pool_of_one(), name](std::size_t count) {
                const stopwatch time;
                for (std::uint64_t i = 0; i < count; ++i)
                    verify(pool->submit(square, i).get() == square(i), name);
                return time.read();
            },
            {}};
}

/// A task and a future for each square, a window of them ahead.
inline contestant submit_stream()
{
    const std::string name = "worker_pool, window of futures";
    return {name,
            [pool = detail::pool_of_one(), name](std::size_t count) {
                return detail::window_of_futures(*pool, count, name);
            },
            {}};
}

/// map over the same numbers; chunks as it sees fit.
inline contestant map_stream()
{
    const std::string name = "worker_pool, map";
    return {name,
            [pool = detail::pool_of_one(), name](std::size_t count) {
                std::vector<std::uint64_t> numbers(count), results;
                std::iota(numbers.begin(), numbers.end(), 0);
                results.reserve(count);
                const stopwatch time;
                for (const auto result : pool->map(numbers, square))
                    results.push_back(result);
                const double took = time.read();
                verify(results.size() == count, name);
                verify_squares(results, name);
                return took;
            },
            {}};
}

// --- parallel_execution ----------------------------------------------------

/// parallel_for over two chunks that do nothing, one for each worker.
inline contestant empty_parallel_for()
{
    const std::string name = "parallel_execution, two workers";
    auto team = std::make_shared<parallel_execution::team>(2u);
    team->parallel_for({0, 2}, [](std::size_t) {}); // the workers are up
    return {name,
            [team, name](std::size_t count) {
                const auto before = team->stats().items;
                const stopwatch time;
                for (std::size_t i = 0; i < count; ++i)
                    team->parallel_for({0, 2}, [](std::size_t) {});
                const double took = time.read();
                verify(team->stats().items - before == 2 * count, name);
                return took;
            },
            {}};
}

// --- map_reduce ------------------------------------------------------------

namespace detail {

struct word_count
{
    using key = std::string;
    using value = std::uint64_t;

    void map(map_reduce::text_split& split, auto& emit) const
    {
        while (const auto text = split.next())
            map_reduce::for_each_word(*text,
                                      [&](const auto& word) { emit(word, 1); });
    }

    static bool before(const auto& a, const auto& b)
    {
        return a.value > b.value;
    }
};

} // namespace detail

/// All of it: workers are started, the words of a file are counted and put
/// in order, the workers are reaped.
inline contestant count_with(unsigned workers,
                             const std::filesystem::path& file,
                             const words& expected)
{
    const std::string name = "map_reduce, " + std::to_string(workers) +
                             (workers == 1 ? " worker" : " workers");
    return {name,
            [=](std::size_t count) {
                map_reduce::options how;
                how.staff.workers = workers;
                const map_reduce::files input({file.string()}, [](char c) {
                    return !map_reduce::is_word(c);
                });
                const stopwatch time;
                for (std::size_t i = 0; i < count; ++i)
                {
                    const auto counts =
                        map_reduce::run(detail::word_count(), input, how);
                    std::uint64_t total = 0, distinct = 0;
                    for (const auto& one : counts)
                        total += one.value, ++distinct;
                    verify(total == expected.total &&
                               distinct == expected.distinct,
                           name);
                }
                return time.read();
            },
            {}};
}

// --- starting a process ----------------------------------------------------

/// Time from the start of a process to the first line of its body, by the
/// clock of the new process.
inline contestant start_to_first_task()
{
    const std::string name = "common::process, first task";
    return {name,
            [name](std::size_t count) {
                const common::shared<std::atomic<long long>> began{0};
                double sum = 0;
                for (std::size_t i = 0; i < count; ++i)
                {
                    const long long started = now();
                    common::process one(
                        [](common::shared<std::atomic<long long>> at) {
                            *at = now();
                        },
                        began);
                    verify(one.join().success() && *began > started, name);
                    sum += static_cast<double>(*began - started);
                }
                return sum;
            },
            {}};
}

/// A process with an empty body is started and joined.
inline contestant start_to_joined()
{
    const std::string name = "common::process, joined";
    return {name,
            [name](std::size_t count) {
                const stopwatch time;
                for (std::size_t i = 0; i < count; ++i)
                    verify(common::process([] {}).join().success(), name);
                return time.read();
            },
            {}};
}

} // namespace bench
