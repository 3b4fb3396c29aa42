// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.

#pragma once

#include "loop.hpp"

#include "common/executor.hpp"
#include "common/result.hpp"

#include <atomic>
#include <chrono>
#include <cstddef>
#include <deque>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <tuple>
#include <utility>

namespace asynchronous_processing::detail {

class dispatcher;

/// One call on its way: what is to be run, and who waits for it.
class call : public revocable, public std::enable_shared_from_this<call>
{
public:
    explicit call(std::weak_ptr<dispatcher> by) : by_(std::move(by)) {}
    call(const call&) = delete;
    virtual ~call() = default;

    /// See dispatcher::cancel.  Does nothing when there is no pool any more.
    void revoke(bool force) final;

    /// Hands the call to the workers.  Throws what submitting throws.
    virtual common::executor::ticket_ptr
    submit(common::executor& work,
           std::function<void(common::ticket&)> then) = 0;

    /// Gives the handler what the task came to, or the error.  Once.
    virtual void complete(common::ticket& t, bool closed) = 0;
    virtual void fail(std::exception_ptr error) = 0;

private:
    friend class dispatcher;
    enum class stage
    {
        arrived,
        waiting, // for room
        entering,
        submitted,
        over
    };
    std::weak_ptr<dispatcher> by_;
    stage stage_ = stage::arrived; // the rest under the dispatcher's lock
    bool revoked_ = false, force_ = false; // while it was entering
    common::executor::ticket_ptr ticket_;
};

using call_ptr = std::shared_ptr<call>;

/// What to do with a call when as many as `in_flight` have no result yet.
enum class overflow
{
    wait,  // first come, first served, without a thread
    reject // with common::full
};

/// Lets so many calls at a time into an executor, in the order in which they
/// come, and calls their handlers back.
///
/// All members may be called from any thread.
class dispatcher
{
public:
    template <class Init, class... A>
    dispatcher(const common::executor::options& wanted, overflow when_full,
               Init init, A... arguments)
        : limit_(wanted.table.capacity)
        , when_full_(when_full)
        , work_(wanted, std::move(init), std::move(arguments)...)
    {
    }

    /// The call completes later, whatever happens; never in here.
    void enter(const call_ptr& one)
    {
        std::exception_ptr error;
        bool admitted = false;
        {
            const std::lock_guard hold(mutex_);
            if (closed_)
                error = std::make_exception_ptr(
                    common::closed("the pool has been shut down"));
            else if (active_ < limit_ && waiting_.empty())
            {
                admit(*one);
                admitted = true;
            }
            else if (when_full_ == overflow::wait)
            {
                one->stage_ = call::stage::waiting;
                waiting_.push_back(one);
            }
            else
                error = std::make_exception_ptr(
                    common::full("the pool has " + std::to_string(limit_) +
                                 " unfinished tasks already"));
        }
        if (error)
            one->fail(error);
        else if (admitted && !start(one))
            admit_waiting();
    }

    /// Takes a call back: what waits, always; what runs, with its worker and
    /// only by `force`.  Its handler is told.
    void cancel(const call_ptr& one, bool force)
    {
        common::executor::ticket_ptr ticket;
        {
            const std::lock_guard hold(mutex_);
            switch (one->stage_)
            {
            case call::stage::waiting:
                std::erase(waiting_, one);
                one->stage_ = call::stage::over;
                break;
            case call::stage::submitted:
                ticket = one->ticket_;
                break;
            case call::stage::entering:
                one->revoked_ = true;
                one->force_ = one->force_ || force;
                return;
            default:
                return;
            }
        }
        if (ticket)
            work_.cancel(ticket, force);
        else
            one->fail(std::make_exception_ptr(
                common::cancelled("a task was cancelled before it was sent")));
    }

    /// Accepts nothing more; what waits for room is told.
    void close()
    {
        std::deque<call_ptr> left;
        {
            const std::lock_guard hold(mutex_);
            closed_ = true;
            left.swap(waiting_);
            for (const auto& one : left)
                one->stage_ = call::stage::over;
        }
        for (const auto& one : left)
            one->fail(std::make_exception_ptr(
                common::closed("the pool has been shut down")));
    }

    common::executor& work() { return work_; }

    /// Whether a loop looks out for results; what it was before.
    bool looking(bool now) { return looking_.exchange(now); }
    bool looking() const { return looking_.load(std::memory_order_relaxed); }

    std::size_t waiting() const
    {
        const std::lock_guard hold(mutex_);
        return waiting_.size();
    }
    std::size_t active() const
    {
        const std::lock_guard hold(mutex_);
        return active_;
    }

private:
    // Under the lock.
    void admit(call& one)
    {
        ++active_;
        one.stage_ = call::stage::entering;
    }

    bool start(const call_ptr& one)
    {
        common::executor::ticket_ptr ticket;
        try
        {
            ticket = one->submit(
                work_, [this, one](common::ticket& t) { finish(one, t); });
            if (!ticket)
                throw common::full("there is no room for the task");
        }
        catch (...)
        {
            leave(*one);
            one->fail(std::current_exception());
            return false;
        }
        bool revoked = false;
        {
            const std::lock_guard hold(mutex_);
            if (one->stage_ == call::stage::entering) // or it is over already
            {
                one->stage_ = call::stage::submitted;
                one->ticket_ = ticket;
                revoked = one->revoked_;
            }
        }
        if (revoked)
            work_.cancel(ticket, one->force_);
        return true;
    }

    void leave(call& one)
    {
        const std::lock_guard hold(mutex_);
        one.stage_ = call::stage::over;
        one.ticket_ = nullptr;
        --active_;
    }

    void finish(const call_ptr& one, common::ticket& t)
    {
        bool closed = false;
        {
            const std::lock_guard hold(mutex_);
            closed = closed_;
        }
        leave(*one);
        one->complete(t, closed);
        admit_waiting();
    }

    // Ends: each turn takes one from the line, or leaves.
    void admit_waiting()
    {
        for (;;)
        {
            call_ptr next;
            {
                const std::lock_guard hold(mutex_);
                if (waiting_.empty() || active_ >= limit_)
                    return;
                next = std::move(waiting_.front());
                waiting_.pop_front();
                admit(*next);
            }
            start(next);
        }
    }

    std::atomic<bool> looking_{false};
    const std::size_t limit_;
    const overflow when_full_;
    mutable std::mutex mutex_; // of all below
    bool closed_ = false;
    std::size_t active_ = 0;
    std::deque<call_ptr> waiting_;
    common::executor work_; // last: it uses all of the above
};

/// Looks out for results from within a loop, between its other handlers, for
/// as long after the last one as it pays: then a loop that is awake gets its
/// results without any system call, and one that waits for longer sleeps.
template <class Executor>
class lookout
{
public:
    /// Starts one, unless there is one for these calls.
    static void start(const Executor& where,
                      const std::shared_ptr<dispatcher>& results)
    {
        if (common::spin_budget().count() > 0 && !results->looking() &&
            !results->looking(true))
            asio::post(where, lookout(where, results));
    }

    lookout(lookout&&) = default;
    ~lookout()
    {
        if (!results_)
            return;
        results_->work().leave_off();
        results_->looking(false);
    }

    void operator()()
    {
        using namespace std::chrono_literals;
        const auto found = results_->work().look_out(1us);
        const auto now = common::clock::now();
        if (found != 0)
            until_ = now + common::spin_budget();
        if (now < until_)
            asio::post(where_, std::move(*this)); // others first
    }

private:
    lookout(const Executor& where, std::shared_ptr<dispatcher> results)
        : where_(where)
        , results_(std::move(results))
        , until_(common::clock::now() + common::spin_budget())
    {
    }

    Executor where_;
    std::shared_ptr<dispatcher> results_; // none: moved on
    common::time_point until_;
};

inline void call::revoke(bool force)
{
    if (const auto alive = by_.lock())
        alive->cancel(shared_from_this(), force);
}

/// What a task came to, as its handler gets it.
template <class R>
result<R> outcome_of(common::ticket& t, bool closed)
{
    const auto end = t.end.load();
    result<R> what;
    try
    {
        if (closed && end == common::outcome::abandoned)
            throw common::closed(common::name_of(t) +
                                 " was not finished: " + t.why);
        if constexpr (std::is_void_v<R>)
            common::take_result<R>(end, t, t.bytes());
        else
            what.value = common::take_result<R>(end, t, t.bytes());
    }
    catch (...)
    {
        what.error = std::current_exception();
    }
    return what;
}

/// A call of `F` with arguments, that gives an R.
template <class R, class F, class... A>
class call_of final : public call
{
public:
    call_of(std::weak_ptr<dispatcher> by, common::executor::task_options how,
            F function, std::tuple<A...> arguments)
        : call(std::move(by))
        , how_(std::move(how))
        , function_(std::move(function))
        , arguments_(std::move(arguments))
    {
    }

    /// Before anybody else sees the call.
    void waits(waiter_for<R>& who, std::shared_ptr<loop> where)
    {
        who_ = &who;
        who_->task = this->weak_from_this();
        where_ = std::move(where);
        where_->enter(who);
    }

    common::executor::ticket_ptr
    submit(common::executor& work,
           std::function<void(common::ticket&)> then) override
    {
        auto how = std::move(how_); // `then` holds this call: not the reverse
        how.then = std::move(then);
        return std::apply(
            [&](const A&... arguments) {
                return work.submit_until(common::time_point::min(), how,
                                         function_, arguments...);
            },
            arguments_);
    }

    void complete(common::ticket& t, bool closed) override
    {
        give(outcome_of<R>(t, closed));
    }

    void fail(std::exception_ptr error) override
    {
        result<R> what;
        what.error = std::move(error);
        give(std::move(what));
    }

private:
    void give(result<R> what)
    {
        where_->leave(*who_, [&] { who_->post(std::move(what)); });
    }

    common::executor::task_options how_;
    F function_;
    std::tuple<A...> arguments_;
    waiter_for<R>* who_ = nullptr; // valid for where_->leave alone
    std::shared_ptr<loop> where_;
};

} // namespace asynchronous_processing::detail
