// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.

#pragma once

#include "common/cell_ends.hpp"
#include "common/error.hpp"
#include "common/lock.hpp"
#include "common/spin.hpp"
#include "common/ticket.hpp"

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <mutex>
#include <span>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace common {

/// What was submitted and what became of it: tickets in private memory, each
/// with a cell of the table.
///
/// All that a future needs: it may live longer than its executor, since
/// tickets keep it alive.
class ledger : public std::enable_shared_from_this<ledger>
{
public:
    explicit ledger(const cells::options& wanted)
        : table(wanted)
        , by_cell_(table.size())
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
        const auto behind =
            submitted_.load(std::memory_order_relaxed) - mine->number;
        if (behind == 0)
        {
            relax(); // its worker is only just reading it
            for (int looks = 0; looks < 8; ++looks)
            {
                relax();
                if (over(*mine))
                    break;
            }
        }
        else if (behind >= 2 * stride::length)
            stride_.step(table, mine->lane, mine->cell,
                         [](cell_control next) { return next.final(); });
        if (!over(*mine))
            wait_until(*mine, time_point::max());
        return take(std::move(mine), std::move(use));
    }

    /// The same for a task that is known to be over.
    template <class Use>
    auto take(ticket_ptr mine, Use use)
    {
        ticket& t = *mine;
        std::unique_lock hold(lock_);
        if (!holds_value(t))
        {
            settle(t);
            hold.unlock();
            return use(t.end.load(), t, t.bytes());
        }
        if (const auto size = table.at(t.cell).output_size;
            size <= cell::small_output)
        {
            std::array<std::byte, cell::small_output> small;
            std::memcpy(&small, table.at(t.cell).output, sizeof small);
            lanes_[t.lane].release(t.cell);
            ++finished_;
            part_with(mine);
            hold.unlock();
            static const ticket none(nullptr); // it may serve another one
            return use(outcome::value, none, std::span(small).first(size));
        }
        by_cell_[t.cell] = nullptr; // it is ours now
        ++finished_;
        hold.unlock();
        struct give_back // also when decoding throws
        {
            ledger& all;
            ticket& mine;
            ~give_back()
            {
                const std::lock_guard again(all.lock_);
                all.lanes_[mine.lane].release(mine.cell);
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
            return result_of(t, now);
        return gone_ ? outcome::abandoned : t.end.load();
    }

    cells table;

    /// For futures: what whoever made the executor wants them to find, as
    /// long as it exists.  Set before the first task.
    std::weak_ptr<void> owner;

private:
    friend class executor;

    static constexpr std::size_t most_spares = 4096;

    // A ticket with a cell for it.  Null at the deadline.
    ticket_ptr reserve(std::unique_lock<short_lock>& hold, time_point deadline,
                       const task_options& how)
    {
        if (how.priority >= lanes_.size())
            throw std::invalid_argument("priority " +
                                        std::to_string(how.priority) + " of " +
                                        std::to_string(lanes_.size()));
        if (how.attempts == 0 || how.attempts > 200)
            throw std::invalid_argument(
                "a task may have 1 to 200 attempts, not " +
                std::to_string(how.attempts));
        if (how.soft.count() < 0 || how.hard.count() < 0)
            throw std::invalid_argument(
                "a deadline is a time that a task may run, or 0, not " +
                std::to_string(std::min(how.soft, how.hard).count()) + " ns");
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
                mine->lane = how.priority;
                mine->number = count(submitted_);
                mine->allowed = how.attempts;
                mine->watched_by = how.watched_by;
                if (how.limited() || how.on_news || !how.name.empty())
                {
                    mine->special = true;
                    mine->soft = how.soft;
                    mine->hard = how.hard;
                    mine->name = how.name;
                    mine->on_news = how.on_news;
                }
                return mine;
            }
            hold.unlock();
            table.work().notify_all(); // for what was submitted quiet
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
        // Nobody else knows it yet: no need to count atomically.
        mine->references.store(2, std::memory_order_relaxed);
        by_cell_[mine->cell] = ticket_ptr(mine.get(), false);
        if (gone_)
            settle(*mine); // meanwhile
        else if (spares_.empty())
            spares_.emplace_back(new ticket(shared_from_this()));
    }

    ticket_ptr take_spare()
    {
        if (spares_.empty())
            return ticket_ptr(new ticket(shared_from_this()));
        auto result = std::move(spares_.back());
        spares_.pop_back();
        return result;
    }

    // Its value is in its cell, for who asks for it.
    bool holds_value(const ticket& t) const
    {
        const auto now = table.control(t.cell);
        return now.lap == t.lap && now.is == cell_control::state::done &&
               t.end.load(std::memory_order_relaxed) == outcome::pending &&
               !t.watched() && result_of(t, now) == outcome::value;
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
            if (const auto t = by_cell_[i]; t && over(*t))
            {
                settle(*t);
                ++moved;
            }
        return moved;
    }

    // The value has been taken, by who has `mine`.  Where nobody else has the
    // ticket it serves another task; the lock keeps it so.
    void part_with(ticket_ptr& mine)
    {
        auto& held = by_cell_[mine->cell];
        mine->kept.clear();
        if (mine->references.load(std::memory_order_acquire) != 2 ||
            mine->special || spares_.size() >= most_spares || gone_)
        {
            mine->end.store(outcome::value, std::memory_order_release);
            held = nullptr;
            return;
        }
        held.detach(); // no need to count atomically
        mine->references.store(1, std::memory_order_relaxed);
        spares_.push_back(std::move(mine));
    }

    // Takes it over to serve another task, if nobody else has it any more.
    // Not after the end: tickets keep the ledger alive.  Nor where a user gave
    // something with it, which must not end under the lock.
    void recycle(ticket_ptr& t)
    {
        if (t->references.load(std::memory_order_acquire) != 1 || t->special ||
            spares_.size() >= most_spares || gone_)
            return;
        t->watched_by = nullptr;
        t->end.store(outcome::pending, std::memory_order_relaxed);
        spares_.push_back(std::move(t));
    }

    // Tickets that the others need not keep: these, or null.
    void recycle(std::vector<ticket_ptr>& all)
    {
        for (auto& t : all)
            if (t)
                recycle(t);
        all.clear();
    }

    // What the cell, which is final, says, checked: a worker wrote it.
    outcome result_of(const ticket& t, cell_control now) const
    {
        const auto& from = table.at(t.cell);
        if (now.is == cell_control::state::poisoned)
            return outcome::died;
        if (now.is == cell_control::state::revoked)
            return t.revoked_as;
        if (from.output_size > table.payload())
            return outcome::abandoned;
        return from.output_kind == static_cast<std::uint8_t>(cells::kind::value)
                   ? outcome::value
                   : outcome::error;
    }

    // Under the lock.  Takes the result out of the cell and frees it.
    void settle(ticket& t)
    {
        if (t.end.load() != outcome::pending)
            return;
        const auto end = peek(t);
        if (end == outcome::pending)
            return;
        if (end == outcome::value || end == outcome::error)
            copy(t);
        if (end == outcome::abandoned)
        {
            t.special = true;
            t.why = why_;
        }
        close(t, end);
    }

    // Under the lock: its end, which is known.
    void close(ticket& t, outcome end)
    {
        if (table.control(t.cell).final()) // no worker has it any more
            lanes_[t.lane].release(t.cell);
        t.kept.clear();
        ++finished_;
        t.end.store(end, std::memory_order_release);
        auto& held = by_cell_[t.cell];
        if (t.watched())
            due_.push_back(std::move(held));
        else
            held = nullptr;
    }

    // Under the lock.  The same for those that somebody is to be told of.
    void settle_watched()
    {
        for (unsigned i = 0; i < table.size(); ++i)
            if (const auto t = by_cell_[i]; t && t->watched() && over(*t))
                settle(*t);
    }

    // By what one hears of watched tasks: workers announce all that there is.
    // Who looks all the time looks at the cells themselves, where they are
    // few: an announcement takes one more cache line to and fro.
    enum class hearing
    {
        announcements,
        cells
    };

    // Under the lock.  Settles some of what is over; returns what is news.
    std::vector<ticket_ptr> hear(hearing how)
    {
        std::vector<ticket_ptr> news;
        if (how == hearing::cells && heard_in_cells())
            return news;
        table.take_announced(turn_, [&](unsigned i) {
            const auto& t = by_cell_[i];
            if (t && t->watched() && over(*t))
                settle(*t); // moves it away
            else if (t && t->on_news)
                news.push_back(t);
        });
        return news;
    }

    // Whether that was possible.
    bool heard_in_cells()
    {
        constexpr unsigned few = 4;
        const auto in_play = lanes_.front().in_play();
        bool all = lanes_.size() == 1 && in_play <= few;
        for (unsigned i = 0; all && i < in_play; ++i)
            if (const auto& t = by_cell_[i]; t)
            {
                all = !(t->special && t->on_news);
                if (t->watched() && over(*t))
                    settle(*t);
            }
        return all;
    }

    // Under the lock.  Settles what is over; whether that was all.
    bool settle_all()
    {
        bool all = true;
        for (unsigned i = 0; i < table.size(); ++i)
        {
            if (const auto t = by_cell_[i]; t && over(*t))
                settle(*t);
            all = all && by_cell_[i] == nullptr;
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
        {
            t.special = true;
            t.large.assign(from.begin(), from.end());
        }
    }

    // Under the lock.  Others read it at any time.
    static std::uint64_t count(std::atomic<std::uint64_t>& number)
    {
        const auto next = number.load(std::memory_order_relaxed) + 1;
        number.store(next, std::memory_order_relaxed);
        return next;
    }

    void forget(ticket& t)
    {
        lanes_[t.lane].release(t.cell);
        ++finished_;
    }

    short_lock lock_; // of all below
    std::vector<submitter> lanes_;
    std::vector<ticket_ptr> by_cell_; // by cell: whose task it holds
    std::vector<ticket_ptr> limited_; // with deadlines
    std::vector<ticket_ptr> due_;     // over, to be called back
    std::vector<ticket_ptr> spares_;
    unsigned turn_ = 0;               // see take_announced
    stride stride_;                   // of who takes results; needs no lock
    std::atomic<bool> gone_{false};   // no workers any more
    std::atomic<bool> closed_{false}; // nothing new is accepted
    std::string why_;                 // gone
    std::atomic<std::uint64_t> submitted_{0}; // a hint without the lock
    std::uint64_t finished_ = 0, retried_ = 0, poisoned_ = 0, moved_ = 0;
};

} // namespace common
