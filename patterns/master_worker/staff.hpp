// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.

#pragma once

#include "engine.hpp"
#include "mailbox.hpp"
#include "master_end.hpp"
#include "pace.hpp"
#include "reception.hpp"
#include "restart_budget.hpp"
#include "seat.hpp"
#include "staff_options.hpp"

#include "common/error.hpp"
#include "common/linux/door.hpp"
#include "common/process.hpp"

#include <poll.h>
#include <signal.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <deque>
#include <exception>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace master_worker {

/// Workers kept alive, each with a seat: started, watched, buried, replaced;
/// their answers read, and what they leave behind given back.
///
/// It knows a death from the kernel, never from silence: a worker that is past
/// a limit, or that has sent nonsense, is killed, then reaped, and only then
/// its task is reported lost.  A replacement gets a fresh mailbox.
class staff
{
public:
    using options = staff_options;

    /// `letter` is what a new worker is sent.  Throws std::invalid_argument.
    staff(const options& wanted,
          std::function<common::letter(const seat&)> letter)
        : options_(checked(wanted))
        , budget_(options_)
        , paces_(wanted.workers.size())
        , letter_(std::move(letter))
    {
        if (!wanted.door.empty())
            door_ = std::make_unique<reception>(wanted.door);
        for (unsigned role = 0; role < wanted.workers.size(); ++role)
            add(role, wanted.workers[role]);
    }

    staff(const staff&) = delete;

    /// Lets workers that are idle leave, kills the others, reaps them all.  The
    /// process of a guest who leaves is his own.
    ~staff() { end_all(); }

    /// Starts the first workers.  Throws when there is no process for one.
    void start()
    {
        for (auto& one : seats_)
            launch(*one, clock::now());
    }

    const std::vector<std::unique_ptr<seat>>& seats() const { return seats_; }
    const pace& pace_of(unsigned role) const { return paces_[role]; }

    /// By which others join; nullptr where they cannot.
    const reception* door() const { return door_.get(); }

    /// When it was looked after last; when that is due at the latest.
    time_point tended() const { return tended_; }
    time_point alarm() const { return alarm_; }

    /// Takes the next thing that there is to say of workers.
    bool report_next(report& into)
    {
        if (reports_.empty())
            return false;
        into = std::move(reports_.front());
        reports_.pop_front();
        return true;
    }

    /// Looks after all workers.
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

    /// Wants so many in a role; those who are too many finish what they run.
    void resize(unsigned role, unsigned workers)
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

    /// The first task of a worker has its turn from now on.
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

    /// Reads an answer.  Returns false when there is nothing to report.
    bool read(seat& one, report& r)
    {
        const auto asked = one.out.front();
        bool failed = false;
        const auto wrong = one.box.read(asked.task, r.content, failed, r.spent);
        if (!wrong.empty())
            return one.condemn(verdict::expelled, wrong), false;
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

    /// Takes back what is posted from number `first` of `out` on, the last one
    /// first, as far as the worker has not begun it.  Returns whether any.
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

    /// Nothing more is wanted of a task: who runs it is killed.
    void drop(seat& one, std::uint64_t task)
    {
        const auto found = [&] {
            return std::find_if(one.out.begin(), one.out.end(),
                                [&](const auto& o) { return o.task == task; });
        };
        if (found() == one.out.end())
            return;
        found()->dropped = true;
        read_all(one); // what is answered runs no more
        const auto at = static_cast<std::size_t>(found() - one.out.begin());
        recall(one, at);
        if (at < one.out.size() && one.why == verdict::none)
            one.condemn(verdict::unwanted, "ran a task that was dropped", at);
    }

private:
    // What there is to read of a worker is reported later.
    void read_all(seat& one)
    {
        while (one.box.news() && one.why != verdict::expelled)
        {
            report answered;
            if (read(one, answered))
                reports_.push_back(std::move(answered));
        }
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

    // What came together took the same time each, so far as we know.
    void keep_pace(seat& one, time_point now)
    {
        paces_[one.role].note((now - one.since) /
                                  std::exchange(one.answers, 0u),
                              options_.ahead, master_end::slots);
        begin_turn(one, now);
    }

    // --- workers that come ------------------------------------------------

    // All, or none when that throws.
    void add(unsigned role, unsigned count)
    {
        check_workers(seats_.size() + count);
        std::vector<std::unique_ptr<seat>> more(count);
        for (auto& one : more)
            one = std::make_unique<seat>();
        for (auto& one : more)
        {
            one->number = ++numbers_;
            one->role = role;
            seats_.push_back(std::move(one));
        }
    }

    // A guest has a seat for as long as he is there.
    void seat_guests(time_point now)
    {
        auto came = door_->admit(now, static_cast<unsigned>(paces_.size()),
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
        budget_.launched();
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
            if (!budget_.allows_failed_launch())
                give_up(std::string("no worker can be started: ") + e.what());
        }
    }

    // --- workers that go --------------------------------------------------

    void watch(seat& one, time_point now)
    {
        const auto phase = one.box.phase();
        if (!one.ready && phase == mailbox_memory::ready)
        {
            one.ready = true;
            budget_.started();
            announce(report::kind::joined, one);
        }
        const auto pid = one.child.pid();
        if (one.guest && is_over(one.line.get(), now))
        {
            one.child = {}; // he has left, and his process may go on
            return bury(one, pid, {}, now);
        }
        if (one.child.ended())
        {
            one.child.kill_group(); // what its tasks started, and left
            if (const auto status = one.child.try_reap())
                return bury(one, pid, *status, now);
        }
        if (one.why != verdict::none)
            return; // it is as good as dead
        if (!one.ready && now >= one.born + options_.start_deadline)
            return one.condemn(verdict::late, "did not get ready in time");
        if (one.retiring && one.out.empty())
            one.box.close();
        if (!one.out.empty() && !one.box.news()) // else it was in time
            alarm_ = std::min(alarm_, one.enforce(now));
    }

    // The kernel has reported its death, or a guest has left: nobody writes
    // into its mailbox now.
    void bury(seat& one, pid_t pid, common::exit_status status, time_point now)
    {
        if (one.guest && one.text.empty()) // it is not ours to reap
            one.text = "process " + std::to_string(pid) +
                       ", which had joined, is gone";
        read_all(one); // answered before it died
        const bool calm = status.success() || status.unknown;
        const bool left = calm && one.box.phase() == mailbox_memory::leaving;
        // It runs one at a time, in order.  Where it has written nonsense, any
        // of those could have done it: they are tried again one by one.
        const bool doubtful =
            one.why == verdict::expelled && one.out.size() > 1;
        const bool charged = !one.out.empty() && !left && !doubtful &&
                             !one.acquitted() &&
                             (one.why == verdict::expelled || one.box.begun());
        if (charged)
        {
            lose(one, pid, status);
            one.out.pop_front();
        }
        for (const auto& task : one.out)
            give_back(task, doubtful ? one.text : std::string());
        one.out.clear();
        const bool meant =
            left || one.why == verdict::unwanted || (one.retiring && calm);
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

    void count_failed_start(const seat& one, common::exit_status status,
                            const std::string& cause)
    {
        const bool by_others =
            status.signal == SIGKILL && one.why == verdict::none;
        if (budget_.allows_failed_start(by_others))
            return;
        give_up("worker " + std::to_string(one.number) + " failed to start " +
                std::to_string(budget_.failed_starts()) + " times in a row: " +
                (!cause.empty()      ? cause
                 : !one.text.empty() ? one.text
                                     : common::describe(status)));
    }

    void replace(seat& one, bool excused, time_point now)
    {
        one.failures = excused ? 0 : one.failures + 1;
        one.start_again = now + budget_.pause_after(one.failures);
        const bool all_spent =
            std::all_of(seats_.begin(), seats_.end(), [&](const auto& other) {
                return other->role != one.role ||
                       budget_.spent(other->failures);
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
            if (one->child &&
                !(one->guest && is_over(one->line.get(), patience)))
                end(one->child, patience);
    }

    // Waits for its end, kills it at `patience`; and with it what its tasks
    // have started, and left.
    static void end(common::kernel::pidfd& child, time_point patience)
    {
        if (!is_over(child.get(), patience))
            child.kill(SIGKILL);
        is_over(child.get(), time_point::max());
        child.kill_group();
        child.reap();
    }

    // Waits until `deadline` for the end of a process, or of a guest's line.
    // Returns whether it has come.
    static bool is_over(int fd, time_point deadline)
    {
        for (;;) // ends as promised
        {
            const auto left = std::clamp<std::chrono::nanoseconds>(
                deadline - clock::now(), std::chrono::nanoseconds(0),
                std::chrono::hours(1));
            pollfd end{fd, POLLIN, 0};
            const auto wait =
                std::chrono::ceil<std::chrono::milliseconds>(left);
            if (::poll(&end, 1, static_cast<int>(wait.count())) > 0)
                return true;
            if (left.count() == 0)
                return false;
        }
    }

    options options_;
    restart_budget budget_;
    std::vector<pace> paces_; // by role
    std::function<common::letter(const seat&)> letter_;
    std::vector<std::unique_ptr<seat>> seats_;
    std::unique_ptr<reception> door_;
    std::deque<report> reports_;
    time_point tended_{}, alarm_{};
    unsigned numbers_ = 0;
    bool broken_ = false;
};

} // namespace master_worker
