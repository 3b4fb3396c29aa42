// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.

#pragma once

#include "common/ring.hpp"
#include "common/shared.hpp"
#include "common/wait.hpp"

#include <algorithm>
#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <new>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace common {

/// A stream from many processes to many, in shared memory: one lane for each
/// that writes, and each lane a ring.  Readers lease records from any lane.
///
/// First in, first out for each writer.  A record belongs to the stream until
/// a reader acknowledges it; that of a reader that died is ready again.
/// Memory is bounded by the lanes; a lane gives memory back in order, so a
/// record that nobody acknowledges holds what was written behind it.  A lane
/// takes memory from the system as its records need it, and keeps it for those
/// that follow.
class lanes
{
    struct head;

public:
    struct options
    {
        unsigned lanes = 1;           // writers
        std::size_t bytes = 1u << 20; // of each lane
        std::size_t records = 4096;   // in each lane, and one to close it: a
                                      // power of two
        unsigned readers = 64;        // seats 1 .. readers
        unsigned attempts = 3;        // of a record to be read, then it is dead
        slots_are slots = slots_are::small; // memory for each of the records
    };

    lanes() = default;

    /// Throws std::invalid_argument for numbers that make no stream, and
    /// std::system_error when there is no memory for it.
    explicit lanes(const options& wanted)
    {
        if (!possible(wanted))
            throw std::invalid_argument(
                "a stream needs 1 to 4095 lanes of 4096 bytes to 64 GiB and a "
                "power of two of records, 1 to 4095 readers and 1 to 4095 "
                "attempts");
        const auto places = plan(wanted);
        memory_ = segment("stream", places.size, places.first_slot);
        head* h = new (memory_.data()) head{};
        h->places = places;
        attach();
        for (unsigned i = 0; i < size(); ++i)
            back_slots(i, 1); // who closes a lane, or looks at it, needs it
    }

    unsigned size() const { return places_.lanes; }
    unsigned readers() const { return places_.readers; }
    unsigned attempts() const { return places_.attempts; }

    /// Readers sleep on it: there is a record, or the end of the stream.
    event_count& work() const { return head_->work; }

private:
    struct layout // where things are; written once, before anybody else looks
    {
        std::uint64_t magic = 0x31656e61'6c436d43; // "CmClane1"
        std::uint32_t lanes, readers, attempts;
        slots_are slots;
        std::uint64_t bytes, records, heads, first_slot, rings, size;
    };
    struct head
    {
        layout places;
        // Whoever closes, once, when every lane has got its end.
        std::atomic<std::uint32_t> closed;
        // No lane from this one on has had a writer: a writer, before it
        // writes; only grows.
        std::atomic<std::uint32_t> used;
        alignas(128) event_count work;
    };

public:
    /// What the processes of one lane share.
    struct alignas(128) lane_head
    {
        // All records before this number are done: any process, forward only.
        std::atomic<std::uint64_t> freed;
        event_count room; // its writer and those who join sleep
        // Where readers look next: readers, at any time; only a hint.
        alignas(128) std::atomic<std::uint64_t> hint;
        // Whoever makes a record ready again counts up.
        std::atomic<std::uint32_t> returned;
        // So many of its bytes have memory behind them: its writer; while it
        // has none, the supervisor.
        std::atomic<std::uint64_t> backed;
    };

    lane_head& lane(unsigned index) const { return heads_[index]; }
    ring memory_of(unsigned index) const
    {
        return {memory_.data() + places_.first_slot + index * slot_bytes(),
                places_.records,
                places_.slots,
                {memory_.data() + places_.rings + index * places_.bytes,
                 places_.bytes}};
    }

    /// Calls `see(number, control)` for each record of a lane that is not
    /// freed, in order.
    template <class See>
    void for_each(unsigned index, See see) const
    {
        const auto memory = memory_of(index);
        const auto first = lane(index).freed.load(std::memory_order_acquire);
        for (auto at = first; at - first < places_.records; ++at)
        {
            const auto now = memory.record(at);
            if (!now) // behind the last one, or freed meanwhile
            {
                if (lane(index).freed.load(std::memory_order_acquire) > at)
                    continue;
                return;
            }
            see(at, *now);
        }
    }

    /// Frees the records at the front of a lane that are done.
    void advance(unsigned index) const
    {
        const auto memory = memory_of(index);
        auto& freed = lane(index).freed;
        auto from = freed.load();
        for (;;) // each turn: somebody moved it forward, or it ends
        {
            auto to = from;
            for (auto now = memory.control(to);
                 now && now->is == slot_control::state::done;
                 now = memory.control(to))
                ++to;
            if (to == from)
                return;
            // Then look again: who finished the next record meanwhile may have
            // seen the old value.
            if (freed.compare_exchange_strong(from, to))
            {
                from = to;
                lane(index).room.notify_all();
            }
        }
    }

    /// Takes out up to `most` records that no reader has leased yet, the oldest
    /// first; returns how many.  For the writer of the lane.
    unsigned drop(unsigned index, unsigned most) const
    {
        unsigned dropped = 0;
        for_each(index, [&](std::uint64_t at, slot_control now) {
            auto word = now.word();
            if (dropped == most || now.is != slot_control::state::ready)
                return;
            now.is = slot_control::state::done;
            if (memory_of(index).at(at).control.compare_exchange_strong(
                    word, now.word()))
                ++dropped;
        });
        advance(index);
        return dropped;
    }

    /// Whether all records of the lane are done.
    bool settled(unsigned index) const
    {
        advance(index);
        return !memory_of(index).record(lane(index).freed.load());
    }

    /// Nothing can be written any more.  Wakes all.  Closing again does
    /// nothing.
    void close() const
    {
        for (unsigned i = 0; i < size(); ++i)
        {
            memory_of(i).close(lane(i).freed);
            lane(i).room.notify_after_death();
        }
        head_->closed.store(1);
        work().notify_after_death();
    }

    bool closed() const
    {
        return head_->closed.load(std::memory_order_acquire) != 0;
    }

    /// Whether all lanes are closed and all records done: there will never be
    /// anything to read.
    bool finished() const
    {
        if (!closed())
            return false;
        for (unsigned i = 0; i < size(); ++i)
            if (!settled(i))
                return false;
        return true;
    }

    /// So many lanes, from the first on, have or had a writer.
    unsigned used() const
    {
        return std::min(head_->used.load(std::memory_order_relaxed), size());
    }

    /// From now on the lane is one that readers look at: for its writer.
    /// Throws std::system_error when there is no memory for its slots.
    void use(unsigned index) const
    {
        back_slots(index, places_.records);
        auto used = head_->used.load();
        while (used <= index &&
               !head_->used.compare_exchange_weak(used, index + 1))
        { // ends: it only grows
        }
    }

    /// Puts memory behind the first `size` bytes of a lane, for its writer, in
    /// large pieces; returns behind how many.  Throws std::system_error.
    std::size_t back(unsigned index, std::size_t size) const
    {
        auto& backed = lane(index).backed;
        const std::size_t before = backed.load();
        const auto after =
            std::min((size + piece - 1) / piece * piece, places_.bytes);
        if (after <= before)
            return before;
        memory_.memory().reserve(places_.rings + index * places_.bytes + before,
                                 after - before);
        backed.store(after);
        return after;
    }

    // --- for the supervisor -----------------------------------------------

    /// Gives back what the reader in `seat` had leased.  Call it after that
    /// reader was reaped, never before; calling it again does nothing.
    void recover(unsigned seat) const
    {
        for (unsigned i = 0; i < size(); ++i)
        {
            for_each(i, [&](std::uint64_t at, slot_control now) {
                if (now.is == slot_control::state::leased && now.owner == seat)
                    give_back(i, at, now);
            });
            lane(i).returned.fetch_add(1); // it may have died before it did
            advance(i);
            lane(i).room.notify_after_death();
        }
        work().notify_after_death();
    }

    /// Makes a leased record ready again, or dead after its last attempt.
    /// False when it was not leased so any more.
    bool give_back(unsigned index, std::uint64_t number, slot_control now) const
    {
        auto word = now.word();
        const bool again = now.attempt + 1 < attempts();
        now.is = again ? slot_control::state::ready : slot_control::state::dead;
        now.owner = 0;
        ++now.attempt;
        COMMON_FAULT_POINT("lanes.returning");
        if (!memory_of(index).at(number).control.compare_exchange_strong(
                word, now.word()))
            return false;
        COMMON_FAULT_POINT("lanes.returned");
        lane(index).returned.fetch_add(1);
        work().notify_all();
        return true;
    }

    /// Gives the memory of a lane back to the system, where all its records
    /// are done.  While it has no writer.
    void release(unsigned index) const
    {
        auto& backed = lane(index).backed;
        if (backed.load() == 0 || !settled(index))
            return;
        backed.store(0); // first: a writer must never rely on what has gone
        memory_.memory().discard(places_.rings + index * places_.bytes,
                                 places_.bytes);
    }

    /// Takes the dead records out: `bury(bytes, control)` for each.
    template <class Bury>
    void take_dead(Bury bury) const
    {
        for (unsigned i = 0; i < size(); ++i)
        {
            for_each(i, [&](std::uint64_t at, slot_control now) {
                if (now.is != slot_control::state::dead)
                    return;
                bury(std::span<const std::byte>(memory_of(i).bytes(at)), now);
                now.is = slot_control::state::done;
                memory_of(i).at(at).control.store(now.word());
            });
            advance(i);
        }
    }

private:
    friend struct codec<lanes>;

    static constexpr std::size_t piece = 1u << 20;

    static bool possible(const options& wanted)
    {
        return wanted.lanes - 1 < 4095 && wanted.readers - 1 < 4095 &&
               wanted.attempts - 1 < slot_control::most_attempts &&
               wanted.bytes >= 4096 && wanted.bytes <= std::size_t{64} << 30 &&
               (wanted.slots == slots_are::small ||
                wanted.slots == slots_are::roomy) &&
               std::has_single_bit(wanted.records) &&
               wanted.records <= std::size_t{1} << 30;
    }

    static layout plan(const options& wanted)
    {
        const auto round_up = [](std::size_t n) {
            return (n + 4095) / 4096 * 4096;
        };
        layout s{};
        s.lanes = wanted.lanes;
        s.readers = wanted.readers;
        s.attempts = wanted.attempts;
        s.bytes = round_up(wanted.bytes);
        s.records = wanted.records;
        s.slots = wanted.slots;
        s.heads = sizeof(head);
        s.first_slot = round_up(s.heads + s.lanes * sizeof(lane_head));
        s.rings =
            round_up(s.first_slot + s.lanes * s.records *
                                        static_cast<std::size_t>(s.slots));
        s.size = s.rings + s.lanes * s.bytes;
        return s;
    }

    std::size_t slot_bytes() const // of a lane
    {
        return places_.records * static_cast<std::size_t>(places_.slots);
    }

    void back_slots(unsigned index, std::size_t count) const
    {
        memory_.memory().reserve(places_.first_slot + index * slot_bytes(),
                                 count *
                                     static_cast<std::size_t>(places_.slots));
    }

    void attach()
    {
        head_ = std::launder(reinterpret_cast<head*>(memory_.data()));
        const layout claimed = head_->places;
        const options wanted{claimed.lanes, claimed.bytes, claimed.records,
                             claimed.readers, claimed.attempts, claimed.slots};
        if (claimed.magic != layout{}.magic || !possible(wanted) ||
            plan(wanted).size != memory_.size())
            throw malformed("shared memory is not a stream");
        places_ = plan(wanted); // where things are, we know ourselves
        heads_ = reinterpret_cast<lane_head*>(memory_.data() + places_.heads);
    }

    segment memory_;
    layout places_{};
    head* head_ = nullptr;
    lane_head* heads_ = nullptr;
};

template <>
struct codec<lanes>
{
    static std::size_t size(const lanes& l) { return encoded_size(l.memory_); }
    static void write(writer& to, const lanes& l) { encode(to, l.memory_); }
    static lanes read(reader& from)
    {
        lanes result;
        result.memory_ = decode<segment>(from);
        result.attach();
        return result;
    }
};

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
        auto one = take_any();
        if (!one && streak_ >= busy)
        {
            // It caught up with a writer in full flow.  To look at each slot
            // just as it is written takes the line away from the writer for
            // every record; so it falls behind a little first.
            for (int i = 0; i < 32; ++i)
                relax();
            one = take_any();
        }
        misses_ = one ? 0 : misses_ + 1;
        if (one)
            ++streak_;
        else if (misses_ >= rest) // no flow: an answer, perhaps
            streak_ = 0;
        return one;
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
    };

    bool finish(const lease& one, slot_control::state how)
    {
        auto word = one.word;
        auto done = slot_control::of(word);
        done.is = how;
        done.owner = 0;
        COMMON_FAULT_POINT("lanes.acknowledging");
        auto& lane = stream_.lane(one.lane);
        if (!cursors_[one.lane]
                 .memory.at(one.number)
                 .control.compare_exchange_strong(word, done.word()))
            return false;
        COMMON_FAULT_POINT("lanes.acknowledged");
        // About every 32 parts, since who bounds them counts parts; or when
        // somebody sleeps until there is room.
        if (one.number % std::max(1u, 32 / std::max(1u, one.parts())) == 0)
            stream_.advance(one.lane);
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
        return true;
    }

    static constexpr unsigned busy = 4; // records in a row without a rest
    static constexpr unsigned rest = 8; // looks in vain

    std::optional<lease> take_any()
    {
        const auto used = stream_.used();
        for (unsigned n = 0; n < used; ++n)
        {
            if (auto one = take_from(lane_))
                return one;
            lane_ = lane_ + 1 >= used ? 0 : lane_ + 1;
        }
        return std::nullopt;
    }

    std::optional<lease> take_from(unsigned index)
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
                return std::nullopt;
            }
            if (now.is == slot_control::state::end)
            {
                mine.all = false;
                return std::nullopt;
            }
            if (now.is == slot_control::state::ready)
            {
                memory.expect_reads(mine.at); // while the slot becomes ours
                now.is = slot_control::state::leased;
                now.owner = seat_;
                if (!control.compare_exchange_strong(word, now.word()))
                    continue;
                COMMON_FAULT_POINT("lanes.leased");
                const auto number = mine.at++;
                if (!mine.all)
                    lane.hint.store(mine.at, std::memory_order_relaxed);
                return lease{index, number, now.word(), memory.bytes(number)};
            }
            ++mine.at;
        }
    }

    lanes stream_;
    unsigned seat_;
    unsigned lane_ = 0;
    unsigned streak_ = 0, misses_ = 0;
    std::vector<cursor> cursors_;
};

} // namespace common
