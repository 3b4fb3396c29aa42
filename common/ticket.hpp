// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.

#pragma once

#include "common/cells.hpp"
#include "common/error.hpp"

#include <boost/smart_ptr/intrusive_ptr.hpp>

#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace common {

/// How a task came to its end.
enum class outcome : std::uint8_t
{
    pending,   // it has not
    value,     // it returned
    error,     // it threw
    died,      // it killed its workers, as often as it was allowed to try
    timed_out, // its deadline passed; the worker that ran it was killed
    cancelled, // before it ran, or with the worker that ran it
    abandoned  // there are no workers any more to run it
};

class ledger;
struct ticket;

/// Is told once when its task is over, by the thread that finds out first; it
/// has to live until then.
class watcher
{
public:
    virtual void over(ticket& t) = 0;

protected:
    ~watcher() = default;
};

/// A task that was submitted, as its submitter knows it.  Private memory, that
/// serves one task after the other; what all of them need comes first.
struct ticket
{
    explicit ticket(std::shared_ptr<ledger> all) : home(std::move(all)) {}

    std::atomic<unsigned> references{0}; // see ledger, which sets it, too
    unsigned cell = 0, lane = 0;
    unsigned allowed = 1; // attempts
    std::uint64_t lap = 0;
    std::uint64_t number = 0; // of the task, for messages: from 1 on
    std::atomic<outcome> end{outcome::pending}; // set once, under the lock
    outcome revoked_as = outcome::cancelled;
    bool special = false; // has something of what few tasks need: see below
    watcher* watched_by = nullptr;
    const std::shared_ptr<ledger> home; // lives until all its tickets are gone
    std::size_t size = 0;
    std::array<std::byte, cell::small_output> small{};
    std::vector<std::shared_ptr<const void>> kept; // shared arguments

    // What few tasks need.  Such a ticket serves no other one.
    std::chrono::nanoseconds soft{0}, hard{0};
    std::string why; // abandoned
    std::vector<death> deaths;
    std::function<void()> then;    // called once, see when_over
    std::function<void()> on_news; // at announce(), in the same thread
    std::string name;              // for messages and statistics
    std::vector<std::byte> large;

    std::span<const std::byte> bytes() const
    {
        return size <= small.size() ? std::span(small).first(size)
                                    : std::span(large);
    }

    /// Somebody is to be told of its end.
    bool watched() const { return watched_by != nullptr || (special && then); }

    friend void intrusive_ptr_add_ref(ticket* one)
    {
        one->references.fetch_add(1, std::memory_order_relaxed);
    }
    friend void intrusive_ptr_release(ticket* one)
    {
        if (one->references.fetch_sub(1, std::memory_order_acq_rel) == 1)
            delete one;
    }
};

using ticket_ptr = boost::intrusive_ptr<ticket>;

/// How a task is to be run.
struct task_options
{
    unsigned attempts = 3; // how often it may kill a worker, and once more
    unsigned priority = 0; // 0 runs first
    std::chrono::nanoseconds soft{0}; // running longer: is asked to stop
    std::chrono::nanoseconds hard{0}; // running longer: is killed
    std::string name{};               // for messages and statistics
    bool quiet = false;               // wakes no worker: see executor::wake_for
    bool timed = false; // statistics tell how long it has been running

    watcher* watched_by = nullptr;   // where submit returned a ticket
    std::function<void()> on_news{}; // after the task called announce()

    bool limited() const { return soft.count() > 0 || hard.count() > 0; }
};

} // namespace common
