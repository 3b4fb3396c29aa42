// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.

#pragma once

#include "engine.hpp"
#include "fingerprint.hpp"
#include "retry.hpp"

#include "common/task.hpp"

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <functional>
#include <memory>
#include <stdexcept>
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

/// Throws std::invalid_argument for what makes no sense.  What is longer than a
/// year is as good as for ever, and is made one: it can be counted with.
inline void check(task_options& how)
{
    using std::chrono::nanoseconds;
    for (auto* const limit : {&how.deadline, &how.silence})
    {
        if (limit->count() < 0)
            throw std::invalid_argument("a limit of a task is negative");
        *limit = std::min<nanoseconds>(*limit, std::chrono::years(1));
    }
    if (!(how.speculate >= 0))
        throw std::invalid_argument("a task cannot get a copy before it runs");
    check(how.retry);
}

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

/// Its name in a journal.  Where the user gives none: what is called, with
/// which arguments, as the how-manieth task, by exactly this program.
inline std::string journal_key_of(const record& r)
{
    if (!r.how.key.empty())
        return "=" + r.how.key;
    const std::uint64_t sum =
        quick_sum(r.input, fingerprint_of_this_program() ^
                               static_cast<std::uint64_t>(r.entry) << 1);
    std::string key(15, '#'); // no longer: such a string needs no memory
    std::memcpy(key.data() + 1, &sum, 8);
    std::memcpy(key.data() + 9, &r.number, 6);
    return key;
}

} // namespace master_worker
