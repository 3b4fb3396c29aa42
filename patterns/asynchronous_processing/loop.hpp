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
#include <boost/intrusive_ptr.hpp>

#include <atomic>
#include <exception>
#include <memory>
#include <mutex>
#include <optional>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

namespace asynchronous_processing::detail {

namespace asio = boost::asio;

/// Where the result of a call of type R is put until its handler runs.
template <class R>
struct result
{
    std::exception_ptr error;
    std::conditional_t<std::is_void_v<R>, std::monostate, R> value{};
};

/// What a handler waits for, and what can be taken back.  Lives as long as
/// somebody refers to it.
class revocable
{
public:
    revocable() = default;
    revocable(const revocable&) = delete;
    virtual ~revocable() = default;
    virtual void revoke(bool force) = 0;

    friend void intrusive_ptr_add_ref(revocable* one)
    {
        one->references_.fetch_add(1, std::memory_order_relaxed);
    }
    friend void intrusive_ptr_release(revocable* one)
    {
        if (one->references_.fetch_sub(1, std::memory_order_acq_rel) == 1)
            delete one;
    }

private:
    std::atomic<unsigned> references_{0};
};

/// A handler that waits for the end of its task, or of its event loop.
class waiter : public boost::intrusive::list_base_hook<>
{
public:
    revocable* task = nullptr; // not over as long as this one waits

    /// The result is there: has the handler called where it wants to be, soon;
    /// or now, if that is here.  Either ends this object before the call.
    virtual void post() = 0;
    virtual void dispatch() = 0;

    /// The loop has ended: destroys the handler, which is never called.
    virtual void discard() noexcept = 0;

protected:
    ~waiter() = default;
};

/// Those whose results are there.
using waiters = boost::intrusive::list<waiter>;

/// What one event loop waits for.  An io_context may be destroyed while tasks
/// run for it: whoever brings a result later finds out here, under the lock,
/// and does not touch the loop any more.
class loop
{
public:
    void enter(waiter& one)
    {
        const auto* me = this_thread();
        const std::lock_guard hold(mutex_);
        all_.push_back(one);
        if (thread_ == nullptr)
            thread_ = me;
        shared_ = shared_ || thread_ != me;
    }

    /// If the handler still waits: calls `put`, which gives it its result, and
    /// has it called.  It waits no more.
    template <class Put>
    void leave(waiter& one, Put put)
    {
        auto* const here = found_here();
        const std::lock_guard hold(mutex_);
        if (gone_)
            return; // and so is `one`
        all_.erase(all_.iterator_to(one));
        put();
        if (here != nullptr)
            here->push_back(one);
        else
            one.post(); // the loop cannot end meanwhile
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
        waiters left;
        std::vector<boost::intrusive_ptr<revocable>> tasks;
        {
            const std::lock_guard hold(mutex_);
            gone_ = true;
            left.swap(all_);
            for (const auto& one : left)
                tasks.emplace_back(one.task);
        }
        // Unlocked: what a handler owns may come back here when it goes.
        left.clear_and_dispose([](waiter* one) { one->discard(); });
        for (const auto& one : tasks)
            one->revoke(true); // nobody would see what it comes to
    }

    /// Whether all that waits has begun to wait in the thread that asks: then
    /// no other one would call handlers sooner.
    bool is_mine() const
    {
        const std::lock_guard hold(mutex_);
        return !shared_ && thread_ == this_thread();
    }

    /// While it lives, results for this loop that its own thread finds are
    /// put into a list, for the finder to dispatch.
    class finding
    {
    public:
        finding(loop& where, waiters& found)
            : before_(std::exchange(here(), {&where, &found}))
        {
        }
        finding(const finding&) = delete;
        ~finding() { here() = before_; }

    private:
        std::pair<loop*, waiters*> before_;
    };

    /// That of the executor's io_context, thread pool or the like.
    template <class Executor>
    static std::shared_ptr<loop> of(const Executor& executor);

private:
    static const void* this_thread()
    {
        thread_local const char place = 0;
        return &place;
    }

    static std::pair<loop*, waiters*>& here()
    {
        thread_local std::pair<loop*, waiters*> now{};
        return now;
    }
    waiters* found_here()
    {
        return here().first == this ? here().second : nullptr;
    }

    mutable std::mutex mutex_; // of all below
    bool gone_ = false;
    bool shared_ = false;          // by several threads
    const void* thread_ = nullptr; // the first that waited
    waiters all_;
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

/// The same with a place for a result of type R.
template <class R>
class waiter_for : public waiter
{
public:
    result<R> what;
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

    void post() override
    {
        auto now = dissolve();
        const auto where = now.work.get_executor();
        asio::post(where, std::move(now));
    }
    void dispatch() override
    {
        auto now = dissolve();
        const auto where = now.work.get_executor();
        asio::dispatch(where, std::move(now));
    }
    void discard() noexcept override { dissolve(); }

private:
    using guard = asio::executor_work_guard<executor_type>;

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
        own_allocator memory(asio::get_associated_allocator(left.handler));
        this->~waiting_handler();
        own_traits::deallocate(memory, this, 1);
        return left;
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
