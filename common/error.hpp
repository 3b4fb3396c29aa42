// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.

#pragma once

#include "common/linux/pidfd.hpp"

#include <string.h>

#include <cstdint>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace common {

namespace kernel {

/// "exit code 3", "signal 9 (Killed)".
inline std::string describe(const exit_status& status)
{
    if (status.unknown)
        return "an unknown end: somebody else has reaped it";
    if (status.signal == 0)
        return "exit code " + std::to_string(status.code);
    const char* name = ::sigdescr_np(status.signal);
    return "signal " + std::to_string(status.signal) + " (" +
           (name != nullptr ? name : "unknown") + ")";
}

} // namespace kernel

using kernel::describe;
using kernel::exit_status;

/// One process that died while it ran a task.
struct death
{
    pid_t pid = 0;
    exit_status status{};
    std::vector<std::int32_t> stack{}; // if it could tell: where its thread
                                       // was, from the program's start on
    std::string where{};               // the same in words, if anybody asked
};

/// A task killed the worker that ran it, as often as it was allowed to try.
class worker_died : public std::runtime_error
{
public:
    worker_died(std::string task, std::vector<death> attempts)
        : std::runtime_error(text(task, attempts))
        , task_(std::move(task))
        , attempts_(std::move(attempts))
    {
    }

    const std::string& task() const { return task_; }
    const std::vector<death>& attempts() const { return attempts_; }
    pid_t pid() const { return attempts_.empty() ? 0 : attempts_.back().pid; }
    exit_status status() const
    {
        return attempts_.empty() ? exit_status{} : attempts_.back().status;
    }

private:
    static std::string text(const std::string& task,
                            const std::vector<death>& attempts)
    {
        std::string result = task + " killed its worker";
        for (const auto& one : attempts)
            result += (&one == attempts.data() ? ": process " : ", process ") +
                      std::to_string(one.pid) + " ended by " +
                      describe(one.status) + one.where;
        return result;
    }

    std::string task_;
    std::vector<death> attempts_;
};

/// Where an exception was thrown.  Base of all that cross from a worker.
struct remote_origin
{
    std::string type; // of the exception, as the compiler names it
    pid_t pid = 0;    // of the worker that threw
};

/// An exception of a worker whose type this process cannot rebuild.
class remote_error : public std::runtime_error, public remote_origin
{
public:
    remote_error(remote_origin origin, const std::string& what)
        : std::runtime_error(origin.type + ": " + what)
        , remote_origin(std::move(origin))
    {
    }
};

/// A standard exception of a worker: caught as `E`, and as remote_origin.
template <class E>
class remote : public E, public remote_origin
{
public:
    template <class... What>
    explicit remote(remote_origin origin, const What&... what)
        : E(what...)
        , remote_origin(std::move(origin))
    {
    }
};

/// The other side has closed, or this object was shut down.
struct closed : std::runtime_error
{
    using std::runtime_error::runtime_error;
};

/// A deadline passed.
struct timed_out : std::runtime_error
{
    using std::runtime_error::runtime_error;
};

/// The task was cancelled.
struct cancelled : std::runtime_error
{
    using std::runtime_error::runtime_error;
};

/// There is no room, and the caller asked not to wait.
struct full : std::runtime_error
{
    using std::runtime_error::runtime_error;
};

/// Workers died more often than the restart budget allows.
struct exhausted : std::runtime_error
{
    using std::runtime_error::runtime_error;
};

/// Bytes that are not what they claim to be.
struct malformed : std::runtime_error
{
    using std::runtime_error::runtime_error;
};

} // namespace common
