// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.

#pragma once

#include "common/error.hpp"
#include "common/robust.hpp"

#include <chrono>
#include <stdexcept>
#include <string>

namespace shared_data {

using common::clock;
using common::time_point;

/// Somebody died while it held this, and nobody has repaired it yet.
class owner_died : public std::runtime_error
{
public:
    owner_died(const std::string& what, pid_t pid)
        : std::runtime_error(what + ": its owner, " + name(pid) +
                             ", died and may have left it half-written")
        , pid_(pid)
    {
    }
    pid_t pid() const { return pid_; } // -1: it died too early to say

private:
    static std::string name(pid_t pid)
    {
        return pid > 0 ? "process " + std::to_string(pid)
                       : std::string("an unknown process");
    }
    pid_t pid_;
};

/// The deadline passed before the lock was free.  Says who holds it, and, where
/// that is known, for how long at least.
class still_locked : public common::timed_out
{
public:
    still_locked(const std::string& what, common::robust_mutex::holder by)
        : common::timed_out(what + text(by))
        , by_(by)
    {
    }
    pid_t pid() const { return by_.pid; } // 0: it was just changing hands
    // time_point(): nobody has had to wait for it yet.
    time_point since() const { return by_.since; }

private:
    static std::string text(common::robust_mutex::holder by)
    {
        if (by.pid == 0)
            return ": still locked";
        const auto holder = ": held by process " + std::to_string(by.pid);
        if (by.since == time_point())
            return holder;
        const std::chrono::duration<double> held = clock::now() - by.since;
        return holder + " for at least " + std::to_string(held.count()) + " s";
    }
    common::robust_mutex::holder by_;
};

} // namespace shared_data
