// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.

#pragma once

#include "engine.hpp"

#include "common/error.hpp"
#include "common/task.hpp"

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace master_worker {

/// How a task came to its end.
enum class outcome : std::uint8_t
{
    pending,  // it has not
    value,    // it returned
    error,    // it threw
    poisoned, // it lost as many workers as it was allowed
    cancelled,
    abandoned // the master ended, or there are no workers any more
};

/// One attempt that came to nothing.
struct failure
{
    enum class kind : std::uint8_t
    {
        threw,
        died,
        timed_out,
        stuck,
        expelled
    };
    kind what = kind::died;
    unsigned attempt = 0; // from 0 on
    unsigned worker = 0;
    common::death death{};         // of the worker; none where it threw
    common::error_message error{}; // what it threw
    std::string text{};            // in words
    time_point when{};

    /// Whether the task threw an `E`: a standard type, or one derived from it.
    template <class E>
    bool threw() const
    {
        if (what != kind::threw)
            return false;
        try
        {
            error.rethrow();
        }
        catch (const E&)
        {
            return true;
        }
        catch (...)
        {
            return false;
        }
    }
};

/// Whether, and when, a task is tried again.
struct retry_policy
{
    unsigned attempts = 3;                 // in all
    std::chrono::milliseconds backoff{10}; // before the second, doubled then
    std::chrono::milliseconds longest{10'000};
    double jitter = 0.2; // the pause is off by up to this part, at random
    /// Whether this failure allows another attempt.  By default losses of a
    /// worker do, exceptions do not; who replaces it answers for both.
    std::function<bool(const failure&)> again = [](const failure& f) {
        return f.what != failure::kind::threw;
    };
};

struct task_options
{
    std::string key{}; // in the journal; "": its number and what is called
    unsigned role = 0;
    std::chrono::nanoseconds deadline{0}; // of an attempt, then it is killed
    std::chrono::nanoseconds silence{0};  // without progress(), the same
    retry_policy retry{};
    double speculate = 0; // running so many times as long as others have on
                          // average, an idle worker gets a copy; 0: never
};

class ledger;

/// How a record finds its ledger, as long as there is one.
struct link
{
    ledger* alive = nullptr;
};

/// What the master knows of a task, in its private memory.
struct record
{
    std::uint64_t number = 0; // from 1 on; 0: no task, but a callback's result
    task_options how;
    common::entry_id entry = 0;
    bytes input;
    std::vector<std::shared_ptr<const void>> kept; // shared memory in `input`

    std::shared_ptr<link> owner;
    std::string journal_key; // "": there is no journal
    unsigned attempts = 0;   // that have come to an end
    unsigned copies = 0;     // that are out now
    unsigned returned = 0;   // attempts that never began, or came to nothing
                             // by the fault of nobody knows whom
    bool alone = false;      // so it runs in no company
    std::vector<failure> failures;
    bool told = false;      // of this attempt, that it has started
    time_point submitted{}; // if that is measured
    time_point put{};       // if any task speculates

    outcome end = outcome::pending;
    bytes content; // the value; or the error_message of `error`
    std::string why;
    cost spent{};
    std::vector<std::function<void()>> then; // called once, when it ends
};
using record_ptr = std::shared_ptr<record>;

} // namespace master_worker
