// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.

#pragma once

#include "common/task.hpp"
#include "common/wait.hpp"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace pipeline {

/// What one stage did, all its processes together.
struct stage_statistics
{
    std::string name;
    unsigned workers = 1;
    std::uint64_t items = 0;             // of the source, that it finished
    std::chrono::nanoseconds busy{0};    // at work, the codec included
    std::chrono::nanoseconds starved{0}; // waited for input
    std::chrono::nanoseconds blocked{0}; // waited for room behind it
    std::uint64_t replayed = 0;          // had killed a process before
    std::uint64_t deaths = 0;            // of its processes

    /// At work, of all the time that its workers had.
    double load() const
    {
        const auto all = busy + starved + blocked;
        return all.count() == 0 ? 0
                                : static_cast<double>(busy.count()) /
                                      static_cast<double>(all.count());
    }
};

/// What a run did.
struct report
{
    std::vector<stage_statistics> stages; // with the source and the sink
    std::uint64_t items = 0;              // that the source gave
    std::uint64_t skipped = 0;            // given up, by policy
    std::uint64_t poisoned = 0;           // of these: had killed their stage
    std::uint64_t most_in_flight = 0;     // between source and sink at once

    std::uint64_t deaths() const
    {
        std::uint64_t sum = 0;
        for (const auto& one : stages)
            sum += one.deaths;
        return sum;
    }
    std::uint64_t replayed() const
    {
        std::uint64_t sum = 0;
        for (const auto& one : stages)
            sum += one.replayed;
        return sum;
    }

    /// The stage that the others wait for: the one most at work.
    const stage_statistics& bottleneck() const
    {
        return *std::max_element(
            stages.begin(), stages.end(),
            [](const auto& a, const auto& b) { return a.load() < b.load(); });
    }

    /// A table, a line for each stage; then the bottleneck.
    std::string text() const
    {
        std::string result =
            "stage             workers     items   busy starved blocked\n";
        for (const auto& one : stages)
        {
            const double all = static_cast<double>(std::max<std::int64_t>(
                1, (one.busy + one.starved + one.blocked).count()));
            const auto percent = [&](std::chrono::nanoseconds part) {
                return 100 * static_cast<double>(part.count()) / all;
            };
            char line[160];
            std::snprintf(
                line, sizeof line, "%-17.40s %7u %9llu %5.0f%% %6.0f%% %6.0f%%",
                one.name.c_str(), one.workers,
                static_cast<unsigned long long>(one.items), percent(one.busy),
                percent(one.starved), percent(one.blocked));
            result += line;
            if (one.deaths != 0)
                result += "  " + std::to_string(one.deaths) + " died";
            result += '\n';
        }
        return result + "bottleneck: " + bottleneck().name + "\n";
    }
};

/// An item that a stage could not process: what ran, or the codec of an item,
/// threw there or killed the process.
class stage_error : public std::runtime_error
{
public:
    stage_error(std::string stage, std::uint64_t item,
                common::error_message cause)
        : std::runtime_error(
              stage + ", item " + std::to_string(item) + ": " + cause.type +
              (cause.type.empty() || cause.what.empty() ? "" : ": ") +
              cause.what)
        , stage_(std::move(stage))
        , item_(item)
        , cause_(std::move(cause))
    {
    }

    const std::string& stage() const { return stage_; }
    std::uint64_t item() const { return item_; } // as the source counts, from 0

    /// Whether the item killed the stage's processes, or was too slow for its
    /// deadline, instead of throwing.
    bool killed() const { return cause_.type.empty(); }

    /// What it threw; cause().rethrow() throws that type.
    const common::error_message& cause() const { return cause_; }

private:
    std::string stage_;
    std::uint64_t item_;
    common::error_message cause_;
};

namespace detail {

/// The times of one worker, in shared memory.
struct alignas(128) meter
{
    // All words: its worker, at any time; they only grow.
    std::atomic<std::uint64_t> items{0}, busy{0}, starved{0}, blocked{0},
        replayed{0};
};

/// Fills a meter.  One look at the clock for each record, and one for each
/// wait.
class stopwatch
{
public:
    explicit stopwatch(meter& to) : to_(to), mark_(common::clock::now()) {}

    meter& counts() const { return to_; }

    static void add(std::atomic<std::uint64_t>& to, std::uint64_t n)
    {
        to.store(to.load(std::memory_order_relaxed) + n, // one writer
                 std::memory_order_relaxed);
    }
    void count(unsigned items) { add(to_.items, items); }
    /// All the time up to now was work.
    void lap() { lap(to_.busy); }
    void items(unsigned done)
    {
        count(done);
        lap();
    }
    template <class Wait>
    auto starved(Wait wait)
    {
        return during(to_.starved, wait);
    }
    template <class Wait>
    auto blocked(Wait wait)
    {
        return during(to_.blocked, wait);
    }

private:
    template <class Wait>
    auto during(std::atomic<std::uint64_t>& what, Wait wait)
    {
        lap(to_.busy);
        auto result = wait();
        lap(what);
        return result;
    }
    void lap(std::atomic<std::uint64_t>& to)
    {
        const auto now = common::clock::now();
        add(to, static_cast<std::uint64_t>(
                    std::chrono::nanoseconds(now - mark_).count()));
        mark_ = now;
    }

    meter& to_;
    common::time_point mark_;
};

} // namespace detail

} // namespace pipeline
