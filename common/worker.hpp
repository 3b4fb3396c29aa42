// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.

#pragma once

#include "common/cell_ends.hpp"
#include "common/crew.hpp"
#include "common/inherited.hpp"
#include "common/linux/bell.hpp"

#include <signal.h>
#include <unistd.h>

#include <any>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <fstream>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>

namespace common {

/// When a worker makes room for a fresh one; 0: never.
struct worker_limits
{
    std::uint64_t tasks = 0;
    std::chrono::milliseconds age{0};
    std::uint64_t resident = 0; // bytes of memory, looked at after each task
};

namespace detail {

struct this_worker
{
    worker_end* end = nullptr;
    int bell = -1; // wakes the loop that watches tasks
    std::any state;

    /// Of this thread, where a process has several workers; else of the
    /// process.
    static this_worker& get()
    {
        static this_worker only;
        return of_this_thread() != nullptr ? *of_this_thread() : only;
    }
    static this_worker*& of_this_thread()
    {
        thread_local this_worker* own = nullptr;
        return own;
    }
};

inline std::atomic<bool> asked_to_leave{false}; // SIGTERM, or a lost bell

/// Rings; a worker whose task has closed the bell leaves: its replacement has
/// one again, and when a worker ends its results are looked for.
inline bool ring_or_leave(const cells& table, int bell)
{
    const bool rang = kernel::bell::ring(bell);
    if (!rang)
    {
        table.say_asleep(true); // it was ours to wake the loop: others must
        asked_to_leave = true;
    }
    return rang;
}

} // namespace detail

/// In a task: whether it has been asked to stop (its soft deadline passed).
inline bool stop_requested()
{
    const auto* end = detail::this_worker::get().end;
    return end != nullptr && end->stop_requested();
}

/// In a task: how many workers it has killed before, 0 at first.
inline unsigned attempt()
{
    const auto* end = detail::this_worker::get().end;
    return end == nullptr ? 0 : end->attempt();
}

/// In a task: calls `on_news` of who submitted it, some time soon; several
/// calls may count as one.  Throws std::logic_error in a task that has closed
/// all descriptors of its process: nobody can be told any more.
inline void announce()
{
    const auto& here = detail::this_worker::get();
    if (here.end != nullptr && here.end->announce() &&
        !detail::ring_or_leave(here.end->table(), here.bell))
        throw std::logic_error("this task has closed the descriptor by which "
                               "it tells of its news");
}

/// In a task: what the initializer of this worker returned.  Throws
/// std::logic_error when that was something else than a `T`.
template <class T>
T& worker_state()
{
    auto* state = std::any_cast<T>(&detail::this_worker::get().state);
    if (state == nullptr)
        throw std::logic_error("this worker has no state of type " +
                               boost::core::demangle(typeid(T).name()));
    return *state;
}

/// What a worker does between its first task and its last.
class work_shift
{
public:
    enum class ending
    {
        closed,  // the table
        leaving, // a limit, SIGTERM, or the supervisor wants it
        fenced   // the task that ran was taken away
    };

    /// Takes tasks, runs them and commits their results, until one of these.
    static ending run(worker_end& end, const worker_limits& limits,
                      const inherited& bell)
    {
        auto& here = detail::this_worker::get();
        here.end = &end;
        here.bell = bell.fd;
        const auto how = serve(end, limits, bell.fd);
        here.end = nullptr; // the state, which is destroyed later, may ask
        return how;
    }

private:
    static ending serve(worker_end& end, const worker_limits& limits, int bell)
    {
        const auto old = limits.age.count() > 0 ? deadline_after(limits.age)
                                                : time_point::max();
        const auto& record = end.table().worker(end.slot());
        for (std::uint64_t ran = 0;;) // ends as promised above
        {
            if (detail::asked_to_leave || record.leave.load() != 0 ||
                reached(limits, ran, old))
                return ending::leaving;
            if (!next(end, old))
            {
                if (end.table().closing() != 0)
                    return ending::closed;
                detail::stay_with_parent();
                continue;
            }
            if (!end.run())
                return ending::fenced;
            if (end.rings())
                detail::ring_or_leave(end.table(), bell);
            if (++ran % 64 == 0) // a task may have changed its user
                detail::stay_with_parent();
        }
    }

    // Waits for a task, looking up once in a second for signals and age.
    static bool next(worker_end& end, time_point old)
    {
        for (int i = 0; i < 64 && end.table().closing() == 0; ++i)
        {
            if (end.take_next())
                return true;
            relax();
            relax();
        }
        bool taken = false;
        const auto deadline =
            std::min(old, clock::now() + std::chrono::seconds(1));
        end.table().work().wait_until(
            [&] {
                return end.table().closing() == 2 || (taken = end.take()) ||
                       end.table().closing() != 0;
            },
            deadline, [] { return detail::asked_to_leave.load(); });
        return taken;
    }

    static bool reached(const worker_limits& limits, std::uint64_t ran,
                        time_point old)
    {
        return (limits.tasks != 0 && ran >= limits.tasks) ||
               (limits.age.count() > 0 && clock::now() >= old) ||
               (limits.resident != 0 && resident() > limits.resident);
    }

    static std::uint64_t resident()
    {
        std::uint64_t total = 0, pages = 0;
        std::ifstream("/proc/self/statm") >> total >> pages;
        return pages * static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
    }
};

/// The life of a worker: build its state, then take tasks, run them, commit.
///
/// Ends when the table closes, when a limit is reached or on SIGTERM (after
/// the task that runs), and at once when its task was taken from it.
template <class Init, class... A>
struct serve
{
    int operator()(crew_member me, cells table, worker_limits limits,
                   inherited bell, packed<Init> init, A... arguments) const
    {
        auto& here = detail::this_worker::get();
        ::signal(SIGTERM, [](int) { detail::asked_to_leave = true; });
        try
        {
            if constexpr (std::is_void_v<std::invoke_result_t<Init, A...>>)
                init.function(std::move(arguments)...);
            else
                here.state = init.function(std::move(arguments)...);
        }
        catch (...)
        {
            const auto error = error_message::current();
            me.failed(error.type + ": " + error.what);
            return 1;
        }
        detail::stay_with_parent(); // whatever user it runs as now
        worker_end end(table, me.slot());
        me.ready();
        COMMON_FAULT_POINT("worker.ready");
        switch (work_shift::run(end, limits, bell))
        {
        case work_shift::ending::fenced:
            return 3; // somebody decided that we are dead
        case work_shift::ending::leaving:
            me.leaving();
            return 0;
        default:
            return 0;
        }
    }
};

} // namespace common
