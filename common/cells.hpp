// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.

#pragma once

#include "common/error.hpp"
#include "common/fault.hpp"
#include "common/shared.hpp"
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
#include <vector>

namespace common {

// A task lives in one cell.  One word of it, `control`, decides everything: no
// step can be half done when its process dies, no step needs a lock, and a
// small task and its result cross in one cache line.
//
//   free, done, poisoned, revoked(0)
//              -> ready(0)      its submitter, input written; ACCEPTED here
//   ready(a)   -> running(w,a)  worker w
//   running    -> done          worker w, output written; COMMITTED here
//   running    -> ready(a+1)    supervisor, after w was reaped; or poisoned,
//                               when the task has no attempt left; or
//                               ready(a), when another thread of w's process
//                               is to blame
//   ready      -> revoked(0)    submitter: cancelled while it waited
//   running    -> revoked(w)    submitter: taken from w, who is killed for it
//   revoked(w) -> revoked(0)    supervisor, after w was reaped
//
// Each cell has one submitter for life, so filling it needs no step of its
// own: until `ready` nobody else looks at it, and who dies before has
// submitted nothing.  An owner is a slot number that the supervisor hands out,
// never a pid; 0 is nobody.  The lap tells this use of the cell from the last.

/// What the control word of a cell says.
struct cell_control
{
    enum class state : std::uint8_t
    {
        free,
        ready,
        running,
        done,
        poisoned,
        revoked
    };
    state is = state::free;
    unsigned owner = 0;    // slot of the worker, 12 bits
    unsigned attempt = 0;  // 8 bits
    std::uint64_t lap = 0; // 40 bits

    static cell_control of(std::uint64_t word)
    {
        return {static_cast<state>(word & 15),
                static_cast<unsigned>(word >> 4 & 0xfff),
                static_cast<unsigned>(word >> 16 & 0xff), word >> 24};
    }
    std::uint64_t word() const
    {
        return static_cast<std::uint64_t>(is) | std::uint64_t{owner} << 4 |
               std::uint64_t{attempt} << 16 | lap << 24;
    }
    /// Nothing will change any more until the submitter uses the cell again.
    bool final() const
    {
        return is == state::done || is == state::poisoned ||
               (is == state::revoked && owner == 0);
    }
};

/// One cache line.  Input and output are separate, so that a result that was
/// half written when its worker died does not damage the next attempt's input.
struct alignas(64) cell
{
    static constexpr std::size_t small_input = 24, small_output = 16;

    std::atomic<std::uint64_t> control; // see above
    entry_id entry;                     // submitter, before ready
    std::uint32_t input_size;           // submitter, before ready
    std::uint32_t output_size;          // worker, while running
    std::uint8_t output_kind;           // worker, while running
    std::atomic<std::uint8_t> flags;    // submitter, at any time
    std::atomic<std::uint8_t> stop;     // submitter, at any time
    std::uint8_t unused;
    std::byte input[small_input];   // submitter, before ready
    std::byte output[small_output]; // worker, while running
};
static_assert(sizeof(cell) == 64);
static_assert(std::atomic<std::uint64_t>::is_always_lock_free);

/// The table of tasks, in shared memory: lanes of cells, one lane for each
/// process that submits.  Values that do not fit into a cell go to the window
/// that every cell has in the same memory; a window costs address space until
/// it is used.
class cells
{
    struct lane_head;
    struct head;

public:
    struct options
    {
        unsigned lanes = 1;              // one for each that submits
        bool ranked = false;             // workers prefer the first lanes
        unsigned capacity = 1024;        // cells of each
        unsigned workers = 1;            // slots 1 .. workers
        std::size_t payload = 16u << 20; // largest input, and largest result
    };

    /// What a worker is doing, for those who watch.
    struct alignas(64) worker_record // the worker in that slot, at any time,
                                     // but for the last
    {
        std::atomic<std::uint64_t> cell;     // 1 + number of the cell; 0: idle
        std::atomic<std::int64_t> since;     // clock, for a timed task; or 0
        std::atomic<std::uint64_t> finished; // tasks, by all incarnations
        std::atomic<std::uint32_t> look_at;  // behind the last cell it took
        std::atomic<std::uint32_t> leave;    // supervisor: 1, take no more
    };

    /// Flags of a task.
    enum : std::uint8_t
    {
        timed = 1,  // the worker notes when it starts
        watched = 2 // the worker announces its end
    };

    /// What is in the output of a cell that is done.
    enum class kind : std::uint8_t
    {
        value,
        error
    };

    cells() = default;

    /// Throws std::invalid_argument for numbers that make no table, and
    /// std::system_error when there is no memory for it.
    explicit cells(const options& wanted)
    {
        if (!possible(wanted))
            throw std::invalid_argument(
                "a table of tasks needs 1 to " + std::to_string(max_cells) +
                " cells, at most " + std::to_string(max_workers) +
                " workers and a payload of 1 to " +
                std::to_string(max_payload) + " bytes");
        const auto places = plan(wanted);
        memory_ = segment("tasks", places.size, places.windows);
        head* h = new (memory_.data()) head{};
        h->places = places;
        attach();
    }

    unsigned lanes() const { return places_.lanes; }
    unsigned capacity() const { return places_.capacity; }
    unsigned workers() const { return places_.workers; }
    std::size_t payload() const { return places_.payload; }
    unsigned size() const { return lanes() * capacity(); }

    event_count& work() const { return head_->work; } // there is a ready cell
    event_count& done() const { return head_->done; } // a cell became final
    cell& at(unsigned index) const { return cells_[index]; }
    cell_control control(unsigned index) const
    {
        return cell_control::of(
            cells_[index].control.load(std::memory_order_acquire));
    }
    worker_record& worker(unsigned slot) const { return workers_[slot]; }

    /// Tells the workers to leave once nothing is ready, or at once.
    void close(bool at_once) const
    {
        head_->closing.exchange(at_once ? 2 : 1);
        work().notify_after_death(); // unconditionally, and all of them
    }
    unsigned closing() const
    {
        return head_->closing.load(std::memory_order_relaxed);
    }

    /// The bytes of a cell's input or output.  Throws malformed when the size
    /// that stands in the cell is not possible.
    std::span<std::byte> input(unsigned index, std::size_t size) const
    {
        return area(cells_[index].input, cell::small_input, index, 0, size);
    }
    std::span<std::byte> output(unsigned index, std::size_t size) const
    {
        return area(cells_[index].output, cell::small_output, index, 1, size);
    }

    // --- news of watched tasks, for an event loop -------------------------

    /// There is news of the task in the cell.  Returns whether the loop sleeps:
    /// then the caller must wake it, and nobody else will.  For workers.
    bool announce(unsigned index) const
    {
        news_[index / 64].fetch_or(std::uint64_t{1} << index % 64);
        return head_->asleep.load() != 0 && head_->asleep.exchange(0) != 0;
    }

    /// Whether anything is announced.
    bool announced() const
    {
        for (unsigned i = 0; i < news_words(size()); ++i)
            if (news_[i].load() != 0) // in one order with `asleep`
                return true;
        return false;
    }

    /// Takes the announcements: `hear(index)` for each.  What a worker was
    /// about to announce when it died is missing: look at all cells then.
    template <class Hear>
    void take_announced(Hear hear) const
    {
        for (unsigned i = 0; i < news_words(size()); ++i)
        {
            if (news_[i].load(std::memory_order_relaxed) == 0)
                continue;
            const auto taken = news_[i].exchange(0);
            for (auto word = taken; word != 0; word &= word - 1)
                __builtin_prefetch(&cells_[std::min(
                    i * 64 + static_cast<unsigned>(std::countr_zero(word)),
                    size() - 1)]); // all on the way before the first is used
            for (auto word = taken; word != 0; word &= word - 1)
                if (const unsigned index =
                        i * 64 + static_cast<unsigned>(std::countr_zero(word));
                    index < size())
                    hear(index);
        }
    }

    /// The loop is going to sleep, or is awake: then nobody needs to wake it.
    /// Look at `announced` between saying that it sleeps and sleeping.
    void say_asleep(bool asleep) const
    {
        head_->asleep.exchange(asleep ? 1 : 0);
    }

    // --- for the supervisor -----------------------------------------------

    /// Gives back what the worker in `slot` held.  `retry(index, attempt)`
    /// says whether that task may run again.  One that is not `charged` keeps
    /// its attempt: the worker died of something else.  Call it after the
    /// worker was reaped, never before; calling it again does nothing.
    template <class Retry>
    void recover(unsigned slot, Retry retry, bool charged = true) const
    {
        for (unsigned i = 0; i < size(); ++i)
        {
            auto word = cells_[i].control.load(std::memory_order_acquire);
            auto next = cell_control::of(word);
            if (next.owner != slot || slot == 0)
                continue;
            COMMON_FAULT_POINT("cells.recovering");
            if (next.is == cell_control::state::running)
            {
                const bool again =
                    (next.attempt < 255 || !charged) && retry(i, next.attempt);
                next.is = again ? cell_control::state::ready
                                : cell_control::state::poisoned;
                next.attempt += charged;
                next.owner = 0;
                if (cells_[i].control.compare_exchange_strong(word,
                                                              next.word()))
                    continue;
                next = cell_control::of(word); // its submitter revoked it
            }
            if (next.is == cell_control::state::revoked)
            {
                next.owner = 0; // only the supervisor changes it now
                cells_[i].control.store(next.word());
            }
        }
        worker(slot).cell.store(0, std::memory_order_relaxed);
        worker(slot).leave.store(0);
        work().notify_after_death();
        done().notify_after_death();
    }

    /// After the death of the process that submitted to `lane`: whether all
    /// that it submitted has run, so that the lane can serve another process.
    bool settled(unsigned lane) const
    {
        const auto first = lane * capacity();
        for (unsigned i = first; i < first + capacity(); ++i)
        {
            const auto now = control(i);
            if (!now.final() && now.is != cell_control::state::free)
                return false;
        }
        return true;
    }

private:
    friend struct codec<cells>;
    friend class submitter;
    friend class worker_end;
    friend class stride;

    static constexpr unsigned max_workers = 4095, max_cells = 1u << 20;
    static constexpr std::size_t max_payload = std::size_t{1} << 31;
    static constexpr std::size_t page = 4096;

    struct layout // where things are; written once, before anybody else looks
    {
        std::uint64_t magic = 0x31736c6c'65436d43; // "CmCells1"
        std::uint32_t lanes, capacity, workers, ranked;
        std::uint64_t payload, records, news, table, windows, window, size;
    };
    struct alignas(128) lane_head
    {
        std::atomic<std::uint32_t> active; // submitter: cells in use are below
    };
    struct head
    {
        layout places;
        alignas(128) event_count work; // workers sleep, submitters notify
        alignas(128) event_count done; // submitters sleep, workers notify
        alignas(128) std::atomic<std::uint32_t> closing{0}; // owner; 1, 2
        alignas(128) std::atomic<std::uint32_t> asleep{0};  // loop: 1, 0;
                                                            // worker: 0
    };

    unsigned active(unsigned lane) const
    {
        return std::min(
            lane_heads_[lane].active.load(std::memory_order_acquire),
            capacity());
    }

    static std::size_t news_words(std::size_t all) { return (all + 63) / 64; }

    static std::size_t round_up(std::size_t n, std::size_t to)
    {
        return (n + to - 1) / to * to;
    }

    static bool possible(const options& wanted)
    {
        return wanted.lanes != 0 && wanted.capacity != 0 &&
               wanted.payload != 0 && wanted.workers <= max_workers &&
               wanted.lanes <= max_cells &&
               wanted.capacity <= max_cells / wanted.lanes &&
               wanted.payload <= max_payload;
    }

    static layout plan(const options& wanted)
    {
        layout s{};
        s.lanes = wanted.lanes;
        s.capacity = wanted.capacity;
        s.workers = wanted.workers;
        s.ranked = wanted.ranked;
        s.payload = wanted.payload;
        const std::size_t all = std::size_t{s.lanes} * s.capacity;
        s.records = sizeof(head) + s.lanes * sizeof(lane_head);
        s.news = round_up(s.records + (std::size_t{s.workers} + 1) *
                                          sizeof(worker_record),
                          128);
        s.table = round_up(s.news + news_words(all) * sizeof(*news_), 128);
        s.windows = round_up(s.table + all * sizeof(cell), page);
        s.window = round_up(s.payload, page);
        s.size = s.windows + 2 * all * s.window;
        return s;
    }

    void attach()
    {
        head_ = std::launder(reinterpret_cast<head*>(memory_.data()));
        const layout claimed = head_->places;
        const options wanted{claimed.lanes, claimed.ranked != 0,
                             claimed.capacity, claimed.workers,
                             static_cast<std::size_t>(claimed.payload)};
        if (claimed.magic != layout{}.magic || !possible(wanted) ||
            plan(wanted).size != memory_.size())
            throw malformed("shared memory is not a table of tasks");
        places_ = plan(wanted); // where things are, we know ourselves
        lane_heads_ =
            reinterpret_cast<lane_head*>(memory_.data() + sizeof(head));
        workers_ =
            reinterpret_cast<worker_record*>(memory_.data() + places_.records);
        news_ = reinterpret_cast<std::atomic<std::uint64_t>*>(memory_.data() +
                                                              places_.news);
        cells_ = reinterpret_cast<cell*>(memory_.data() + places_.table);
    }

    std::size_t window(unsigned index, unsigned side) const
    {
        return places_.windows +
               (std::size_t{index} * 2 + side) * places_.window;
    }

    std::span<std::byte> area(std::byte* small, std::size_t small_size,
                              unsigned index, unsigned side,
                              std::size_t size) const
    {
        if (size <= small_size)
            return {small, size};
        if (size > places_.payload)
            throw malformed("cell " + std::to_string(index) + " claims " +
                            std::to_string(size) + " bytes");
        return {memory_.data() + window(index, side), size};
    }

    segment memory_;
    layout places_{};
    head* head_ = nullptr;
    lane_head* lane_heads_ = nullptr;
    worker_record* workers_ = nullptr;
    std::atomic<std::uint64_t>* news_ = nullptr; // a bit for each cell; worker:
                                                 // set; loop: cleared
    cell* cells_ = nullptr;
};

template <>
struct codec<cells>
{
    static std::size_t size(const cells& t) { return encoded_size(t.memory_); }
    static void write(writer& to, const cells& t) { encode(to, t.memory_); }
    static cells read(reader& from)
    {
        cells result;
        result.memory_ = decode<segment>(from);
        result.attach();
        return result;
    }
};

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
        auto now =
            cell_control::of(one.control.load(std::memory_order_relaxed));
        now.lap = next_lap(index);
        now.is = cell_control::state::ready;
        now.owner = now.attempt = 0;
        one.control.exchange(now.word()); // orders the look at `work`, too
        COMMON_FAULT_POINT("cells.published");
        if (loud)
            table_.work().notify_one();
        return now.lap;
    }

    /// The lap that the next use of the cell will have.
    std::uint64_t next_lap(unsigned index) const
    {
        return (table_.control(index).lap + 1) & ((std::uint64_t{1} << 40) - 1);
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
        next.owner = slot_;
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
