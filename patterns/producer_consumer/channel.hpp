// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.

#pragma once

#include "bundle.hpp"

#include "common/lanes.hpp"
#include "common/shared.hpp"
#include "common/wait.hpp"

#include <sys/types.h>

#include <algorithm>
#include <atomic>
#include <cstdint>

namespace producer_consumer {

/// What a producer does when its share of the queue is full.
enum class overflow : std::uint32_t
{
    block,       // waits
    fail,        // throws common::full
    drop_oldest, // of its own items that nobody has taken
    keep_latest  // the same with all of them: consumers see what is new
};

/// How a push or pop ended.
enum class outcome
{
    done,
    empty,
    full,
    timed_out,
    closed
};

namespace detail {

/// A place at one end of the queue, for one process after the other.
struct alignas(128) seat
{
    enum phase : std::uint32_t
    {
        vacant,
        given, // to a process that is about to come
        joined,
        left
    };
    std::atomic<std::uint32_t> now{vacant}; // supervisor; left: its holder
    std::atomic<pid_t> holder{0};           // supervisor, when it lets one in
    common::event_count admitted;           // its next holder sleeps
    std::atomic<std::uint64_t> items{0};    // holder: pushed, or finished
    std::atomic<std::uint64_t> waited{0};   // holder: nanoseconds
    std::atomic<std::uint64_t> extra{0};    // holder: dropped, or redelivered
};

struct board
{
    // How many items travel together: consumers, by the time they take.
    std::atomic<std::uint32_t> bundle{1};
    // No consumer is there or about to come: supervisor.
    alignas(64) std::atomic<std::uint32_t> unread{0};
};

struct settings
{
    std::uint64_t capacity;
    std::uint32_t attempts;
    overflow when_full;
    bool revocable; // leases may be taken away from a process that lives
};

/// What all processes at a queue share.
struct channel
{
    common::lanes stream; // a lane for each producer
    common::shared<board> notes;
    common::shared_array<seat> producers;
    common::shared_array<seat> consumers;
    settings how;
};

/// Items of a lane that are not finished, exactly.
inline std::uint64_t unfinished(const common::lanes& stream, unsigned lane)
{
    std::uint64_t count = 0;
    const auto memory = stream.memory_of(lane);
    stream.for_each(lane, [&](std::uint64_t at, common::slot_control c) {
        if (c.is != common::slot_control::state::done)
            count +=
                c.parts - std::min(c.parts, bundle(memory.glimpse(at).value_or(
                                                       std::span<std::byte>{}))
                                                .finished());
    });
    return count;
}

enum class side : std::uint32_t
{
    producer,
    consumer
};

/// Seats of producers are numbered from 0, those of consumers from 1.
inline seat& seat_of(const channel& c, side which, unsigned number)
{
    return which == side::producer ? c.producers[number]
                                   : c.consumers[number - 1];
}

} // namespace detail

} // namespace producer_consumer

namespace common {

template <>
struct codec<producer_consumer::detail::channel>
{
    using channel = producer_consumer::detail::channel;
    static std::size_t size(const channel& c)
    {
        return encoded_size(c.stream) + encoded_size(c.notes) +
               encoded_size(c.producers) + encoded_size(c.consumers) +
               encoded_size(c.how);
    }
    static void write(writer& to, const channel& c)
    {
        encode(to, c.stream);
        encode(to, c.notes);
        encode(to, c.producers);
        encode(to, c.consumers);
        encode(to, c.how);
    }
    static channel read(reader& from)
    {
        using namespace producer_consumer::detail;
        return {decode<lanes>(from), decode<shared<board>>(from),
                decode<shared_array<seat>>(from),
                decode<shared_array<seat>>(from), decode<settings>(from)};
    }
};

} // namespace common
