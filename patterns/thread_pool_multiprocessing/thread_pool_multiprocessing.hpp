// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.

#pragma once

#include "crash_note.hpp"
#include "future.hpp"
#include "worker.hpp"

#include "common/executor.hpp"

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdlib>
#include <exception>
#include <memory>
#include <ranges>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

namespace thread_pool_multiprocessing {

/// In a task: whether it has been asked to stop, and how often it has been
/// charged with the end of its process.
using common::attempt;
using common::stop_requested;

/// How many processes, and how many threads in each: {P, 1} isolates every
/// task, {1, T} shares all memory but with the program, {P, T} is between.
struct shape
{
    unsigned processes = 1;
    unsigned threads = 1;

    /// Uses so many CPUs: as many threads in each process as there are
    /// processes, or less.  2 are two processes, 4 two by two, 8 four by two.
    static shape of(unsigned cpus = common::kernel::usable_cpus())
    {
        unsigned threads = 1;
        for (unsigned t = 1; t * t <= cpus; ++t)
            if (cpus % t == 0)
                threads = t;
        return {std::max(1u, cpus / threads), threads};
    }
};

struct pool_options
{
    thread_pool_multiprocessing::shape shape = shape::of();
    bool partition = false;      // each process has its own part of the CPUs
    std::size_t capacity = 1024; // unfinished tasks; then submit waits
    std::size_t payload = 16u << 20;      // bytes of arguments, and of a result
    unsigned attempts = 3;                // of each task
    std::chrono::milliseconds grace{100}; // for the neighbours of a thread
                                          // that must be killed
    common::worker_limits recycle{}; // tasks of a thread, age and memory of a
                                     // process, which is then replaced
    unsigned restarts = 10;          // of each process ...
    std::chrono::milliseconds restart_window{10'000}; // ... in this time
    std::chrono::milliseconds restart_backoff{10};
    std::chrono::milliseconds start_deadline{30'000};
    std::chrono::milliseconds linger{60'000}; // how long ~pool drains
};

struct task_options
{
    unsigned attempts = 0;                     // 0: as the pool says
    std::chrono::nanoseconds soft_deadline{0}; // running longer: asked to stop
    std::chrono::nanoseconds hard_deadline{0}; // running longer: ended, with
                                               // its process
};

namespace detail {

template <class F, class Item>
struct run_chunk
{
    auto operator()(common::packed<F> f, std::vector<Item> items) const
    {
        std::vector<common::result_of<F, Item>> results;
        results.reserve(items.size());
        for (auto& one : items)
            results.push_back(f.function(std::move(one)));
        return results;
    }
};

} // namespace detail

/// A pool of processes with threads: functions in, futures out.
///
///     thread_pool_multiprocessing::pool pool({.shape = {2, 4}});
///     auto answer = pool.submit([](int x) { return x * x; }, 7);
///     std::cout << answer.get();
///
/// Every task whose submit returned comes to exactly one end: its result, its
/// exception, or, when it has crashed as often as it was allowed,
/// common::worker_died.  Its body may run more than once.  Of the tasks in a
/// process that crashes, only that of the thread which crashed is charged an
/// attempt, and its error has the stack; the others run again.  Where nobody
/// knows who it was (SIGKILL from outside, or for want of memory), each of
/// them is charged.
///
/// A task is a function or a callable without captures (or in
/// common::capture), and what it takes and returns has a common::codec.  All
/// members may be called from any thread.  A task may start threads and pools
/// of its own: it waits for none of this pool's threads.
class pool
{
public:
    explicit pool(const pool_options& options = {}) : pool(options, [] {}) {}
    explicit pool(const shape& wanted) : pool(pool_options{.shape = wanted}) {}

    /// Each process calls `process_init()` once, then each of its threads
    /// `thread_init()`; what they return is the state that a task finds by
    /// `process_state` and `thread_state`.  Where one throws in three starts
    /// in a row, submit and get throw common::exhausted with the cause.
    template <class ProcessInit>
    pool(const pool_options& options, ProcessInit process_init)
        : pool(options, std::move(process_init), [] {})
    {
    }
    template <class ProcessInit, class ThreadInit>
    pool(const pool_options& options, ProcessInit process_init,
         ThreadInit thread_init)
        : options_(checked(options))
        , notes_(options.shape.processes)
        , executor_(std::make_shared<common::executor>(
              translate(),
              common::with_body<
                  detail::serve_threads<ProcessInit, ThreadInit>>{},
              detail::plan{options.shape.processes, options.shape.threads,
                           options.partition},
              notes_, common::packed<ProcessInit>{process_init},
              common::packed<ThreadInit>{thread_init}))
    {
    }

    pool(const pool&) = delete;

    /// Finishes what was submitted, for `linger` at most; kills when an
    /// exception is on its way through.
    ~pool()
    {
        if (std::uncaught_exceptions() > exceptions_)
            executor_->stop(clock::now());
        else
            shutdown(options_.linger);
    }

    const pool_options& options() const { return options_; }

    /// Threads, of all processes.
    unsigned size() const
    {
        return options_.shape.processes * options_.shape.threads;
    }

    /// Submits a call.  Waits while the pool is full.  Throws common::closed
    /// after shutdown, common::exhausted when no processes are left,
    /// std::length_error when the arguments are larger than the payload.
    template <class F, class... A>
    requires(!std::is_same_v<std::decay_t<F>, task_options>) auto submit(
        F&& function, A&&... arguments)
    {
        return submit(task_options{}, std::forward<F>(function),
                      std::forward<A>(arguments)...);
    }
    template <class F, class... A>
    auto submit(const task_options& how, F&& function, A&&... arguments)
    {
        using what = std::decay_t<F>;
        future<common::result_of<what, std::decay_t<A>...>> answer;
        const what f(std::forward<F>(function)); // decays functions, too
        answer.ticket_ = executor_->submit(
            {how.attempts == 0 ? options_.attempts : how.attempts, 0,
             how.soft_deadline, how.hard_deadline},
            f, static_cast<const std::decay_t<A>&>(arguments)...);
        answer.executor_ = executor_;
        return answer;
    }

    /// The results of `function` for each item of a range, in order.  Items
    /// travel in chunks of `chunk`; 0: so many that each thread gets eight.
    /// Throws what the first item threw that failed, and takes back what does
    /// not run by then; a chunk that crashed is run again item by item, so that
    /// one item alone is charged.
    template <std::ranges::input_range Range, class F>
    auto map(Range&& range, F function, std::size_t chunk = 0)
    {
        using item = std::ranges::range_value_t<Range>;
        using result = common::result_of<F, item>;
        static_assert(!std::is_void_v<result>,
                      "map gives results back: its function must return one");
        std::vector<item> items;
        for (auto&& one : range)
            items.push_back(std::forward<decltype(one)>(one));
        if (chunk == 0)
            chunk = std::max<std::size_t>(1, items.size() / (8 * size()));
        std::vector<future<std::vector<result>>> sent;
        std::vector<result> results;
        results.reserve(items.size());
        try
        {
            for (std::size_t i = 0; i < items.size(); i += chunk)
                sent.push_back(send(function, part(items, i, chunk), chunk));
            for (auto& one : sent)
                receive(one, function, part(items, results.size(), chunk),
                        results);
        }
        catch (...)
        {
            take_back(sent);
            throw;
        }
        return results;
    }

    /// Finishes what was submitted, for `limit` at most, and ends the pool;
    /// afterwards submit throws common::closed.  Returns whether nothing had
    /// to be killed.
    bool shutdown(std::chrono::milliseconds limit = std::chrono::seconds(60))
    {
        const auto deadline = common::deadline_after(limit);
        const bool drained = executor_->drain(deadline);
        return executor_->stop(drained ? deadline : clock::now()) && drained;
    }

    /// Live figures: tasks queued, running, finished, retried (charged), moved
    /// (not charged); processes with pid, age and restarts.
    common::executor::statistics stats() const { return executor_->stats(); }

private:
    template <class Item>
    static std::vector<Item> part(const std::vector<Item>& items,
                                  std::size_t from, std::size_t chunk)
    {
        const auto at = items.begin() + static_cast<std::ptrdiff_t>(from);
        const auto n = std::min(chunk, items.size() - from);
        return std::vector<Item>(at, at + static_cast<std::ptrdiff_t>(n));
    }

    template <class F, class Item>
    auto send(const F& function, std::vector<Item> items, std::size_t chunk)
    {
        return submit(task_options{.attempts = chunk > 1 ? 1u : 0u},
                      detail::run_chunk<F, Item>{}, common::packed<F>{function},
                      std::move(items));
    }

    template <class F, class Item, class R>
    void receive(future<std::vector<R>>& one, const F& function,
                 std::vector<Item> items, std::vector<R>& results)
    {
        try
        {
            for (auto&& value : one.get())
                results.push_back(std::move(value));
            return;
        }
        catch (const common::worker_died&)
        {
            if (items.size() == 1)
                throw;
        }
        std::vector<future<std::vector<R>>> again;
        try
        {
            for (auto& item : items)
                again.push_back(send(function, std::vector<Item>{item}, 1));
            for (auto& each : again)
                results.push_back(std::move(each.get().front()));
        }
        catch (...)
        {
            take_back(again);
            throw;
        }
    }

    template <class R>
    static void take_back(const std::vector<future<R>>& all)
    {
        for (const auto& one : all)
            if (one.valid())
                one.cancel();
    }

    static const pool_options& checked(const pool_options& options)
    {
        const auto [processes, threads] = options.shape;
        if (processes == 0 || threads == 0 || processes > 4095 ||
            threads > 4095 / processes)
            throw std::invalid_argument(
                "a pool needs 1 to 4095 threads in all, not " +
                std::to_string(processes) + " processes of " +
                std::to_string(threads));
        if (options.capacity == 0 || options.capacity > 100'000)
            throw std::invalid_argument(
                "a pool holds 1 to 100000 tasks at a time, not " +
                std::to_string(options.capacity));
        if (common::nesting_depth() >= 8)
            throw std::logic_error("pools are nested eight levels deep");
        return options;
    }

    common::executor::options translate()
    {
        common::executor::options result;
        result.staff.workers = options_.shape.processes;
        result.staff.restarts = options_.restarts;
        result.staff.window = options_.restart_window;
        result.staff.backoff = options_.restart_backoff;
        result.staff.start_deadline = options_.start_deadline;
        result.staff.environment = caps(size());
        result.table.capacity = static_cast<unsigned>(options_.capacity);
        result.table.payload = options_.payload;
        result.limits = options_.recycle;
        result.threads = options_.shape.threads;
        result.grace = options_.grace;
        result.examine = [notes = notes_, threads = options_.shape.threads](
                             const common::crew::ended& who) {
            return read(notes[who.slot - 1], who.slot, threads);
        };
        return result;
    }

    // In the supervising thread, after the process was reaped.
    static common::post_mortem read(crash_note& note, unsigned process,
                                    unsigned threads)
    {
        common::post_mortem result;
        if (note.now.load() != crash_note::none)
        {
            const auto first = (process - 1) * threads + 1;
            if (note.slot >= first && note.slot < first + threads)
                result.guilty = note.slot;
            result.stack = note.stack();
        }
        note.now.store(crash_note::none);
        return result;
    }

    // Libraries that start a thread for each CPU in each of our threads would
    // fill the machine many times over.  What the user has set stays.
    static std::vector<std::string> caps(unsigned threads)
    {
        const auto each = std::max(1u, common::kernel::usable_cpus() / threads);
        std::vector<std::string> result;
        for (const std::string name :
             {"OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"})
            if (std::getenv(name.c_str()) == nullptr)
                result.push_back(name + "=" + std::to_string(each));
        return result;
    }

    pool_options options_;
    int exceptions_ = std::uncaught_exceptions();
    common::shared_array<crash_note> notes_;
    std::shared_ptr<common::executor> executor_;
};

} // namespace thread_pool_multiprocessing
