// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.
//
// Threads, processes, and processes with threads: what each costs.

#pragma once

#include "harness.hpp"
#include "peers.hpp"

#include <boost/asio/packaged_task.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/thread_pool.hpp>

#include "patterns/thread_pool_multiprocessing/thread_pool_multiprocessing.hpp"

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <future>
#include <memory>
#include <string>
#include <vector>

namespace bench {

namespace detail {

using hybrid_shape = thread_pool_multiprocessing::shape;
using hybrid_pool = thread_pool_multiprocessing::pool;

inline std::string name_of(hybrid_shape one)
{
    return std::to_string(one.processes) + " x " + std::to_string(one.threads);
}

/// Rows of the Mandelbrot set: uneven, and nothing but arithmetic.
template <std::uint64_t Rows>
std::uint64_t mandelbrot_rows(std::uint64_t number)
{
    std::uint64_t steps = 0;
    for (std::uint64_t row = number * Rows; row < (number + 1) * Rows; ++row)
    {
        const double y = -1.2 + 2.4 * static_cast<double>(row % 97) / 97;
        for (int column = 0; column < 256; ++column)
        {
            const double x = -2.1 + 2.8 * column / 256;
            double re = 0, im = 0;
            for (int n = 0; n < 500 && re * re + im * im < 4; ++n, ++steps)
            {
                const double next = re * re - im * im + x;
                im = 2 * re * im + y;
                re = next;
            }
        }
    }
    return steps;
}

/// `count` tasks by `submit(number)`, whose futures are awaited in order.
template <std::uint64_t Rows, class Submit>
double tasks_in_flight(std::size_t count, Submit submit,
                       const std::string& name)
{
    std::deque<decltype(submit(std::uint64_t{0}))> sent;
    const stopwatch time;
    std::uint64_t sum = 0;
    for (std::uint64_t i = 0; i < count || !sent.empty();)
    {
        while (i < count && sent.size() < 64)
            sent.push_back(submit(i++));
        sum += sent.front().get();
        sent.pop_front();
    }
    const double took = time.read();
    static std::vector<std::uint64_t> steps; // of each task
    while (steps.size() < 97)
        steps.push_back(mandelbrot_rows<Rows>(steps.size()));
    for (std::uint64_t i = 0; i < count; ++i)
        sum -= steps[i % 97];
    verify(sum == 0, name);
    return took;
}

template <class F>
std::future<std::uint64_t> post(boost::asio::thread_pool& pool, F f)
{
    return boost::asio::post(pool, std::packaged_task<std::uint64_t()>(f));
}

template <std::uint64_t Rows>
contestant hybrid_work(hybrid_shape shape)
{
    const auto name = "thread_pool_multiprocessing " + name_of(shape);
    return {
        name,
        [name, pool = std::make_shared<hybrid_pool>(shape)](std::size_t count) {
            return tasks_in_flight<Rows>(
                count,
                [&](std::uint64_t i) {
                    return pool->submit(&mandelbrot_rows<Rows>, i);
                },
                name);
        },
        {}};
}

template <std::uint64_t Rows>
contestant threads_work(unsigned threads)
{
    const auto name = "asio::thread_pool, " + std::to_string(threads);
    return {name,
            [name, pool = std::make_shared<boost::asio::thread_pool>(threads)](
                std::size_t count) {
                return tasks_in_flight<Rows>(
                    count,
                    [&](std::uint64_t i) {
                        return post(*pool,
                                    [i] { return mandelbrot_rows<Rows>(i); });
                    },
                    name);
            },
            {}};
}

/// A pool from nothing, one task, and its end.
inline contestant hybrid_start(hybrid_shape shape)
{
    const auto name = "thread_pool_multiprocessing " + name_of(shape);
    return {name,
            [name, shape](std::size_t count) {
                const stopwatch time;
                for (std::uint64_t i = 0; i < count; ++i)
                {
                    hybrid_pool pool(shape);
                    verify(pool.submit(&square, i).get() == square(i), name);
                }
                return time.read();
            },
            {}};
}

inline contestant threads_start(unsigned threads)
{
    const auto name = "asio::thread_pool, " + std::to_string(threads);
    return {name,
            [name, threads](std::size_t count) {
                const stopwatch time;
                for (std::uint64_t i = 0; i < count; ++i)
                {
                    boost::asio::thread_pool pool(threads);
                    verify(post(pool, [i] { return square(i); }).get() ==
                               square(i),
                           name);
                    pool.join();
                }
                return time.read();
            },
            {}};
}

/// One small task, its result, and then the next.
inline contestant hybrid_hand_over(hybrid_shape shape)
{
    const auto name = "thread_pool_multiprocessing " + name_of(shape);
    return {
        name,
        [name, pool = std::make_shared<hybrid_pool>(shape)](std::size_t count) {
            const stopwatch time;
            for (std::uint64_t i = 0; i < count; ++i)
                verify(pool->submit(&square, i).get() == square(i), name);
            return time.read();
        },
        {}};
}

inline contestant threads_hand_over(unsigned threads)
{
    const auto name = "asio::thread_pool, " + std::to_string(threads);
    return {name,
            [name, pool = std::make_shared<boost::asio::thread_pool>(threads)](
                std::size_t count) {
                const stopwatch time;
                for (std::uint64_t i = 0; i < count; ++i)
                    verify(post(*pool, [i] { return square(i); }).get() ==
                               square(i),
                           name);
                return time.read();
            },
            {}};
}

/// On two CPUs; within 2 % of the better one.
template <std::uint64_t Rows>
void hybrid_against_others(row& row)
{
    row.pinned = false;
    row.ours = hybrid_work<Rows>({2, 2});
    row.against = {{opponent::kind::peer, threads_work<Rows>(2), 0.98},
                   {opponent::kind::peer, hybrid_work<Rows>({2, 1}), 0.98},
                   {opponent::kind::peer, hybrid_work<Rows>({1, 2}), 0.98}};
}

} // namespace detail

inline std::vector<planned> hybrid_rows()
{
    constexpr auto peer = opponent::kind::peer;
    return {
        {"hybrid, CPU-bound", "a millisecond of arithmetic for each task",
         detail::hybrid_against_others<8>, 3},
        {"hybrid, short tasks", "an eighth of it",
         detail::hybrid_against_others<1>, 3},
        {"hybrid, start", "a pool, one task, and its end",
         [](row& row) {
             row.pinned = false;
             row.ours = detail::hybrid_start({2, 2});
             row.against = {{peer, detail::threads_start(4)},
                            {peer, detail::hybrid_start({4, 1})},
                            {peer, detail::hybrid_start({1, 4})}};
         }},
        {"hybrid, hand-over", "one small task and its result", [](row& row) {
             row.pinned = false;
             row.ours = detail::hybrid_hand_over({2, 2});
             row.against = {{peer, detail::threads_hand_over(4)},
                            {peer, detail::hybrid_hand_over({4, 1})},
                            {peer, detail::hybrid_hand_over({1, 4})}};
         }}};
}

} // namespace bench
