// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.

#pragma once

#include "engine.hpp"
#include "mailbox.hpp"
#include "master_end.hpp"
#include "silence.hpp"

#include "common/linux/door.hpp"

#include <signal.h>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <string>

namespace master_worker {

/// What a worker was given and has not answered.
struct outstanding
{
    std::uint64_t task;
    std::chrono::nanoseconds deadline, silence;
    bool measured, alone;
    bool dropped = false;
};

/// Why this process has killed a worker.
enum class verdict
{
    none,
    timed_out,
    stuck,
    expelled,
    unwanted, // its task was dropped
    late      // it did not get ready
};

/// The place of one worker after the other.
struct seat
{
    unsigned number = 0, role = 0;
    master_end box; // of this worker alone, like ...
    common::kernel::bell bell;
    common::kernel::pidfd child;
    common::kernel::visitor line; // of a guest: by its end he learns of ours,
                                  // and we learn that he has left
    std::deque<outstanding> out;  // in the order of their turns
    time_point born{}, since{};   // since: the first of `out` is the first
    unsigned answers = 0;         // read since then
    bool ready = false, productive = false;
    verdict why = verdict::none;
    std::string text;         // of the verdict
    std::uint64_t blamed = 0; // the same: the turn that it is about
    silence_watch silence;
    // Of all its workers.
    time_point start_again{};
    unsigned failures = 0; // in a row
    std::uint64_t launches = 0;
    bool retiring = false; // no more tasks, no replacement
    bool guest = false;    // it has joined by itself: no replacement

    /// Kills its worker, and remembers why: for task number `at` of `out`.
    void condemn(verdict reason, const std::string& what, std::size_t at = 0)
    {
        why = reason;
        blamed = box.oldest() + at;
        text = "worker " + std::to_string(number) + " (process " +
               std::to_string(child.pid()) + ") " + what;
        child.kill(SIGKILL);
    }

    /// Whether it was condemned for a task, but was done with that when the
    /// kill reached it.
    bool acquitted() const
    {
        return why != verdict::none && why != verdict::expelled &&
               box.oldest() != blamed;
    }

    /// Condemns its worker where that is past a limit of its task.  Returns
    /// when to look again.  Requires: there is a task, and no news of it.
    time_point enforce(time_point now)
    {
        const auto& first = out.front();
        if (first.deadline.count() == 0 && first.silence.count() == 0)
            return time_point::max();
        const auto times = box.times(since, now);
        if (!times) // it has not begun, though it could: that is silence, too
            return unless_silent(since, std::max(first.deadline, first.silence),
                                 now, "did not begin its task");
        const auto [began, beat] = *times;
        auto next = time_point::max();
        if (first.deadline.count() > 0)
        {
            next = began + first.deadline;
            if (now >= next)
                return condemn(verdict::timed_out,
                               "ran a task past its deadline"),
                       time_point::max();
        }
        if (first.silence.count() > 0)
            next =
                std::min(next, unless_silent(beat, first.silence, now,
                                             "made no progress with its task"));
        return next;
    }

private:
    time_point unless_silent(time_point heard, std::chrono::nanoseconds limit,
                             time_point now, const std::string& what)
    {
        const auto next = silence.next_look(child.pid(), heard, limit, now);
        if (!next)
            condemn(verdict::stuck, what);
        return next.value_or(time_point::max());
    }
};

} // namespace master_worker
