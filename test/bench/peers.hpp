// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.
//
// The same work by libraries that a C++ engineer would reach for.  Those that
// know only threads run threads, which favours them.

#pragma once

#include "harness.hpp"

#include <boost/asio/packaged_task.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/thread_pool.hpp>
#include <boost/interprocess/ipc/message_queue.hpp>

#ifdef BENCH_TBB
#include <tbb/blocked_range.h>
#include <tbb/parallel_for.h>
#include <tbb/partitioner.h>
#include <tbb/task_arena.h>
#include <tbb/task_group.h>
#include <tbb/task_scheduler_observer.h>
#endif

#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <future>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace bench {

/// The tiny task of all streams and round trips.
inline std::uint64_t square(std::uint64_t x)
{
    return x * x;
}

/// Throws unless result i is the square of i.
inline void verify_squares(const std::vector<std::uint64_t>& results,
                           const std::string& who)
{
    for (std::size_t i = 0; i < results.size(); ++i)
        verify(results[i] == square(i), who);
}

// --- Boost.Asio ------------------------------------------------------------

namespace detail {

/// A thread_pool of one thread, on this CPU.
inline std::shared_ptr<boost::asio::thread_pool> asio_pool(int cpu)
{
    auto pool = std::make_shared<boost::asio::thread_pool>(1);
    boost::asio::post(*pool, std::packaged_task<void()>([cpu] {
        pin(0, {cpu});
    })).get();
    return pool;
}

} // namespace detail

/// post, future, get; one after the other.
inline contestant asio_round_trip()
{
    const std::string name = "asio::thread_pool, post to future";
    return {name,
            [pool = detail::asio_pool(cpus().there), name](std::size_t count) {
                const stopwatch time;
                for (std::size_t i = 0; i < count; ++i)
                {
                    std::packaged_task<std::uint64_t()> task(
                        [i] { return square(i); });
                    verify(boost::asio::post(*pool, std::move(task)).get() ==
                               square(i),
                           name);
                }
                return time.read();
            },
            {}};
}

namespace detail {

inline double asio_stream(boost::asio::thread_pool& pool, std::size_t count,
                          bool one_cpu, const std::string& name)
{
    constexpr std::size_t window = 4096;
    std::vector<std::uint64_t> results(count);
    std::atomic<std::size_t> done{0};
    const auto reach = [&](std::size_t goal) { // ended by the pool's thread
        while (done.load(std::memory_order_acquire) < goal)
            if (one_cpu)
                ::sched_yield();
    };
    const stopwatch time;
    for (std::size_t i = 0; i < count; ++i)
    {
        if (i % (window / 2) == 0 && i >= window)
            reach(i - window / 2);
        boost::asio::post(pool, [&results, &done, i] {
            results[i] = square(i);
            done.fetch_add(1, std::memory_order_release);
        });
    }
    reach(count);
    const double took = time.read();
    verify_squares(results, name);
    return took;
}

} // namespace detail

/// A stream of posts whose results land in an array, a window of tasks ahead;
/// no futures, which favours it.
inline contestant asio_stream()
{
    const std::string name = "asio::thread_pool, post";
    return {name,
            [pool = detail::asio_pool(cpus().there), name](std::size_t count) {
                return detail::asio_stream(*pool, count, cpus().one(), name);
            },
            {}};
}

/// The same with the pool's thread on the CPU of the caller: no line is moved.
inline contestant asio_stream_on_one_cpu()
{
    const std::string name = "asio::thread_pool, post, on one CPU";
    return {name,
            [pool = detail::asio_pool(cpus().here), name](std::size_t count) {
                return detail::asio_stream(*pool, count, true, name);
            },
            {}};
}

// --- boost::interprocess::message_queue ------------------------------------

namespace detail {

/// A message_queue that has lost its name already: forked children share it,
/// and nothing is left behind.
class nameless_queue
{
public:
    explicit nameless_queue(std::size_t capacity)
        : queue_(boost::interprocess::create_only, name().c_str(), capacity,
                 sizeof(std::uint64_t))
    {
        boost::interprocess::message_queue::remove(name().c_str());
    }

    void send(std::uint64_t value) { queue_.send(&value, sizeof value, 0); }

    std::uint64_t receive()
    {
        std::uint64_t value = 0;
        std::size_t size = 0;
        unsigned priority = 0;
        queue_.receive(&value, sizeof value, size, priority);
        return value;
    }

private:
    static std::string name() { return "bench." + std::to_string(::getpid()); }
    boost::interprocess::message_queue queue_;
};

/// Requests to a child, replies from it, at most `window` ahead.
inline double message_queues(std::size_t count, std::size_t window,
                             const std::string& name)
{
    nameless_queue requests(window);
    nameless_queue replies(window);
    child server([&] {
        for (std::size_t i = 0; i <= count; ++i)
            replies.send(square(requests.receive()));
    });
    requests.send(0);
    verify(replies.receive() == 0, name); // the child is up

    std::vector<std::uint64_t> results(count);
    std::size_t received = 0;
    const stopwatch time;
    for (std::size_t sent = 0; received < count;) // a reply for each request
    {
        if (sent < count && sent - received < window)
            requests.send(sent++);
        else
            for (std::size_t i = (sent - received + 1) / 2; i > 0; --i)
                results[received++] = replies.receive();
    }
    const double took = time.read();
    server.join();
    verify_squares(results, name);
    return took;
}

} // namespace detail

/// One request after the other, to a server process and back.
inline contestant message_queue_round_trip()
{
    const std::string name = "interprocess::message_queue pair";
    return {name,
            [name](std::size_t count) {
                return detail::message_queues(count, 1, name);
            },
            {}};
}

/// A stream of requests, each with its reply.
inline contestant message_queue_stream(std::size_t window)
{
    const std::string name = "interprocess::message_queue pair";
    return {name,
            [name, window](std::size_t count) {
                return detail::message_queues(count, window, name);
            },
            {}};
}

// --- oneTBB ----------------------------------------------------------------

#ifdef BENCH_TBB

namespace detail {

/// Keeps the second thread of an arena on the other CPU.
class on_other_cpu : tbb::task_scheduler_observer
{
public:
    explicit on_other_cpu(tbb::task_arena& arena)
        : task_scheduler_observer(arena)
    {
        observe(true);
    }
    ~on_other_cpu() override { observe(false); }

    void on_scheduler_entry(bool is_worker) override
    {
        if (is_worker)
            pin(0, {cpus().there});
    }
};

/// Two threads, the caller one of them.
struct tbb_threads
{
    tbb::task_arena arena{2};
    on_other_cpu placed{arena};
};

inline double tbb_parallel_for(std::size_t count, const std::string& name)
{
    struct alignas(128) slot
    {
        std::size_t runs = 0;
    } slots[2];
    const stopwatch time;
    for (std::size_t i = 0; i < count; ++i)
        tbb::parallel_for(
            tbb::blocked_range<std::size_t>(0, 2, 1),
            [&](const tbb::blocked_range<std::size_t>& range) {
                for (auto j = range.begin(); j != range.end(); ++j)
                    ++slots[j].runs;
            },
            tbb::simple_partitioner());
    const double took = time.read();
    verify(slots[0].runs == count && slots[1].runs == count, name);
    return took;
}

inline double tbb_stream(std::size_t count, std::size_t window,
                         const std::string& name)
{
    std::vector<std::uint64_t> results(count);
    tbb::task_group group;
    const stopwatch time;
    for (std::size_t i = 0; i < count;)
    {
        for (const auto end = std::min(count, i + window); i < end; ++i)
            group.run([&results, i] { results[i] = square(i); });
        group.wait();
    }
    const double took = time.read();
    verify_squares(results, name);
    return took;
}

} // namespace detail

/// parallel_for over two chunks that do nothing but count.
inline contestant tbb_parallel_for()
{
    const std::string name = "tbb::parallel_for, threads";
    return {name,
            [two = std::make_shared<detail::tbb_threads>(),
             name](std::size_t count) {
                return two->arena.execute(
                    [&] { return detail::tbb_parallel_for(count, name); });
            },
            {}};
}

/// A task_group of tasks whose results land in an array; the caller helps.
inline contestant tbb_stream(std::size_t window)
{
    const std::string name = "tbb::task_group, threads";
    return {name,
            [two = std::make_shared<detail::tbb_threads>(), name,
             window](std::size_t count) {
                return two->arena.execute(
                    [&] { return detail::tbb_stream(count, window, name); });
            },
            {}};
}

#else

inline contestant tbb_parallel_for()
{
    return {"tbb::parallel_for, threads", {}, "TBB was not there at the build"};
}

inline contestant tbb_stream(std::size_t)
{
    return {"tbb::task_group, threads", {}, "TBB was not there at the build"};
}

#endif

} // namespace bench
