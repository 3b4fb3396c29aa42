// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.

#pragma once

#include "common/cells.hpp"
#include "common/crew.hpp"
#include "common/linux/bell.hpp"
#include "common/lock.hpp"
#include "common/worker.hpp"

#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>

#include <unistd.h>

#include <algorithm>
#include <array>
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

/// A task that was submitted, as its submitter knows it.  Private memory.
struct ticket
{
    std::uint64_t number = 0; // of the task, for messages: from 1 on
    unsigned cell = 0;
    std::uint64_t lap = 0;
    unsigned allowed = 1; // attempts
    std::chrono::nanoseconds soft{0}, hard{0};
    std::atomic<outcome> end{outcome::pending}; // set once, under the lock
    outcome revoked_as = outcome::cancelled;
    std::string why; // abandoned
    std::vector<death> deaths;
    std::vector<std::shared_ptr<const void>> kept; // shared arguments
    watcher* watched_by = nullptr;
    std::function<void()> then;    // called once, see when_over
    std::function<void()> on_news; // at announce(), in the same thread
    std::string name;              // for messages and statistics

    std::array<std::byte, cell::small_output> small{};
    std::vector<std::byte> large;
    std::size_t size = 0;

    std::span<const std::byte> bytes() const
    {
        return size <= small.size() ? std::span(small).first(size)
                                    : std::span(large);
    }

    /// Somebody is to be told of its end.
    bool watched() const { return watched_by != nullptr || then; }
};

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

    struct task_options
    {
        unsigned attempts = 3; // how often it may kill a worker, and once more
        unsigned priority = 0; // 0 runs first
        std::chrono::nanoseconds soft{0}; // running longer: is asked to stop
        std::chrono::nanoseconds hard{0}; // running longer: is killed
        std::string name{};               // for messages and statistics
        bool timed = false; // statistics tell how long it has been running

        watcher* watched_by = nullptr;   // where submit returned a ticket
        std::function<void()> on_news{}; // after the task called announce()
    };

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

    using ticket_ptr = std::shared_ptr<ticket>;

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
        : core_(std::make_shared<core>(wanted))
        , threads_(wanted.threads)
        , grace_(wanted.grace)
        , examine_(wanted.examine)
        , finished_(core_->table.workers() + 1)
        , doomed_(wanted.staff.workers + 1)
    {
        crew_ = std::make_unique<crew>(
            wanted.staff,
            crew::events{[this](const crew::ended& e) { bury(e); },
                         [this](const std::string& why) { abandon(why); }},
            Body{}, core_->table, wanted.limits, inherited{bell_.get().get()},
            arguments...);
        chimes_ = std::make_unique<boost::asio::posix::stream_descriptor>(
            crew_->context(), bell_.get().duplicate().release());
        timer_ = std::make_unique<boost::asio::steady_timer>(crew_->context());
        boost::asio::post(crew_->context(), [this] {
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
        const bool limited = how.soft.count() > 0 || how.hard.count() > 0;
        const auto flags = static_cast<std::uint8_t>(
            (limited || how.timed ? cells::timed : 0) |
            (how.watched_by || how.on_news ? cells::watched : 0));
        ticket_ptr mine;
        {
            std::unique_lock hold(core_->lock_);
            mine = core_->reserve(hold, deadline, how);
            if (!mine)
                return nullptr;
            auto& lane = core_->lane_of(mine->cell);
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
                core_->forget(*mine);
                throw;
            }
            lane.publish(mine->cell, id, size, flags);
            core_->enter(mine); // while the worker is at it already
        }
        if (limited)
            limit(mine);
        return mine;
    }
    template <class F, class... A>
    ticket_ptr submit(const task_options& how, const F& function,
                      const A&... arguments)
    {
        return submit_until(time_point::max(), how, function, arguments...);
    }

    /// What a future needs to live longer than its executor.
    class core
    {
    public:
        explicit core(const options& wanted)
            : table(shape(wanted))
            , ledger_(table.size())
        {
            for (unsigned i = 0; i < table.lanes(); ++i)
                lanes_.emplace_back(table, i);
        }

        /// Whether the task has come to its end.  Never waits.
        bool over(const ticket& t) const
        {
            if (t.end.load(std::memory_order_acquire) != outcome::pending)
                return true;
            const auto now = table.control(t.cell);
            return (now.lap == t.lap && now.final()) ||
                   gone_.load(std::memory_order_acquire);
        }

        /// Waits until the task is over; false when it is not at `deadline`.
        bool wait_until(const ticket& t, time_point deadline)
        {
            return table.done().wait_until([&] { return over(t); }, deadline);
        }

        /// Waits until `ready()`, which may look at any number of tasks.
        template <class Ready>
        bool wait_any(Ready ready, time_point deadline)
        {
            return table.done().wait_until(ready, deadline);
        }

        /// Waits, then gives what `use(outcome, ticket, bytes)` returns; where
        /// the outcome is a value, the bytes are all that there is to see.
        /// Large results are used where they lie in shared memory.
        template <class Use>
        auto finish(ticket_ptr mine, Use use)
        {
            ticket& t = *mine;
            if (t.number == newest_.load(std::memory_order_relaxed))
                beat(); // its worker is only just reading it
            wait_until(t, time_point::max());
            std::unique_lock hold(lock_);
            if (t.end.load() != outcome::pending || t.watched() ||
                !large_value(t))
            {
                settle(t);
                const auto small = t.small;
                if (t.end.load() == outcome::value && t.size <= small.size())
                {
                    const auto bytes = std::span(small).first(t.size);
                    recycle(mine);
                    hold.unlock();
                    static const ticket none; // it may serve another task now
                    return use(outcome::value, none, bytes);
                }
                hold.unlock();
                return use(t.end.load(), t, t.bytes());
            }
            ledger_[t.cell] = nullptr; // it is ours now
            ++finished_;
            hold.unlock();
            struct give_back // also when decoding throws
            {
                core& all;
                ticket& mine;
                ~give_back()
                {
                    const std::lock_guard again(all.lock_);
                    all.lane_of(mine.cell).release(mine.cell);
                    mine.end.store(outcome::value);
                    all.table.done().notify_all();
                }
            } const after{*this, t};
            return use(outcome::value, t,
                       std::span<const std::byte>(
                           table.output(t.cell, table.at(t.cell).output_size)));
        }

        /// Whether a worker runs the task now.
        bool running(const ticket& t) const
        {
            const auto now = table.control(t.cell);
            return now.lap == t.lap && now.is == cell_control::state::running;
        }

        /// How the task ended, without taking its result.
        outcome peek(const ticket& t) const
        {
            const auto end = t.end.load(std::memory_order_acquire);
            if (end != outcome::pending)
                return end;
            const auto now = table.control(t.cell);
            if (now.lap == t.lap && now.final())
                return result_of(t);
            return gone_ ? outcome::abandoned : t.end.load();
        }

        cells table;

    private:
        friend class executor;

        static cells::options shape(const options& wanted)
        {
            auto result = wanted.table;
            result.workers = wanted.staff.workers * wanted.threads;
            result.lanes = std::max(1u, wanted.priorities);
            result.ranked = true;
            return result;
        }

        submitter& lane_of(unsigned index)
        {
            return lanes_[index / table.capacity()];
        }

        // A ticket with a cell for it.  Null at the deadline.
        ticket_ptr reserve(std::unique_lock<short_lock>& hold,
                           time_point deadline, const task_options& how)
        {
            if (how.priority >= lanes_.size())
                throw std::invalid_argument(
                    "priority " + std::to_string(how.priority) + " of " +
                    std::to_string(lanes_.size()));
            if (how.attempts == 0 || how.attempts > 200)
                throw std::invalid_argument(
                    "a task may have 1 to 200 attempts, not " +
                    std::to_string(how.attempts));
            auto& lane = lanes_[how.priority];
            for (;;) // ends with a free cell, the deadline, or the executor
            {
                if (closed_)
                    throw closed("the pool has been shut down");
                if (gone_)
                    throw exhausted(why_);
                auto index = lane.acquire();
                if (!index && harvest(lane) != 0)
                    index = lane.acquire();
                if (index)
                {
                    auto mine = take_spare();
                    mine->cell = *index;
                    mine->lap = lane.next_lap(*index);
                    mine->number = ++submitted_;
                    newest_.store(submitted_, std::memory_order_relaxed);
                    mine->allowed = how.attempts;
                    mine->soft = how.soft;
                    mine->hard = how.hard;
                    if (!how.name.empty() || !mine->name.empty())
                        mine->name = how.name;
                    mine->watched_by = how.watched_by;
                    if (how.on_news)
                        mine->on_news = how.on_news;
                    return mine;
                }
                hold.unlock();
                const bool in_time = table.done().wait_until(
                    [&] { return gone_ || closed_ || harvestable(lane); },
                    deadline);
                hold.lock();
                if (!in_time)
                    return nullptr;
            }
        }

        // The task has been published.  What is not needed before is done
        // here: the caller has nothing to do but wait anyhow.
        void enter(const ticket_ptr& mine)
        {
            ledger_[mine->cell] = mine;
            if (spares_.empty())
                spares_.push_back(std::make_shared<ticket>());
        }

        ticket_ptr take_spare()
        {
            if (spares_.empty())
                return std::make_shared<ticket>();
            auto result = std::move(spares_.back());
            spares_.pop_back();
            return result;
        }

        // A cell whose task is over, or that another thread has given back.
        bool harvestable(const submitter& lane) const
        {
            const auto first = lane.first();
            for (unsigned i = first; i < first + table.capacity(); ++i)
                if (table.control(i).final() ||
                    table.control(i).is == cell_control::state::free)
                    return true;
            return false;
        }

        // Moves results that nobody has fetched yet out of the table.
        unsigned harvest(const submitter& lane)
        {
            unsigned moved = 0;
            const auto first = lane.first();
            for (unsigned i = first; i < first + table.capacity(); ++i)
                if (const auto t = ledger_[i]; t && over(*t))
                {
                    settle(*t);
                    ++moved;
                }
            return moved;
        }

        bool large_value(const ticket& t) const
        {
            const auto now = table.control(t.cell);
            return now.lap == t.lap && now.final() &&
                   table.at(t.cell).output_size > cell::small_output &&
                   result_of(t) == outcome::value;
        }

        // Takes it over to serve another task, if nobody else has it any more.
        void recycle(ticket_ptr& t)
        {
            if (t.use_count() != 1 || spares_.size() >= 4096 ||
                t->large.capacity() != 0)
                return;
            t->deaths.clear();
            t->watched_by = nullptr;
            t->then = nullptr;
            t->on_news = nullptr;
            t->end.store(outcome::pending, std::memory_order_relaxed);
            spares_.push_back(std::move(t));
        }

        // What the cell says, checked: a worker wrote it.
        outcome result_of(const ticket& t) const
        {
            const auto now = table.control(t.cell);
            const auto& from = table.at(t.cell);
            if (now.is == cell_control::state::poisoned)
                return outcome::died;
            if (now.is == cell_control::state::revoked)
                return t.revoked_as;
            if (from.output_size > table.payload())
                return outcome::abandoned;
            return from.output_kind ==
                           static_cast<std::uint8_t>(cells::kind::value)
                       ? outcome::value
                       : outcome::error;
        }

        // Under the lock.  Takes the result out of the cell and frees it.
        void settle(ticket& t)
        {
            if (t.end.load() != outcome::pending)
                return;
            const auto now = table.control(t.cell);
            auto end = outcome::abandoned;
            if (now.lap == t.lap && now.final())
            {
                end = result_of(t);
                if (end == outcome::value || end == outcome::error)
                    copy(t);
                lane_of(t.cell).release(t.cell);
            }
            else if (!gone_)
                return;
            t.why = why_;
            t.kept.clear();
            ++finished_;
            t.end.store(end, std::memory_order_release);
            if (t.watched())
                due_.push_back(std::move(ledger_[t.cell]));
            ledger_[t.cell] = nullptr;
        }

        // Under the lock.  The same for those that somebody is to be told of.
        void settle_watched()
        {
            for (unsigned i = 0; i < table.size(); ++i)
                if (const auto t = ledger_[i]; t && t->watched() && over(*t))
                    settle(*t);
        }

        // Under the lock.  Settles what is announced; returns what is news.
        std::vector<ticket_ptr> hear()
        {
            std::vector<ticket_ptr> news;
            table.take_announced([&](unsigned i) {
                const auto& t = ledger_[i];
                if (t && t->watched() && over(*t))
                    settle(*t); // moves it away
                else if (t && t->on_news)
                    news.push_back(t);
            });
            return news;
        }

        // Under the lock.  Settles what is over; whether that was all.
        bool settle_all()
        {
            bool all = true;
            for (unsigned i = 0; i < table.size(); ++i)
            {
                if (const auto t = ledger_[i]; t && over(*t))
                    settle(*t);
                all = all && ledger_[i] == nullptr;
            }
            return all;
        }

        void copy(ticket& t)
        {
            t.size = table.at(t.cell).output_size;
            const auto from = table.output(t.cell, t.size);
            if (t.size <= t.small.size())
                std::copy(from.begin(), from.end(), t.small.begin());
            else
                t.large.assign(from.begin(), from.end());
        }

        void forget(ticket& t)
        {
            lane_of(t.cell).release(t.cell);
            ++finished_;
        }

        short_lock lock_; // of all below
        std::vector<submitter> lanes_;
        std::vector<ticket_ptr> ledger_;  // by cell: whose task it holds
        std::vector<ticket_ptr> limited_; // with deadlines
        std::vector<ticket_ptr> due_;     // over, to be called back
        std::vector<ticket_ptr> spares_;
        std::atomic<bool> gone_{false};        // no workers any more
        std::atomic<bool> closed_{false};      // nothing new is accepted
        std::string why_;                      // gone
        std::atomic<std::uint64_t> newest_{0}; // number of a task; a hint
        std::uint64_t submitted_ = 0, finished_ = 0, retried_ = 0,
                      poisoned_ = 0, moved_ = 0;
    };

    const std::shared_ptr<core>& shared_core() const { return core_; }

    /// Takes a task back.  One that waits never runs; one that runs is killed
    /// with its worker if `force`.  Returns whether it was taken back; false
    /// when it is over, or runs and `force` is not set.
    bool cancel(const ticket_ptr& t, bool force,
                outcome as = outcome::cancelled)
    {
        cell_control now;
        {
            const std::lock_guard hold(core_->lock_);
            if (core_->over(*t) || (running(*t) && !force))
                return false;
            t->revoked_as = as;
            now = core_->lane_of(t->cell).revoke(t->cell, t->lap);
            if (now.is != cell_control::state::revoked)
                return false; // over just now
            if (now.owner == 0)
                core_->settle(*t);
        }
        if (now.owner != 0)
            kill_runner(t, now.owner);
        else
            call_soon(t);
        core_->table.done().notify_after_death();
        return true;
    }

    /// Asks a running task to stop (`stop_requested` in its worker).
    void request_stop(const ticket& t)
    {
        const std::lock_guard hold(core_->lock_); // the cell stays its own
        if (t.end.load() == outcome::pending &&
            core_->table.control(t.cell).lap == t.lap)
            core_->table.at(t.cell).stop.store(1);
    }

    /// Calls `f` once, in the supervising thread, when the task is over.
    void when_over(const ticket_ptr& t, std::function<void()> f)
    {
        {
            const std::lock_guard hold(core_->lock_);
            t->then = std::move(f);
            if (t->end.load() != outcome::pending)
                core_->due_.push_back(t);
            else
                // The worker looks at the flag after it commits, and we look
                // at the cell after we set it: one of us sees the other.
                core_->table.at(t->cell).flags.fetch_or(cells::watched);
        }
        call_soon(t);
    }

    bool running(const ticket& t) const { return core_->running(t); }

    /// For an event loop that is awake: looks out for news for that long, and
    /// calls back here instead of in the supervising thread; returns for how
    /// many.  Until leave_off nobody else is woken for news; a loop that does
    /// not come back within a millisecond or two is relieved.
    std::size_t look_out(std::chrono::nanoseconds time)
    {
        looks_.fetch_add(1, std::memory_order_relaxed);
        if (!looked_out_.load() && !looked_out_.exchange(true))
        {
            core_->table.say_asleep(false);
            const std::shared_lock look(staff_);
            if (crew_)
                boost::asio::post(crew_->context(), [this] { relieve(); });
        }
        const auto limit = clock::now() + time;
        do
        {
            if (core_->table.announced())
                return call();
            for (int i = 0; i < 8; ++i)
                relax();
        } while (clock::now() < limit);
        return 0;
    }

    /// It will look again, but is held up by handlers of what it found: it is
    /// relieved after ten milliseconds only.
    void looks_on() { held_up_.store(true, std::memory_order_relaxed); }

    void leave_off()
    {
        looked_out_.store(false);
        core_->table.say_asleep(true);
        if (!core_->table.announced())
            return;
        const std::shared_lock look(staff_);
        if (crew_)
            boost::asio::post(crew_->context(), [this] { attend(); });
    }

    /// Accepts nothing more, and waits until all that was accepted is over.
    /// False when it is not at `deadline`.
    bool drain(time_point deadline)
    {
        core_->closed_ = true;
        core_->table.done().notify_after_death();
        return core_->wait_any(
            [this] {
                const std::lock_guard hold(core_->lock_);
                return core_->settle_all();
            },
            deadline);
    }

    /// Takes back every task that does not run yet.
    void cancel_queued()
    {
        core_->closed_ = true;
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
        core_->closed_ = true;
        core_->table.close(true);
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
        const std::lock_guard hold(core_->lock_);
        for (auto& one : s.workers)
            describe(one);
        s.submitted = core_->submitted_;
        s.finished = core_->finished_;
        s.retried = core_->retried_;
        s.moved = core_->moved_;
        s.poisoned = core_->poisoned_;
        s.wakes = wakes_.load();
        for (const auto& t : core_->ledger_)
            if (t && !core_->over(*t))
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
    // Under the lock.  Of several threads, the first that has a task.
    void describe(worker_info& one) const
    {
        const auto first = first_slot(one.slot);
        for (unsigned slot = first; slot < first + threads_; ++slot)
            describe(one, slot);
    }

    void describe(worker_info& one, unsigned slot) const
    {
        const auto& record = core_->table.worker(slot);
        one.finished += record.finished.load();
        const auto cell = record.cell.load();
        if (one.task != 0 || cell == 0 || cell > core_->table.size())
            return;
        const auto now = core_->table.control(static_cast<unsigned>(cell - 1));
        const auto& t = core_->ledger_[cell - 1];
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
        const std::lock_guard hold(core_->lock_);
        std::vector<ticket_ptr> result;
        for (const auto& t : core_->ledger_)
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
            const auto finished = core_->table.worker(slot).finished.load();
            progress |= std::exchange(finished_[slot], finished) != finished;
            progress |=
                give_back(slot, who, known,
                          known.guilty == 0 ? !wanted : known.guilty == slot);
        }
        if (progress)
            crew_->excuse(who.slot);
        {
            const std::lock_guard hold(core_->lock_);
            core_->settle_watched(); // it may have died before it announced
        }
        call();
        attend(); // or before it rang
    }

    // What the thread in `slot` held.  Returns whether a task is charged.
    bool give_back(unsigned slot, const crew::ended& who,
                   const post_mortem& known, bool charged)
    {
        bool any = false;
        const std::lock_guard hold(core_->lock_);
        core_->table.recover(
            slot,
            [&](unsigned index, unsigned) {
                const auto& t = core_->ledger_[index];
                if (!t)
                    return false;
                if (!charged)
                    return ++core_->moved_, true;
                t->deaths.push_back({who.pid, who.status, known.stack});
                const bool again = t->deaths.size() < t->allowed;
                ++(again ? core_->retried_ : core_->poisoned_);
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
            const std::lock_guard hold(core_->lock_);
            if (core_->why_.empty())
                core_->why_ = why;
            core_->gone_ = true;
            core_->settle_all();
        }
        core_->table.done().notify_after_death();
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
            core_->table.say_asleep(true);
            if (!core_->table.announced())
                return;
            core_->table.say_asleep(false);
        }
        boost::asio::post(crew_->context(), [this] { attend(); });
    }

    // So many are on their way that it pays to wait for several.
    bool crowded() const
    {
        const std::lock_guard hold(core_->lock_);
        return core_->submitted_ - core_->finished_ > 32;
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
        std::vector<ticket_ptr> due, news;
        {
            const std::lock_guard hold(core_->lock_);
            news = core_->hear();
            due.swap(core_->due_);
        }
        core_->table.done().notify_all();
        for (const auto& t : due)
            tell(*t);
        for (const auto& t : news)
            t->on_news();
        const auto told = due.size() + news.size();
        if (!due.empty())
        {
            const std::lock_guard hold(core_->lock_);
            for (auto& t : due)
                core_->recycle(t);
            due.clear();
            if (core_->due_.empty())
                core_->due_.swap(due); // its memory
        }
        return told;
    }

    static void tell(ticket& t)
    {
        if (auto* one = std::exchange(t.watched_by, nullptr))
            one->over(t);
        if (const auto f = std::exchange(t.then, nullptr))
            f();
    }

    void call_soon(const ticket_ptr& t)
    {
        if (!core_->over(*t))
            return;
        {
            const std::lock_guard hold(core_->lock_);
            core_->settle(*t);
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
            const std::lock_guard hold(core_->lock_);
            core_->limited_.push_back(t);
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
            const std::lock_guard hold(core_->lock_);
            std::erase_if(core_->limited_,
                          [&](const auto& t) { return core_->over(*t); });
            limited = core_->limited_;
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
        const auto now = core_->table.control(t->cell);
        if (now.lap != t->lap || now.is != cell_control::state::running ||
            now.owner == 0 || now.owner > core_->table.workers())
            return;
        const auto& record = core_->table.worker(now.owner);
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
            const auto now = core_->table.control(t->cell);
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
            core_->table.worker(slot).leave.store(1);
        kill_when_idle(process, crew_->pid_of(process), clock::now() + grace_);
    }

    void kill_when_idle(unsigned process, pid_t pid, time_point deadline)
    {
        const auto first = first_slot(process);
        bool busy = false;
        for (unsigned slot = first; slot < first + threads_; ++slot)
        {
            const auto held = core_->table.worker(slot).cell.load();
            busy |= held != 0 && held <= core_->table.size() &&
                    core_->table.control(static_cast<unsigned>(held - 1)).is ==
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

    std::shared_ptr<core> core_;
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
