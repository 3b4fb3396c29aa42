// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.

#pragma once

#include "mailbox.hpp"
#include "worker_end.hpp"

#include "common/worker.hpp"

#include <signal.h>

#include <chrono>
#include <type_traits>
#include <utility>

namespace master_worker {

/// In a task: what the initializer returned in this worker.
using common::worker_state;

namespace detail {

/// What the tasks of this process may ask for.
struct this_worker
{
    worker_end* end = nullptr;
    unsigned role = 0;

    static this_worker& get()
    {
        static this_worker only;
        return only;
    }
};

} // namespace detail

/// In a task: how many attempts it has had before, 0 at first.
inline unsigned attempt()
{
    const auto* end = detail::this_worker::get().end;
    return end == nullptr ? 0 : end->attempt();
}

/// In a task: it is getting on.  A task with a limit of `silence` says so more
/// often than that.  Costs two clock readings.
inline void progress()
{
    if (auto* end = detail::this_worker::get().end)
        end->progress();
}

/// In a worker: the number of its role.
inline unsigned role()
{
    return detail::this_worker::get().role;
}

/// The life of a worker: build its state, then take tasks, run them, answer.
///
/// Ends when the master closes the mailbox, or on SIGTERM after the task that
/// runs.
template <class Init, class... A>
struct serve
{
    int operator()(mailbox_memory memory, common::inherited bell, unsigned role,
                   common::packed<Init> init, A... arguments) const
    {
        auto& asked_to_leave = common::detail::asked_to_leave;
        ::signal(SIGTERM, [](int) { common::detail::asked_to_leave = 1; });
        auto& here = detail::this_worker::get();
        worker_end end(std::move(memory), bell.fd);
        here.role = role;
        if (!initialize(end, init, std::move(arguments)...))
            return 1;
        here.end = &end;
        end.enter(mailbox_memory::ready);
        COMMON_FAULT_POINT("worker.ready");
        bool closed = false;
        while (asked_to_leave == 0 && !closed) // ends as promised above
        {
            const auto soon = clock::now() + std::chrono::seconds(1);
            if (end.next([&] { return asked_to_leave != 0; }, soon))
                end.run();
            else
                closed = end.closing();
        }
        here.end = nullptr; // the state, which is destroyed later, may ask
        if (!closed)
            end.enter(mailbox_memory::leaving);
        return 0;
    }

private:
    static bool initialize(worker_end& end, common::packed<Init>& init,
                           A... arguments)
    {
        try
        {
            if constexpr (std::is_void_v<std::invoke_result_t<Init, A...>>)
                init.function(std::move(arguments)...);
            else
                common::detail::this_worker::get().state =
                    init.function(std::move(arguments)...);
            return true;
        }
        catch (...)
        {
            const auto error = common::error_message::current();
            end.failed(error.type + ": " + error.what);
            return false;
        }
    }
};

} // namespace master_worker
