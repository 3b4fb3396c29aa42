// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.

#pragma once

#include "engine.hpp"

#include "common/error.hpp"

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <functional>
#include <random>
#include <stdexcept>
#include <string>

namespace master_worker {

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

/// Throws std::invalid_argument for what makes no sense, and makes a year of
/// what is longer.
inline void check(retry_policy& policy)
{
    if (policy.attempts == 0)
        throw std::invalid_argument("a task needs at least one attempt");
    if (!(policy.jitter >= 0 && policy.jitter <= 1))
        throw std::invalid_argument("the jitter of a pause is a part of it, "
                                    "from 0 to 1");
    for (auto* const pause : {&policy.backoff, &policy.longest})
    {
        if (pause->count() < 0)
            throw std::invalid_argument("a pause of a task is negative");
        *pause =
            std::min<std::chrono::milliseconds>(*pause, std::chrono::years(1));
    }
}

/// Whether there may be another attempt after `failed` ones, the last of which
/// came to nothing like that.
inline bool allows(const retry_policy& policy, unsigned failed,
                   const failure& last)
{
    try
    {
        return failed < policy.attempts && policy.again && policy.again(last);
    }
    catch (...) // who cannot say yes has said no
    {
        return false;
    }
}

/// How long to wait after so many.
inline std::chrono::nanoseconds
pause_after(const retry_policy& policy, unsigned failed, std::minstd_rand& dice)
{
    auto plain = std::min(policy.backoff, policy.longest);
    for (unsigned i = 1;
         i < failed && plain.count() != 0 && plain < policy.longest; ++i)
        plain = std::min(2 * plain, policy.longest);
    std::uniform_real_distribution<> off(1 - policy.jitter, 1 + policy.jitter);
    using real = std::chrono::duration<double, std::milli>;
    return std::chrono::duration_cast<std::chrono::nanoseconds>(real(plain) *
                                                                off(dice));
}

/// What a report of an engine says of attempt number `attempt`.
inline failure failure_of(unsigned attempt, const report& what)
{
    failure f;
    f.attempt = attempt;
    f.worker = what.worker;
    f.when = clock::now();
    if (what.what == report::kind::failed)
    {
        f.what = failure::kind::threw;
        common::reader from{what.content};
        f.error = common::decode<common::error_message>(from);
        f.text = f.error.type + ": " + f.error.what;
        return f;
    }
    f.what = what.why == loss::died        ? failure::kind::died
             : what.why == loss::timed_out ? failure::kind::timed_out
             : what.why == loss::stuck     ? failure::kind::stuck
                                           : failure::kind::expelled;
    f.death = {what.pid, what.status};
    f.text = !what.text.empty()
                 ? what.text
                 : "worker " + std::to_string(what.worker) + " (process " +
                       std::to_string(what.pid) +
                       ") died: " + common::describe(what.status);
    return f;
}

} // namespace master_worker
