// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.

#pragma once

#include "crash_note.hpp"

#include "common/linux/cpus.hpp"
#include "common/worker.hpp"

#include <signal.h>

#include <any>
#include <atomic>
#include <cstdlib>
#include <latch>
#include <mutex>
#include <stdexcept>
#include <string>
#include <system_error>
#include <thread>
#include <type_traits>
#include <vector>

namespace thread_pool_multiprocessing {

namespace detail {

/// What the processes of a pool look like.
struct plan
{
    unsigned processes = 1;
    unsigned threads = 1;
    bool partition = false; // of the CPUs
};

/// What `init` of a process returned, for all its threads.
inline std::any& process_state()
{
    static std::any state;
    return state;
}

template <class Init>
std::any state_of(Init init)
{
    if constexpr (std::is_void_v<std::invoke_result_t<Init&>>)
        return init(), std::any();
    else
        return init();
}

/// The life of a process: build its state, then let each thread build its own
/// and do what a worker of one thread does.
///
/// A thread takes its tasks itself, from the table that all processes share.
/// With chunks for the process, and a queue inside, a task could wait behind a
/// busy thread while another process is idle, and it would change hands twice.
template <class ProcessInit, class ThreadInit>
struct serve_threads
{
    int operator()(common::crew_member me, common::cells table,
                   common::worker_limits limits, common::inherited bell,
                   plan wanted, common::shared_array<crash_note> notes,
                   common::packed<ProcessInit> process_init,
                   common::packed<ThreadInit> thread_init) const
    {
        ::signal(SIGTERM, [](int) { common::detail::asked_to_leave = true; });
        if (wanted.partition)
            common::kernel::use_part_of_cpus(me.slot() - 1, wanted.processes);
        crash_watch::install(notes[me.slot() - 1]);
        build(me, [&] { process_state() = state_of(process_init.function); });

        std::latch built(wanted.threads), go(1);
        std::atomic<bool> fenced{false}, leaving{false};
        std::vector<std::jthread> threads;
        const auto live = [&](unsigned slot) {
            const crash_watch watch(slot);
            common::detail::this_worker mine;
            common::detail::this_worker::of_this_thread() = &mine;
            build(me, [&] { mine.state = state_of(thread_init.function); });
            common::worker_end end(table, slot);
            built.count_down();
            go.wait(); // ends when all are built; who fails ends it all
            using shift = common::work_shift;
            const auto how = shift::run(end, limits, bell);
            fenced = fenced || how == shift::ending::fenced;
            if (how == shift::ending::leaving)
            {
                leaving = true; // and so do the others
                common::detail::asked_to_leave.exchange(true);
                table.work().notify_all();
            }
        };
        for (unsigned i = 0; i < wanted.threads; ++i)
            build(me, [&] {
                threads.push_back(
                    started(live, (me.slot() - 1) * wanted.threads + i + 1));
            });
        built.wait();
        me.ready();
        COMMON_FAULT_POINT("worker.ready");
        go.count_down();
        threads.clear();
        if (!fenced && leaving)
            me.leaving();
        return fenced ? 3 : 0;
    }

private:
    template <class Live>
    static std::jthread started(const Live& live, unsigned slot)
    {
        try
        {
            return std::jthread(live, slot);
        }
        catch (const std::system_error& e)
        {
            throw std::runtime_error("a thread cannot be started: " +
                                     std::string(e.what()));
        }
    }

    // Ends the process when `work` throws: its supervisor learns why.
    template <class Work>
    static void build(const common::crew_member& me, Work work)
    {
        try
        {
            work();
        }
        catch (...)
        {
            static std::mutex first;
            first.lock(); // and never unlocked
            const auto error = common::error_message::current();
            me.failed(error.type + ": " + error.what);
            std::_Exit(1);
        }
    }
};

} // namespace detail

/// In a task: what the initializer of this process returned.  Its threads use
/// it at the same time.  Throws std::logic_error when that was no `T`.
template <class T>
T& process_state()
{
    auto* state = std::any_cast<T>(&detail::process_state());
    if (state == nullptr)
        throw std::logic_error("this process has no state of type " +
                               boost::core::demangle(typeid(T).name()));
    return *state;
}

/// In a task: what the initializer of this thread returned; nobody else uses
/// it.  Throws std::logic_error when that was no `T`.
template <class T>
T& thread_state()
{
    return common::worker_state<T>();
}

} // namespace thread_pool_multiprocessing
