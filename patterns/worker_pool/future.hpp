// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.

#pragma once

#include "common/executor.hpp"
#include "common/result.hpp"

#include <boost/asio/post.hpp>
#include <boost/asio/thread_pool.hpp>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <deque>
#include <exception>
#include <functional>
#include <future>
#include <iterator>
#include <memory>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

namespace worker_pool {

using common::clock;
using common::time_point;

/// Where a task is.
enum class task_state
{
    pending,
    running,
    cancelled,
    done
};

/// What cancel achieved.
enum class cancel_result
{
    refused,
    before_it_ran,
    while_it_ran
};

namespace detail {

/// What futures need of their pool: they may live longer than it.
struct services
{
    services(const common::executor::options& wanted, auto init,
             auto... arguments)
        : executor(wanted, std::move(init), std::move(arguments)...)
    {
    }
    /// Calls `f` in the callback thread; right here where that has ended.
    void call(const std::function<void()>& f)
    {
        {
            const std::lock_guard hold(mutex_);
            if (!ended_)
                return boost::asio::post(callbacks_, f);
        }
        f();
    }

    /// Waits for what the callback thread was given, unless a callback asks;
    /// the last of its life.
    void end_callbacks()
    {
        {
            const std::lock_guard hold(mutex_);
            ended_ = true;
        }
        if (callbacks_.get_executor().running_in_this_thread())
            return; // ~pool, of another thread, waits for it
        std::call_once(joined_, [this] { callbacks_.join(); });
    }

    common::executor executor;

private:
    std::mutex mutex_;
    bool ended_ = false;
    std::once_flag joined_;
    boost::asio::thread_pool callbacks_{1}; // so that no callback delays
                                            // the supervision
};

/// A result that is computed in this process: by the caller of a full pool, or
/// by a continuation.
template <class R>
class local_result
{
public:
    explicit local_result(std::weak_ptr<services> by) : pool(std::move(by)) {}

    template <class F>
    void compute(F f)
    {
        std::packaged_task<R()> work([&]() -> R {
            try
            {
                return f();
            }
            catch (...)
            {
                failed_ = true; // seen with the result
                throw;
            }
        });
        auto result = work.get_future();
        work();
        std::vector<std::function<void()>> due;
        {
            const std::lock_guard hold(mutex_);
            result_ = std::move(result);
            due.swap(then_);
        }
        ready_.notify_all();
        for (const auto& one : due)
            one();
    }
    bool wait_until(time_point deadline)
    {
        std::unique_lock hold(mutex_);
        const auto there = [this] { return result_.valid(); };
        if (deadline == time_point::max())
            return ready_.wait(hold, there), true;
        return ready_.wait_until(hold, deadline, there);
    }
    R get()
    {
        wait_until(time_point::max());
        return result_.get();
    }
    bool failed()
    {
        const std::lock_guard hold(mutex_);
        return result_.valid() && failed_;
    }
    void when_ready(std::function<void()> f)
    {
        {
            const std::lock_guard hold(mutex_);
            if (!result_.valid())
                return then_.push_back(std::move(f));
        }
        f();
    }

    const std::weak_ptr<services> pool; // until the pool is destroyed

private:
    std::mutex mutex_;
    std::condition_variable ready_;
    std::future<R> result_;
    bool failed_ = false;
    std::vector<std::function<void()>> then_;
};

} // namespace detail

/// The result of a task, when it comes.
///
/// Move-only, like std::future; waiting is allowed from any thread.  Outlives
/// its pool: what was not finished then is reported as common::exhausted.
template <class R>
class future
{
public:
    future() = default;
    future(future&&) = default; // a result is taken once: no copies
    future& operator=(future&&) = default;

    bool valid() const { return ticket_ != nullptr || local_ != nullptr; }

    /// Waits and takes the result; the future is empty afterwards.  Throws
    /// what the task threw (standard types as themselves, others as
    /// common::remote_error), common::worker_died when it killed as many
    /// workers as it was allowed attempts, common::timed_out after its hard
    /// deadline, common::cancelled, or common::exhausted.
    R get()
    {
        require();
        if (local_)
            return std::exchange(local_, nullptr)->get();
        auto& from = *ticket_->home;
        return from.finish(std::move(ticket_), &common::take_result<R>);
    }

    void wait() const { wait_until(time_point::max()); }

    /// Waits until there is a result, or `deadline`.  Returns whether there
    /// is; never throws what the task threw.
    bool wait_until(time_point deadline) const
    {
        require();
        return local_ ? local_->wait_until(deadline)
                      : ticket_->home->wait_until(*ticket_, deadline);
    }
    template <class Rep, class Period>
    bool wait_for(std::chrono::duration<Rep, Period> time) const
    {
        return wait_until(common::deadline_after(time));
    }
    bool ready() const { return wait_until(time_point::min()); }

    task_state state() const
    {
        require();
        if (local_)
            return ready() ? task_state::done : task_state::pending;
        switch (ticket_->home->peek(*ticket_))
        {
        case common::outcome::pending:
            return ticket_->home->running(*ticket_) ? task_state::running
                                                    : task_state::pending;
        case common::outcome::cancelled:
            return task_state::cancelled;
        default:
            return task_state::done;
        }
    }

    /// Whether get would throw.  Never waits: false while there is no result.
    bool failed() const
    {
        require();
        if (local_)
            return local_->failed();
        const auto end = ticket_->home->peek(*ticket_);
        return end != common::outcome::pending && end != common::outcome::value;
    }

    /// Takes the task back if it does not run now: not yet, or not again after
    /// its worker died (`before_it_ran`).  If it does, and `force` is set, its
    /// worker is killed and replaced; nobody else is hurt.  Of a continuation:
    /// the task that it continues; it runs, and is told.
    cancel_result cancel(bool force = false) const
    {
        const auto& task = local_ ? continued_ : ticket_;
        const auto services = task ? home().lock() : nullptr;
        if (!services)
            return cancel_result::refused;
        const bool ran = task->home->running(*task);
        if (!services->executor.cancel(task, force))
            return cancel_result::refused;
        return ran ? cancel_result::while_it_ran : cancel_result::before_it_ran;
    }

    /// Calls `f(future)` when there is a result, in the callback thread of the
    /// pool (after shutdown: in the thread that finds out), and returns the
    /// future of what `f` returns.  Takes this future over.  `f` runs exactly
    /// once, whatever the outcome.
    template <class F>
    auto then(F f) -> future<std::invoke_result_t<F&, future>>
    {
        require();
        using next = std::invoke_result_t<F&, future>;
        future<next> result;
        const auto from = home();
        result.local_ = std::make_shared<detail::local_result<next>>(from);
        result.continued_ = local_ ? continued_ : ticket_;
        const auto mine = std::make_shared<future>(std::move(*this));
        const std::function<void()> run = [mine, f, local = result.local_] {
            local->compute([&] { return F(f)(std::move(*mine)); });
        };
        const auto services = from.lock();
        const auto later = [run, from] {
            if (const auto alive = from.lock())
                alive->call(run);
            else
                run();
        };
        if (mine->local_)
            mine->local_->when_ready(later);
        else if (services)
            services->executor.when_over(mine->ticket_, later);
        else
            later(); // the pool is gone, so the task is over
        return result;
    }

private:
    friend class pool;
    template <class>
    friend class future;
    template <class>
    friend class completion;
    template <class, class, class>
    friend class mapping;

    void require() const
    {
        if (!valid())
            throw std::logic_error("this future has no task");
    }

    // Of a future that is valid.
    std::weak_ptr<detail::services> home() const
    {
        return local_ ? local_->pool
                      : std::static_pointer_cast<detail::services>(
                            ticket_->home->owner.lock());
    }

    template <class Ready>
    void wait_any(Ready ready) const
    {
        if (local_)
            local_->wait_until(time_point::max());
        else
            ticket_->home->wait_any(ready, time_point::max());
    }

    common::executor::ticket_ptr ticket_;
    std::shared_ptr<detail::local_result<R>> local_;
    common::executor::ticket_ptr continued_; // where local_ is a continuation
};

/// The futures in the order in which they get done:
///
///     for (auto& f : worker_pool::as_completed(std::move(futures)))
///         use(f.get());
template <class R>
class completion
{
public:
    explicit completion(std::vector<future<R>> all)
        : left_(std::make_move_iterator(all.begin()),
                std::make_move_iterator(all.end()))
        , together_(are_together(left_))
    {
    }

    /// Waits for the next that is done, of any pool.  Empty when all have been
    /// given.
    /// Tasks end about in the order in which they were submitted: given in
    /// that order, each is found near the front, in a short time.
    std::optional<future<R>> next()
    {
        if (left_.empty())
            return std::nullopt;
        auto found = left_.end();
        const auto find = [&] {
            found = std::find_if(left_.begin(), left_.end(),
                                 [](const auto& f) { return f.ready(); });
            return found != left_.end();
        };
        if (together_)
            left_.front().wait_any(find);
        else
            wait_until(left_, find, time_point::max());
        auto result = std::move(*found);
        left_.erase(found); // moves the shorter side
        return result;
    }

    class iterator
    {
    public:
        using value_type = future<R>;
        using difference_type = std::ptrdiff_t;
        explicit iterator(completion& all) : all_(&all), now_(all.next()) {}
        future<R>& operator*() { return *now_; }
        iterator& operator++()
        {
            now_ = all_->next();
            return *this;
        }
        void operator++(int) { ++*this; }
        bool operator==(std::default_sentinel_t) const
        {
            return !now_.has_value();
        }

    private:
        completion* all_;
        std::optional<future<R>> now_;
    };
    iterator begin() { return iterator(*this); }
    std::default_sentinel_t end() const { return {}; }

    /// Waits for any of the futures to change what `ready` says.
    template <class Futures, class Ready>
    static bool wait_until(const Futures& all, Ready ready, time_point deadline)
    {
        const bool together = are_together(all);
        const auto remote = std::find_if_not(all.begin(), all.end(), is_local);
        // Who sleeps on the table of one pool does not hear of another, nor of
        // results of this process: then look again every few milliseconds.
        for (;;) // ends with what is waited for, or at the deadline
        {
            const auto turn =
                together ? deadline
                         : std::min(deadline, clock::now() +
                                                  std::chrono::milliseconds(5));
            if (remote != all.end()
                    ? remote->ticket_->home->wait_any(ready, turn)
                    : ready())
                return true;
            if (clock::now() >= deadline)
                return false;
            if (remote == all.end())
                for (const auto& one : all)
                    if (!one.ready() && one.wait_until(turn))
                        break;
        }
    }

private:
    static bool is_local(const future<R>& one) { return one.local_ != nullptr; }

    // Whether all are tasks of one pool.  Throws std::logic_error when one has
    // been taken already.
    template <class Futures>
    static bool are_together(const Futures& all)
    {
        for (const auto& one : all)
            one.require();
        return std::all_of(all.begin(), all.end(), [&](const auto& one) {
            return !is_local(one) && !is_local(all.front()) &&
                   one.ticket_->home == all.front().ticket_->home;
        });
    }

    std::deque<future<R>> left_;
    const bool together_;
};

template <class R>
completion<R> as_completed(std::vector<future<R>> all)
{
    return completion<R>(std::move(all));
}

/// What to wait for.
enum class when
{
    all_done,
    first_done,
    first_failed
};

/// Waits until `what` is the case, or `deadline`.  Returns for each future
/// whether it is done.  Futures that are done already count; they may be of
/// several pools.  Throws std::logic_error when one has been taken.
template <class R>
std::vector<bool> wait(const std::vector<future<R>>& all, when what,
                       time_point deadline = time_point::max())
{
    std::vector<bool> done(all.size());
    const auto look = [&] {
        bool failed = false;
        for (std::size_t i = 0; i < all.size(); ++i)
        {
            done[i] = all[i].ready();
            failed = failed || (done[i] && all[i].failed());
        }
        const auto n = std::count(done.begin(), done.end(), true);
        return n == static_cast<std::ptrdiff_t>(all.size()) ||
               (what != when::all_done && failed) ||
               (what == when::first_done && n > 0);
    };
    completion<R>::wait_until(all, look, deadline);
    return done;
}

} // namespace worker_pool
