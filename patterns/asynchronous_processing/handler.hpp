// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.

#pragma once

#include "loop.hpp"

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/associated_allocator.hpp>
#include <boost/asio/associated_cancellation_slot.hpp>
#include <boost/asio/associated_executor.hpp>
#include <boost/asio/dispatch.hpp>
#include <boost/asio/execution/context.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/query.hpp>
#include <boost/asio/recycling_allocator.hpp>
#include <boost/asio/system_context.hpp>

#include <exception>
#include <memory>
#include <type_traits>
#include <utility>
#include <variant>

namespace asynchronous_processing::detail {

/// Where the result of a call of type R is put until its handler runs.
template <class R>
struct result
{
    std::exception_ptr error;
    std::conditional_t<std::is_void_v<R>, std::monostate, R> value{};
};

/// A handler that does not care where it runs, as that of use_future, goes to
/// the home of the pool first, and is dispatched there: the system's thread
/// pool is nobody's loop.
template <class Handler, class Home>
constexpr bool is_anywhere = [] {
    using wanted = asio::associated_executor_t<Handler, Home>;
    using context = std::remove_reference_t<decltype(asio::query(
        std::declval<const wanted&>(), asio::execution::context))>;
    return !std::is_same_v<wanted, Home> &&
           (std::is_same_v<context, asio::system_context> ||
            std::is_same_v<context, asio::execution_context>);
}();

template <class Handler, class Home>
auto place_of(const Handler& handler, const Home& home)
{
    if constexpr (is_anywhere<Handler, Home>)
        return home;
    else
        return asio::get_associated_executor(handler, home);
}

/// The same with a place for a result of type R.
template <class R>
class waiter_for : public waiter
{
public:
    result<R> what;
};

/// A handler, the work that keeps its loop going, and where it will be called.
template <class R, class Handler, class Executor, bool Anywhere>
class waiting_handler final : public waiter_for<R>
{
public:
    // Where it says nothing of its own: what asio keeps for its handlers.
    using recycled = asio::recycling_allocator<void>;
    using allocator_type = asio::associated_allocator_t<Handler, recycled>;
    using own_allocator = typename std::allocator_traits<
        allocator_type>::template rebind_alloc<waiting_handler>;
    using own_traits = std::allocator_traits<own_allocator>;

    waiting_handler(Handler handler, const Executor& where)
        : work_(where)
        , handler_(std::move(handler))
    {
    }

    static waiting_handler* make(Handler handler, const Executor& where)
    {
        own_allocator memory(
            asio::get_associated_allocator(handler, recycled()));
        auto* at = own_traits::allocate(memory, 1);
        try
        {
            return ::new (static_cast<void*>(at))
                waiting_handler(std::move(handler), where);
        }
        catch (...)
        {
            own_traits::deallocate(memory, at, 1);
            throw;
        }
    }

    void post() override
    {
        auto now = dissolve();
        const auto where = now.work.get_executor();
        asio::post(where, std::move(now));
    }
    void dispatch() override
    {
        auto now = dissolve();
        // The same, but that it does not keep what the handler throws until
        // others have been called, who may throw, too.
        if constexpr (std::is_same_v<Executor, asio::io_context::executor_type>)
            return now();
        const auto where = now.work.get_executor();
        asio::dispatch(where, std::move(now));
    }
    void discard() noexcept override { dissolve(); }

private:
    using guard = asio::executor_work_guard<Executor>;

    // What is left when this object is gone.
    struct completion
    {
        using allocator_type = asio::associated_allocator_t<Handler>;
        allocator_type get_allocator() const noexcept
        {
            return asio::get_associated_allocator(handler);
        }
        void operator()()
        {
            work.reset();
            call(handler, what);
        }
        Handler handler;
        guard work;
        result<R> what;
    };

    completion dissolve() noexcept
    {
        completion left{std::move(handler_), std::move(work_),
                        std::move(this->what)};
        own_allocator memory(
            asio::get_associated_allocator(left.handler, recycled()));
        this->~waiting_handler();
        own_traits::deallocate(memory, this, 1);
        return left;
    }

    static void call(Handler& handler, result<R>& what)
    {
        if constexpr (Anywhere)
        {
            const auto place = asio::get_associated_executor(handler);
            asio::dispatch(place, [handler = std::move(handler),
                                   what = std::move(what)]() mutable {
                call_here(handler, what);
            });
        }
        else
            call_here(handler, what);
    }

    static void call_here(Handler& handler, result<R>& what)
    {
        if (auto slot = asio::get_associated_cancellation_slot(handler);
            slot.is_connected())
            slot.clear(); // in the handler's own place: nobody emits now
        Handler last(std::move(handler));
        if constexpr (std::is_void_v<R>)
            std::move(last)(std::move(what.error));
        else
            std::move(last)(std::move(what.error), std::move(what.value));
    }

    guard work_;
    Handler handler_;
};

} // namespace asynchronous_processing::detail
