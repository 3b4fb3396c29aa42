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
#include <span>
#include <stdexcept>
#include <string>
#include <utility>

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
            round_up(s.first_slot +
                     s.lanes * s.records * static_cast<std::size_t>(s.slots));
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
        const options wanted{claimed.lanes,   claimed.bytes,    claimed.records,
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

} // namespace common
