// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.

#pragma once

#include "record.hpp"

#include <algorithm>
#include <deque>
#include <map>
#include <utility>
#include <vector>

namespace master_worker {

/// What waits to be handed out: in a queue for each role, or for the time of
/// its next attempt.
///
/// A record that is taken out may be the last thing that holds what its user
/// gave it, whose end may add others: so it is out before it can end.
class schedule
{
public:
    explicit schedule(unsigned roles) : queues_(roles) {}

    unsigned roles() const { return static_cast<unsigned>(queues_.size()); }

    void add(const record_ptr& r) { queues_[r->how.role].push_back(r); }
    void add_first(const record_ptr& r) { queues_[r->how.role].push_front(r); }
    void add_later(const record_ptr& r, time_point when)
    {
        later_.emplace(when, r);
    }

    /// Whether some wait for their time, and until when the first of them does.
    bool timed() const { return !later_.empty(); }
    time_point due() const
    {
        return later_.empty() ? time_point::max() : later_.begin()->first;
    }

    /// Those whose time has come wait in their queue from now on.
    void ripen(time_point now)
    {
        while (due() <= now && timed())
        {
            add(later_.begin()->second);
            later_.erase(later_.begin());
        }
    }

    /// The next of a role; null when there is none.
    const record* next(unsigned role) const
    {
        return queues_[role].empty() ? nullptr : queues_[role].front().get();
    }
    bool empty() const
    {
        return std::all_of(queues_.begin(), queues_.end(),
                           [](const auto& one) { return one.empty(); });
    }

    /// Takes the next of a role.  Requires: there is one.
    record_ptr take(unsigned role)
    {
        auto r = std::move(queues_[role].front());
        queues_[role].pop_front();
        return r;
    }

    void clear()
    {
        const auto gone = std::exchange(
            queues_, std::vector<std::deque<record_ptr>>(queues_.size()));
        const auto later = std::exchange(later_, {});
    }

private:
    std::vector<std::deque<record_ptr>> queues_; // by role
    std::multimap<time_point, record_ptr> later_;
};

} // namespace master_worker
