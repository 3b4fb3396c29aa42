// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.

#pragma once

#include "handler.hpp"
#include "loop.hpp"

#include "common/executor.hpp"
#include "common/result.hpp"

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/execution/context.hpp>
#include <boost/asio/query.hpp>
#include <boost/intrusive_ptr.hpp>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <exception>
#include <memory>
#include <mutex>
#include <string>
#include <tuple>
#include <utility>

namespace asynchronous_processing::detail {

class dispatcher;

/// What a call has workers run, and how.
class order
{
public:
    virtual ~order() = default;

    /// Hands it to the workers.  Null where there is no room; throws what
    /// submitting throws.
    virtual common::executor::ticket_ptr submit(common::executor& work,
                                                common::watcher& by) = 0;
};

/// One call on its way: who waits for it.
class call : public revocable, public common::watcher
{
public:
    explicit call(std::weak_ptr<dispatcher> by) : by_(std::move(by)) {}

    /// See dispatcher::cancel.  Does nothing when there is no pool any more.
    void revoke(bool force) final;

protected:
    /// Gives the handler what the task came to, or the error.  Once.
    virtual void complete(common::ticket& t, bool closed) = 0;
    virtual void fail(std::exception_ptr error) = 0;

private:
    friend class dispatcher;
    enum class stage : std::uint8_t
    {
        arrived,
        waiting, // for room: the dispatcher's lock protects this stage
        entering,
        cancelled, // while it was entering, before it runs
        killed,    // the same, even if it runs
        submitted, // the ticket is there
        over
    };
    void over(common::ticket& t) final;

    const std::weak_ptr<dispatcher> by_;
    std::atomic<stage> stage_{stage::arrived};
    dispatcher* in_ = nullptr;            // from entering until over
    boost::intrusive_ptr<call> self_;     // the same: workers know it
    common::executor::ticket_ptr ticket_; // of who submits; then of all
    std::unique_ptr<order> what_;         // while it waits
};

using call_ptr = boost::intrusive_ptr<call>;

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
    /// `home`: where most handlers will be.
    template <class Init, class... A>
    dispatcher(asio::any_io_executor home,
               const common::executor::options& wanted, overflow when_full,
               Init init, A... arguments)
        : home_(std::move(home))
        , context_(asio::query(home_, asio::execution::context))
        , home_loop_(loop::of(context_))
        , uncounted_(std::shared_ptr<loop>(), home_loop_.get())
        , limit_(wanted.table.capacity)
        , when_full_(when_full)
        , work_(wanted, std::move(init), std::move(arguments)...)
    {
    }

    /// The call completes later, whatever happens; never in here.
    template <class Order>
    void enter(const call_ptr& one, Order& what)
    {
        if (closed_)
            one->fail(closed_error());
        else if (in_line_ == 0 && take_room())
        {
            one->stage_.store(call::stage::entering, std::memory_order_relaxed);
            start(one, what);
        }
        else if (when_full_ == overflow::wait)
        {
            one->what_ = std::make_unique<Order>(std::move(what));
            wait(one);
        }
        else
            one->fail(std::make_exception_ptr(
                common::full("the pool has " + std::to_string(limit_) +
                             " unfinished tasks already")));
    }

    /// Takes a call back: what waits, always; what runs, with its worker and
    /// only by `force`.  Its handler is told.
    void cancel(const call_ptr& one, bool force)
    {
        using stage = call::stage;
        if (leave_line(one))
            return one->fail(std::make_exception_ptr(
                common::cancelled("a task was cancelled before it was sent")));
        const auto wish = force ? stage::killed : stage::cancelled;
        auto now = one->stage_.load();
        while (now == stage::entering || (now == stage::cancelled && force))
            if (one->stage_.compare_exchange_weak(now, wish))
                return; // who submits it will see that
        if (now == stage::submitted)
            work_.cancel(one->ticket_, force);
    }

    /// Accepts nothing more; what waits for room is told.
    void close()
    {
        std::deque<call_ptr> left;
        {
            const std::lock_guard hold(mutex_);
            closed_ = true;
            left.swap(line_);
            in_line_ = 0;
            for (const auto& one : left)
                one->stage_ = call::stage::over;
        }
        for (const auto& one : left)
            one->fail(closed_error());
    }

    const asio::any_io_executor& home() const { return home_; }
    common::executor& work() { return work_; }

    std::shared_ptr<loop> loop_of(asio::execution_context& context) const
    {
        return &context == &context_ ? uncounted_ : loop::of(context);
    }

    /// The loop that looks out for results, if one does.  Set by the first,
    /// which returns true; cleared by the same.
    bool looks(const loop* one)
    {
        const loop* nobody = nullptr;
        return looking_.compare_exchange_strong(nobody, one);
    }
    void looks_no_more() { looking_.store(nullptr); }
    const loop* looking() const
    {
        return looking_.load(std::memory_order_relaxed);
    }

    std::size_t waiting() const { return in_line_; }
    std::size_t active() const { return active_; }

private:
    friend class call;

    static std::exception_ptr closed_error()
    {
        return std::make_exception_ptr(
            common::closed("the pool has been shut down"));
    }

    bool take_room()
    {
        auto now = active_.load();
        while (now < limit_) // ends: somebody else got on, or this one
            if (active_.compare_exchange_weak(now, now + 1))
                return true;
        return false;
    }

    void wait(const call_ptr& one)
    {
        bool closed = false;
        {
            const std::lock_guard hold(mutex_);
            closed = closed_;
            if (!closed)
            {
                one->stage_ = call::stage::waiting;
                line_.push_back(one);
                ++in_line_;
            }
        }
        if (closed)
            one->fail(closed_error());
        else
            admit_waiting(); // who left before we stood in line saw no line
    }

    bool leave_line(const call_ptr& one)
    {
        if (one->stage_ != call::stage::waiting)
            return false;
        const std::lock_guard hold(mutex_);
        if (one->stage_ != call::stage::waiting)
            return false;
        std::erase(line_, one);
        --in_line_;
        one->stage_ = call::stage::over;
        return true;
    }

    // Requires: there is room for it, which it has taken.
    void start(const call_ptr& one, order& what)
    {
        using stage = call::stage;
        one->in_ = this;
        one->self_ = one;
        try
        {
            one->ticket_ = what.submit(work_, *one);
            if (!one->ticket_)
                throw common::full("there is no room for the task");
        }
        catch (...)
        {
            one->self_ = nullptr;
            one->stage_ = stage::over;
            --active_;
            one->fail(std::current_exception());
            return admit_waiting();
        }
        auto now = stage::entering;
        while (now != stage::over && // already
               !one->stage_.compare_exchange_weak(now, stage::submitted))
            continue; // ends: it changes twice at most
        if (now == stage::cancelled || now == stage::killed)
            work_.cancel(one->ticket_, now == stage::killed);
    }

    void finish(call& one, common::ticket& t)
    {
        one.stage_.store(call::stage::over, std::memory_order_release);
        --active_; // before its handler, which may look
        one.complete(t, closed_);
        admit_waiting();
    }

    // Ends: each turn takes one from the line, or leaves.
    void admit_waiting()
    {
        while (in_line_ != 0)
        {
            call_ptr next;
            {
                const std::lock_guard hold(mutex_);
                if (line_.empty() || !take_room())
                    return;
                next = std::move(line_.front());
                line_.pop_front();
                --in_line_;
                next->stage_ = call::stage::entering;
            }
            start(next, *std::exchange(next->what_, nullptr));
        }
    }

    const asio::any_io_executor home_;
    asio::execution_context& context_;
    const std::shared_ptr<loop> home_loop_;
    const std::shared_ptr<loop> uncounted_; // the same: no call outlives it
    std::atomic<const loop*> looking_{nullptr};
    const std::size_t limit_;
    const overflow when_full_;
    std::atomic<bool> closed_{false};
    std::atomic<std::size_t> active_{0};  // not more than the limit
    std::atomic<std::size_t> in_line_{0}; // changes under the lock
    std::mutex mutex_;
    std::deque<call_ptr> line_; // under the lock
    common::executor work_;     // last: it uses all of the above
};

inline void call::revoke(bool force)
{
    if (stage_ == stage::over)
        return;
    if (const auto alive = by_.lock())
        alive->cancel(this, force);
}

inline void call::over(common::ticket& t)
{
    const auto last = std::move(self_);
    in_->finish(*this, t);
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

/// What few calls want.  Null: a call that has so many attempts, and nothing
/// else of it.
using options_ptr = std::unique_ptr<common::task_options>;

/// A call of `F` with arguments.
template <class F, class... A>
class order_of final : public order
{
public:
    order_of(unsigned attempts, options_ptr how, F function,
             std::tuple<A...> arguments)
        : attempts_(attempts)
        , how_(std::move(how))
        , function_(std::move(function))
        , arguments_(std::move(arguments))
    {
    }

    common::executor::ticket_ptr submit(common::executor& work,
                                        common::watcher& by) override
    {
        common::task_options how;
        if (how_)
            how = std::move(*how_);
        how.attempts = attempts_;
        how.timed = true;
        how.watched_by = &by;
        return std::apply(
            [&](const A&... arguments) {
                return work.submit_until(common::time_point::min(), how,
                                         function_, arguments...);
            },
            arguments_);
    }

private:
    unsigned attempts_;
    options_ptr how_;
    F function_;
    std::tuple<A...> arguments_;
};

/// A call that gives an R.
template <class R>
class call_of final : public call
{
public:
    using call::call;

    /// Before anybody else sees the call.
    void waits(waiter_for<R>& who, std::shared_ptr<loop> where)
    {
        who_ = &who;
        who_->task = this;
        where_ = std::move(where);
        where_->enter(who);
    }

private:
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

    void give(result<R> what)
    {
        where_->leave(*who_, [&] { who_->what = std::move(what); });
    }

    waiter_for<R>* who_ = nullptr; // valid for where_->leave alone
    std::shared_ptr<loop> where_;
};

} // namespace asynchronous_processing::detail
