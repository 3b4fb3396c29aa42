// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.

#pragma once

#include "call.hpp"
#include "loop.hpp"

#include "common/wait.hpp"

#include <boost/asio/post.hpp>

#include <chrono>
#include <memory>
#include <utility>

namespace asynchronous_processing::detail {

/// Looks out for results from within a loop, for as long after the last one as
/// it pays: then a loop that is awake gets its results without any system
/// call, and one that waits for longer sleeps.  Its other handlers get their
/// turn after a few microseconds.
template <class Executor>
class lookout
{
public:
    /// Starts one, unless there is one for these calls.
    static void start(const Executor& executor,
                      const std::shared_ptr<loop>& where,
                      const std::shared_ptr<dispatcher>& results)
    {
        if (results->looking() == where.get())
            results->work().looks_on(); // as soon as this handler is over
        else if (common::spin_budget().count() > 0 &&
                 results->looking() == nullptr && results->looks(where.get()))
            asio::post(executor, lookout(executor, where, results));
    }

    lookout(lookout&&) = default;
    ~lookout()
    {
        if (!results_)
            return;
        results_->work().leave_off();
        results_->looks_no_more();
    }

    void operator()()
    {
        using namespace std::chrono_literals;
        auto now = common::clock::now();
        const auto turn = now + 20us;
        auto patience = now + 1us;
        while (now < turn && now < patience) // ends by the clock
        {
            const bool found = look() != 0;
            now = common::beat(); // the next result takes as long at least
            if (found)
            {
                patience = now + 1us;
                until_ = now + common::spin_budget();
            }
        }
        if (now < until_)
            asio::post(executor_, std::move(*this)); // others first
    }

private:
    lookout(const Executor& executor, std::shared_ptr<loop> where,
            std::shared_ptr<dispatcher> results)
        : executor_(executor)
        , where_(std::move(where))
        , results_(std::move(results))
        , until_(common::clock::now() + common::spin_budget())
    {
    }

    // Looks, and calls the handlers of what there is.  In a loop of several
    // threads they have been posted.
    std::size_t look()
    {
        if (!where_->is_mine())
            return results_->work().look_out();
        ready found;
        std::size_t many = 0;
        {
            const loop::finding here(*where_, found.all);
            many = results_->work().look_out();
        }
        while (!found.all.empty())
        {
            auto& next = found.all.front();
            found.all.pop_front();
            next.dispatch();
        }
        return many;
    }

    // What a handler that throws leaves behind is called later.
    struct ready
    {
        waiters all;
        ~ready()
        {
            all.clear_and_dispose([](waiter* one) { one->post(); });
        }
    };

    Executor executor_;
    std::shared_ptr<loop> where_;
    std::shared_ptr<dispatcher> results_; // none: moved on
    common::time_point until_;
};

} // namespace asynchronous_processing::detail
