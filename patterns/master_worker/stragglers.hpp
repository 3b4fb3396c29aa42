// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.

#pragma once

#include "record.hpp"

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <vector>

namespace master_worker {

/// Which task runs so much longer than others did that a worker with nothing
/// else to do may run it, too (Dean and Ghemawat, MapReduce, 2004: backup
/// tasks).
class stragglers
{
public:
    explicit stragglers(unsigned roles) : roles_(roles) {}

    /// Whether there is any task that may get a copy.  If not, there is no need
    /// to know the time.
    bool wanted() const { return wanted_; }
    void expect(const task_options& how)
    {
        wanted_ = wanted_ || how.speculate > 0;
    }

    /// A task of this role ran so long.
    void note(unsigned role, std::chrono::nanoseconds ran)
    {
        ++roles_[role].finished;
        roles_[role].spent += ran;
    }

    /// Forgets when to look again, before a look at each role.
    void look_at_all() { next_look_ = time_point::max(); }
    time_point next_look() const { return next_look_; }

    /// That of those which run in a role; null when none is due.
    template <class Active>
    record* find(unsigned role, const Active& active, time_point now)
    {
        const auto& of = roles_[role];
        if (of.finished < 3)
            return nullptr;
        record* slowest = nullptr;
        for (const auto& [number, r] : active)
            if (r->how.role == role && r->how.speculate > 0 && r->copies == 1 &&
                (!slowest || r->put < slowest->put))
                slowest = r.get();
        if (slowest == nullptr)
            return nullptr;
        using time = std::chrono::duration<double, std::nano>;
        const auto average = of.spent / static_cast<std::int64_t>(of.finished);
        const auto due =
            slowest->put +
            std::chrono::duration_cast<clock::duration>(std::min<time>(
                average * slowest->how.speculate, std::chrono::years(1)));
        if (now >= due)
            return slowest;
        next_look_ = std::min(next_look_, due);
        return nullptr;
    }

private:
    struct role_state
    {
        std::uint64_t finished = 0;
        std::chrono::nanoseconds spent{0}; // on those
    };
    std::vector<role_state> roles_;
    time_point next_look_ = time_point::max();
    bool wanted_ = false;
};

} // namespace master_worker
