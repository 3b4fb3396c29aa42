// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.

#pragma once

#include "stack_text.hpp"

#include "common/executor.hpp"
#include "common/result.hpp"

#include <chrono>
#include <memory>
#include <span>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>

namespace thread_pool_multiprocessing {

using common::clock;
using common::time_point;

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

    bool valid() const { return ticket_ != nullptr; }

    /// Waits and takes the result; the future is empty afterwards.  Throws
    /// what the task threw (standard types as themselves, others as
    /// common::remote_error), common::worker_died when it crashed as often as
    /// it was allowed attempts, with what is known of each (pid, signal, and
    /// the stack of the thread that did it), common::timed_out after its hard
    /// deadline, common::cancelled, or common::exhausted.
    R get()
    {
        require();
        auto& from = *ticket_->home;
        return from.finish(std::move(ticket_), &future::result);
    }

    void wait() const { wait_until(time_point::max()); }

    /// Waits until there is a result, or `deadline`.  Returns whether there
    /// is; never throws what the task threw.
    bool wait_until(time_point deadline) const
    {
        require();
        return ticket_->home->wait_until(*ticket_, deadline);
    }
    template <class Rep, class Period>
    bool wait_for(std::chrono::duration<Rep, Period> time) const
    {
        return wait_until(common::deadline_after(time));
    }
    bool ready() const { return wait_until(time_point::min()); }

    /// Takes the task back if it does not run yet.  If it does, and `force` is
    /// set, its process ends for it, as after a hard deadline.  Returns
    /// whether it was taken back.
    bool cancel(bool force = false) const
    {
        require();
        const auto executor = executor_.lock();
        return executor && executor->cancel(ticket_, force);
    }

private:
    friend class pool;

    void require() const
    {
        if (!valid())
            throw std::logic_error("this future has no task");
    }

    static R result(common::outcome end, const common::ticket& t,
                    std::span<const std::byte> bytes)
    {
        if (end == common::outcome::died)
            throw common::worker_died(common::name_of(t), told(t.deaths));
        return common::take_result<R>(end, t, bytes);
    }

    // Looking up lines of source takes its time: only here, where somebody
    // wants to know, and not in the thread that supervises.
    static std::vector<common::death> told(std::vector<common::death> deaths)
    {
        for (auto& one : deaths)
            one.where = detail::stack_text(one.stack);
        return deaths;
    }

    common::executor::ticket_ptr ticket_;
    std::weak_ptr<common::executor> executor_;
};

} // namespace thread_pool_multiprocessing
