// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.

#pragma once

#include <boost/asio/associated_allocator.hpp>
#include <boost/asio/associated_cancellation_slot.hpp>
#include <boost/asio/associated_executor.hpp>
#include <boost/asio/bind_allocator.hpp>
#include <boost/asio/dispatch.hpp>
#include <boost/asio/execution/context.hpp>
#include <boost/asio/execution_context.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/query.hpp>
#include <boost/asio/system_context.hpp>
#include <boost/intrusive/list.hpp>

#include <exception>
#include <memory>
#include <mutex>
#include <optional>
#include <type_traits>
#include <utility>
#include <variant>

namespace asynchronous_processing::detail {

namespace asio = boost::asio;

/// Where the result of a call of type R is put until its handler runs.
template <class R>
struct result
{
    std::exception_ptr error;
    std::conditional_t<std::is_void_v<R>, std::monostate, R> value{};
};

/// What a handler waits for, and what can be taken back.
class revocable
{
public:
    virtual void revoke(bool force) = 0;

protected:
    ~revocable() = default;
};

/// A handler that waits for the end of its task, or of its event loop.
class waiter : public boost::intrusive::list_base_hook<>
{
public:
    std::weak_ptr<revocable> task;

    /// The loop has ended: destroys the handler, which is never called.
    virtual void discard() noexcept = 0;

protected:
    ~waiter() = default;
};

/// What one event loop waits for.  An io_context may be destroyed while tasks
/// run for it: whoever brings a result later finds out here, under the lock,
/// and does not touch the loop any more.
class loop
{
public:
    void enter(waiter& one)
    {
        const std::lock_guard hold(mutex_);
        all_.push_back(one);
    }

    /// Calls `f` if the handler still waits; it waits no more.  `f` may post
    /// to the loop, which cannot end meanwhile.
    template <class W, class F>
    void leave(W& one, F f)
    {
        const std::lock_guard hold(mutex_);
        if (gone_)
            return; // and so is `one`
        all_.erase(all_.iterator_to(one));
        f();
    }

    /// Calls `f`, which may post to the loop, unless it has ended.
    template <class F>
    void if_alive(F f)
    {
        const std::lock_guard hold(mutex_);
        if (!gone_)
            f();
    }

    void end()
    {
        boost::intrusive::list<waiter> left;
        {
            const std::lock_guard hold(mutex_);
            gone_ = true;
            left.swap(all_);
        }
        // Unlocked: what a handler owns may come back here when it goes.
        left.clear_and_dispose([](waiter* one) {
            const auto task = one->task.lock();
            one->discard();
            if (task)
                task->revoke(true); // nobody would see what it comes to
        });
    }

    /// That of the executor's io_context, thread pool or the like.
    template <class Executor>
    static std::shared_ptr<loop> of(const Executor& executor);

private:
    std::mutex mutex_;
    bool gone_ = false;
    boost::intrusive::list<waiter> all_;
};

/// The loop's place in its io_context.
class loop_service final : public asio::execution_context::service
{
public:
    using key_type = loop_service;
    static inline asio::execution_context::id id;

    explicit loop_service(asio::execution_context& context) : service(context)
    {
    }
    const std::shared_ptr<loop> mine = std::make_shared<loop>();

private:
    void shutdown() override { mine->end(); }
};

template <class Executor>
std::shared_ptr<loop> loop::of(const Executor& executor)
{
    asio::execution_context& context =
        asio::query(executor, asio::execution::context);
    return asio::use_service<loop_service>(context).mine;
}

/// The same with a result of type R: what it needs to call the handler where
/// the handler wants to be called.
template <class R>
class waiter_for : public waiter
{
public:
    virtual void post(result<R> what) = 0;
};

template <class R, class Handler, class Default>
class waiting_handler final : public waiter_for<R>
{
public:
    using wanted = asio::associated_executor_t<Handler, Default>;
    using context = std::remove_reference_t<decltype(asio::query(
        std::declval<const wanted&>(), asio::execution::context))>;
    // A handler that does not care where it runs, as that of use_future, goes
    // to the default place first, and is dispatched there: the system's thread
    // pool is nobody's loop.
    static constexpr bool anywhere =
        !std::is_same_v<wanted, Default> &&
        (std::is_same_v<context, asio::system_context> ||
         std::is_same_v<context, asio::execution_context>);
    using executor_type = std::conditional_t<anywhere, Default, wanted>;
    using allocator_type = asio::associated_allocator_t<Handler>;
    using own_allocator = typename std::allocator_traits<
        allocator_type>::template rebind_alloc<waiting_handler>;
    using own_traits = std::allocator_traits<own_allocator>;

    waiting_handler(Handler handler, const Default& otherwise)
        : work_(place_of(handler, otherwise))
        , handler_(std::move(handler))
    {
    }

    static waiting_handler* make(Handler handler, const Default& otherwise)
    {
        own_allocator memory(asio::get_associated_allocator(handler));
        auto* at = own_traits::allocate(memory, 1);
        try
        {
            return ::new (static_cast<void*>(at))
                waiting_handler(std::move(handler), otherwise);
        }
        catch (...)
        {
            own_traits::deallocate(memory, at, 1);
            throw;
        }
    }

    executor_type executor() const { return work_.get_executor(); }

    /// Posts the call of the handler; this object is gone before it runs.
    void post(result<R> what) override
    {
        auto [handler, work] = dissolve();
        const auto memory = asio::get_associated_allocator(handler);
        const auto where = work.get_executor();
        asio::post(where, asio::bind_allocator(
                              memory, [handler = std::move(handler),
                                       work = std::move(work),
                                       what = std::move(what)]() mutable {
                                  work.reset();
                                  call(handler, what);
                              }));
    }

    void discard() noexcept override { dissolve(); }

private:
    using guard = asio::executor_work_guard<executor_type>;

    std::pair<Handler, guard> dissolve() noexcept
    {
        std::pair<Handler, guard> result(std::move(handler_), std::move(work_));
        own_allocator memory(asio::get_associated_allocator(result.first));
        this->~waiting_handler();
        own_traits::deallocate(memory, this, 1);
        return result;
    }

    static executor_type place_of(const Handler& handler,
                                  const Default& otherwise)
    {
        if constexpr (anywhere)
            return otherwise;
        else
            return asio::get_associated_executor(handler, otherwise);
    }

    static void call(Handler& handler, result<R>& what)
    {
        if constexpr (anywhere)
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
