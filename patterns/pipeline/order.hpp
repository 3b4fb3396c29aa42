// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.

#pragma once

#include "record.hpp"
#include "report.hpp"

#include "common/lane_ends.hpp"
#include "common/wait.hpp"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <thread>
#include <utility>
#include <vector>

namespace pipeline::detail {

/// Lets others run for a while, as long as `done` says false: a pipeline has
/// more processes at work than there are CPUs, and who spins keeps one from
/// the very process that it waits for.  Returns what `done` said last.
///
/// Not for long: who gives way to a process that has nothing to do with it may
/// wait for all its time slice, each time, while a sleeper would be woken.  And
/// less often where that was in vain.
template <class Done>
bool give_way(Done done)
{
    constexpr int most = 100;
    thread_local int looks = most;
    const auto end = common::clock::now() + std::chrono::microseconds(200);
    for (int i = 0; i < looks && common::clock::now() < end; ++i)
    {
        if (done())
        {
            looks = most;
            return true;
        }
        std::this_thread::yield();
    }
    looks = std::max(1, looks / 2);
    return done();
}

/// The next record of an edge; waits for it.  Nothing at the end of the stream
/// or when `stopped()`.  Ends by a record, by the end, or when the edge is
/// closed after `stopped` became true.
template <class Stopped>
std::optional<common::lease> next_record(common::lane_reader& from,
                                         stopwatch& time, Stopped stopped)
{
    auto one = from.take();
    if (!one)
        time.starved([&] {
            return give_way([&] { return (one = from.take()).has_value(); }) ||
                   from.stream().work().sleep_until([&] {
                       return (one = from.take()) || stopped() ||
                              from.stream().finished();
                   });
        });
    return one;
}

/// Room on a lane; waits for it.  Nothing when the edge was closed.
inline std::optional<std::span<std::byte>>
room_for(common::lane_writer& to, std::size_t size, stopwatch& time)
{
    auto room = to.claim(size);
    if (!room)
        room = time.blocked([&] {
            give_way([&] { return (room = to.claim(size)).has_value(); });
            return room ? room
                        : to.claim_until(common::time_point::max(), size,
                                         [] { return false; });
        });
    return room;
}

/// A record that has its turn.
struct turn
{
    std::span<const std::byte> bytes;
    unsigned parts;
};

/// Restores the order of an edge, and drops what is there twice.
///
/// Records that come early are copied into private memory: to leave them in
/// their lanes would block the very worker that has to write the missing one.
/// So it lives in the calling process, whose death ends all; the tokens bound
/// how many there are.
class ordered_reader
{
public:
    ordered_reader(common::lanes from, const std::atomic<bool>& stopped)
        : from_(std::move(from), 1)
        , stopped_(stopped)
    {
    }

    /// The number of the item behind those it has given out.
    std::uint64_t number() const { return number_; }

    /// The next record in order, valid until the next call; nothing at the
    /// end, or when the run is stopped.
    std::optional<turn> next(stopwatch& time)
    {
        release();
        for (;;) // each turn takes a record, or ends
        {
            if (const auto found = early_.find(number_); found != early_.end())
            {
                current_ = std::move(found->second.bytes);
                const auto parts = found->second.parts;
                early_.erase(found);
                number_ += parts;
                return turn{current_, parts};
            }
            const auto one =
                next_record(from_, time, [this] { return stopped_.load(); });
            if (!one || stopped_)
                return std::nullopt;
            const auto first = head_of(one->bytes).first;
            if (first == number_)
            {
                held_ = one;
                number_ += one->parts();
                return turn{one->bytes, one->parts()};
            }
            if (first > number_)
                early_.try_emplace(
                    first, early_record{{one->bytes.begin(), one->bytes.end()},
                                        one->parts()});
            from_.acknowledge(*one);
        }
    }

private:
    struct early_record
    {
        std::vector<std::byte> bytes;
        unsigned parts;
    };

    void release()
    {
        if (held_)
            from_.acknowledge(*held_);
        held_.reset();
    }

    common::lane_reader from_;
    const std::atomic<bool>& stopped_;
    std::uint64_t number_ = 0; // of the next record
    std::map<std::uint64_t, early_record> early_;
    std::vector<std::byte> current_;
    std::optional<common::lease> held_;
};

} // namespace pipeline::detail
