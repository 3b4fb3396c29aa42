// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.
//
// Tasks that an event loop hands to a process, and awaits.

#pragma once

#include "harness.hpp"
#include "limits.hpp"
#include "peers.hpp"
#include "python.hpp"

#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>

#include "patterns/asynchronous_processing/asynchronous_processing.hpp"
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

namespace bench {

namespace detail {

using asynchronous_processing::pool;
using asynchronous_processing::pool_options;

/// An event loop, and a worker on the other CPU.
struct awaiting
{
    explicit awaiting(std::size_t in_flight = 1024) : calls(io, only(in_flight))
    {
        for (const auto& worker : run(ready(*this)).workers)
            pin(worker.pid, {cpus().there});
    }

    static pool_options only(std::size_t in_flight)
    {
        pool_options how;
        how.workers = 1;
        how.in_flight = in_flight;
        return how;
    }

    static boost::asio::awaitable<pool::statistics> ready(awaiting& here)
    {
        co_await here.calls.async_submit(&square, std::uint64_t{1},
                                         boost::asio::use_awaitable);
        co_return here.calls.stats();
    }

    /// Runs the loop until `what` is done, and returns what it did.
    template <class T>
    T run(boost::asio::awaitable<T> what)
    {
        std::exception_ptr error;
        T result{};
        boost::asio::co_spawn(io, std::move(what),
                              [&](std::exception_ptr e, T value) {
                                  error = e;
                                  result = std::move(value);
                              });
        io.restart();
        io.run();
        if (error)
            std::rethrow_exception(error);
        return result;
    }

    boost::asio::io_context io{1};
    pool calls;
};

/// One after the other.  `idle` before each, which is not counted.
inline boost::asio::awaitable<double> one_by_one(pool& calls, std::size_t count,
                                                 std::chrono::microseconds idle,
                                                 const std::string& name)
{
    double took = 0;
    auto start = now();
    for (std::uint64_t i = 0; i < count; ++i)
    {
        if (idle.count() > 0)
        {
            boost::asio::steady_timer pause(calls.get_executor(), idle);
            co_await pause.async_wait(boost::asio::use_awaitable);
            start = now();
        }
        verify(co_await calls.async_submit(
                   &square, i, boost::asio::use_awaitable) == square(i),
               name);
        if (idle.count() > 0)
            took += static_cast<double>(now() - start);
    }
    co_return idle.count() > 0 ? took : static_cast<double>(now() - start);
}

} // namespace detail

/// co_await, and then the next.
inline contestant awaited(std::chrono::microseconds idle = {})
{
    const std::string name =
        idle.count() > 0 ? "co_await, all asleep" : "co_await, one by one";
    return {name,
            [here = std::make_shared<detail::awaiting>(), name,
             idle](std::size_t count) {
                return here->run(
                    detail::one_by_one(here->calls, count, idle, name));
            },
            {}};
}

namespace detail {

/// As many calls as are wanted, `window` of them in flight.
class flood
{
public:
    flood(pool& calls, std::size_t count, std::size_t window)
        : calls_(calls)
        , results_(count)
    {
        while (next_ < std::min(count, window))
            send();
    }
    const std::vector<std::uint64_t>& results() const { return results_; }

private:
    void send()
    {
        const auto number = next_++;
        calls_.async_submit(
            &square, std::uint64_t{number},
            [this, number](std::exception_ptr error, std::uint64_t value) {
                if (error)
                    std::rethrow_exception(error);
                results_[number] = value;
                if (next_ < results_.size())
                    send();
            });
    }

    pool& calls_;
    std::size_t next_ = 0;
    std::vector<std::uint64_t> results_;
};

} // namespace detail

/// So many calls in flight; each handler sends the next one.  Where that goes
/// on for a while, a hundred of them or more come with one wake-up.
inline contestant in_flight(std::size_t window)
{
    const std::string name = "async_submit, callbacks";
    return {name,
            [here = std::make_shared<detail::awaiting>(window), name,
             window](std::size_t count) {
                const auto before = here->calls.stats().wakes;
                const stopwatch time;
                const detail::flood all(here->calls, count, window);
                here->io.restart();
                here->io.run();
                const double took = time.read();
                verify_squares(all.results(), name);
                const auto wakes = here->calls.stats().wakes - before;
                verify(count < 4 * window || wakes <= count / 100,
                       name + ", " + std::to_string(wakes) + " wake-ups for " +
                           std::to_string(count));
                return took;
            },
            {}};
}

// --- what the kernel needs --------------------------------------------------

namespace detail {

/// Sleeps in an epoll until an eventfd is written.
class sleeper
{
public:
    sleeper()
        : event_(::eventfd(0, EFD_CLOEXEC))
        , poll_(::epoll_create1(EPOLL_CLOEXEC))
    {
        epoll_event wanted{};
        wanted.events = EPOLLIN;
        if (event_ < 0 || poll_ < 0 ||
            ::epoll_ctl(poll_, EPOLL_CTL_ADD, event_, &wanted) != 0)
            throw std::system_error(errno, std::generic_category(), "epoll");
    }
    sleeper(const sleeper&) = delete;
    ~sleeper()
    {
        ::close(poll_);
        ::close(event_);
    }

    void wake() const { ::eventfd_write(event_, 1); }
    void sleep() const
    {
        epoll_event found{};
        ::epoll_wait(poll_, &found, 1, -1); // ends with wake, or the watchdog
        eventfd_t value = 0;
        ::eventfd_read(event_, &value);
    }

private:
    int event_, poll_;
};

} // namespace detail

/// Two processes wake each other, `idle` before each round.
inline contestant eventfd_round_trip(std::chrono::microseconds idle)
{
    return {"eventfd and epoll, both ways",
            [idle](std::size_t count) {
                const detail::sleeper to, from;
                child other([&] {
                    for (std::size_t i = 0; i < count; ++i)
                    {
                        to.sleep();
                        from.wake();
                    }
                });
                double took = 0;
                for (std::size_t i = 0; i < count; ++i)
                {
                    std::this_thread::sleep_for(idle);
                    const stopwatch time;
                    to.wake();
                    from.sleep();
                    took += time.read();
                }
                other.join();
                return took;
            },
            {}};
}

inline std::vector<planned> async_rows()
{
    using namespace std::chrono_literals;
    constexpr auto limit = opponent::kind::limit;
    constexpr auto peer = opponent::kind::peer;
    return {
        {"co_await, awake", "a remote task and its result, one by one",
         [](row& row) {
             row.ours = awaited();
             row.against = {
                 {limit, two_lines(), 3},
                 {peer,
                  python("asyncio, ProcessPoolExecutor", {"asyncio_latency"}),
                  100},
                 {peer, python("asyncio, ProcessPoolExecutor, on one CPU",
                               {"asyncio_latency", "--same"})},
                 {peer, asio_round_trip(), 20}};
         }},
        {"co_await, cold", "the same, when loop and worker sleep",
         [](row& row) {
             row.ours = awaited(300us);
             row.against = {{limit, eventfd_round_trip(300us)}};
         }},
        {"10,000 in flight", "each result sends the next task", [](row& row) {
             row.ours = in_flight(10'000);
             row.against = {{limit, two_lines(), 1},
                            {peer, python("asyncio.gather, ProcessPoolExecutor",
                                          {"asyncio_gather"})}};
         }}};
}

} // namespace bench
