// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.

#pragma once

#include "pool.hpp"
#include "stream.hpp"

#include <boost/asio/awaitable.hpp>
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/bind_executor.hpp>
#include <boost/asio/cancellation_signal.hpp>

#include <cstddef>
#include <deque>
#include <exception>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>
#include <variant>

namespace asynchronous_processing {

/// A call of a group that is over.
template <class R>
struct completion
{
    std::size_t number = 0; // from 0, in the order of submission
    detail::result<R> what;
    bool taken = false;

    /// Takes the result out, once: std::logic_error then.  Throws what the task
    /// threw.
    R get()
    {
        if (what.error)
            std::rethrow_exception(what.error);
        if (std::exchange(taken, true))
            throw std::logic_error("the result of call " +
                                   std::to_string(number) +
                                   " has been taken already");
        if constexpr (!std::is_void_v<R>)
            return std::move(what.value);
    }
};

/// Calls whose results are wanted as they come:
///
///     asynchronous_processing::group<int> all(pool);
///     for (int i = 0; i < 10; ++i)
///         all.submit(square, i);
///     while (auto one = co_await all.next())
///         use(one->number, one->get());
///
/// A group that is destroyed cancels what it has not given.  For one coroutine,
/// on the pool's executor, which must run one handler at a time.
template <class R>
class group
{
public:
    explicit group(pool& p)
        : pool_(p)
        , state_(std::make_shared<state>(p.get_executor()))
    {
    }
    group(const group&) = delete;
    ~group() { cancel(); }

    template <class F, class... A>
    requires(!std::is_same_v<std::decay_t<F>, call_options>) void submit(
        F&& function, A&&... arguments)
    {
        submit(call_options{}, std::forward<F>(function),
               std::forward<A>(arguments)...);
    }
    template <class F, class... A>
    void submit(const call_options& how, F&& function, A&&... arguments)
    {
        const auto number = state_->cancels.size();
        auto& cancel = state_->cancels.emplace_back();
        ++state_->left;
        const auto s = state_;
        pool_.async_submit(
            how, std::forward<F>(function), std::forward<A>(arguments)...,
            boost::asio::bind_cancellation_slot(
                cancel.slot(),
                boost::asio::bind_executor(
                    pool_.get_executor(),
                    [s, number](std::exception_ptr error, auto... value) {
                        s->done.push_back(
                            {number, {std::move(error), std::move(value)...}});
                        s->change.wake();
                    })));
    }

    /// The next that is over; nothing when all have been given.
    boost::asio::awaitable<std::optional<completion<R>>> next()
    {
        const auto s = state_;
        while (s->done.empty()) // each call completes
        {
            if (s->left == 0)
                co_return std::nullopt;
            co_await s->change.wait();
        }
        std::optional<completion<R>> one(std::move(s->done.front()));
        s->done.pop_front();
        --s->left;
        co_return one;
    }

    /// Cancels what is not over, with the workers that run it.
    void cancel()
    {
        for (auto& one : state_->cancels)
            one.emit(boost::asio::cancellation_type::terminal);
    }

private:
    struct state
    {
        explicit state(const boost::asio::any_io_executor& where)
            : change(where)
        {
        }
        detail::awakening change;
        std::deque<boost::asio::cancellation_signal> cancels; // stay in place
        std::deque<completion<R>> done;
        std::size_t left = 0; // not given yet
    };

    pool& pool_;
    std::shared_ptr<state> state_;
};

/// The first of a group that returns; the others are cancelled, and their
/// workers are gone when this completes.  Throws what the last one threw when
/// none returns, and std::invalid_argument for an empty group.
template <class R>
boost::asio::awaitable<completion<R>> first_of(group<R>& all)
{
    std::optional<completion<R>> winner, loser;
    while (auto one = co_await all.next())
    {
        auto& place = one->what.error ? loser : winner;
        if (!one->what.error && !winner)
            all.cancel();
        if (!place || one->what.error)
            place = std::move(one);
    }
    if (winner)
        co_return std::move(*winner);
    if (!loser)
        throw std::invalid_argument("the first of no calls");
    std::rethrow_exception(loser->what.error);
}

} // namespace asynchronous_processing
