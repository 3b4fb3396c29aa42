// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.

#pragma once

#include "common/error.hpp"
#include "common/task.hpp"
#include "common/wait.hpp"

#include <boost/container/small_vector.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

namespace master_worker {

using common::clock;
using common::time_point;

/// A task or a result as it travels.
using bytes = boost::container::small_vector<std::byte, 64>;

/// What one attempt of a task has cost.  Zeros where the engine was not asked
/// to measure.  A worker reports it: good for statistics, not for decisions.
struct cost
{
    time_point began{};                 // its body
    std::chrono::nanoseconds ran{0};    // by the clock on the wall
    std::chrono::nanoseconds cpu{0};    // of the thread that ran it
    std::uint64_t peak_memory = 0;      // bytes resident, of its process
    std::chrono::nanoseconds waited{0}; // from submit until it began
};

/// Why an attempt ended without a result.
enum class loss : std::uint8_t
{
    died,      // its worker did, by itself or by somebody's hand
    timed_out, // it ran past its deadline, and its worker was killed for that
    stuck,     // it gave no sign of progress for too long; the same
    expelled   // its worker sent what it may not send; the same
};

/// One attempt of a task, for any worker of a role.
struct assignment
{
    std::uint64_t task = 0;
    unsigned attempt = 0;
    unsigned role = 0;
    common::entry_id entry = 0;
    std::span<const std::byte> input;
    std::chrono::nanoseconds deadline{0}; // from its start; 0: none
    std::chrono::nanoseconds silence{0};  // between signs of progress; 0: any
    bool measured = false;
    bool alone = false; // never with others in one worker
};

/// What an engine has to say.
struct report
{
    enum class kind : std::uint8_t
    {
        finished, // content: the result
        failed,   // content: the common::error_message that it threw
        lost,     // why, pid, status, text; its worker is gone for certain
        returned, // nobody is to blame: put it again; text: put it alone
        joined,   // a worker is there
        left,     // a worker is gone, as it was meant to
        died,     // a worker is gone otherwise: pid, status, text
        broken    // no worker of this engine will ever come back: text
    };
    kind what = kind::finished;
    std::uint64_t task = 0; // of finished, failed, lost, returned
    unsigned worker = 0;    // from 1 on; a replacement has the same number
    bytes content{};
    loss why = loss::died;
    pid_t pid = 0;
    common::exit_status status{};
    std::string text{};
    cost spent{};
};

/// What carries tasks to workers, and their ends back.
///
/// The master plans and remembers; an engine moves bytes, and knows workers.
/// Tasks name code by its place in the program, so an engine may reach as far
/// as there are processes of the same program.  Used by one thread.
class engine
{
public:
    virtual ~engine() = default;

    /// How many tasks of this role can be put now; how many that are to be
    /// alone.
    virtual std::size_t window(unsigned role, bool alone) = 0;

    /// Hands out a task.  Requires: there is room for it in the window; no
    /// attempt of the same task is out, or else it is a copy that competes
    /// with it.
    virtual void put(const assignment& what) = 0;

    /// The next report, waiting for it until `deadline` (time_point::min():
    /// not at all).  Returns false when there is none.  Every task that was
    /// put is reported finished, failed, lost or returned exactly once, unless
    /// it was dropped.
    virtual bool take(report& into, time_point deadline) = 0;

    /// Nothing more is wanted of this task: it is not reported any more.
    virtual void drop(std::uint64_t task) = 0;

    /// Wants so many workers in a role from now on.  Those who are too many
    /// finish what they run.
    virtual void resize(unsigned role, unsigned workers) = 0;

    /// Whether a worker of this role is there, will come, or may come by
    /// itself.  Without one its tasks wait until `resize`.
    virtual bool staffed(unsigned role) const
    {
        static_cast<void>(role);
        return true;
    }

    /// Whether it ends what is past its deadline, or silent for too long.
    virtual bool enforces_limits() const = 0;
};

} // namespace master_worker
