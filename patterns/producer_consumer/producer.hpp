// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.

#pragma once

#include "supervisor.hpp"

#include "common/fault.hpp"
#include "common/inherited.hpp"
#include "common/lane_ends.hpp"
#include "common/linux/fence.hpp"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <iterator>
#include <memory>
#include <new>
#include <optional>
#include <stdexcept>
#include <type_traits>
#include <utility>

namespace producer_consumer {

namespace detail {

/// A producer's seat, with the lane that belongs to it.
template <class T>
class producer_end
{
public:
    template <class... A>
    explicit producer_end(A&&... membership)
        : place_(std::forward<A>(membership)...)
        , out_(place_.shared().stream, place_.number())
        , own_(out_.place().next())
        , base_(0 - unfinished(place_.shared().stream, place_.number()))
    {
    }

    outcome push_until(const T& item, common::time_point deadline)
    {
        const auto size = layout<T>::size(item);
        const auto policy = shared().how.when_full;
        if (policy == overflow::keep_latest)
            drop(~0u);
        if (const auto first = add(item, size, false); first != outcome::full)
            return first;
        if (policy == overflow::drop_oldest)
            if (const auto now = drop_and_add(item, size); now != outcome::full)
                return now;
        if (deadline <= common::clock::now())
            return add(item, size, true);
        return wait_and_add(item, size, deadline);
    }

    /// Pushes some of the items from `first` on, in one bundle, without
    /// waiting; returns how many.  None where bundles have one item, too.
    template <class Forward>
    std::size_t push_some(Forward first, Forward last)
    {
        const auto bundle =
            shared().notes->bundle.load(std::memory_order_relaxed);
        const auto wanted = std::min<std::uint64_t>(
            bundle, static_cast<std::size_t>(std::distance(first, last)));
        const auto most = std::min(wanted, room(wanted, false));
        const auto largest =
            shared().stream.memory_of(out_.index()).largest() / 4;
        std::size_t size = 0;
        unsigned count = 0;
        if constexpr (layout<T>::fixed)
        {
            constexpr auto each = layout<T>::round_up(sizeof(T));
            count = static_cast<unsigned>(std::min(most, largest / each));
            size = count * each;
        }
        else
            for (auto one = first; count < most; ++one, ++count)
            {
                const auto more = size + layout<T>::size(*one);
                if (more > largest)
                    break;
                size = more;
            }
        if (count < 2 || out_.closed())
            return 0;
        return add_all(first, count, size, bundle) == outcome::done ? count : 0;
    }

    const channel& shared() const { return place_.shared(); }

    /// Whether it would wait for ever: nobody reads, or is about to.
    bool unread() const { return shared().notes->unread.load() != 0; }

private:
    // Drops as many as the item needs, as long as that makes room: not where
    // a consumer still has an older one.
    outcome drop_and_add(const T& item, std::size_t size)
    {
        const auto& freed = shared().stream.lane(out_.index()).freed;
        auto before = freed.load();
        while (drop(1)) // ends: there are not more and more
        {
            const auto now = add(item, size, true);
            if (now != outcome::full)
                return now;
            if (before == freed.load())
                return now;
            before = freed.load();
        }
        return outcome::full;
    }

    outcome wait_and_add(const T& item, std::size_t size,
                         common::time_point deadline)
    {
        auto result = outcome::full;
        const auto start = common::clock::now();
        const auto added = [&](bool exactly) {
            if (result == outcome::full)
                result = add(item, size, exactly);
            return result != outcome::full;
        };
        shared()
            .stream.lane(out_.index())
            .room.wait_until(
                [&] { return added(false); }, deadline,
                [&] {
                    common::kernel::heavy_fence(); // see consumer_end::settle
                    return added(true) || unread();
                });
        const auto waited = common::clock::now() - start;
        place_.here().waited.fetch_add(
            static_cast<std::uint64_t>(waited.count()));
        return result == outcome::full && !unread() ? outcome::timed_out
                                                    : result;
    }

    // `exactly`: looks at each item that is not finished, not at the first
    // ones only.
    outcome add(const T& item, std::size_t size, bool exactly)
    {
        if (out_.closed())
            return outcome::closed;
        if (room(1, exactly) == 0)
            return outcome::full;
        const auto bundle =
            shared().notes->bundle.load(std::memory_order_relaxed);
        return add_all(&item, 1, size, bundle);
    }

    // So many items, of `size` bytes together, for which there is room: to the
    // last bundle, or as a new one.
    template <class Forward>
    outcome add_all(Forward first, unsigned items, std::size_t size,
                    unsigned bundle)
    {
        const auto write = [&](std::span<std::byte> to) {
            if constexpr (layout<T>::array && std::contiguous_iterator<Forward>)
            {
                if (items == 1) // of a size that the compiler knows
                    std::memcpy(to.data(), std::to_address(first), sizeof(T));
                else
                    std::memcpy(to.data(), std::to_address(first), size);
            }
            else
                for (auto one = first; !to.empty(); ++one)
                {
                    layout<T>::write(to, *one);
                    to = to.subspan(layout<T>::size(*one));
                }
            COMMON_FAULT_POINT("producer.written");
        };
        const auto most = std::min(bundle, sets_ * item_set::items);
        const auto more =
            size < travels_alone ? out_.grow(size, most, items) : std::nullopt;
        if (more)
        {
            write(*more);
            if (out_.commit_growth())
                return count(items);
        }
        const auto sets = sets_for(items);
        const auto room = out_.claim(head_size(sets) + size);
        if (!room)
            return out_.closed() ? outcome::closed : outcome::full;
        write(room->subspan(head_size(sets)));
        ::new (room->data()) bundle_head{pushed_, sets};
        const auto sign = word_of(sign_of(pushed_, 0), 0);
        for (unsigned i = 0; i < sets; ++i)
            ::new (room->data() + head_size(i)) item_set{sign, 0, 0, 0};
        sets_ = sets;
        return out_.commit(items) ? count(items) : outcome::closed;
    }

    outcome count(unsigned more)
    {
        pushed_ += more;
        auto& items = place_.here().items;
        items.store(items.load(std::memory_order_relaxed) + more,
                    std::memory_order_relaxed);
        return outcome::done;
    }

    // How many more items fit; looks at the consumers when fewer than `wanted`
    // seem to.
    std::uint64_t room(std::uint64_t wanted, bool exactly)
    {
        const auto capacity = shared().how.capacity;
        const auto left = [&] {
            return capacity - std::min(capacity, pushed_ - base_);
        };
        if (left() >= wanted)
            return left();
        const auto& stream = shared().stream;
        const auto lane = out_.index();
        if (exactly)
            stream.advance(lane);
        // Items before the first one that is not freed are finished.
        const auto freed = stream.lane(lane).freed.load();
        if (freed == out_.place().next())
            base_ = pushed_;
        else if (freed >= own_)
            base_ = bundle::of(stream.memory_of(lane).bytes(freed)).first();
        if (left() != 0 || !exactly)
            return left();
        return capacity - std::min(capacity, unfinished(stream, lane));
    }

    // Drops the oldest items that nobody has taken; returns whether it did.
    bool drop(unsigned most)
    {
        const auto dropped = shared().stream.drop(out_.index(), most);
        place_.here().extra.fetch_add(dropped);
        return dropped != 0;
    }

    membership place_;
    common::lane_writer out_;
    std::uint64_t own_;        // this process's first record
    std::uint64_t pushed_ = 0; // by this process
    std::uint64_t base_;       // so many of them are finished, at least
    unsigned sets_ = 1;        // of the last bundle
};

} // namespace detail

namespace detail {

template <class End>
struct end_codec;

} // namespace detail

/// One end of a queue: items go in here.  An argument of a process, which then
/// has an end of its own; in the process that made the queue, an end itself.
///
/// Copies are the same end; an end is for one thread at a time.  The queue
/// stays open as long as there is a producer; one that is killed has left.
/// What it had pushed stays, what it was pushing was never there.
template <class T>
class producer
{
public:
    /// Waits for room, or does what `overflow` says.  Throws common::closed
    /// when the queue is closed, or when it is full and no consumer is left;
    /// common::full; std::length_error for an item that never fits.
    void push(const T& item)
    {
        const auto policy = end().shared().how.when_full;
        switch (push_until(item, policy == overflow::fail
                                     ? common::time_point::min()
                                     : common::time_point::max()))
        {
        case outcome::done:
            return;
        case outcome::closed:
            throw common::closed("the queue is closed");
        default:
            if (policy == overflow::fail)
                throw common::full("the queue is full");
            throw common::closed("the queue is full and has no consumer left");
        }
    }

    /// Done, full or closed; never waits.
    [[nodiscard]] outcome try_push(const T& item)
    {
        const auto result = push_until(item, common::time_point::min());
        return result == outcome::timed_out ? outcome::full : result;
    }

    /// Done, timed out or closed; full when no consumer is left to wait for.
    [[nodiscard]] outcome push_until(const T& item, common::time_point deadline)
    {
        return end().push_until(item, deadline);
    }
    template <class Rep, class Period>
    [[nodiscard]] outcome push_for(const T& item,
                                   std::chrono::duration<Rep, Period> time)
    {
        return push_until(item, common::deadline_after(time));
    }

    /// All items of a range, in order, as `push`; many at a time where that
    /// makes no consumer wait.
    template <class Range>
    void push_all(const Range& items)
    {
        auto first = std::begin(items);
        const auto last = std::end(items);
        while (first != last) // each turn: at least one item
        {
            if constexpr (std::is_same_v<std::decay_t<decltype(*first)>, T> &&
                          std::random_access_iterator<decltype(first)>)
                if (const auto n = end().push_some(first, last))
                {
                    std::advance(first, n);
                    continue;
                }
            push(*first++);
        }
    }

    /// No more items from this end.
    void leave() { held_.reset(); }

private:
    template <class>
    friend class queue;
    friend struct detail::end_codec<producer>;
    static constexpr auto here = detail::side::producer;
    struct held
    {
        std::optional<detail::claim> claim; // in the process of the queue
        std::optional<detail::producer_end<T>> end;
    };

    explicit producer(std::shared_ptr<held> one) : held_(std::move(one)) {}

    detail::producer_end<T>& end()
    {
        if (!held_)
            throw common::closed("this producer has left");
        if (!held_->end)
            held_->end.emplace(held_->claim->owner(), here);
        return *held_->end;
    }

    std::shared_ptr<held> held_;
};

namespace detail {

/// An end in a letter: a seat for the process that will read it.
template <class End>
struct end_codec
{
    static std::size_t size(const End& one)
    {
        if (!one.held_ || !one.held_->claim)
            return 0;
        return common::encoded_size(one.held_->claim->owner()->shared()) +
               sizeof(unsigned) + sizeof(int);
    }

    static void write(common::writer& to, const End& one)
    {
        if (!one.held_ || !one.held_->claim)
            throw std::logic_error(
                "only the process that made a queue gives its ends away, and "
                "only ends that have not left");
        if (to.descriptors == nullptr || to.kept == nullptr)
            throw std::invalid_argument("an end of a queue can only be given "
                                        "to a process that is being started");
        const auto& owner = one.held_->claim->owner();
        auto [number, line] = owner->hand_out(End::here);
        common::encode(to, owner->shared());
        common::encode(to, number);
        common::encode(to, common::inherited{line.get()});
        to.kept->push_back(
            std::make_shared<common::kernel::descriptor>(std::move(line)));
    }

    static End read(common::reader& from)
    {
        auto what = common::decode<channel>(from);
        const auto number = common::decode<unsigned>(from);
        const unsigned first = End::here == side::producer ? 0 : 1;
        const auto seats = End::here == side::producer ? what.producers.size()
                                                       : what.consumers.size();
        if (number < first || number >= first + seats)
            throw common::malformed("no seat " + std::to_string(number));
        common::kernel::descriptor line(
            common::decode<common::inherited>(from).fd);
        auto result = std::make_shared<typename End::held>();
        result->end.emplace(std::move(what), End::here, number,
                            std::move(line));
        return End(std::move(result));
    }
};

} // namespace detail

} // namespace producer_consumer

template <class T>
struct common::codec<producer_consumer::producer<T>>
    : producer_consumer::detail::end_codec<producer_consumer::producer<T>>
{
};
