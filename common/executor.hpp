// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.

#pragma once

#include "common/cells.hpp"
#include "common/crew.hpp"
#include "common/ledger.hpp"
#include "common/linux/bell.hpp"
#include "common/spin.hpp"
#include "common/ticket.hpp"
#include "common/worker.hpp"

#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <future>
#include <memory>
#include <mutex>
#include <optional>
#include <shared_mutex>
#include <span>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace common {

/// What a process left behind that has died.
struct post_mortem
{
    unsigned guilty = 0; // slot of the thread that did it; 0: nobody knows
    std::vector<std::int32_t> stack{}; // see death
};

/// Says what the processes of an executor run.
template <class Body>
struct with_body
{
};

/// Tasks in, outcomes out: a table of cells, a crew that works on it, and a
/// private ledger of what was submitted.
///
/// Every task whose submit returned comes to exactly one outcome, whatever
/// happens to workers: it is committed once, or reported after the attempts
/// that it was allowed.  Its body may have run more often than once.
///
/// All members may be called from any thread at any time.
class executor
{
public:
    struct options
    {
        crew::options staff;
        cells::options table; // its workers and lanes are set from the rest
        unsigned priorities = 1;
        worker_limits limits;
        unsigned threads = 1; // of each process; each is a worker of its own
        std::chrono::milliseconds grace{0}; // for the neighbours of a thread
                                            // that has to be killed
        /// Called in the supervising thread before the tasks of a process
        /// that has ended are given back.
        std::function<post_mortem(const crew::ended&)> examine{};
    };

    using task_options = common::task_options;

    struct worker_info : crew::worker_info
    {
        std::uint64_t task = 0;               // its number; 0: none
        std::string name;                     // of the task
        std::chrono::milliseconds running{0}; // if it is timed
        std::uint64_t finished = 0;           // tasks, also by predecessors
    };

    struct statistics
    {
        std::uint64_t submitted = 0, finished = 0, retried = 0, poisoned = 0;
        std::uint64_t moved = 0; // run again since a neighbour had to die
        std::uint64_t deaths = 0;
        std::uint64_t wakes = 0; // of the supervising thread, by workers
        unsigned queued = 0, running = 0;
        std::vector<worker_info> workers;
    };

    using ticket_ptr = common::ticket_ptr;

    /// Starts the workers.  Each calls `init(arguments...)` first; what it
    /// returns is its state (`worker_state`).
    template <class Init, class... A>
    executor(const options& wanted, Init init, A... arguments)
        : executor(wanted, with_body<serve<Init, A...>>{}, packed<Init>{init},
                   arguments...)
    {
    }

    /// The same with another body, that runs `options::threads` workers in
    /// each process: those of process p have the slots from (p - 1) * threads
    /// + 1 on.
    template <class Body, class... A>
    executor(const options& wanted, with_body<Body>, A... arguments)
        : ledger_(std::make_shared<ledger>(shape(wanted)))
        , threads_(wanted.threads)
        , grace_(wanted.grace)
        , examine_(wanted.examine)
        , finished_(ledger_->table.workers() + 1)
        , doomed_(wanted.staff.workers + 1)
    {
        crew_ = std::make_unique<crew>(
            wanted.staff,
            crew::events{[this](const crew::ended& e) { bury(e); },
                         [this](const std::string& why) { abandon(why); }},
            Body{}, ledger_->table, wanted.limits, inherited{bell_.get().get()},
            arguments...);
        auto chimes = std::make_unique<boost::asio::posix::stream_descriptor>(
            crew_->context(), bell_.get().duplicate().release());
        auto timer =
            std::make_unique<boost::asio::steady_timer>(crew_->context());
        // Workers may die already: these are for the supervising thread only.
        boost::asio::post(crew_->context(),
                          [this, chimes = std::move(chimes),
                           timer = std::move(timer)]() mutable {
                              chimes_ = std::move(chimes);
                              timer_ = std::move(timer);
                              listen();
                              attend();
                          });
    }

    executor(const executor&) = delete;

    /// Kills who is left; what is not finished is cancelled.
    ~executor() { stop(clock::now()); }

    /// Submits a call of `function(arguments...)`.  Waits while the table is
    /// full of unfinished tasks, at most until `deadline`: then null.  Throws
    /// closed after stop, exhausted when there are no workers any more, and
    /// what encoding throws.
    template <class F, class... A>
    ticket_ptr submit_until(time_point deadline, const task_options& how,
                            const F& function, const A&... arguments)
    {
        using what = task<F, A...>;
        const auto id = what::id();
        const auto size = what::size(function, arguments...);
        const auto flags = static_cast<std::uint8_t>(
            (how.limited() || how.timed ? cells::timed : 0) |
            (how.watched_by || how.on_news ? cells::watched : 0));
        ticket_ptr mine;
        {
            std::unique_lock hold(ledger_->lock_);
            mine = ledger_->reserve(hold, deadline, how);
            if (!mine)
                return nullptr;
            auto& lane = ledger_->lanes_[mine->lane];
            const auto fill = [&] {
                writer to{lane.input(mine->cell, size), nullptr, &mine->kept};
                what::write(to, function, arguments...);
            };
            try
            {
                if (size <= cell::small_input)
                    fill();
                else // may take long, and run code of the user
                {
                    hold.unlock();
                    fill();
                    hold.lock();
                }
            }
            catch (...)
            {
                if (!hold)
                    hold.lock();
                ledger_->forget(*mine);
                throw;
            }
            mine->lap =
                lane.publish(mine->cell, id, size, flags,
                             !how.quiet || size > 4096); // that took a while
            ledger_->enter(mine); // while the worker is at it already
        }
        if (how.limited())
            limit(mine);
        if (ledger_->gone_)
            call_soon(mine); // meanwhile: nobody else tells its watcher
        return mine;
    }
    template <class F, class... A>
    ticket_ptr submit(const task_options& how, const F& function,
                      const A&... arguments)
    {
        return submit_until(time_point::max(), how, function, arguments...);
    }

    /// Wakes a worker for a task that was submitted `quiet`, unless one has
    /// it.  Its submitter has to call this before it sleeps.
    void wake_for(const ticket& t)
    {
        const auto now = ledger_->table.control(t.cell);
        if (now.lap == t.lap && now.is == cell_control::state::ready)
            ledger_->table.work().notify_one();
    }

    const std::shared_ptr<ledger>& shared_ledger() const { return ledger_; }

    /// Takes a task back.  One that waits never runs; one that runs is killed
    /// with its worker if `force`.  Returns whether it was taken back; false
    /// when it is over, or runs and `force` is not set.
    bool cancel(const ticket_ptr& t, bool force,
                outcome as = outcome::cancelled)
    {
        cell_control now;
        {
            const std::lock_guard hold(ledger_->lock_);
            if (ledger_->over(*t) || (running(*t) && !force))
                return false;
            t->revoked_as = as;
            now = ledger_->lanes_[t->lane].revoke(t->cell, t->lap);
            if (now.is != cell_control::state::revoked)
                return false; // over just now
            if (now.owner == 0)
                ledger_->settle(*t);
        }
        if (now.owner != 0)
            kill_runner(t, now.owner);
        else
            call_soon(t);
        ledger_->table.done().notify_after_death();
        return true;
    }

    /// Asks a running task to stop (`stop_requested` in its worker).
    void request_stop(const ticket& t)
    {
        const std::lock_guard hold(ledger_->lock_); // the cell stays its own
        if (t.end.load() == outcome::pending &&
            ledger_->table.control(t.cell).lap == t.lap)
            ledger_->table.at(t.cell).stop.store(1);
    }

    /// Calls `f` once, in the supervising thread, when the task is over.
    void when_over(ticket_ptr t, std::function<void()> f)
    {
        {
            const std::lock_guard hold(ledger_->lock_);
            t->special = true;
            t->then = std::move(f);
            if (t->end.load() != outcome::pending)
                ledger_->due_.push_back(t);
            else
                // The worker looks at the flag after it commits, and we look
                // at the cell after we set it: one of us sees the other.
                ledger_->table.at(t->cell).flags.fetch_or(cells::watched);
        }
        call_soon(t);
    }

    bool running(const ticket& t) const { return ledger_->running(t); }

    /// For an event loop that is awake: looks for news, and calls back here
    /// instead of in the supervising thread; returns for how many.  Until
    /// leave_off nobody else is woken for news; a loop that does not come back
    /// within a millisecond or two is relieved.  Not for two threads at once.
    std::size_t look_out()
    {
        looks_.store(looks_.load(std::memory_order_relaxed) + 1,
                     std::memory_order_relaxed);
        if (!looked_out_.load() && !looked_out_.exchange(true))
        {
            ledger_->table.say_asleep(false);
            const std::shared_lock look(staff_);
            if (crew_)
                boost::asio::post(crew_->context(), [this] { relieve(); });
        }
        return call(looked_, ledger::hearing::cells);
    }

    /// It will look again, but is held up by handlers of what it found: it is
    /// relieved after ten milliseconds only.
    void looks_on() { held_up_.store(true, std::memory_order_relaxed); }

    void leave_off()
    {
        looked_out_.store(false);
        if (ledger_->table.announced()) // still, as what it saw in the cells
            call(looked_, ledger::hearing::announcements);
        ledger_->table.say_asleep(true);
        if (!ledger_->table.announced())
            return;
        const std::shared_lock look(staff_);
        if (crew_)
            boost::asio::post(crew_->context(), [this] { attend(); });
    }

    /// Accepts nothing more, and waits until all that was accepted is over.
    /// False when it is not at `deadline`.
    bool drain(time_point deadline)
    {
        ledger_->closed_ = true;
        ledger_->table.done().notify_after_death();
        return ledger_->wait_any(
            [this] {
                const std::lock_guard hold(ledger_->lock_);
                return ledger_->settle_all();
            },
            deadline);
    }

    /// Takes back every task that does not run yet.
    void cancel_queued()
    {
        ledger_->closed_ = true;
        for (const auto& t : tickets())
            cancel(t, false);
    }

    /// Ends the workers: each after the task it runs, or killed at `deadline`.
    /// What is not over then never will be.  Returns whether nobody had to be
    /// killed.
    bool stop(time_point deadline)
    {
        const std::lock_guard one_at_a_time(stopping_);
        if (!crew_)
            return true;
        ledger_->closed_ = true;
        ledger_->table.close(true);
        const bool in_time = crew_->stop(deadline);
        std::promise<void> quiet;
        boost::asio::post(crew_->context(), [&] {
            chimes_.reset(); // they belong to the crew's context
            timer_.reset();
            relief_.reset();
            quiet.set_value();
        });
        quiet.get_future().wait(); // ends: that thread runs until ~crew
        std::unique_ptr<crew> last;
        {
            const std::lock_guard nobody_looks(staff_);
            last = std::move(crew_);
        }
        last.reset();
        abandon("the pool has been shut down");
        return in_time;
    }

    statistics stats() const
    {
        statistics s;
        {
            const std::shared_lock look(staff_);
            if (crew_)
            {
                for (auto& one : crew_->workers())
                    s.workers.push_back({std::move(one), 0, {}, {}, 0});
                s.deaths = crew_->deaths();
            }
        }
        const std::lock_guard hold(ledger_->lock_);
        for (auto& one : s.workers)
            describe(one);
        s.submitted = ledger_->submitted_;
        s.finished = ledger_->finished_;
        s.retried = ledger_->retried_;
        s.moved = ledger_->moved_;
        s.poisoned = ledger_->poisoned_;
        s.wakes = wakes_.load();
        for (const auto& t : ledger_->by_cell_)
            if (t && !ledger_->over(*t))
                ++(running(*t) ? s.running : s.queued);
        return s;
    }

    crew& workers() { return *crew_; }

    /// Kills the worker in `slot` (from 1 on), as somebody asks who wants to
    /// see it replaced: that costs nothing of the restart budget.  Returns
    /// whether there was one.
    bool kill(unsigned slot)
    {
        const std::shared_lock look(staff_);
        if (!crew_ || slot == 0 || slot > crew_->size())
            return false;
        crew_->excuse(slot);
        return crew_->kill(slot);
    }

private:
    static cells::options shape(const options& wanted)
    {
        auto result = wanted.table;
        result.workers = wanted.staff.workers * wanted.threads;
        result.lanes = std::max(1u, wanted.priorities);
        result.ranked = true;
        return result;
    }

    // Under the lock.  Of several threads, the first that has a task.
    void describe(worker_info& one) const
    {
        const auto first = first_slot(one.slot);
        for (unsigned slot = first; slot < first + threads_; ++slot)
            describe(one, slot);
    }

    void describe(worker_info& one, unsigned slot) const
    {
        const auto& record = ledger_->table.worker(slot);
        one.finished += record.finished.load();
        const auto cell = record.cell.load();
        if (one.task != 0 || cell == 0 || cell > ledger_->table.size())
            return;
        const auto now =
            ledger_->table.control(static_cast<unsigned>(cell - 1));
        const auto& t = ledger_->by_cell_[cell - 1];
        if (!t || now.owner != slot || now.lap != t->lap)
            return;
        one.task = t->number;
        one.name = t->name;
        if (const auto since = record.since.load(); since != 0)
            one.running = std::chrono::duration_cast<std::chrono::milliseconds>(
                clock::now() - time_point(clock::duration(since)));
    }

    std::vector<ticket_ptr> tickets()
    {
        const std::lock_guard hold(ledger_->lock_);
        std::vector<ticket_ptr> result;
        for (const auto& t : ledger_->by_cell_)
            if (t)
                result.push_back(t);
        return result;
    }

    // --- in the supervising thread ----------------------------------------

    // What cannot go on for ever needs no budget: a worker that has finished
    // tasks, or a death that is charged to a task, which has its own bound.
    void bury(const crew::ended& who)
    {
        const auto known = examine_ ? examine_(who) : post_mortem{};
        const bool wanted = doomed_[who.slot];
        doomed_[who.slot] = false;
        bool progress = false;
        for (unsigned slot = first_slot(who.slot), n = 0; n < threads_;
             ++n, ++slot)
        {
            const auto finished = ledger_->table.worker(slot).finished.load();
            progress |= std::exchange(finished_[slot], finished) != finished;
            progress |=
                give_back(slot, who, known,
                          known.guilty == 0 ? !wanted : known.guilty == slot);
        }
        if (progress)
            crew_->excuse(who.slot);
        {
            const std::lock_guard hold(ledger_->lock_);
            ledger_->settle_watched(); // it may have died before it announced
        }
        call();
        attend(); // or before it rang
    }

    // What the thread in `slot` held.  Returns whether a task is charged.
    bool give_back(unsigned slot, const crew::ended& who,
                   const post_mortem& known, bool charged)
    {
        bool any = false;
        const std::lock_guard hold(ledger_->lock_);
        ledger_->table.recover(
            slot,
            [&](unsigned index, unsigned) {
                const auto& t = ledger_->by_cell_[index];
                if (!t)
                    return false;
                if (!charged)
                    return ++ledger_->moved_, true;
                t->special = true;
                t->deaths.push_back({who.pid, who.status, known.stack});
                const bool again = t->deaths.size() < t->allowed;
                ++(again ? ledger_->retried_ : ledger_->poisoned_);
                any = true;
                return again;
            },
            charged);
        return any;
    }

    unsigned first_slot(unsigned process) const
    {
        return (process - 1) * threads_ + 1;
    }

    void abandon(const std::string& why)
    {
        {
            const std::lock_guard hold(ledger_->lock_);
            if (ledger_->why_.empty())
                ledger_->why_ = why;
            ledger_->gone_ = true;
            ledger_->settle_all();
            ledger_->limited_.clear(); // tickets keep the ledger alive
            ledger_->spares_.clear();
        }
        ledger_->table.done().notify_after_death();
        call();
    }

    void listen()
    {
        if (!chimes_)
            return; // the end
        chimes_->async_wait(boost::asio::posix::stream_descriptor::wait_read,
                            [this](boost::system::error_code error) {
                                if (error)
                                    return;
                                bell_.silence();
                                wakes_.fetch_add(1, std::memory_order_relaxed);
                                attend();
                                listen();
                            });
    }

    // Calls back until there is no more news, then lets workers ring again.
    void attend()
    {
        // Who looks out finds the news, and lets workers ring when it leaves
        // off; to find some of it here would only cost time.
        if (!chimes_ || looked_out_.load())
            return;
        if (call() != 0)
        {
            awake_until_ = clock::now() + spin_budget();
            patience_ = 16;
        }
        else if (crowded() && (patience_ > 0 || clock::now() < awake_until_))
        {
            std::this_thread::yield(); // to who works on the rest
            patience_ -= patience_ > 0;
        }
        else
        {
            ledger_->table.say_asleep(true);
            if (!ledger_->table.announced())
                return;
            ledger_->table.say_asleep(false);
        }
        boost::asio::post(crew_->context(), [this] { attend(); });
    }

    // So many are on their way that it pays to wait for several.
    bool crowded() const
    {
        const std::lock_guard hold(ledger_->lock_);
        return ledger_->submitted_ - ledger_->finished_ > 32;
    }

    // Goes on as long as a loop looks out, and takes over when it sticks.
    void relieve()
    {
        if (!chimes_ || !looked_out_.load())
            return;
        const auto looks = looks_.load();
        const bool looked = std::exchange(seen_looks_, looks) != looks;
        const bool held_up = held_up_.exchange(false);
        held_up_for_ = looked ? 0 : held_up_for_ + 1;
        if (!looked && (!held_up || held_up_for_ > 10))
        {
            looked_out_.store(false);
            return attend();
        }
        if (!relief_)
            relief_ =
                std::make_unique<boost::asio::steady_timer>(crew_->context());
        relief_->expires_after(std::chrono::milliseconds(1));
        relief_->async_wait([this](boost::system::error_code error) {
            if (!error)
                relieve();
        });
    }

    // Calls back for the tasks that are over, or have news.  Returns for how
    // many.
    std::size_t call()
    {
        std::vector<ticket_ptr> due;
        const auto told = call(due, ledger::hearing::announcements);
        const std::lock_guard hold(ledger_->lock_);
        ledger_->recycle(due);
        return told;
    }

    // The same; `due` is what the last call has left, to be recycled.
    std::size_t call(std::vector<ticket_ptr>& due, ledger::hearing how)
    {
        std::vector<ticket_ptr> news;
        {
            const std::lock_guard hold(ledger_->lock_);
            ledger_->recycle(due);
            const auto settled = ledger_->due_.size(); // by who calls back soon
            news = ledger_->hear(how);
            if (how == ledger::hearing::announcements ||
                ledger_->due_.size() != settled)
                due.swap(ledger_->due_);
        }
        ledger_->table.done().notify_all();
        for (const auto& t : due)
            tell(*t);
        for (const auto& t : news)
            t->on_news();
        for (auto& t : due)
            if (t->special)
                t = nullptr; // not under the lock: ends what users gave it
        return due.size() + news.size();
    }

    static void tell(ticket& t)
    {
        if (auto* one = std::exchange(t.watched_by, nullptr))
            one->over(t);
        if (!t.special)
            return;
        if (const auto f = std::exchange(t.then, nullptr))
            f();
    }

    void call_soon(const ticket_ptr& t)
    {
        if (!ledger_->over(*t))
            return;
        {
            const std::lock_guard hold(ledger_->lock_);
            ledger_->settle(*t);
        }
        {
            const std::shared_lock look(staff_);
            if (crew_)
            {
                boost::asio::post(crew_->context(), [this] { call(); });
                return;
            }
        }
        call();
    }

    void limit(const ticket_ptr& t)
    {
        {
            const std::lock_guard hold(ledger_->lock_);
            if (ledger_->gone_)
                return; // tickets keep the ledger alive
            ledger_->limited_.push_back(t);
        }
        const std::shared_lock look(staff_);
        if (crew_)
            boost::asio::post(crew_->context(), [this] {
                if (!ticking_)
                    tick();
            });
    }

    // Looks at the tasks with deadlines, as long as there are any.
    void tick()
    {
        using namespace std::chrono;
        auto next = nanoseconds::max();
        std::vector<ticket_ptr> limited;
        {
            const std::lock_guard hold(ledger_->lock_);
            std::erase_if(ledger_->limited_,
                          [&](const auto& t) { return ledger_->over(*t); });
            limited = ledger_->limited_;
        }
        for (const auto& t : limited)
        {
            for (const auto limit : {t->soft, t->hard})
                if (limit.count() > 0)
                    next = std::min(next, limit / 8);
            check(t);
        }
        ticking_ = !limited.empty();
        if (!ticking_)
            return;
        if (!timer_)
            return; // the end
        timer_->expires_after(std::clamp<nanoseconds>(next, 1ms, 50ms));
        timer_->async_wait([this](boost::system::error_code error) {
            if (!error)
                tick();
        });
    }

    void check(const ticket_ptr& t)
    {
        const auto now = ledger_->table.control(t->cell);
        if (now.lap != t->lap || now.is != cell_control::state::running ||
            now.owner == 0 || now.owner > ledger_->table.workers())
            return;
        const auto& record = ledger_->table.worker(now.owner);
        const auto since = record.since.load();
        if (record.cell.load() != t->cell + 1 || since == 0)
            return;
        const std::chrono::nanoseconds ran =
            clock::now() - time_point(clock::duration(since));
        if (t->soft.count() > 0 && ran > t->soft)
            request_stop(*t);
        if (t->hard.count() > 0 && ran > t->hard)
            cancel(t, true, outcome::timed_out);
    }

    // The worker has lost its cell already; it is killed for what else it may
    // do.  In the supervising thread, so that it cannot be its successor.
    void kill_runner(const ticket_ptr& t, unsigned slot)
    {
        const std::shared_lock look(staff_);
        if (!crew_)
            return;
        const unsigned process = (slot - 1) / threads_ + 1;
        crew_->excuse(process);
        boost::asio::post(crew_->context(), [this, t, slot, process] {
            const auto now = ledger_->table.control(t->cell);
            if (now.lap == t->lap && now.owner == slot &&
                now.is == cell_control::state::revoked)
                end_process(process);
        });
    }

    // In the supervising thread.  Its threads take nothing more, and those
    // that work may finish, for a while; then it is killed, and what they
    // still held runs elsewhere.
    void end_process(unsigned process)
    {
        if (!timer_ || doomed_[process])
            return; // the end of all, or of this one, is near
        doomed_[process] = true;
        const auto first = first_slot(process);
        for (unsigned slot = first; slot < first + threads_; ++slot)
            ledger_->table.worker(slot).leave.store(1);
        kill_when_idle(process, crew_->pid_of(process), clock::now() + grace_);
    }

    void kill_when_idle(unsigned process, pid_t pid, time_point deadline)
    {
        const auto first = first_slot(process);
        bool busy = false;
        for (unsigned slot = first; slot < first + threads_; ++slot)
        {
            const auto held = ledger_->table.worker(slot).cell.load();
            busy |=
                held != 0 && held <= ledger_->table.size() &&
                ledger_->table.control(static_cast<unsigned>(held - 1)).is ==
                    cell_control::state::running;
        }
        if (!busy || clock::now() >= deadline)
        {
            crew_->kill(process, pid);
            return;
        }
        const auto later = std::make_shared<boost::asio::steady_timer>(
            crew_->context(), std::chrono::milliseconds(1));
        later->async_wait([=, this](boost::system::error_code) {
            static_cast<void>(later); // lives until then
            if (timer_)               // the end of all kills it, too
                kill_when_idle(process, pid, deadline);
        });
    }

    std::shared_ptr<ledger> ledger_;
    kernel::bell bell_; // workers ring it for tasks that are watched
    unsigned threads_;
    std::chrono::milliseconds grace_;
    std::function<post_mortem(const crew::ended&)> examine_;
    bool ticking_ = false;                // supervising thread, as ...
    std::vector<std::uint64_t> finished_; // by slot: until its last death
    std::vector<bool> doomed_;            // by process: we want its end
    std::unique_ptr<boost::asio::posix::stream_descriptor> chimes_;
    std::unique_ptr<boost::asio::steady_timer> timer_, relief_;
    std::atomic<bool> looked_out_{false}; // by an event loop
    std::atomic<bool> held_up_{false};
    std::vector<ticket_ptr> looked_; // the same loop: what it called back for
    std::atomic<std::uint64_t> looks_{0}, wakes_{0};
    std::uint64_t seen_looks_ = 0; // supervising thread, as ...
    unsigned held_up_for_ = 0;     // milliseconds
    time_point awake_until_{};
    unsigned patience_ = 0; // looks, should this CPU be shared
    std::mutex stopping_;
    mutable std::shared_mutex staff_; // of the pointer: threads look at the
                                      // crew while another one stops it
    std::unique_ptr<crew> crew_;
};

} // namespace common
