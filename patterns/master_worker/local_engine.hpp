// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.

#pragma once

#include "engine.hpp"
#include "mailbox.hpp"
#include "master_end.hpp"
#include "reception.hpp"
#include "silence.hpp"
#include "worker.hpp"

#include "common/linux/cpus.hpp"
#include "common/linux/door.hpp"
#include "common/process.hpp"

#include <poll.h>
#include <signal.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdint>
#include <deque>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace master_worker {

/// The engine within one machine: a process and a mailbox for each worker.
///
/// It knows a death from the kernel, never from silence: a worker that is past
/// a limit, or that has sent nonsense, is killed, then reaped, and only then
/// its task is reported lost.  A replacement gets a fresh mailbox.
///
/// Hands a worker one task at a time, and where tasks of its role are short, a
/// few more; takes those back when others are idle.
class local_engine : public engine
{
public:
    struct options
    {
        std::vector<unsigned> workers{1}; // of each role
        std::size_t payload = 16u << 20;  // bytes of a task, and of a result
        unsigned restarts = 10; // of a worker, with nothing done in between
        std::chrono::milliseconds settled{10'000}; // alive so long: forgiven
        std::chrono::milliseconds backoff{10};     // before the second restart
        std::chrono::milliseconds longest_backoff{2'000};
        unsigned start_failures = 3; // in a row, then it gives up
        std::chrono::milliseconds start_deadline{60'000};
        std::filesystem::path door; // where others may join; empty: nowhere
        std::chrono::microseconds ahead{2'000}; // work that a worker may have
                                                // behind a task; 0: none
    };

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
        : options_(wanted)
        , roles_(wanted.workers.size())
        , letter_([=](const seat& one) {
            return common::letter(serve<Init, A...>{}, one.box.memory(),
                                  common::inherited{one.bell.get().get()},
                                  one.role, common::packed<Init>{init},
                                  arguments...);
        })
    {
        for (const auto workers : wanted.workers)
            if (workers == 0 && wanted.door.empty())
                throw std::invalid_argument("a role without workers needs a "
                                            "door, by which they join");
        if (!wanted.door.empty())
            door_ = std::make_unique<reception>(wanted.door);
        for (unsigned role = 0; role < wanted.workers.size(); ++role)
            add(role, wanted.workers[role]);
        try
        {
            for (auto& one : seats_)
                launch(*one, clock::now());
        }
        catch (...)
        {
            end_all();
            throw;
        }
    }

    local_engine(const local_engine&) = delete;

    /// Lets workers that are idle leave, kills the others, reaps them all.
    ~local_engine() override { end_all(); }

    std::size_t window(unsigned role, bool alone) override
    {
        std::size_t room = 0;
        for (const auto& one : seats_)
            room += one->role == role ? this->room(*one, alone) : 0;
        return room;
    }

    void put(const assignment& what) override
    {
        seat* best = nullptr; // who has least to do
        for (const auto& one : seats_)
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
            begin_turn(*best, clock::now());
    }

    bool take(report& into, time_point deadline) override
    {
        for (;;) // ends with a report or at the deadline
        {
            if (++takes_ % 32 == 0) // a clock costs time
                if (const auto now = clock::now(); now > tended_ + looks_apart)
                    tend(now);
            if (!reports_.empty())
            {
                into = std::move(reports_.front());
                reports_.pop_front();
                return true;
            }
            if (hear(into))
                return true;
            if (deadline == time_point::min() || clock::now() >= deadline)
                return false;
            if (spin(deadline) || rebalance())
                continue;
            const bool stirred = sleep(std::min(deadline, alarm_));
            if (const auto now = clock::now();
                stirred || now >= alarm_ || now > tended_ + looks_apart)
                tend(now);
        }
    }

    void drop(std::uint64_t task) override
    {
        for (auto& one : seats_)
            for (std::size_t i = 0; i < one->out.size(); ++i)
                if (one->out[i].task == task && !one->out[i].dropped)
                {
                    one->out[i].dropped = true;
                    if (i == 0)
                        condemn(*one, verdict::unwanted, "");
                    else
                        recall(*one, i);
                }
    }

    void resize(unsigned role, unsigned workers) override
    {
        unsigned here = 0;
        for (auto& one : seats_)
            if (one->role == role && !one->retiring && !one->guest &&
                ++here > workers)
                one->retiring = true;
        if (here < workers)
            add(role, workers - here);
        tend(clock::now());
    }

    bool staffed(unsigned role) const override
    {
        return door_ != nullptr || std::any_of(seats_.begin(), seats_.end(),
                                               [role](const auto& one) {
                                                   return one->role == role;
                                               });
    }

    capabilities can() const override { return {true, true, true, true}; }

    std::vector<worker_info> workers() const
    {
        std::vector<worker_info> result;
        for (const auto& one : seats_)
            result.push_back({one->number, one->role,
                              one->child ? one->child.pid() : 0, one->ready,
                              one->guest, one->box.out(), one->launches});
        return result;
    }

private:
    static constexpr std::chrono::milliseconds looks_apart{1}; // after workers
    static constexpr std::chrono::microseconds unseen{1000};   // answers, about
    static constexpr std::chrono::microseconds shortest_spin{30};

    struct outstanding
    {
        std::uint64_t task;
        std::chrono::nanoseconds deadline, silence;
        bool measured, alone;
        bool dropped = false;
    };

    // Why this process has killed a worker.
    enum class verdict
    {
        none,
        timed_out,
        stuck,
        expelled,
        unwanted, // its task was dropped
        late      // it did not get ready
    };

    struct seat // of one worker after the other
    {
        unsigned number = 0, role = 0;
        master_end box; // of this worker alone, like ...
        common::kernel::bell bell;
        common::kernel::pidfd child;
        common::kernel::visitor line; // of a guest: it ends with us by its end
        std::deque<outstanding> out;  // in the order of their turns
        time_point born{}, since{};   // since: the first of `out` is the first
        unsigned answers = 0;         // read since then
        bool ready = false, productive = false;
        verdict why = verdict::none;
        std::string text; // of the verdict
        silence_watch silence;
        // Of all its workers.
        time_point start_again{};
        unsigned failures = 0; // in a row
        std::uint64_t launches = 0;
        bool retiring = false; // no more tasks, no replacement
        bool guest = false;    // it has joined by itself: no replacement
    };

    struct role_state
    {
        std::chrono::nanoseconds pace{0}; // of a task; 0: not known
        unsigned depth = 1;               // tasks that a worker may have
    };

    // --- putting ----------------------------------------------------------

    unsigned room(const seat& one, bool alone) const
    {
        const bool open =
            one.ready && !one.retiring && one.why == verdict::none;
        const auto out = one.box.out();
        if (!open || (out != 0 && (alone || one.out.back().alone)))
            return 0;
        const auto limit = alone ? 1 : roles_[one.role].depth;
        return limit - std::min(limit, out);
    }

    void begin_turn(seat& one, time_point now)
    {
        one.since = now;
        if (one.out.empty())
            return;
        const auto& first = one.out.front();
        if (first.deadline.count() > 0)
            alarm_ = std::min(alarm_, now + first.deadline);
        if (first.silence.count() > 0)
            alarm_ = std::min(alarm_, now + first.silence / 2);
    }

    // --- taking -----------------------------------------------------------

    // The next answer of any worker.
    bool hear(report& into)
    {
        for (auto& one : seats_)
            while (one->box.news() && one->why != verdict::expelled)
                if (read(*one, into)) // else it was dropped, or is condemned
                    return true;
        return false;
    }

    // Returns false when there is nothing to report.
    bool read(seat& one, report& r)
    {
        const auto asked = one.out.front();
        bool failed = false;
        const auto wrong = one.box.read(asked.task, r.content, failed, r.spent);
        if (!wrong.empty())
            return condemn(one, verdict::expelled, wrong), false;
        r.what = failed ? report::kind::failed : report::kind::finished;
        r.task = asked.task;
        r.worker = one.number;
        if (asked.measured)
        {
            const auto now = std::max(clock::now(), one.since);
            r.spent.began = std::clamp(r.spent.began, one.since, now);
            r.spent.ran = std::clamp<std::chrono::nanoseconds>(
                r.spent.ran, std::chrono::nanoseconds(0), now - r.spent.began);
        }
        one.out.pop_front();
        one.productive = true;
        ++one.answers;
        if (!one.box.news() || one.answers == master_end::slots)
            keep_pace(one, clock::now());
        return !asked.dropped;
    }

    // What came together took the same time each, so far as we know.  One that
    // took long now and then (its CPU was taken from it) says little; several
    // do.
    void keep_pace(seat& one, time_point now)
    {
        auto& role = roles_[one.role];
        const auto took = (now - one.since) / std::exchange(one.answers, 0u) +
                          std::chrono::nanoseconds(1);
        role.pace = role.pace.count() == 0
                        ? took
                        : (3 * role.pace + std::min<std::chrono::nanoseconds>(
                                               took, 8 * role.pace)) /
                              4;
        role.depth =
            1 + static_cast<unsigned>(std::min<std::int64_t>(
                    master_end::slots - 1, options_.ahead / role.pace));
        begin_turn(one, now);
    }

    bool news() const
    {
        return std::any_of(seats_.begin(), seats_.end(), [](const auto& one) {
            return one->box.news() && one->why != verdict::expelled;
        });
    }

    // Whether each CPU has a worker to run: it is theirs, then.
    bool all_cpus_work() const
    {
        const auto working =
            std::count_if(seats_.begin(), seats_.end(),
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
        for (const auto& idle : seats_)
            if (room(*idle, true) != 0)
                for (auto& busy : seats_)
                    if (busy->role == idle->role && busy->out.size() > 1 &&
                        recall(*busy, busy->out.size() - 1))
                        return true;
        return false;
    }

    // Takes back what is posted from number `first` of `out` on, the last one
    // first, as far as the worker has not begun it.  Returns whether any.
    bool recall(seat& one, std::size_t first)
    {
        const auto before = one.out.size();
        while (one.why == verdict::none && one.out.size() > first &&
               one.box.recall()) // ends: there are fewer each time
        {
            give_back(one.out.back());
            one.out.pop_back();
        }
        return one.out.size() != before;
    }

    void give_back(const outstanding& one, const std::string& suspicion = {})
    {
        report r;
        r.what = report::kind::returned;
        r.task = one.task;
        r.text = suspicion;
        if (!one.dropped)
            reports_.push_back(std::move(r));
    }

    // Asks a worker to ring: not at each answer where they come fast, but while
    // it still has something to do.  Returns when to look even so.
    time_point await(const seat& one) const
    {
        const auto out = one.box.out();
        const auto pace = roles_[one.role].pace;
        if (out < 3 || pace.count() == 0)
            return one.box.await(out == 0 ? 0 : out - 1), time_point::max();
        const auto skip = std::min<std::int64_t>((out - 1) / 2, unseen / pace);
        one.box.await(out - 1 - static_cast<unsigned>(skip));
        return skip == 0 ? time_point::max() : clock::now() + 2 * unseen;
    }

    // Ends when a worker rings, when one dies, or at `until`.  What workers
    // write cannot keep it asleep: only the bell of the liar is in danger.
    // Returns whether a worker has come or gone, or may have.
    bool sleep(time_point until)
    {
        auto& all = watched_;
        all.clear();
        bool awake = false, stirred = false;
        for (const auto& one : seats_)
            if (one->child)
            {
                until = std::min(until, await(*one));
                awake = awake || (!one->ready &&
                                  one->box.phase() == mailbox_memory::ready);
                all.push_back({one->bell.get().get(), POLLIN, 0});
                all.push_back({one->child.get(), POLLIN, 0});
            }
        if (door_)
            all.push_back({door_->get(), POLLIN, 0});
        if (!awake && !news())
        {
            const auto left = std::chrono::ceil<std::chrono::milliseconds>(
                std::clamp<std::chrono::nanoseconds>(
                    until - std::min(until, clock::now()),
                    std::chrono::nanoseconds(0), std::chrono::seconds(1)));
            ::poll(all.data(), all.size(), static_cast<int>(left.count()));
        }
        std::size_t i = 0;
        for (const auto& one : seats_)
            if (one->child)
            {
                one->box.awake();
                if (all[i].revents != 0)
                    one->bell.silence();
                stirred = stirred || !one->ready || all[i + 1].revents != 0;
                i += 2;
            }
        return stirred || (door_ && all.back().revents != 0);
    }

    // --- workers ----------------------------------------------------------

    void add(unsigned role, unsigned count)
    {
        for (; count != 0; --count)
        {
            seats_.push_back(std::make_unique<seat>());
            seats_.back()->number = ++numbers_;
            seats_.back()->role = role;
        }
    }

    // A guest has a seat for as long as he is there.
    void seat_guests(time_point now)
    {
        auto came = door_->admit(now, static_cast<unsigned>(roles_.size()),
                                 options_.payload);
        for (auto& who : came)
        {
            seats_.push_back(std::make_unique<seat>());
            auto& one = *seats_.back();
            one.number = ++numbers_;
            one.role = who.role;
            one.guest = true;
            one.box = master_end(std::move(who.mailbox));
            one.bell = std::move(who.bell);
            one.child = std::move(who.process);
            one.line = std::move(who.line);
            one.born = now;
            one.launches = 1;
        }
        alarm_ = std::min(alarm_, door_->alarm());
    }

    // Looks after all workers.
    void tend(time_point now)
    {
        tended_ = now;
        alarm_ = time_point::max();
        if (door_ && !broken_)
            seat_guests(now);
        for (auto& one : seats_)
        {
            if (one->child)
                watch(*one, now);
            if (!one->child && !one->retiring && !one->guest && !broken_)
            {
                if (now >= one->start_again)
                    try_launch(*one, now);
                alarm_ = std::min(
                    alarm_, one->child ? one->born + options_.start_deadline
                                       : one->start_again);
            }
        }
        std::erase_if(seats_, [](const auto& one) {
            return (one->retiring || one->guest) && !one->child;
        });
    }

    void watch(seat& one, time_point now)
    {
        const auto phase = one.box.phase();
        if (!one.ready && phase == mailbox_memory::ready)
        {
            one.ready = true;
            failed_starts_ = killed_starts_ = 0;
            announce(report::kind::joined, one);
        }
        const auto pid = one.child.pid();
        if (const auto status = one.child.try_reap())
            return bury(one, pid, *status, now);
        if (one.why != verdict::none)
            return; // it is as good as dead
        if (!one.ready && now >= one.born + options_.start_deadline)
            return condemn(one, verdict::late, "did not get ready in time");
        if (one.retiring && one.out.empty())
            one.box.close();
        if (!one.out.empty())
            limit(one, now);
    }

    // Throws when there is no process or no memory for it.
    void launch(seat& one, time_point now)
    {
        one.ready = one.productive = false;
        one.answers = 0;
        one.why = verdict::none;
        one.text.clear();
        one.box = master_end(mailbox_memory::create(options_.payload));
        one.bell = common::kernel::bell();
        one.child = common::kernel::launch_thread::launch(
            letter_(one).command("worker"));
        one.born = now;
        ++one.launches;
        failed_launches_ = 0;
    }

    void try_launch(seat& one, time_point now)
    {
        try
        {
            launch(one, now);
        }
        catch (const std::exception& e) // later, perhaps
        {
            one.box = master_end();
            one.start_again = now + options_.longest_backoff / 4;
            if (++failed_launches_ >= options_.start_failures)
                give_up(std::string("no worker can be started: ") + e.what());
        }
    }

    void condemn(seat& one, verdict why, const std::string& text)
    {
        one.why = why;
        one.text = "worker " + std::to_string(one.number) + " (process " +
                   std::to_string(one.child.pid()) + ") " + text;
        one.child.kill(SIGKILL);
    }

    // The kernel has reported its death: nobody writes into its mailbox now.
    void bury(seat& one, pid_t pid, common::exit_status status, time_point now)
    {
        if (one.guest && one.text.empty()) // it is not ours to reap
            one.text = "process " + std::to_string(pid) +
                       ", which had joined, is gone";
        while (one.box.news() && one.why != verdict::expelled)
        {
            report answered; // before it died
            if (read(one, answered))
                reports_.push_back(std::move(answered));
        }
        const bool left =
            status.success() && one.box.phase() == mailbox_memory::leaving;
        // It runs one at a time, in order.  Where it has written nonsense, any
        // of those could have done it: they are tried again one by one.
        const bool doubtful =
            one.why == verdict::expelled && one.out.size() > 1;
        const bool charged = !one.out.empty() && !left && !doubtful &&
                             (one.why == verdict::expelled || one.box.begun());
        if (charged)
        {
            lose(one, pid, status);
            one.out.pop_front();
        }
        for (const auto& task : one.out)
            give_back(task, doubtful ? one.text : std::string());
        one.out.clear();
        const bool meant = left || one.why == verdict::unwanted ||
                           (one.retiring && status.success());
        announce(meant ? report::kind::left : report::kind::died, one, pid,
                 status);
        const bool excused = left || charged || doubtful || one.guest ||
                             one.productive || one.retiring ||
                             one.why == verdict::unwanted ||
                             now > one.born + options_.settled;
        const auto cause = one.box.cause();
        one.box = master_end();
        if (!one.ready && !excused)
            count_failed_start(one, status, cause);
        one.ready = false;
        replace(one, excused, now);
    }

    // Reports the task that it ran.
    void lose(const seat& one, pid_t pid, common::exit_status status)
    {
        report r;
        r.what = report::kind::lost;
        r.task = one.out.front().task;
        r.worker = one.number;
        r.pid = pid;
        r.status = status;
        r.why = one.why == verdict::timed_out  ? loss::timed_out
                : one.why == verdict::stuck    ? loss::stuck
                : one.why == verdict::expelled ? loss::expelled
                                               : loss::died;
        r.text = one.text;
        r.spent.began = one.since;
        r.spent.ran = clock::now() - one.since;
        if (!one.out.front().dropped)
            reports_.push_back(std::move(r));
    }

    // Who is killed from outside says nothing about the start-up.
    void count_failed_start(const seat& one, common::exit_status status,
                            const std::string& cause)
    {
        const bool by_others =
            status.signal == SIGKILL && one.why == verdict::none;
        ++(by_others ? killed_starts_ : failed_starts_);
        if (failed_starts_ >= options_.start_failures ||
            killed_starts_ > options_.restarts)
            give_up("worker " + std::to_string(one.number) +
                    " failed to start " +
                    std::to_string(std::max(failed_starts_, killed_starts_)) +
                    " times in a row: " +
                    (!cause.empty()      ? cause
                     : !one.text.empty() ? one.text
                                         : common::describe(status)));
    }

    void replace(seat& one, bool excused, time_point now)
    {
        one.failures = excused ? 0 : one.failures + 1;
        one.start_again = now;
        if (one.failures > 1)
            one.start_again += std::min(
                options_.longest_backoff,
                options_.backoff * (1 << std::min(one.failures - 2, 20u)));
        const bool all_spent =
            std::all_of(seats_.begin(), seats_.end(), [&](const auto& other) {
                return other->role != one.role ||
                       other->failures > options_.restarts;
            });
        if (all_spent && !one.retiring && !one.guest)
            give_up("each worker died more than " +
                    std::to_string(options_.restarts) +
                    " times with nothing done");
    }

    void give_up(const std::string& why)
    {
        if (std::exchange(broken_, true))
            return;
        for (auto& one : seats_)
            one->child.kill(SIGKILL);
        report r;
        r.what = report::kind::broken;
        r.text = why;
        reports_.push_back(std::move(r));
    }

    void announce(report::kind what, const seat& one, pid_t pid = 0,
                  common::exit_status status = {})
    {
        report r;
        r.what = what;
        r.worker = one.number;
        r.pid = pid != 0 ? pid : one.child.pid();
        r.status = status;
        r.text = !one.text.empty() || what == report::kind::joined
                     ? one.text
                     : common::describe(status);
        reports_.push_back(std::move(r));
    }

    // --- limits -----------------------------------------------------------

    void limit(seat& one, time_point now)
    {
        const auto& first = one.out.front();
        if (first.deadline.count() == 0 && first.silence.count() == 0)
            return;
        const auto times = one.box.times(one.since, now);
        if (!times) // it has not begun, though it could: that is silence, too
        {
            const auto any = std::max(first.deadline, first.silence);
            if (silent(one, one.since, any, now))
                condemn(one, verdict::stuck, "did not begin its task");
            return;
        }
        const auto [began, beat] = *times;
        if (first.deadline.count() > 0 && now >= began + first.deadline)
            return condemn(one, verdict::timed_out,
                           "ran a task past its deadline");
        if (first.deadline.count() > 0)
            alarm_ = std::min(alarm_, began + first.deadline);
        if (first.silence.count() > 0 && silent(one, beat, first.silence, now))
            condemn(one, verdict::stuck, "made no progress with its task");
    }

    bool silent(seat& one, time_point since, std::chrono::nanoseconds limit,
                time_point now)
    {
        const auto next =
            one.silence.next_look(one.child.pid(), since, limit, now);
        if (next)
            alarm_ = std::min(alarm_, *next);
        return !next;
    }

    // --- the end ----------------------------------------------------------

    void end_all()
    {
        door_.reset();
        for (auto& one : seats_)
            if (one->child && (one->box.out() != 0 || !one->ready))
                one->child.kill(SIGKILL);
            else if (one->child)
                one->box.close();
        const auto patience = clock::now() + std::chrono::seconds(1);
        for (auto& one : seats_)
            if (one->child && !one->child.reap(patience))
            {
                one->child.kill(SIGKILL);
                one->child.reap();
            }
    }

    options options_;
    unsigned cpus_ = common::kernel::usable_cpus();
    std::vector<role_state> roles_;
    std::function<common::letter(const seat&)> letter_;
    std::vector<std::unique_ptr<seat>> seats_;
    std::unique_ptr<reception> door_;
    std::deque<report> reports_;
    std::vector<pollfd> watched_; // while it sleeps
    time_point tended_{}, alarm_{};
    unsigned numbers_ = 0;
    unsigned takes_ = 0;
    unsigned failed_launches_ = 0; // in a row, like ...
    unsigned failed_starts_ = 0, killed_starts_ = 0;
    bool broken_ = false;
};

} // namespace master_worker
