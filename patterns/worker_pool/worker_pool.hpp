// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.

#pragma once

#include "future.hpp"
#include "mapping.hpp"

#include "common/executor.hpp"

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

namespace worker_pool {

/// In a task: what the pool's initializer returned in this worker, whether the
/// task has been asked to stop, and how many workers it has killed before.
using common::attempt;
using common::stop_requested;
using common::worker_state;

/// What submit does when as many tasks as `capacity` are not finished.
enum class overflow
{
    block,
    reject,
    caller_runs
};

/// How the pool ends.
enum class shutdown_mode
{
    graceful, // finish what was submitted
    fast,     // finish what runs, cancel what waits
    kill      // now
};

struct pool_options
{
    unsigned workers = common::kernel::usable_cpus();
    std::size_t capacity = 1024;     // tasks of each priority at a time
    std::size_t payload = 16u << 20; // bytes of arguments, and of a result
    overflow when_full = overflow::block;
    unsigned attempts = 3; // of each task; it may kill so many workers
    common::worker_limits recycle{}; // tasks, age, memory of a worker
    unsigned restarts = 10;          // of each worker ...
    std::chrono::milliseconds restart_window{10'000}; // ... in this time
    std::chrono::milliseconds restart_backoff{10};
    std::chrono::milliseconds start_deadline{30'000};
    std::chrono::milliseconds linger{60'000}; // how long ~pool drains
};

/// A pool of worker processes: functions in, futures out.
///
///     worker_pool::pool pool;
///     auto answer = pool.submit([](int x) { return x * x; }, 7);
///     std::cout << answer.get();
///
/// Every task whose submit returned comes to exactly one end: its result, its
/// exception, or, when it has killed as many workers as it was allowed,
/// common::worker_died.  Its body may run more than once.  Workers that die
/// with nothing done and no task to blame are replaced within a restart budget;
/// when that is spent, all futures throw common::exhausted, and none waits for
/// ever.
///
/// A task is a function or a callable without captures (or in
/// common::capture), and what it takes and returns has a common::codec.  All
/// members may be called from any thread.  Pools nest: a task may have a pool
/// of its own, eight levels deep.
class pool
{
public:
    explicit pool(const pool_options& options = {}) : pool(options, [] {}) {}

    /// Each worker calls `init(arguments...)` before its first task; what it
    /// returns is the worker's state.  Where init throws in three starts in a
    /// row, submit and get throw common::exhausted with the cause.
    template <class Init, class... A>
    requires(!std::is_arithmetic_v<Init>)
        pool(const pool_options& options, Init init, A... arguments)
        : options_(checked(options))
        , services_(std::make_shared<detail::services>(
              translate(options), std::move(init), std::move(arguments)...))
    {
        services_->executor.shared_ledger()->owner = services_;
    }
    explicit pool(unsigned workers) : pool(pool_options{.workers = workers}) {}

    pool(const pool&) = delete;

    /// Finishes what was submitted, for `linger` at most; kills when an
    /// exception is on its way through.
    ~pool()
    {
        const bool failing = std::uncaught_exceptions() > exceptions_;
        shutdown(failing ? shutdown_mode::kill : shutdown_mode::graceful,
                 options_.linger);
    }

    unsigned size() const { return options_.workers; }

    /// Submits a call.  Waits while the pool is full, throws common::full, or
    /// runs the call right here, as `when_full` says.  Throws common::closed
    /// after shutdown, common::exhausted when no workers are left,
    /// std::length_error when the arguments are larger than the payload.
    template <class F, class... A>
    requires(!std::is_same_v<std::decay_t<F>, task_options>) auto submit(
        F&& function, A&&... arguments)
    {
        return send(plain_, std::forward<F>(function),
                    std::forward<A>(arguments)...);
    }
    template <class F, class... A>
    auto submit(const task_options& how, F&& function, A&&... arguments)
    {
        return send(translate(how, options_.attempts),
                    std::forward<F>(function), std::forward<A>(arguments)...);
    }

    /// The results of `function` for each item of a range, in order.  Items
    /// that are tuples are unpacked where the function takes their parts.
    /// See mapping.
    template <std::ranges::input_range Range, class F>
    auto map(Range&& range, F&& function, map_options how = {})
    {
        return mapping<pool, Range, std::decay_t<F>>(
            *this, std::forward<Range>(range), std::forward<F>(function), how);
    }

    /// The same in the order in which they get done.
    template <std::ranges::input_range Range, class F>
    auto map_unordered(Range&& range, F&& function, map_options how = {})
    {
        how.ordered = false;
        return map(std::forward<Range>(range), std::forward<F>(function), how);
    }

    /// Ends the pool within `limit`, whatever tasks do, and waits for callbacks
    /// (unless it is one that calls this); afterwards submit throws
    /// common::closed.  Returns whether nothing had to be killed.
    bool shutdown(shutdown_mode mode,
                  std::chrono::milliseconds limit = std::chrono::seconds(60))
    {
        const auto deadline = common::deadline_after(limit);
        auto& work = services_->executor;
        bool orderly = mode != shutdown_mode::kill;
        if (mode == shutdown_mode::fast)
            work.cancel_queued();
        if (orderly)
            orderly = work.drain(deadline);
        orderly = work.stop(orderly ? deadline : clock::now()) && orderly;
        services_->end_callbacks();
        return orderly;
    }

    /// Live figures: tasks queued, running, finished, retried, poisoned;
    /// workers with pid, age and restarts.
    common::executor::statistics stats() const
    {
        return services_->executor.stats();
    }

private:
    static const pool_options& checked(const pool_options& options)
    {
        if (options.workers == 0 || options.workers > 4095)
            throw std::invalid_argument("a pool needs 1 to 4095 workers, not " +
                                        std::to_string(options.workers));
        if (options.attempts == 0)
            throw std::invalid_argument("a task needs at least one attempt");
        if (options.capacity == 0 || options.capacity > 100'000)
            throw std::invalid_argument(
                "a pool holds 1 to 100000 tasks at a time, not " +
                std::to_string(options.capacity));
        // Pools within tasks of pools: a mistake must not fill the machine.
        if (common::nesting_depth() >= 8)
            throw std::logic_error("pools are nested eight levels deep");
        return options;
    }

    static common::executor::options translate(const pool_options& options)
    {
        common::executor::options result;
        result.staff.workers = options.workers;
        result.staff.restarts = options.restarts;
        result.staff.window = options.restart_window;
        result.staff.backoff = options.restart_backoff;
        result.staff.start_deadline = options.start_deadline;
        result.table.capacity = static_cast<unsigned>(options.capacity);
        result.table.payload = options.payload;
        result.priorities = 3;
        result.limits = options.recycle;
        return result;
    }

    static common::task_options translate(const task_options& how,
                                          unsigned attempts)
    {
        return {how.attempts == 0 ? attempts : how.attempts,
                static_cast<unsigned>(how.priority), how.soft_deadline,
                how.hard_deadline};
    }

    template <class F, class... A>
    auto send(const common::task_options& how, F&& function, A&&... arguments)
    {
        using what = std::decay_t<F>;
        using result = common::result_of<what, std::decay_t<A>...>;
        future<result> answer;
        const what f(std::forward<F>(function)); // decays functions, too
        answer.ticket_ = services_->executor.submit_until(
            options_.when_full == overflow::block ? time_point::max()
                                                  : time_point::min(),
            how, f, static_cast<const std::decay_t<A>&>(arguments)...);
        if (answer.ticket_)
            return answer;
        if (options_.when_full == overflow::reject)
            throw common::full("the pool has " +
                               std::to_string(options_.capacity) +
                               " unfinished tasks already");
        answer.local_ =
            std::make_shared<detail::local_result<result>>(services_);
        answer.local_->compute([&]() -> result {
            return f(std::decay_t<A>(std::forward<A>(arguments))...);
        });
        return answer;
    }

    pool_options options_;
    common::task_options plain_ = translate(task_options{}, options_.attempts);
    int exceptions_ = std::uncaught_exceptions();
    std::shared_ptr<detail::services> services_;
};

} // namespace worker_pool
