// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.

#pragma once

#include "engine.hpp"
#include "event.hpp"
#include "journal.hpp"
#include "record.hpp"
#include "schedule.hpp"
#include "stragglers.hpp"

#include "common/error.hpp"

#include <boost/unordered/unordered_flat_map.hpp>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <exception>
#include <functional>
#include <map>
#include <memory>
#include <random>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace master_worker {

/// A task that lost as many workers as it was allowed.
struct poison
{
    std::uint64_t task = 0;
    std::string key;
    std::vector<failure> history;
};

struct statistics
{
    std::uint64_t submitted = 0, finished = 0, recovered = 0; // from a journal
    std::uint64_t retried = 0, copied = 0, poisoned = 0, deaths = 0;
    std::size_t queued = 0, running = 0;
};

/// What a master plans and remembers: which task waits, runs, has failed how
/// often, and how it ended.  Private memory; used by one thread.
class ledger
{
public:
    ledger(unsigned roles, std::unique_ptr<engine> carrier,
           std::unique_ptr<journal> results, bool measure,
           std::function<void(const event&)> on_event)
        : engine_(std::move(carrier))
        , journal_(std::move(results))
        , measure_(measure)
        , events_(std::move(on_event))
        , waiting_(roles)
        , slow_(roles)
    {
        if (roles == 0)
            throw std::invalid_argument("a master needs a role of workers");
        link_->alive = this;
    }

    ledger(const ledger&) = delete;

    /// Ends the workers, abandons what is pending, runs all callbacks.
    ~ledger()
    {
        engine_.reset();
        abandon("the master has ended");
        events_.tell();
        call_due();
        link_->alive = nullptr;
    }

    const std::shared_ptr<link>& place() const { return link_; }
    engine& carrier()
    {
        if (engine_ == nullptr)
            throw common::closed("the master has ended");
        return *engine_;
    }
    const std::vector<poison>& poisoned() const { return poison_; }
    bool idle() const { return active_.empty() && unsaved_.empty(); }

    /// Whether all that is left are tasks that wait for workers of a role that
    /// has none, and gets none but by a resize.
    bool stalled() const
    {
        const auto unstaffed = [this](unsigned role) {
            return engine_ != nullptr && !engine_->staffed(role);
        };
        bool some = false; // quickly: nearly always there is none
        for (unsigned i = 0; i < waiting_.roles(); ++i)
            some = some ||
                   ((waiting_.next(i) || waiting_.timed()) && unstaffed(i));
        return some && unsaved_.empty() && due_.empty() &&
               std::all_of(active_.begin(), active_.end(), [&](const auto& of) {
                   const record& r = *of.second;
                   return r.copies == 0 && unstaffed(r.how.role);
               });
    }

    statistics stats() const
    {
        auto result = counts_;
        for (const auto& [number, r] : active_)
            ++(r->copies != 0 ? result.running : result.queued);
        result.poisoned = poison_.size();
        return result;
    }

    /// Takes a task in.  Throws std::invalid_argument, common::exhausted, and
    /// what the journal throws: then it was not taken.
    void enter(const record_ptr& r)
    {
        admit(r->how);
        if (unsaved_.size() >= batch)
            save();
        r->number = ++counts_.submitted;
        slow_.expect(r->how);
        r->owner = link_;
        if (measure_)
            r->submitted = clock::now();
        if (journal_)
            r->journal_key = journal_key_of(*r);
        tell(event::kind::received, *r);
        active_.emplace(r->number, r);
        const auto* known = journal_ ? journal_->find(r->journal_key) : nullptr;
        if (known != nullptr)
            recover(r, *known);
        else
        {
            waiting_.add(r);
            begin_at_once();
        }
        announce();
    }

    /// Wants so many workers in a role from now on.
    void resize(unsigned role, unsigned workers)
    {
        check_role(role);
        carrier().resize(role, workers);
    }

    /// Works until `ready()`, or `deadline`.  Returns what `ready()` says.
    /// Throws std::logic_error when nothing is left that could make it true,
    /// or, without a deadline, nobody who could work for it; what the journal
    /// throws, and what `on_event` has thrown.
    template <class Ready>
    bool work_until(Ready ready, time_point deadline)
    {
        for (;;) // ends as promised
        {
            call_due();
            if (ready())
                return true;
            if (idle() && due_.empty())
                throw std::logic_error("no task is left that could end this");
            if (deadline == time_point::max() && stalled())
                throw std::logic_error("a task waits for workers of a role "
                                       "that was resized to none");
            if (!work(deadline) && due_.empty() && clock::now() >= deadline)
                return ready();
        }
    }

    /// Hands out what can be handed out, and hears what there is to hear;
    /// waits for that until `deadline`, or less.  Returns whether it heard
    /// anything.  Throws as work_until.
    bool work(time_point deadline)
    {
        if (engine_ == nullptr)
            return false; // it ends: a callback runs
        feed();
        const bool heard = listen(std::min(deadline, alarm()));
        announce();
        save();
        if (trouble_ && !ending_)
            std::rethrow_exception(std::exchange(trouble_, nullptr));
        return heard;
    }

    /// Works until all is done, or nobody could do it, or `deadline`.  From
    /// now on what `on_event` throws is lost: nobody could be told.
    void finish(time_point deadline)
    {
        ending_ = true;
        work_until([this] { return idle() || stalled(); }, deadline);
    }

    /// Takes a task back, killing who runs it.  False when it is over.
    bool cancel(const record_ptr& r)
    {
        const auto found = active_.find(r->number);
        if (found == active_.end() || found->second != r)
            return false;
        if (std::exchange(r->copies, 0) != 0)
            engine_->drop(r->number);
        r->why = "cancelled";
        tell(event::kind::finished, *r);
        settle(r, outcome::cancelled);
        announce();
        return true;
    }

    /// Calls `f` once when the record has come to its end, from work_until;
    /// here and now where there is no ledger any more.
    static void when_over(const record_ptr& r, std::function<void()> f)
    {
        if (r->end == outcome::pending)
            r->then.push_back(std::move(f));
        else if (r->owner->alive != nullptr)
            r->owner->alive->due_.push_back(std::move(f));
        else
            f();
    }

    /// Ends a record that is no task, but the result of a callback.
    static void conclude(const record_ptr& r, outcome end)
    {
        r->end = end;
        for (auto& f : std::exchange(r->then, {}))
            when_over(r, std::move(f));
    }

private:
    static constexpr std::size_t batch = 64; // reports at a time

    // Throws for a task that cannot be taken.
    void admit(task_options& how) const
    {
        if (!broken_.empty())
            throw common::exhausted(broken_);
        check_role(how.role);
        check(how);
        if ((how.deadline.count() > 0 || how.silence.count() > 0) &&
            !engine_->enforces_limits())
            throw std::invalid_argument("this engine enforces no limits");
    }

    void check_role(unsigned role) const
    {
        if (engine_ == nullptr)
            throw common::closed("the master has ended");
        if (role >= waiting_.roles())
            throw std::invalid_argument("there is no role " +
                                        std::to_string(role));
    }

    // --- handing out ------------------------------------------------------

    // For a task that has been taken: what goes wrong now does so again, and is
    // told, when somebody works.
    void begin_at_once()
    {
        try
        {
            listen(time_point::min());
            feed();
        }
        catch (...)
        {
        }
    }

    // On demand: nothing leaves its queue before a worker is free.
    void feed()
    {
        const bool timed = waiting_.timed() || slow_.wanted();
        if (!timed && waiting_.empty())
            return;
        // A look at the clock takes longer than the rest of this.
        const auto now = timed ? clock::now() : time_point();
        waiting_.ripen(now);
        slow_.look_at_all();
        for (unsigned i = 0; i < waiting_.roles(); ++i)
        {
            while (waiting_.next(i) &&
                   engine_->window(i, waiting_.next(i)->alone) != 0)
                if (const auto r = waiting_.take(i); r->end == outcome::pending)
                    put_first(r, now); // else it was cancelled
            if (slow_.wanted() && !waiting_.next(i))
                copy_straggler(i, now);
        }
    }

    // It is the next again if that throws.
    void put_first(const record_ptr& r, time_point now)
    {
        try
        {
            put(*r, now, r->alone);
        }
        catch (...)
        {
            waiting_.add_first(r);
            throw;
        }
    }

    void put(record& r, time_point now, bool alone)
    {
        engine_->put({r.number, r.attempts, r.how.role, r.entry, r.input,
                      r.how.deadline, r.how.silence, measure_, alone});
        if (r.copies++ == 0)
            r.put = now;
        if (!std::exchange(r.told, true) || r.copies > 1)
            tell(event::kind::started, r);
    }

    void copy_straggler(unsigned role, time_point now)
    {
        auto* const slowest = slow_.find(role, active_, now);
        if (slowest == nullptr || engine_->window(role, true) == 0)
            return; // never behind the first
        ++counts_.copied;
        put(*slowest, now, true);
    }

    time_point alarm() const
    {
        const auto next = std::min(slow_.next_look(), waiting_.due());
        return journal_ ? std::min(next, journal_->due()) : next;
    }

    // --- listening --------------------------------------------------------

    // Takes reports, waiting for the first until `deadline`.
    bool listen(time_point deadline)
    {
        report r;
        if (!engine_->take(r, deadline))
            return false;
        hear(r);
        for (std::size_t i = 1;
             i < batch && engine_->take(r, time_point::min()); ++i)
            hear(r);
        return true;
    }

    void hear(report& what)
    {
        switch (what.what)
        {
        case report::kind::joined:
            return tell(event::kind::joined, what);
        case report::kind::left:
            return tell(event::kind::left, what);
        case report::kind::died:
            ++counts_.deaths;
            return tell(event::kind::died, what);
        case report::kind::broken:
            broken_ = what.text;
            return abandon(what.text);
        default:
            break;
        }
        const auto found = active_.find(what.task);
        if (found == active_.end())
            return; // cancelled meanwhile
        const auto r = found->second;
        r->copies -= std::min(r->copies, 1u);
        if (measure_)
            what.spent.waited = what.spent.began - r->submitted;
        if (what.what == report::kind::finished)
            return finish(r, what);
        // A worker that says it never began is believed, but not for ever.
        if (what.what != report::kind::returned || ++r->returned > 100)
            return fail(r, what);
        r->alone = r->alone || !what.text.empty();
        if (r->copies == 0)
            waiting_.add_first(r);
    }

    void finish(const record_ptr& r, report& what)
    {
        if (std::exchange(r->copies, 0) != 0)
            engine_->drop(r->number); // the slower copies
        if (r->put != time_point())
            slow_.note(r->how.role, clock::now() - r->put);
        r->content = std::move(what.content);
        r->spent = what.spent;
        tell(event::kind::finished, what, "value");
        if (!journal_)
            return settle(r, outcome::value);
        journal_->append(r->journal_key, r->content);
        active_.erase(r->number);
        unsaved_.push_back(r);
    }

    // Nobody is given a result that the journal does not have.
    void save()
    {
        if (!journal_)
            return;
        journal_->flush();
        for (const auto& r : std::exchange(unsaved_, {}))
            settle(r, outcome::value);
    }

    void recover(const record_ptr& r, const std::string& known)
    {
        ++counts_.recovered;
        const auto* first = reinterpret_cast<const std::byte*>(known.data());
        r->content.assign(first, first + known.size());
        tell(event::kind::recovered, *r);
        settle(r, outcome::value);
    }

    void fail(const record_ptr& r, report& what)
    {
        r->failures.push_back(failure_of(r->attempts, what));
        const auto last = r->failures.back();
        ++r->attempts;
        r->told = false;
        if (r->copies != 0)
            return; // its copy may still come to something
        const bool again = allows(r->how.retry, r->attempts, last);
        if (r->end != outcome::pending)
            return; // cancelled by who was asked
        if (again)
        {
            ++counts_.retried;
            waiting_.add_later(
                r,
                clock::now() + pause_after(r->how.retry, r->attempts, dice_));
            return tell(event::kind::retried, what, last.text);
        }
        r->why = last.text;
        if (last.what == failure::kind::threw)
        {
            r->content = std::move(what.content);
            tell(event::kind::finished, what, last.text);
            return settle(r, outcome::error);
        }
        poison_.push_back({r->number, r->how.key, r->failures});
        tell(event::kind::poisoned, what, last.text);
        settle(r, outcome::poisoned);
    }

    // --- ends -------------------------------------------------------------

    void settle(const record_ptr& r, outcome end)
    {
        ++counts_.finished;
        r->kept.clear();
        r->input.clear();
        const auto kept_alive = r;
        active_.erase(kept_alive->number);
        conclude(kept_alive, end);
    }

    void abandon(const std::string& why)
    {
        std::map<std::uint64_t, record_ptr> all(active_.begin(), active_.end());
        for (const auto& [number, r] : all)
        {
            r->why = why;
            r->copies = 0;
            tell(event::kind::finished, *r);
            settle(r, outcome::abandoned);
        }
        for (const auto& r : std::exchange(unsaved_, {}))
            settle(r,
                   outcome::value); // the journal did not want it, we have it
        waiting_.clear();
    }

    // Each may add more, and may work itself; ends when all have run.
    void call_due()
    {
        while (!due_.empty())
        {
            const auto f = std::move(due_.front());
            due_.pop_front();
            f();
        }
    }

    // --- telling ----------------------------------------------------------

    void tell(event::kind what, const record& r)
    {
        if (events_.wanted())
            events_.add({what, r.number, r.attempts, 0, clock::now(), r.why});
    }
    void tell(event::kind what, const report& r, const std::string& text = {})
    {
        if (!events_.wanted())
            return;
        const auto found = active_.find(r.task);
        const unsigned attempt =
            found == active_.end() ? 0 : found->second->attempts;
        events_.add({what, r.task, attempt, r.worker, clock::now(),
                     text.empty() ? r.text : text,
                     r.task != 0 && measure_ ? &r.spent : nullptr});
    }

    // Now that all is in order.
    void announce()
    {
        if (auto trouble = events_.tell())
            trouble_ = trouble;
    }

    std::shared_ptr<link> link_ = std::make_shared<link>();
    std::unique_ptr<engine> engine_;
    std::unique_ptr<journal> journal_;
    bool measure_;
    event_queue events_;
    // By number: those that are not at their end.
    boost::unordered_flat_map<std::uint64_t, record_ptr> active_;
    std::vector<record_ptr> unsaved_; // at their end, but for the
                                      // journal
    schedule waiting_;
    stragglers slow_;
    std::deque<std::function<void()>> due_;
    std::vector<poison> poison_;
    statistics counts_;
    std::string broken_;         // why, if it is
    std::exception_ptr trouble_; // of who was told of an event
    bool ending_ = false;
    std::minstd_rand dice_{std::random_device{}()};
};

} // namespace master_worker
