// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.

#pragma once

#include "common/cells.hpp"
#include "common/error.hpp"
#include "common/fault.hpp"
#include "common/spin.hpp"
#include "common/task.hpp"
#include "common/wait.hpp"

#include <algorithm>
#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace common {

/// One side of a stream on its way through the cells of a lane, which both
/// sides take in their order.  It fetches a stride of cells at once, to be
/// written here, so that it need not wait for each when its turn comes (and
/// one by one they would come no faster: each step orders memory, and waits
/// for the last).  But only cells that the other side has done with: to take
/// one away that it is about to write would cost both of them more.
class stride
{
public:
    static constexpr unsigned length = 8; // measured; in cells

    /// Comes to the cell at `index`.  `done(control)` says whether the other
    /// side has done with a cell.  Where that is too near, waits for as long
    /// as it takes for a stride of tiny tasks, once in a stride: it gets away.
    template <class Done>
    void step(const cells& table, unsigned lane, unsigned index, Done done)
    {
        const auto left = left_.load(std::memory_order_relaxed);
        if (left != 0)
            return left_.store(left - 1, std::memory_order_relaxed);
        const auto in_play = table.active(lane);
        const auto local = index - lane * table.capacity();
        if (local >= in_play || in_play < 2 * length)
            return;
        left_.store(length, std::memory_order_relaxed);
        const auto later = [&](unsigned n) {
            return index + n - (local + n < in_play ? 0 : in_play);
        };
        for (unsigned looks = 0; looks < length; ++looks, beat())
            if (done(table.control(later(length))))
            {
                for (unsigned n = 1; n <= length; ++n)
                    fetch_to_write(&table.at(later(n)));
                return;
            }
    }

private:
    std::atomic<unsigned> left_{0}; // so many steps without a look: a hint
};

/// The submitting end of one lane.  Not for several threads at once.
class submitter
{
public:
    submitter() = default;
    explicit submitter(cells table, unsigned lane = 0)
        : table_(std::move(table))
        , first_(lane * table_.capacity())
        , active_(&table_.lane_heads_[lane].active)
        , used_((table_.capacity() + 63) / 64)
        , reserved_(table_.capacity())
    {
        active_->store(0);
    }

    /// A cell that is not in use; nothing when all are.
    std::optional<unsigned> acquire()
    {
        if (++acquired_ % 1024 == 0)
            shrink();
        unsigned local = next_free(cursor_, in_play_);
        if (local == in_play_)
            local = next_free(0, in_play_);
        if (local == in_play_)
        {
            if (in_play_ == table_.capacity())
                return std::nullopt;
            active_->store(++in_play_, std::memory_order_release);
        }
        used_[local / 64] |= bit(local);
        cursor_ = local + 1;
        peak_ = std::max(peak_, ++in_use_);
        return first_ + local;
    }

    /// Room for an input of `size` bytes.  Throws std::length_error when it is
    /// more than the table's payload.
    std::span<std::byte> input(unsigned index, std::size_t size)
    {
        if (size > table_.payload())
            throw std::length_error("the arguments of a task take " +
                                    std::to_string(size) +
                                    " bytes, more than the payload of " +
                                    std::to_string(table_.payload()));
        auto& reserved = reserved_[index - first_];
        if (size > cell::small_input && size > reserved)
        {
            table_.memory_.memory().reserve(table_.window(index, 0), size);
            reserved = size;
        }
        return table_.input(index, size);
    }

    /// Hands the task in the cell to the workers.  Accepted when this returns.
    /// Returns the lap that names this use of the cell.
    /// Where it is not `loud`, wakes nobody: the caller will, unless somebody
    /// who is awake has taken it.
    std::uint64_t publish(unsigned index, entry_id what, std::size_t size,
                          std::uint8_t flags, bool loud = true)
    {
        cell& one = table_.at(index);
        one.entry = what;
        one.input_size = static_cast<std::uint32_t>(size);
        one.flags.store(flags, std::memory_order_relaxed);
        one.stop.store(0, std::memory_order_relaxed);
        COMMON_FAULT_POINT("cells.input_written");
        auto now = table_.control(index);
        now.is = cell_control::state::ready;
        now.owner = now.attempt = 0;
        ++now.lap;                        // goes round
        one.control.exchange(now.word()); // orders the look at `work`, too
        COMMON_FAULT_POINT("cells.published");
        if (loud)
            table_.work().notify_one();
        return now.lap;
    }

    /// Takes a task back.  Returns what became of it: revoked(0), it will not
    /// run; revoked(w), it ran in worker w, who must be killed now; or what it
    /// was before, when it was final already.
    cell_control revoke(unsigned index, std::uint64_t lap)
    {
        auto& control = table_.at(index).control;
        auto word = control.load(std::memory_order_acquire);
        for (;;) // a task changes at most twice for each of its attempts
        {
            auto now = cell_control::of(word);
            if (now.lap != lap || (now.is != cell_control::state::ready &&
                                   now.is != cell_control::state::running))
                return now;
            now.is = cell_control::state::revoked;
            if (control.compare_exchange_weak(word, now.word()))
                return now;
        }
    }

    /// The cell may be used again.  Requires: it is final, or was never
    /// published.
    void release(unsigned index)
    {
        const unsigned local = index - first_;
        if (reserved_[local] > keep)
        {
            table_.memory_.memory().discard(table_.window(index, 0),
                                            reserved_[local]);
            reserved_[local] = 0;
        }
        if (const auto size = table_.at(index).output_size;
            size > keep && size <= table_.payload())
            table_.memory_.memory().discard(table_.window(index, 1), size);
        used_[local / 64] &= ~bit(local);
        --in_use_;
    }

    unsigned in_use() const { return in_use_; }
    unsigned in_play() const { return in_play_; } // no cell behind is in use
    unsigned first() const { return first_; }
    const cells& table() const { return table_; }

private:
    static constexpr std::size_t keep = 256u << 10; // more is given back

    static std::uint64_t bit(unsigned i) { return std::uint64_t{1} << i % 64; }

    unsigned next_free(unsigned from, unsigned end) const
    {
        while (from < end) // every turn moves on by at least one cell
        {
            const auto word = ~used_[from / 64] >> from % 64;
            if (word != 0)
                return std::min(
                    end, from + static_cast<unsigned>(std::countr_zero(word)));
            from = (from / 64 + 1) * 64;
        }
        return end;
    }

    // Few cells in play keep both ends in a few warm cache lines.
    void shrink()
    {
        while (in_play_ > std::max(peak_, 1u) &&
               (used_[(in_play_ - 1) / 64] & bit(in_play_ - 1)) == 0)
            --in_play_;
        active_->store(in_play_, std::memory_order_release);
        peak_ = in_use_;
    }

    cells table_;
    unsigned first_ = 0;
    std::atomic<std::uint32_t>* active_ = nullptr;
    std::vector<std::uint64_t> used_;   // a bit for each cell
    std::vector<std::size_t> reserved_; // memory behind its input window
    unsigned in_play_ = 0, in_use_ = 0, peak_ = 0, cursor_ = 0;
    std::uint64_t acquired_ = 0;
};

/// The working end: one for each worker, a process or a thread of one.
class worker_end final : public output
{
public:
    /// `slot` is 1 or more, and nobody else's.
    worker_end(cells table, unsigned slot)
        : table_(std::move(table))
        , slot_(slot)
        , cursors_(table_.lanes())
        , reserved_(table_.size())
    {
        if (slot == 0 || slot > table_.workers())
            throw std::invalid_argument("no worker slot " +
                                        std::to_string(slot));
        // Goes on where its predecessor stopped: workers that die young would
        // come round to the same few cells again and again.
        const auto from = table_.worker(slot).look_at.load() % table_.size();
        lane_ = last_lane_ = from / table_.capacity();
        cursors_[lane_] = from % table_.capacity();
    }

    /// Takes the task in the cell behind the last one, where the next one is
    /// in a steady stream: a look at one cache line, which leaves the others
    /// to the submitter that fills them.
    bool take_next()
    {
        if (table_.places_.ranked != 0)
            for (unsigned better = 0; better < last_lane_; ++better)
                if (active(better) != 0)
                    return take();
        auto& cursor = cursors_[last_lane_];
        if (cursor >= active(last_lane_))
            cursor = 0;
        const auto index = last_lane_ * table_.capacity() + cursor;
        if (in_a_row_ >= stride::length)
            stride_.step(table_, last_lane_, index, [](cell_control next) {
                return next.is == cell_control::state::ready;
            });
        if (active(last_lane_) == 0 || !claim(index))
        {
            in_a_row_ = 0;
            return false;
        }
        ++in_a_row_;
        ++cursor;
        return true;
    }

    /// Takes a ready task, if there is one: of the lanes in turn, or of the
    /// first that has one where lanes are ranked; in a lane, round and round.
    bool take()
    {
        if (table_.places_.ranked != 0)
            lane_ = 0;
        for (unsigned n = 0; n < table_.lanes(); ++n)
        {
            const unsigned lane = lane_;
            lane_ = lane + 1 == table_.lanes() ? 0 : lane + 1;
            const auto in_play = active(lane);
            auto& cursor = cursors_[lane];
            for (unsigned i = 0; i < in_play; ++i)
            {
                if (cursor >= in_play)
                    cursor = 0;
                if (claim(lane * table_.capacity() + cursor++))
                {
                    last_lane_ = lane;
                    return true;
                }
            }
        }
        return false;
    }

    /// Runs the task that was taken and commits its result.  Returns false
    /// when the task was taken away meanwhile: then this process must end.
    bool run()
    {
        cell& mine = table_.at(index_);
        auto& record = table_.worker(slot_);
        if ((mine.flags.load(std::memory_order_relaxed) & cells::timed) != 0)
            record.since.store(clock::now().time_since_epoch().count(),
                               std::memory_order_relaxed);
        record.cell.store(index_ + 1, std::memory_order_release);
        auto kind = cells::kind::value;
        size_ = 0;
        try
        {
            reader arguments{table_.input(index_, mine.input_size)};
            run_task(mine.entry, arguments, *this);
        }
        catch (...)
        {
            kind = cells::kind::error;
            fail();
        }
        COMMON_FAULT_POINT("cells.output_written");
        mine.output_size = static_cast<std::uint32_t>(size_);
        mine.output_kind = static_cast<std::uint8_t>(kind);
        auto done = cell_control::of(word_);
        done.is = cell_control::state::done;
        done.owner = 0;
        record.cell.store(0, std::memory_order_relaxed);
        record.since.store(0, std::memory_order_relaxed);
        if (!mine.control.compare_exchange_strong(word_, done.word()))
            return false;
        COMMON_FAULT_POINT("cells.committed");
        record.finished.store(record.finished.load(std::memory_order_relaxed) +
                                  1,
                              std::memory_order_relaxed);
        // After the commit, so that who sets the flag late sees the result.
        rings_ = (mine.flags.load() & cells::watched) != 0 &&
                 table_.announce(index_);
        table_.done().notify_all();
        return true;
    }

    /// Whether the last task was watched by a loop that sleeps: wake it.
    bool rings() const { return rings_; }

    /// There is news of the task that runs now.  Returns whether to wake the
    /// loop that watches it.
    bool announce() const { return table_.announce(index_); }

    /// Of the task that runs now.
    bool stop_requested() const
    {
        return table_.at(index_).stop.load(std::memory_order_relaxed) != 0;
    }
    unsigned attempt() const { return cell_control::of(word_).attempt; }

    std::span<std::byte> room(std::size_t size) override
    {
        if (size > table_.payload())
            throw std::length_error("the result of a task takes " +
                                    std::to_string(size) +
                                    " bytes, more than the payload of " +
                                    std::to_string(table_.payload()));
        if (size > cell::small_output && size > reserved_[index_])
        {
            table_.memory_.memory().reserve(table_.window(index_, 1), size);
            reserved_[index_] = size;
        }
        size_ = size;
        return table_.output(index_, size);
    }

    const cells& table() const { return table_; }
    unsigned slot() const { return slot_; }

private:
    unsigned active(unsigned lane) const { return table_.active(lane); }

    bool claim(unsigned index)
    {
        auto& control = table_.at(index).control;
        auto seen = control.load(std::memory_order_acquire);
        auto next = cell_control::of(seen);
        if (next.is != cell_control::state::ready)
            return false;
        next.is = cell_control::state::running;
        next.owner = slot_ & 0xfff; // all of it
        if (!control.compare_exchange_strong(seen, next.word()))
            return false;
        COMMON_FAULT_POINT("cells.claimed");
        index_ = index;
        word_ = next.word();
        table_.worker(slot_).look_at.store(index + 1,
                                           std::memory_order_relaxed);
        return true;
    }

    void fail()
    {
        auto error = error_message::current();
        if (error.what.size() > table_.payload() / 2)
            error.what.resize(table_.payload() / 2);
        writer to{room(encoded_size(error))};
        encode(to, error);
    }

    cells table_;
    unsigned slot_;
    unsigned lane_ = 0, last_lane_ = 0, index_ = 0;
    std::vector<unsigned> cursors_; // of each lane: where to look next
    std::uint64_t word_ = 0;        // of the cell that is taken
    std::size_t size_ = 0;          // of its output so far
    bool rings_ = false;
    unsigned in_a_row_ = 0; // tasks taken in passing, without a search
    stride stride_;
    std::vector<std::size_t> reserved_; // memory behind its output windows
};

} // namespace common
