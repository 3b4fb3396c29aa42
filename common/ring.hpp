// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.

#pragma once

#include "common/error.hpp"
#include "common/fault.hpp"
#include "common/spin.hpp"

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

namespace common {

// One process writes records into a ring, one after the other, round and
// round.  Each record has a number, and a slot of its own until its memory is
// free again.  Its bytes lie behind the slot, in the next lines, where they fit
// and the ring has room there; otherwise elsewhere.  Nowhere are old bytes
// taken for a slot.  One word of it, `control`, decides everything, as in a
// cell:
//
//   done       -> ready(0)      the writer, the bytes are written
//   ready(a)   -> ready(a)      the writer: the last record has grown
//   ready(a)   -> leased(c, a)  reader c
//   leased     -> done          reader c
//   ready(0)   -> done          a reader that has made a copy before
//   leased     -> ready(a+1)    reader c gives it back; or the supervisor,
//                               after c was reaped
//   leased     -> dead          the same, when it has no attempt left
//   dead       -> done          the supervisor has taken a copy
//   done       -> end           whoever closes: no record will follow
//
// The lap in the word tells a record from those that had the slot before.  A
// writer that dies has published whole records only: what it was writing
// nobody has seen.

/// What the control word of a slot says.
struct slot_control
{
    enum class state : std::uint8_t
    {
        done,
        ready,
        leased,
        dead,
        end
    };
    static constexpr unsigned most_parts = 255, most_attempts = 4095;
    static constexpr std::uint64_t laps = std::uint64_t{1} << 28;

    state is = state::done;
    unsigned owner = 0;    // seat of the reader, 12 bits
    unsigned attempt = 0;  // 12 bits
    unsigned parts = 1;    // of a record that grows, 8 bits
    std::uint64_t lap = 0; // 28 bits, from 1 on

    static slot_control of(std::uint64_t word)
    {
        return {static_cast<state>(word & 15),
                static_cast<unsigned>(word >> 4 & 0xfff),
                static_cast<unsigned>(word >> 16 & 0xfff),
                static_cast<unsigned>(word >> 28 & 0xff), word >> 36};
    }
    std::uint64_t word() const
    {
        return static_cast<std::uint64_t>(is) | std::uint64_t{owner} << 4 |
               std::uint64_t{attempt} << 16 | std::uint64_t{parts} << 28 |
               lap << 36;
    }
    /// The word of a record that was written as so many parts, and that nobody
    /// has had yet.
    static std::uint64_t fresh(std::uint64_t lap, unsigned parts = 1)
    {
        return slot_control{state::ready, 0, 0, parts, lap}.word();
    }
};

/// What is known of a record.
struct slot
{
    static constexpr std::uint32_t here = std::uint32_t{1} << 31;

    std::atomic<std::uint64_t> control; // see above
    // Where the ring's bytes went on when it was written, in grains; with
    // `here` if its own lie behind this slot: writer, before ready.
    std::atomic<std::uint32_t> place;
    std::atomic<std::uint32_t> size; // of its bytes: writer, before ready, and
                                     // before the record has grown

    bool has_bytes() const
    {
        return (place.load(std::memory_order_relaxed) & here) != 0;
    }
};
static_assert(sizeof(slot) == 16);

/// What slots of a ring are like.
enum class slots_are : std::size_t
{
    small = sizeof(slot),
    roomy = 128 // two lines, which the hardware moves together: with the bytes
                // of a small record.  It comes in the time of one line.
};

/// The memory of a ring, as every process sees it.
class ring
{
public:
    static constexpr std::size_t grain = 64; // of places: no two records share
                                             // a line
    static constexpr auto roomy = static_cast<std::size_t>(slots_are::roomy);

    ring() = default;

    /// Requires: a power of two of slots; bytes in grains; both aligned to 128.
    ring(std::byte* slots, std::size_t count, slots_are kind,
         std::span<std::byte> bytes)
        : slots_(slots)
        , count_(count)
        , kind_(kind)
        , bytes_(bytes)
        , turn_(std::countr_zero(count))
        , stride_(kind == slots_are::roomy ? 0 : std::min(turn_, 3))
    {
    }

    std::byte* begin() const { return bytes_.data(); }
    std::size_t slots() const { return count_; }
    std::size_t capacity() const { return bytes_.size(); }

    /// The largest record; its slot has 32 bits for the size.
    std::size_t largest() const
    {
        constexpr std::size_t most = 0xffffffffu / grain * grain;
        return std::min(bytes_.size() - grain, most);
    }

    /// The largest record that may lie in its slot.
    std::size_t largest_in_slot() const
    {
        return static_cast<std::size_t>(kind_) - sizeof(slot);
    }

    /// Neighbours lie 128 bytes apart: one of them is read while the next is
    /// written, and the hardware moves lines, in pairs.
    slot& at(std::uint64_t number) const
    {
        const auto i = number & (count_ - 1);
        const auto place =
            (i << stride_ | i >> (turn_ - stride_)) & (count_ - 1);
        return *std::launder(reinterpret_cast<slot*>(
            slots_ + place * static_cast<std::size_t>(kind_)));
    }

    /// The place where the bytes of a record are, or would have been.
    std::size_t place(std::uint64_t number) const
    {
        return grain *
               (at(number).place.load(std::memory_order_relaxed) & ~slot::here);
    }

    std::uint64_t lap(std::uint64_t number) const
    {
        return ((number >> turn_) + 1) & (slot_control::laps - 1);
    }

    /// What became of the record with this number; nothing when it has not
    /// been written yet, or its slot serves another one by now.
    std::optional<slot_control> control(std::uint64_t number) const
    {
        const auto now = slot_control::of(
            at(number).control.load(std::memory_order_acquire));
        if (now.lap != lap(number))
            return std::nullopt;
        return now;
    }

    /// The same; nothing where the ring ends, either.
    std::optional<slot_control> record(std::uint64_t number) const
    {
        const auto now = control(number);
        return now && now->is == slot_control::state::end ? std::nullopt : now;
    }

    /// Whether the ring was closed, and this would have been the next record.
    bool ends_at(std::uint64_t number) const
    {
        const auto now = control(number);
        return now && now->is == slot_control::state::end;
    }

    /// No record will follow those that are there; a claim that was made will
    /// not be committed.  Records before `freed` are done with.  Closing again
    /// does nothing.
    void close(const std::atomic<std::uint64_t>& freed) const
    {
        for (auto at = freed.load();;) // each turn: its writer was faster
        {
            auto& control = this->at(at).control;
            auto word = control.load();
            auto now = slot_control::of(word);
            if (now.lap == lap(at))
            {
                if (now.is == slot_control::state::end)
                    return;
                ++at;
            }
            else if (now.lap == lap(at - slots()))
            {
                now = {slot_control::state::end, 0, 0, 0, lap(at)};
                if (control.compare_exchange_strong(word, now.word()))
                    return;
            }
            else
                at = freed.load();
        }
    }

    /// The bytes of a record; perhaps more of them than were published, where
    /// its writer was about to let it grow.  Throws malformed when they cannot
    /// be there.
    std::span<std::byte> bytes(std::uint64_t number) const
    {
        if (const auto found = glimpse(number))
            return *found;
        throw malformed("a record claims bytes that its ring does not have");
    }

    /// The same for who has no lease, and sees perhaps what is about to become
    /// another record: nothing where they cannot be there.
    std::optional<std::span<std::byte>> glimpse(std::uint64_t number) const
    {
        slot& one = at(number);
        const auto from = place(number);
        const std::size_t size = one.size.load(std::memory_order_relaxed);
        if (one.has_bytes()) // smaller where its writer is about to change it
            return std::span(reinterpret_cast<std::byte*>(&one + 1),
                             std::min(size, largest_in_slot()));
        if (from > bytes_.size() || size > bytes_.size() - from)
            return std::nullopt;
        return bytes_.subspan(from, size);
    }

    /// Fetches the slot of a record, to be changed here soon.
    void expect(std::uint64_t number) const
    {
        const auto* const one = &at(number);
        fetch_to_write(one);
        if (kind_ == slots_are::roomy)
            fetch_to_write(one + roomy / 2 / sizeof(slot));
    }

    /// Fetches the first lines of a record that is there.
    void expect_reads(std::uint64_t number) const
    {
        if (at(number).has_bytes())
            return; // came with its slot
        const auto from = place(number);
        for (const std::size_t line : {0u, 64u})
            if (from + line < bytes_.size())
                __builtin_prefetch(bytes_.data() + from + line);
    }

    /// Fetches the lines from a place on, so that a writer finds them there.
    void expect_writes(std::size_t place, std::size_t lines) const
    {
        for (const auto end = std::min(bytes_.size(), place + lines * 64);
             place < end; place += 64)
            fetch_to_write(bytes_.data() + place);
    }

private:
    std::byte* slots_ = nullptr;
    std::size_t count_ = 0;
    slots_are kind_ = slots_are::small;
    std::span<std::byte> bytes_;
    int turn_ = 0; // so many slots are one turn: their logarithm
    int stride_ = 0;
};

/// The writing end.  One process at a time, one thread at a time.
///
/// When it dies, what it has committed is whole and stays; what it had only
/// claimed was never there.
class ring_writer
{
public:
    ring_writer() = default;

    /// Goes on where the last writer stopped.  All records before `freed` are
    /// done with; it only grows.
    ring_writer(ring memory, const std::atomic<std::uint64_t>& freed)
        : ring_(memory)
        , freed_(&freed)
        , seen_freed_(freed.load(std::memory_order_acquire))
        , next_(seen_freed_)
    {
        while (ring_.record(next_)) // ends: the ring has an end
            ++next_;
        if (next_ != 0) // with what its writer was about to add
        {
            const slot& last = ring_.at(next_ - 1);
            end_ = extent{ring_.place(next_ - 1), last.size.load(),
                          last.has_bytes()}
                       .end();
        }
        expected_ = ring_.at(next_).control.load(std::memory_order_acquire);
        look();
    }

    /// The number of the next record.
    std::uint64_t next() const { return next_; }

    /// All records before this number were done when it looked last.
    std::uint64_t seen_freed() const { return seen_freed_; }

    /// Whether somebody has closed the ring: nothing can be committed.
    bool closed() const { return ring_.ends_at(next_); }

    /// Looks how far the readers are, which `claim` does when it must: a ring
    /// that is seen to be empty begins again at its first byte.
    void look()
    {
        seen_freed_ = freed_->load(std::memory_order_acquire);
        // An empty ring begins again at place 0, see `place_for`.
        tail_ = seen_freed_ == next_ ? 0 : ring_.place(seen_freed_);
    }

    /// Room for a record of `size` bytes, to be filled in place; nothing while
    /// the ring is too full, or where it was seen to be closed.  Claiming again
    /// forgets the first claim.  Throws std::length_error for a record that
    /// never fits.
    std::optional<std::span<std::byte>> claim(std::size_t size)
    {
        if (size > ring_.largest())
            throw std::length_error("an item of " + std::to_string(size) +
                                    " bytes; the largest that fits has " +
                                    std::to_string(ring_.largest()));
        // Where a reader is behind, what follows had better be able to grow.
        const bool here = size <= ring_.largest_in_slot() && !crowded_;
        auto place = place_for(here ? 0 : size);
        if (place == none)
        {
            look();
            place = place_for(here ? 0 : size);
        }
        if (place == none)
            return std::nullopt;
        slot& one = ring_.at(next_);
        // Readers look at this slot all the time.  All of it is fetched at
        // once, and not for a look: each line that they take back before the
        // record is published has to come again.
        ring_.expect(next_);
        if (!free_to_claim())
        {
            expected_ = one.control.load(std::memory_order_relaxed);
            if (closed())
                return std::nullopt;
        }
        claimed_ = {place, size, here};
        COMMON_FAULT_POINT("ring.claimed");
        return room(one, 0);
    }

    /// Publishes what was claimed last, as so many parts.  False when the ring
    /// was closed meanwhile: then it never was there.
    bool commit(unsigned parts = 1)
    {
        COMMON_FAULT_POINT("ring.written");
        slot& one = ring_.at(next_);
        one.place.store(
            static_cast<std::uint32_t>(claimed_.place / ring::grain) |
                (claimed_.here ? slot::here : 0),
            std::memory_order_relaxed);
        one.size.store(static_cast<std::uint32_t>(claimed_.size),
                       std::memory_order_relaxed);
        // An exchange also orders the look at who sleeps.
        if (!one.control.compare_exchange_strong(
                expected_, slot_control::fresh(ring_.lap(next_), parts)))
            return false;
        // From here on the slot is its reader's, who has to wait for whoever
        // looks there.
        last_ = claimed_;
        end_ = last_.end();
        ++next_;
        ring_.expect(next_);
        expected_ = ring_.at(next_).control.load(std::memory_order_relaxed);
        if (!last_.here)
            ring_.expect_writes(end_,
                                std::min<std::size_t>(16, last_.size / 64 + 2));
        COMMON_FAULT_POINT("ring.published");
        return true;
    }

    /// Room for `size` bytes more, right behind the last record, which becomes
    /// `parts` larger by commit_growth; nothing when a reader has it already,
    /// when it would have more than `most_parts`, or when they do not fit; or
    /// when another writer committed it, who may have died while it grew.
    /// Requires: a record that grows tells its parts apart by what stands in
    /// it.
    std::optional<std::span<std::byte>>
    grow(std::size_t size, unsigned most_parts, unsigned parts = 1)
    {
        if (last_.size == 0 || parts >= most_parts || unlooked_ != 0)
        {
            unlooked_ -= unlooked_ != 0;
            return std::nullopt;
        }
        slot& one = ring_.at(next_ - 1);
        before_ = one.control.load(std::memory_order_relaxed);
        const auto now = slot_control::of(before_);
        if (now.is != slot_control::state::ready || now.attempt != 0 ||
            now.lap != ring_.lap(next_ - 1))
        {
            // The line comes from who has the record, which takes as long as
            // half a round trip.  Where each record is taken at once it is not
            // worth to look each time.
            taken_ = std::min(taken_ + 1, 16u);
            unlooked_ = taken_ - 1;
            crowded_ = false;
            return std::nullopt;
        }
        taken_ = 0;
        crowded_ = true;
        if (now.parts + parts > most_parts || size > room_behind())
            return std::nullopt;
        claimed_ = last_;
        claimed_.size += size;
        growth_ = parts;
        return room(one, last_.size);
    }

    /// False when a reader took the record meanwhile: then it has not grown.
    bool commit_growth()
    {
        auto now = slot_control::of(before_);
        now.parts += growth_;
        end_ = claimed_.end();
        slot& one = ring_.at(next_ - 1);
        one.size.store(static_cast<std::uint32_t>(claimed_.size),
                       std::memory_order_relaxed);
        COMMON_FAULT_POINT("ring.growing");
        const bool done =
            one.control.compare_exchange_strong(before_, now.word());
        if (done)
            last_ = claimed_;
        COMMON_FAULT_POINT("ring.grown");
        return done;
    }

private:
    // Where a record is.
    struct extent
    {
        std::size_t place = 0, size = 0;
        bool here = false; // its bytes lie with its slot

        // Each record takes some, even if its bytes lie with its slot: so
        // begin and end in one place mean that the bytes are full; whether
        // they are empty, the numbers tell.
        std::size_t end() const { return place + taken(here ? 0 : size); }

        static std::size_t taken(std::size_t size)
        {
            constexpr auto grain = ring::grain;
            return std::max((size + grain - 1) / grain * grain, grain);
        }
    };

    // Whether the next slot was free when its word was seen last: it can only
    // have been closed since, and then `commit` fails.
    bool free_to_claim() const
    {
        const auto seen = slot_control::of(expected_);
        return seen.is == slot_control::state::done &&
               seen.lap == ring_.lap(next_ - ring_.slots());
    }

    // The bytes of `claimed_` behind the first ones.
    std::span<std::byte> room(slot& one, std::size_t first) const
    {
        const auto begin = claimed_.here
                               ? reinterpret_cast<std::byte*>(&one + 1)
                               : ring_.begin() + claimed_.place;
        return {begin + first, claimed_.size - first};
    }

    // How many bytes the last record may have more.
    std::size_t room_behind() const
    {
        if (last_.here)
            return ring_.largest_in_slot() - last_.size;
        const auto end = last_.place < tail_ ? tail_ : ring_.capacity();
        return std::min(end - last_.place, ring_.largest()) - last_.size;
    }

    // Where `size` bytes fit in one piece, or `none`.  One slot stays free, to
    // close the ring there.
    std::size_t place_for(std::size_t size) const
    {
        if (next_ - seen_freed_ == ring_.slots() - 1)
            return none;
        const auto need = extent::taken(size);
        if (next_ == seen_freed_)
            return 0;
        if (end_ <= tail_)
            return end_ + need <= tail_ ? end_ : none;
        if (end_ + need <= ring_.capacity())
            return end_;
        return need <= tail_ ? 0 : none;
    }

    static constexpr std::size_t none = ~std::size_t{0};

    ring ring_;
    const std::atomic<std::uint64_t>* freed_ = nullptr;
    std::uint64_t seen_freed_ = 0, next_ = 0;
    std::uint64_t expected_ = 0; // the word of the next slot, seen last
    std::uint64_t before_ = 0;   // of the last one, when it was to grow
    unsigned growth_ = 0;        // parts that it was claimed for
    unsigned taken_ = 0;    // records in a row that could not grow any more
    unsigned unlooked_ = 0; // so many more are not looked at
    bool crowded_ = false;  // a reader had not taken the last one yet
    extent claimed_;
    extent last_; // that it committed, if any; the slot says more when a
                  // growth came to nothing
    // The bytes in use lie from `tail_` to `end_`, perhaps around the end.
    std::size_t end_ = 0, tail_ = 0;
};

/// The reading end, where there is only one.  It needs no leases: what it has
/// not released, the next reader finds again after its death.
class ring_reader
{
public:
    ring_reader(ring memory, std::atomic<std::uint64_t>& freed)
        : ring_(memory)
        , freed_(&freed)
        , next_(freed.load(std::memory_order_acquire))
    {
    }

    /// The bytes of the oldest record, to be read in place; nothing while
    /// there is none.
    std::optional<std::span<const std::byte>> front() const
    {
        if (!ring_.record(next_))
            return std::nullopt;
        return ring_.bytes(next_);
    }

    /// Gives the oldest record back to the writer.
    void release() { freed_->store(++next_, std::memory_order_release); }

private:
    ring ring_;
    std::atomic<std::uint64_t>* freed_;
    std::uint64_t next_;
};

} // namespace common
