// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.

#pragma once

#include "common/lock.hpp"

#include <boost/asio/execution_context.hpp>
#include <boost/intrusive/list.hpp>
#include <boost/intrusive_ptr.hpp>

#include <atomic>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

namespace asynchronous_processing::detail {

namespace asio = boost::asio;

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
        const std::lock_guard hold(lock_);
        all_.push_back(one);
        if (thread_ == nullptr)
            thread_ = me;
        else if (thread_ != me)
            thread_ = &all_; // of nobody
    }

    /// If the handler still waits: calls `put`, which gives it its result, and
    /// has it called.  It waits no more.
    template <class Put>
    void leave(waiter& one, Put put)
    {
        auto* const here = found_here();
        const std::lock_guard hold(lock_);
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
        const std::lock_guard hold(lock_);
        if (!gone_)
            f();
    }

    void end()
    {
        waiters left;
        std::vector<boost::intrusive_ptr<revocable>> tasks;
        {
            const std::lock_guard hold(lock_);
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
    bool is_mine() const { return thread_ == this_thread(); }

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

    /// That of an io_context, a thread pool or the like.
    static std::shared_ptr<loop> of(asio::execution_context& context);

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

    common::short_lock lock_; // of all below
    bool gone_ = false;
    std::atomic<const void*> thread_{nullptr}; // that waited; see enter
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

inline std::shared_ptr<loop> loop::of(asio::execution_context& context)
{
    return asio::use_service<loop_service>(context).mine;
}

} // namespace asynchronous_processing::detail
