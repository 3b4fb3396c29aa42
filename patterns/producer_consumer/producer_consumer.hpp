// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.

#pragma once

#include "async_consumer.hpp"
#include "consumer.hpp"
#include "producer.hpp"
#include "supervisor.hpp"

#include "common/large.hpp"
#include "common/task.hpp" // error_message

#include <algorithm>
#include <bit>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

namespace producer_consumer {

using common::large;

struct queue_options
{
    std::size_t capacity = 1024; // items of each producer, not finished
    // The same in bytes: its part of the memory, taken as it is needed.  More
    // than a CPU's own cache holds: a batch that has gone on to the shared one
    // is read in half the time that it takes to fetch it from another CPU's.
    std::size_t bytes = 4u << 20;
    overflow when_full = overflow::block;
    unsigned attempts = 3; // of an item: in hand so often, then dead
    std::chrono::milliseconds visibility{0}; // longest lease; 0: no limit
    unsigned producers = 16;                 // at a time
    unsigned consumers = 64;
};

/// An item that was in hand as often as it was allowed, and never finished.
template <class T>
struct dead_letter
{
    std::optional<T> item;         // nothing when it cannot be decoded:
    common::error_message error{}; // what its codec threw then
};

struct end_statistics
{
    pid_t pid = 0;             // who has, or had last, this end; 0: nobody yet
    std::uint64_t items = 0;   // pushed, or finished
    std::uint64_t dropped = 0; // producers
    std::uint64_t redelivered = 0;      // consumers
    std::chrono::nanoseconds waited{0}; // for room, or for items
};

struct queue_statistics
{
    std::uint64_t depth = 0; // items not finished
    std::uint64_t pushed = 0, finished = 0, dropped = 0, redelivered = 0;
    std::chrono::nanoseconds age{0}; // of the queue: for rates
    std::vector<end_statistics> producers, consumers;
};

/// A queue from many processes to many.
///
///     producer_consumer::queue<std::string> lines;
///     common::process reader(&read, lines.producer());
///     common::process counter(&count, lines.consumer());
///
/// First in, first out for each producer.  Bounded in items and bytes.  An item
/// whose push returned is finished exactly once, as long as consumers
/// acknowledge what they have done: what a process had in hand when it was
/// killed comes again to another one.  The queue closes by itself when the
/// last producer has left or died; consumers then get what is left, and their
/// loops end.
///
/// It belongs to the process that made it, which learns of deaths from the
/// kernel, and gives its ends to processes that it starts.
template <class T>
class queue
{
public:
    /// Throws std::invalid_argument for numbers that make no queue, and
    /// std::system_error when there is no memory for it.
    explicit queue(const queue_options& options = {})
        : owner_(std::make_shared<detail::supervisor>(build(options),
                                                      options.visibility))
        , born_(common::clock::now())
    {
    }
    queue(const queue&) = delete;
    ~queue() { close(); }

    /// An end for items to go in.  As long as this object or a copy of it is
    /// there, or a process that was given one, the queue stays open.
    producer_consumer::producer<T> producer()
    {
        using end = producer_consumer::producer<T>;
        auto one = std::make_shared<typename end::held>();
        one->claim.emplace(owner_, detail::side::producer);
        return end(std::move(one));
    }

    /// An end for items to come out.
    producer_consumer::consumer<T> consumer()
    {
        using end = producer_consumer::consumer<T>;
        auto one = std::make_shared<typename end::held>();
        one->claim.emplace(owner_, detail::side::consumer);
        return end(std::move(one));
    }

    /// No more items; closing again does nothing.
    void close() { owner_->close(); }
    bool closed() const { return owner_->shared().stream.closed(); }

    /// Waits until every item is finished; items of dead consumers are not.
    /// False at the deadline.  Throws common::closed when there have been
    /// consumers, and none is left: then nobody finishes the rest.
    [[nodiscard]] bool join_until(common::time_point deadline) const
    {
        const auto& stream = owner_->shared().stream;
        const auto& unread = owner_->shared().notes->unread;
        for (unsigned i = 0; i < stream.size(); ++i)
        {
            stream.lane(i).room.wait_until(
                [&] { return stream.settled(i) || unread.load() != 0; },
                deadline);
            if (stream.settled(i))
                continue;
            if (unread.load() == 0)
                return false;
            throw common::closed(std::to_string(size()) +
                                 " items are left in a queue without consumer");
        }
        return true;
    }
    void join() const
    {
        static_cast<void>(join_until(common::time_point::max()));
    }

    /// Items that are not finished, exactly.
    std::uint64_t size() const
    {
        const auto& stream = owner_->shared().stream;
        std::uint64_t count = 0;
        for (unsigned i = 0; i < stream.size(); ++i)
            count += detail::unfinished(stream, i);
        return count;
    }

    /// Takes out the items that no consumer could finish.
    std::vector<dead_letter<T>> dead_letters()
    {
        std::vector<dead_letter<T>> result;
        for (auto& one : owner_->take_dead())
        {
            const auto all = detail::bundle::of(one.bytes);
            auto rest = all.items();
            for (unsigned i = 0; i < one.parts; ++i)
            {
                const auto item = detail::layout<T>::next(rest);
                const auto [set, bit] = detail::place_of(i);
                if ((all.sets()[set].dead.load() & bit) == 0)
                    continue;
                auto& letter = result.emplace_back();
                try
                {
                    letter.item.emplace(detail::layout<T>::read(item));
                }
                catch (...)
                {
                    letter.error = common::error_message::current();
                }
            }
        }
        return result;
    }

    queue_statistics stats() const
    {
        const auto& shared = owner_->shared();
        queue_statistics all;
        all.age = common::clock::now() - born_;
        all.depth = size();
        for (const auto& one : shared.producers)
            if (auto s = look_at(one))
            {
                s->dropped = one.extra.load();
                all.pushed += s->items;
                all.dropped += s->dropped;
                all.producers.push_back(*s);
            }
        for (const auto& one : shared.consumers)
            if (auto s = look_at(one))
            {
                s->redelivered = one.extra.load();
                all.finished += s->items;
                all.redelivered += s->redelivered;
                all.consumers.push_back(*s);
            }
        return all;
    }

private:
    static std::optional<end_statistics> look_at(const detail::seat& one)
    {
        if (one.holder.load() == 0)
            return std::nullopt;
        end_statistics s;
        s.pid = one.holder.load();
        s.items = one.items.load();
        s.waited = std::chrono::nanoseconds(one.waited.load());
        return s;
    }

    static detail::channel build(const queue_options& options)
    {
        if (options.capacity == 0 || options.capacity > 1u << 24 ||
            options.attempts == 0 || options.attempts > 1000)
            throw std::invalid_argument(
                "a queue holds 1 to 16777216 items of each producer, not " +
                std::to_string(options.capacity) + ", with 1 to 1000 attempts");
        if (options.visibility.count() < 0)
            throw std::invalid_argument(
                "a lease lasts 0 ms (no limit) or longer, not " +
                std::to_string(options.visibility.count()) + " ms");
        common::lanes::options plan;
        plan.lanes = options.producers;
        plan.bytes = options.bytes;
        plan.records = std::bit_ceil(options.capacity + 2);
        plan.readers = options.consumers;
        // Room for a small item in each slot, where that does not take more
        // memory than all items may.
        if (plan.records * common::ring::roomy <= options.bytes)
            plan.slots = common::slots_are::roomy;
        plan.attempts = common::slot_control::most_attempts;
        return {common::lanes(plan),
                common::shared<detail::board>(),
                common::shared_array<detail::seat>(options.producers),
                common::shared_array<detail::seat>(options.consumers),
                {options.capacity, options.attempts, options.when_full,
                 options.visibility.count() > 0}};
    }

    std::shared_ptr<detail::supervisor> owner_;
    common::time_point born_;
};

} // namespace producer_consumer
