// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.

#pragma once

#include "common/lanes.hpp"
#include "common/ring.hpp"
#include "common/spin.hpp"
#include "common/wait.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace common {

/// The writing end of one lane: for one thread of one process at a time.
///
/// A writer that takes the lane of one that died goes on behind the last
/// record that was committed.
class lane_writer
{
public:
    /// Throws std::system_error when there is no memory for the lane.
    lane_writer(lanes stream, unsigned index)
        : stream_(std::move(stream))
        , index_(index)
        , begin_(stream_.memory_of(index).begin())
    {
        stream_.use(index);
        backed_ = stream_.back(index, 1);
        writer_ =
            ring_writer(stream_.memory_of(index), stream_.lane(index).freed);
    }

    /// As ring_writer::claim.  Throws std::system_error when the record needs
    /// memory that the system does not have.
    std::optional<std::span<std::byte>> claim(std::size_t size)
    {
        auto room = writer_.claim(size);
        if (!room || end_of(*room) > backed_)
        {
            stream_.advance(index_); // readers do it now and then only
            writer_.look(); // it may begin again, where memory is already
            room = writer_.claim(size);
        }
        return backed(room);
    }

    /// The same, waiting for room until `deadline`, until the stream is
    /// closed, or until `interrupted()`.
    template <class Interrupted>
    std::optional<std::span<std::byte>>
    claim_until(time_point deadline, std::size_t size, Interrupted interrupted)
    {
        auto room = claim(size);
        if (room)
            return room;
        // While it spins it looks at one word, and leaves the slots to the
        // readers; before it sleeps it looks at all.
        stream_.lane(index_).room.wait_until(
            [&] { return (room = writer_.claim(size)).has_value(); }, deadline,
            [&] { return (room = claim(size)) || closed() || interrupted(); });
        return backed(room);
    }

    /// Publishes what was claimed last.  False when the stream was closed
    /// meanwhile.
    bool commit(unsigned parts = 1)
    {
        if (!writer_.commit(parts))
            return false;
        stream_.work().notify_one();
        return true;
    }

    /// As ring_writer::grow and commit_growth.
    std::optional<std::span<std::byte>>
    grow(std::size_t size, unsigned most_parts, unsigned parts = 1)
    {
        return backed(writer_.grow(size, most_parts, parts));
    }
    bool commit_growth()
    {
        if (!writer_.commit_growth())
            return false;
        stream_.work().notify_one();
        return true;
    }

    bool closed() const { return stream_.closed(); }
    unsigned index() const { return index_; }
    const lanes& stream() const { return stream_; }
    const ring_writer& place() const { return writer_; }

private:
    using maybe_room = std::optional<std::span<std::byte>>;

    std::size_t end_of(std::span<std::byte> room) const
    {
        if (room.data() < begin_) // in its slot, which has memory
            return 0;
        return static_cast<std::size_t>(room.data() - begin_) + room.size();
    }

    // The same room, with memory behind it: to touch it cannot end in SIGBUS.
    maybe_room backed(maybe_room room)
    {
        if (room && end_of(*room) > backed_)
            backed_ = stream_.back(index_, end_of(*room));
        return room;
    }

    lanes stream_;
    unsigned index_;
    const std::byte* begin_;
    std::size_t backed_ = 0; // bytes of the lane that have memory
    ring_writer writer_;
};

/// A record that a reader holds.
struct lease
{
    unsigned lane = 0;
    std::uint64_t number = 0;
    std::uint64_t word = 0;     // of its slot
    std::span<std::byte> bytes; // until it is acknowledged; what the reader
                                // writes there, the next one finds

    /// How often it was leased before.
    unsigned attempt() const { return slot_control::of(word).attempt; }
    unsigned parts() const { return slot_control::of(word).parts; }
    /// Whether it is acknowledged already, see lane_reader::take.
    bool done() const
    {
        return slot_control::of(word).is == slot_control::state::done;
    }
};

/// The reading end: one for each process that reads, for one thread.
class lane_reader
{
public:
    /// `seat` is 1 or more, and nobody else's.
    lane_reader(lanes stream, unsigned seat)
        : stream_(std::move(stream))
        , seat_(seat)
    {
        if (seat == 0 || seat > stream_.readers())
            throw std::invalid_argument("no seat " + std::to_string(seat));
        for (unsigned i = 0; i < stream_.size(); ++i)
            cursors_.push_back({stream_.memory_of(i),
                                stream_.lane(i).freed.load(),
                                stream_.lane(i).returned.load(), true});
    }

    /// Leases a ready record, if there is one; of the lane that had the last
    /// one, as long as it has more.
    std::optional<lease> take()
    {
        lease one;
        return take(one) ? std::optional(one) : std::nullopt;
    }
    bool take(lease& one)
    {
        return take(one, [](auto) { return false; });
    }

    /// The same for who may not need the lease: `copy(bytes)` is called before
    /// a record of one part, which nobody has had yet, is leased.  Where it
    /// returns true the record is done with instead, in one step, and nobody
    /// has it again.  It may be called for what is just becoming another
    /// record; then it is called again.
    template <class Copy>
    bool take(lease& one, Copy copy)
    {
        bool found = take_any(one, copy);
        if (!found)
        {
            // It has caught up.  To look at each slot just as it is written
            // takes the line away from the writer for every record; so it
            // falls behind a little, where that finds more than one at a time.
            if (found_ != 0)
                rests_ = found_ > 1 ? 8 : ++singles_ % 256 == 0;
            found_ = 0;
            if (rests_ != 0)
            {
                --rests_;
                for (int i = 0; i < 32; ++i)
                    relax();
                found = take_any(one, copy);
            }
        }
        if (found)
            found_ += one.parts();
        return found;
    }

    /// The record is done with.  False when it is not this reader's any more.
    bool acknowledge(const lease& one)
    {
        return finish(one, slot_control::state::done);
    }

    /// The record is for lanes::take_dead.  False as above.
    bool bury(const lease& one)
    {
        return finish(one, slot_control::state::dead);
    }

    /// Whether the record is still this reader's.
    bool holds(const lease& one) const
    {
        return cursors_[one.lane].memory.at(one.number).control.load() ==
               one.word;
    }

    /// The record goes back, for anybody.  False when it is not this reader's
    /// any more.
    bool give_back(const lease& one)
    {
        return stream_.give_back(one.lane, one.number,
                                 slot_control::of(one.word));
    }

    const lanes& stream() const { return stream_; }
    unsigned seat() const { return seat_; }

private:
    struct cursor
    {
        ring memory;
        std::uint64_t at;
        std::uint32_t returned;
        bool all; // looks at each record until the end, not from the hint on
        unsigned parts = 0; // done with, since it freed memory
    };

    bool finish(const lease& one, slot_control::state how)
    {
        auto word = one.word;
        auto done = slot_control::of(word);
        done.is = how;
        done.owner = 0;
        COMMON_FAULT_POINT("lanes.acknowledging");
        if (!cursors_[one.lane]
                 .memory.at(one.number)
                 .control.compare_exchange_strong(word, done.word()))
            return false;
        make_room(one);
        return true;
    }

    // The record is done with: now and then, that tells its writer.
    void make_room(const lease& one)
    {
        COMMON_FAULT_POINT("lanes.acknowledged");
        auto& lane = stream_.lane(one.lane);
        // About every 32 parts, since who bounds them counts parts; or when
        // somebody sleeps until there is room.
        auto& parts = cursors_[one.lane].parts;
        if (parts += one.parts(); parts >= 32)
        {
            parts = 0;
            stream_.advance(one.lane);
        }
        if (lane.room.awaited())
        {
            stream_.advance(one.lane);
            lane.room.notify_all();
        }
        if (stream_.closed()) // others wait for the last one
        {
            stream_.advance(one.lane);
            stream_.work().notify_all();
        }
    }

    static constexpr std::span<std::byte> none{};

    template <class Copy>
    bool take_any(lease& one, Copy& copy)
    {
        const auto used = stream_.used();
        for (unsigned n = 0; n < used; ++n)
        {
            if (take_from(lane_, one, copy))
                return true;
            lane_ = lane_ + 1 >= used ? 0 : lane_ + 1;
        }
        return false;
    }

    template <class Copy>
    bool take_from(unsigned index, lease& one, Copy& copy)
    {
        auto& lane = stream_.lane(index);
        auto& mine = cursors_[index];
        const auto& memory = mine.memory;
        if (const auto r = lane.returned.load(std::memory_order_acquire);
            r != mine.returned)
        {
            mine.at = lane.freed.load(std::memory_order_acquire);
            mine.returned = r;
            mine.all = true;
        }
        if (!mine.all)
            mine.at =
                std::max(mine.at, lane.hint.load(std::memory_order_relaxed));
        for (;;) // each turn goes forward, or somebody else took the record
        {
            auto& control = memory.at(mine.at).control;
            memory.expect(mine.at); // not a copy first, and then it to lease
            auto word = control.load(std::memory_order_acquire);
            auto now = slot_control::of(word);
            if (now.lap != memory.lap(mine.at))
            {
                // Nothing there yet; or long gone, and we were slow.
                const auto f = lane.freed.load(std::memory_order_acquire);
                if (f > mine.at)
                {
                    mine.at = f;
                    continue;
                }
                mine.all = false;
                return false;
            }
            if (now.is == slot_control::state::end)
            {
                mine.all = false;
                return false;
            }
            if (now.is == slot_control::state::ready)
            {
                memory.expect_reads(mine.at); // while the slot becomes ours
                const bool copied =
                    word == slot_control::fresh(now.lap) &&
                    copy(memory.glimpse(mine.at).value_or(none));
                now.is = copied ? slot_control::state::done
                                : slot_control::state::leased;
                now.owner = copied ? 0 : seat_;
                if (!control.compare_exchange_strong(word, now.word()))
                    continue;
                const auto number = mine.at++;
                if (!mine.all)
                    lane.hint.store(mine.at, std::memory_order_relaxed);
                one = {index, number, now.word(), {}};
                if (copied)
                    make_room(one);
                else
                {
                    COMMON_FAULT_POINT("lanes.leased");
                    one.bytes = memory.bytes(number);
                }
                return true;
            }
            ++mine.at;
        }
    }

    lanes stream_;
    unsigned seat_;
    unsigned lane_ = 0;
    unsigned found_ = 0;   // parts, since it looked in vain
    unsigned singles_ = 0; // so often it had found one only
    unsigned rests_ = 0;   // before so many more looks
    std::vector<cursor> cursors_;
};

} // namespace common
