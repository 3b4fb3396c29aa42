// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.

#pragma once

#include "call.hpp"
#include "lookout.hpp"
#include "loop.hpp"

#include "common/executor.hpp"

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/async_result.hpp>
#include <boost/asio/cancellation_type.hpp>
#include <boost/asio/execution/context.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/query.hpp>

#include <chrono>
#include <cstddef>
#include <exception>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>

namespace asynchronous_processing {

/// In a task: what the pool's initializer returned in this worker, whether the
/// task has been asked to stop, and how many workers it has killed before.
using common::attempt;
using common::stop_requested;
using common::worker_state;
using detail::overflow;

struct pool_options
{
    unsigned workers = common::kernel::usable_cpus();
    std::size_t in_flight = 1024; // calls that have been sent to workers
    overflow when_full = overflow::wait;
    std::size_t payload = 16u << 20; // bytes of arguments, and of a result
    unsigned attempts = 3; // of each task; it may kill so many workers
    common::worker_limits recycle{}; // tasks, age, memory of a worker
    unsigned restarts = 10;          // of each worker ...
    std::chrono::milliseconds restart_window{10'000}; // ... in this time
    std::chrono::milliseconds restart_backoff{10};
    std::chrono::milliseconds start_deadline{30'000};
};

struct call_options
{
    std::string name{};                        // for messages and statistics
    unsigned attempts = 0;                     // 0: as the pool says
    std::chrono::nanoseconds soft_deadline{0}; // running: is asked to stop
    std::chrono::nanoseconds hard_deadline{0}; // running: is killed
};

namespace detail {

template <class R>
struct signature_of
{
    using type = void(std::exception_ptr, R);
};
template <>
struct signature_of<void>
{
    using type = void(std::exception_ptr);
};

/// What asio starts once it knows the handler.
template <class R, class F, class... A>
struct initiation
{
    using executor_type = asio::any_io_executor;

    executor_type get_executor() const noexcept { return work->home(); }

    template <class Handler>
    void operator()(Handler&& handler, unsigned attempts, options_ptr how,
                    F function, std::tuple<A...> arguments) const&
    {
        auto again = *this;
        std::move(again)(std::forward<Handler>(handler), attempts,
                         std::move(how), std::move(function),
                         std::move(arguments));
    }
    template <class Handler>
    void operator()(Handler&& handler, unsigned attempts, options_ptr how,
                    F function, std::tuple<A...> arguments) &&
    {
        // The call may be over as soon as it has entered, and the coroutine
        // that holds this object with it.
        const auto calls = std::move(work);
        const boost::intrusive_ptr<call_of<R>> one(new call_of<R>(calls));
        if (auto slot = asio::get_associated_cancellation_slot(handler);
            slot.is_connected())
            slot.assign([one](asio::cancellation_type type) {
                constexpr auto hard = asio::cancellation_type::terminal |
                                      asio::cancellation_type::partial;
                one->revoke((type & hard) != asio::cancellation_type::none);
            });
        order_of<F, A...> what(attempts, std::move(how), std::move(function),
                               std::move(arguments));
        const auto where = place_of(handler, calls->home());
        if constexpr (std::is_same_v<decltype(where), const executor_type>)
            if (const auto* io =
                    where.template target<asio::io_context::executor_type>())
                return begin(std::forward<Handler>(handler), *io, one, what,
                             calls);
        begin(std::forward<Handler>(handler), where, one, what, calls);
    }

    template <class Handler, class Executor>
    static void begin(Handler&& handler, const Executor& where,
                      const boost::intrusive_ptr<call_of<R>>& one,
                      order_of<F, A...>& what,
                      const std::shared_ptr<dispatcher>& calls)
    {
        using kept = std::decay_t<Handler>;
        auto* who = waiting_handler<R, kept, Executor,
                                    is_anywhere<kept, executor_type>>::
            make(std::forward<Handler>(handler), where);
        const auto in =
            calls->loop_of(asio::query(where, asio::execution::context));
        one->waits(*who, in);
        calls->enter(one, what);
        lookout<Executor>::start(where, in, calls);
    }

    std::shared_ptr<dispatcher> work;
};

} // namespace detail

/// Worker processes behind an event loop:
///
///     asynchronous_processing::pool pool(io);
///     int answer = co_await pool.async_submit(square, 7, use_awaitable);
///
/// Every call completes exactly once, by a handler that is called by its
/// associated executor (`io` where it has none), never inside of the function
/// that submits or cancels: with what the task returned or threw, with
/// common::worker_died when it has killed as many workers as it was allowed,
/// common::cancelled, common::timed_out, common::closed after shutdown, or
/// common::exhausted when there are no workers any more.  A loop that is
/// destroyed takes its handlers with it, uncalled, and their tasks are
/// cancelled.
///
/// A task is a function or a callable without captures (or in
/// common::capture), and what it takes and returns has a common::codec.  All
/// members may be called from any thread.
class pool
{
public:
    using executor_type = boost::asio::any_io_executor;

    explicit pool(executor_type home, const pool_options& options = {})
        : pool(std::move(home), options, [] {})
    {
    }

    /// Each worker calls `init(arguments...)` before its first task; what it
    /// returns is the worker's state.
    template <class Init, class... A>
    pool(executor_type home, const pool_options& options, Init init,
         A... arguments)
        : options_(checked(options))
        , work_(std::make_shared<detail::dispatcher>(
              std::move(home), translate(options), options.when_full,
              std::move(init), std::move(arguments)...))
    {
    }
    template <class Context, class... A>
    requires std::is_convertible_v<Context&, boost::asio::execution_context&>
    explicit pool(Context& home, const pool_options& options = {},
                  A... arguments)
        : pool(executor_type(home.get_executor()), options,
               std::move(arguments)...)
    {
    }

    pool(const pool&) = delete;

    /// Kills who runs; all that is in flight completes with common::closed.
    ~pool() { stop(common::clock::now()); }

    executor_type get_executor() const { return work_->home(); }
    unsigned size() const { return options_.workers; }

    /// async_submit(function, arguments..., token): calls
    /// `function(arguments...)` in a worker.  The handler's signature is
    /// void(std::exception_ptr, R), or void(std::exception_ptr) where the
    /// function returns nothing: so that `co_await` and `future.get()` throw
    /// what the task threw.  Requires: R has a default value.
    ///
    /// Cancellation (of the handler's slot) removes a call that has not begun,
    /// and by `terminal` or `partial` kills the worker of one that runs; the
    /// handler is called when that process is gone, with common::cancelled.
    template <class F, class... X>
    requires(!std::is_same_v<std::decay_t<F>, call_options>) auto async_submit(
        F&& function, X&&... arguments_and_token)
    {
        return async_submit(call_options{}, std::forward<F>(function),
                            std::forward<X>(arguments_and_token)...);
    }
    template <class F, class... X>
    auto async_submit(const call_options& how, F&& function,
                      X&&... arguments_and_token)
    {
        return split(
            how, {}, std::decay_t<F>(std::forward<F>(function)),
            std::make_index_sequence<sizeof...(X) - 1>(),
            std::forward_as_tuple(std::forward<X>(arguments_and_token)...));
    }

    /// The same; `on_news` is called, in a thread of the pool or of the loop,
    /// after the task has called common::announce(); now and then also when
    /// there is nothing new.
    template <class F, class... X>
    auto async_submit_with_news(const call_options& how,
                                std::function<void()> on_news, F&& function,
                                X&&... arguments_and_token)
    {
        return split(
            how, std::move(on_news), std::decay_t<F>(std::forward<F>(function)),
            std::make_index_sequence<sizeof...(X) - 1>(),
            std::forward_as_tuple(std::forward<X>(arguments_and_token)...));
    }

    /// Accepts nothing more and waits until all that was sent has a result;
    /// what waits for room completes with common::closed.  Blocks: not for a
    /// thread of the loop.  False when it is not done at `deadline`.
    bool drain(common::time_point deadline)
    {
        work_->close();
        return work_->work().drain(deadline);
    }

    /// Ends the workers: each after its task, or killed at `deadline`.  What
    /// has no result then completes with common::closed.
    bool stop(common::time_point deadline)
    {
        work_->close();
        return work_->work().stop(deadline);
    }

    /// Kills the worker in `slot`, from 1 on: it is replaced, its task runs
    /// again.  Returns whether there was one.
    bool kill(unsigned slot) { return work_->work().kill(slot); }

    struct statistics : common::executor::statistics
    {
        std::size_t waiting = 0; // for room
        std::size_t in_flight = 0;
    };

    /// Live figures; workers with pid, task, ages and restarts.
    statistics stats() const
    {
        return {work_->work().stats(), work_->waiting(), work_->active()};
    }

private:
    template <class F, std::size_t... I, class T>
    auto split(const call_options& how, std::function<void()> on_news,
               F function, std::index_sequence<I...>, T&& all)
    {
        return initiate(how, std::move(on_news), std::move(function),
                        std::get<sizeof...(I)>(std::forward<T>(all)),
                        std::decay_t<std::tuple_element_t<I, std::decay_t<T>>>(
                            std::get<I>(std::forward<T>(all)))...);
    }

    template <class F, class Token, class... A>
    auto initiate(const call_options& how, std::function<void()> on_news,
                  F function, Token&& token, A... arguments)
    {
        using R = common::result_of<F, A...>;
        static_assert(std::is_void_v<R> || std::is_default_constructible_v<R>,
                      "a handler gets a result also with an error: give it a "
                      "default constructor, or wrap it in std::optional");
        using signature = typename detail::signature_of<R>::type;
        detail::options_ptr special;
        if (on_news || !how.name.empty() || how.soft_deadline.count() != 0 ||
            how.hard_deadline.count() != 0)
        {
            special = std::make_unique<common::task_options>();
            special->soft = how.soft_deadline;
            special->hard = how.hard_deadline;
            special->name = how.name;
            special->on_news = std::move(on_news);
        }
        std::decay_t<Token> own(
            std::forward<Token>(token)); // binders of Boost 1.81 want no const
        return boost::asio::async_initiate<std::decay_t<Token>, signature>(
            detail::initiation<R, F, A...>{work_}, own,
            how.attempts == 0 ? options_.attempts : how.attempts,
            std::move(special), std::move(function),
            std::tuple<A...>(std::move(arguments)...));
    }

    static const pool_options& checked(const pool_options& options)
    {
        if (options.workers == 0 || options.workers > 4095)
            throw std::invalid_argument("a pool needs 1 to 4095 workers, not " +
                                        std::to_string(options.workers));
        if (options.attempts == 0 || options.attempts > 200)
            throw std::invalid_argument(
                "a task may have 1 to 200 attempts, not " +
                std::to_string(options.attempts));
        if (options.in_flight == 0 || options.in_flight > 100'000)
            throw std::invalid_argument(
                "a pool has 1 to 100000 calls in flight, not " +
                std::to_string(options.in_flight));
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
        result.table.capacity = static_cast<unsigned>(options.in_flight);
        result.table.payload = options.payload;
        result.limits = options.recycle;
        return result;
    }

    pool_options options_;
    std::shared_ptr<detail::dispatcher> work_;
};

} // namespace asynchronous_processing
