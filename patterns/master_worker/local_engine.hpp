// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.

#pragma once

#include "engine.hpp"
#include "mailbox.hpp"
#include "master_end.hpp"
#include "seat.hpp"
#include "staff.hpp"
#include "worker.hpp"

#include "common/linux/cpus.hpp"
#include "common/process.hpp"

#include <poll.h>
#include <sys/types.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <memory>
#include <stdexcept>
#include <vector>

namespace master_worker {

/// The engine within one machine: a process and a mailbox for each worker.
///
/// Hands a worker one task at a time, and where tasks of its role are short, a
/// few more; takes those back when others are idle.
class local_engine : public engine
{
public:
    using options = staff::options;

    struct worker_info
    {
        unsigned number = 0, role = 0;
        pid_t pid = 0; // 0: none at the moment
        bool ready = false;
        bool guest = false; // it has joined by itself
        unsigned tasks = 0; // that it has been given
        std::uint64_t launches = 0;
    };

    /// Each worker calls `init(arguments...)` before its first task; what it
    /// returns is its state.
    template <class Init, class... A>
    explicit local_engine(const options& wanted, Init init, A... arguments)
        : staff_(wanted, [=](const seat& one) {
            return common::letter(serve<Init, A...>{}, one.box.memory(),
                                  common::inherited{one.bell.get().get()},
                                  one.role, common::packed<Init>{init},
                                  arguments...);
        })
    {
        staff_.start();
    }

    local_engine(const local_engine&) = delete;

    std::size_t window(unsigned role, bool alone) override
    {
        std::size_t room = 0;
        for (const auto& one : staff_.seats())
            room += one->role == role ? this->room(*one, alone) : 0;
        return room;
    }

    void put(const assignment& what) override
    {
        seat* best = nullptr; // who has least to do
        for (const auto& one : staff_.seats())
            if (one->role == what.role && room(*one, what.alone) != 0 &&
                (best == nullptr || one->box.out() < best->box.out()))
                best = one.get();
        if (best == nullptr)
            throw std::logic_error("a task was put where there is no room");
        const bool first = best->box.out() == 0;
        best->box.post(what, first);
        best->out.push_back({what.task, what.deadline, what.silence,
                             what.measured, what.alone});
        if (first)
            staff_.begin_turn(*best, clock::now());
    }

    bool take(report& into, time_point deadline) override
    {
        for (;;) // ends with a report or at the deadline
        {
            if (++takes_ % 32 == 0) // a clock costs time
                if (const auto now = clock::now();
                    now > staff_.tended() + looks_apart)
                    staff_.tend(now);
            if (staff_.report_next(into) || hear(into))
                return true;
            if (deadline == time_point::min() || clock::now() >= deadline)
                return false;
            if (spin(deadline) || rebalance())
                continue;
            const bool stirred = sleep(std::min(deadline, staff_.alarm()));
            if (const auto now = clock::now();
                stirred || now >= staff_.alarm() ||
                now > staff_.tended() + looks_apart)
                staff_.tend(now);
        }
    }

    void drop(std::uint64_t task) override
    {
        for (auto& one : staff_.seats())
            staff_.drop(*one, task);
    }

    void resize(unsigned role, unsigned workers) override
    {
        staff_.resize(role, workers);
    }

    bool staffed(unsigned role) const override
    {
        return staff_.door() != nullptr ||
               std::any_of(
                   staff_.seats().begin(), staff_.seats().end(),
                   [role](const auto& one) { return one->role == role; });
    }

    bool enforces_limits() const override { return true; }

    std::vector<worker_info> workers() const
    {
        std::vector<worker_info> result;
        for (const auto& one : staff_.seats())
            result.push_back({one->number, one->role,
                              one->child ? one->child.pid() : 0, one->ready,
                              one->guest, one->box.out(), one->launches});
        return result;
    }

private:
    static constexpr std::chrono::milliseconds looks_apart{1}; // after workers
    static constexpr std::chrono::microseconds shortest_spin{30};

    // --- putting ----------------------------------------------------------

    unsigned room(const seat& one, bool alone) const
    {
        const bool open =
            one.ready && !one.retiring && one.why == verdict::none;
        const auto out = one.box.out();
        if (!open || (out != 0 && (alone || one.out.back().alone)))
            return 0;
        const auto limit = alone ? 1 : staff_.pace_of(one.role).depth;
        return limit - std::min(limit, out);
    }

    // --- taking -----------------------------------------------------------

    // The next answer of any worker.
    bool hear(report& into)
    {
        for (auto& one : staff_.seats())
            while (one->box.news() && one->why != verdict::expelled)
                if (staff_.read(*one, into))
                    return true; // else it was dropped, or is condemned
        return false;
    }

    bool news() const
    {
        return std::any_of(
            staff_.seats().begin(), staff_.seats().end(), [](const auto& one) {
                return one->box.news() && one->why != verdict::expelled;
            });
    }

    // Whether each CPU has a worker to run: it is theirs, then.
    bool all_cpus_work() const
    {
        const auto working =
            std::count_if(staff_.seats().begin(), staff_.seats().end(),
                          [](const auto& one) { return one->box.out() != 0; });
        return static_cast<unsigned>(working) >= cpus_;
    }

    // As long as a sleep would cost, which is more than that of a single wait
    // on a futex: the worker may have gone to sleep meanwhile, and be on its
    // way back.  Returns whether there is an answer.
    bool spin(time_point deadline)
    {
        auto budget = common::spin_budget();
        if (budget.count() == 0 || all_cpus_work())
            return news();
        budget = std::max<std::chrono::nanoseconds>(budget, shortest_spin);
        const auto limit = std::min(deadline, clock::now() + budget);
        do
            for (int i = 0; i < 32; ++i)
            {
                if (news())
                    return true;
                common::relax();
                common::relax();
            }
        while (clock::now() < limit);
        return false;
    }

    // Nothing waits behind a busy worker while another one is idle.
    bool rebalance()
    {
        for (const auto& idle : staff_.seats())
            if (room(*idle, true) != 0)
                for (auto& busy : staff_.seats())
                    if (busy->role == idle->role && busy->out.size() > 1 &&
                        staff_.recall(*busy, busy->out.size() - 1))
                        return true;
        return false;
    }

    // Asks a worker to ring: not at each answer where they come fast, but while
    // half of what it had to do is left.  Returns when to look even so.
    time_point await(const seat& one) const
    {
        const auto out = one.box.out();
        const auto pace = staff_.pace_of(one.role).of_a_task;
        if (out < 3 || pace.count() == 0)
            return one.box.await(out == 0 ? 0 : out - 1), time_point::max();
        one.box.await(out - 1 - (out - 1) / 2);
        return clock::now() + out * pace;
    }

    // Ends when a worker rings, when one dies, or at `until`.  What workers
    // write cannot keep it asleep: only the bell of the liar is in danger.
    // Returns whether a worker has come or gone, or may have.
    bool sleep(time_point until)
    {
        auto& all = watched_;
        all.clear();
        bool awake = false, stirred = false;
        for (const auto& one : staff_.seats())
            if (one->child)
            {
                until = std::min(until, await(*one));
                awake = awake || (!one->ready &&
                                  one->box.phase() == mailbox_memory::ready);
                all.push_back({one->bell.get().get(), POLLIN, 0});
                all.push_back({one->guest ? one->line.get() : one->child.get(),
                               POLLIN, 0});
            }
        if (staff_.door())
            all.push_back({staff_.door()->get(), POLLIN, 0});
        if (!awake && !news())
        {
            const auto left = std::chrono::ceil<std::chrono::milliseconds>(
                std::clamp<std::chrono::nanoseconds>(
                    until - std::min(until, clock::now()),
                    std::chrono::nanoseconds(0), std::chrono::seconds(1)));
            ::poll(all.data(), all.size(), static_cast<int>(left.count()));
        }
        std::size_t i = 0;
        for (const auto& one : staff_.seats())
            if (one->child)
            {
                one->box.awake();
                if (all[i].revents != 0)
                    one->bell.silence();
                stirred = stirred || !one->ready || all[i + 1].revents != 0;
                i += 2;
            }
        return stirred || (staff_.door() && all.back().revents != 0);
    }

    staff staff_;
    unsigned cpus_ = common::kernel::usable_cpus();
    std::vector<pollfd> watched_; // while it sleeps
    unsigned takes_ = 0;
};

} // namespace master_worker
