// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.

#pragma once

/// `COMMON_FAULT_POINT("cells.claimed")` marks an instant at which a process
/// may die.  Nothing at all unless COMMON_FAULT_POINTS is defined; then a
/// *worker* process kills itself there with the probability that the
/// environment names:
///
///     COMMON_FAULT=cells.claimed=0.01,cells.written=0.5 COMMON_FAULT_SEED=7
///
/// Random kills from outside hardly ever hit the few instructions that
/// matter; named points always do (PostgreSQL calls them injection points).
#ifdef COMMON_FAULT_POINTS

#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <functional>
#include <map>
#include <mutex>
#include <random>
#include <string>
#include <string_view>

namespace common::fault {

/// The points that are armed in this process, and how likely each fires.
class plan
{
public:
    /// Told the name of the point at which this process is about to die.
    std::function<void(std::string_view)> last_words;

    static plan& of_this_process()
    {
        static plan only;
        return only;
    }

    /// Reads the environment.  `launch` numbers the workers of one parent, so
    /// that a seed gives each of them its own, repeatable, fate.
    void arm(std::uint64_t launch)
    {
        const char* seed = std::getenv("COMMON_FAULT_SEED");
        dice_.seed((seed ? std::strtoull(seed, nullptr, 10) : 1) * 1'000'003 +
                   launch);
        const char* text = std::getenv("COMMON_FAULT");
        std::string_view rest = text ? text : "";
        while (!rest.empty()) // each turn takes one "name=probability" off
        {
            const auto one = rest.substr(0, rest.find(','));
            rest.remove_prefix(std::min(rest.size(), one.size() + 1));
            const auto equals = one.find('=');
            if (equals != one.npos)
                points_[std::string(one.substr(0, equals))] = std::strtod(
                    std::string(one.substr(equals + 1)).c_str(), nullptr);
        }
    }

    void pass(std::string_view name)
    {
        if (points_.empty())
            return;
        const auto at = points_.find(name);
        if (at == points_.end())
            return;
        const std::lock_guard one_thread_at_a_time(mutex_);
        if (std::uniform_real_distribution<>()(dice_) >= at->second)
            return;
        if (last_words)
            last_words(name);
        ::kill(::getpid(), SIGKILL);
    }

private:
    std::map<std::string, double, std::less<>> points_;
    std::mutex mutex_; // of the dice
    std::mt19937_64 dice_;
};

} // namespace common::fault

#define COMMON_FAULT_POINT(name)                                               \
    ::common::fault::plan::of_this_process().pass(name)
#else
#define COMMON_FAULT_POINT(name) static_cast<void>(0)
#endif
