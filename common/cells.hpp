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
    state is : 4 = state::free;
    unsigned owner : 12 = 0; // slot of the worker
    unsigned attempt : 8 = 0;
    std::uint64_t lap : 40 = 0;

    static cell_control of(std::uint64_t word)
    {
        return std::bit_cast<cell_control>(word);
    }
    std::uint64_t word() const { return std::bit_cast<std::uint64_t>(*this); }

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

    /// Takes announcements: `hear(index)` for each.  Not many at once, so that
    /// what is heard of a task is still in the cache when it is used; `turn`
    /// is where to go on, at first 0.  What a worker was about to announce
    /// when it died is missing: look at all cells then.
    template <class Hear>
    void take_announced(unsigned& turn, Hear hear) const
    {
        constexpr unsigned many = 128; // measured
        const unsigned words = news_words(size());
        for (unsigned n = 0, heard = 0; n < words && heard < many; ++n)
        {
            const auto first = turn * 64;
            auto& news = news_[turn];
            turn = turn + 1 == words ? 0 : turn + 1;
            if (news.load(std::memory_order_relaxed) == 0)
                continue;
            const auto taken = news.exchange(0);
            const auto for_each = [&](auto f) {
                for (auto word = taken; word != 0; word &= word - 1)
                    if (const unsigned index =
                            first +
                            static_cast<unsigned>(std::countr_zero(word));
                        index < size())
                        f(index);
            };
            for_each([&](unsigned i) { fetch_to_write(&cells_[i]); });
            for_each(hear); // all are on the way before the first is used
            heard += static_cast<unsigned>(std::popcount(taken));
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
                if (charged)
                    ++next.attempt;
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

    static unsigned news_words(std::size_t all)
    {
        return static_cast<unsigned>((all + 63) / 64);
    }

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

} // namespace common
