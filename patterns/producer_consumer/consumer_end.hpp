// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.

#pragma once

#include "holding.hpp"
#include "supervisor.hpp"

#include "common/fault.hpp"
#include "common/lane_ends.hpp"
#include "common/linux/fence.hpp"
#include "common/spin.hpp"
#include "common/wait.hpp"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <optional>
#include <utility>
#include <vector>

namespace producer_consumer::detail {

/// A consumer's seat.
template <class T>
class consumer_end
{
public:
    template <class... A>
    explicit consumer_end(A&&... membership)
        : place_(std::forward<A>(membership)...)
        , in_(place_.shared().stream, place_.number())
    {
    }
    consumer_end(const consumer_end&) = delete;
    ~consumer_end() { let_go(); }

    const channel& shared() const { return place_.shared(); }
    holding& current() const { return *current_; }

    /// The last item that it went to, of `current()`.
    const found& item() const { return item_; }

    /// Goes to the next item; false while there is none.
    bool next()
    {
        while (!next_of_current()) // each turn takes a bundle
        {
            if (!in_.take(spare()))
                return false;
            open();
        }
        return true;
    }

    /// Takes the next item out, acknowledged; false while there is none.
    /// Throws as `read`.
    bool pop(std::optional<T>& to)
    {
        for (;;) // each turn takes a bundle, or loses an item
        {
            while (!next_of_current())
            {
                auto& one = spare();
                if (!in_.take(one, [&](auto bytes) { return copy(bytes, to); }))
                    return false;
                if (one.done())
                {
                    adapt(1);
                    return count(1);
                }
                open();
            }
            to.reset(); // of what somebody else took: `read` may throw
            to.emplace(read());
            if (finish(*current_, item_.index))
                return true;
        }
    }

    /// Waits until `next()`, or `pop(...)`, is true.
    template <class Next>
    outcome wait(Next next, common::time_point deadline)
    {
        bool found = next();
        // Who answers at once is looked for without a clock.  With pauses: a
        // look while the other side writes costs it the line.
        if (deadline > common::time_point::min() &&
            common::spin_budget().count() != 0)
            for (int i = 0; i < 256 && !found; ++i)
            {
                common::relax();
                found = next();
            }
        if (!found && !over() && deadline > common::clock::now())
        {
            const auto start = common::clock::now();
            shared().stream.work().wait_until(
                [&] { return found || (found = next()) || over(); }, deadline);
            const auto waited = common::clock::now() - start;
            place_.here().waited.fetch_add(
                static_cast<std::uint64_t>(waited.count()));
        }
        if (found)
            return outcome::done;
        return over() ? outcome::closed : outcome::timed_out;
    }
    outcome next_until(common::time_point deadline)
    {
        return wait([this] { return next(); }, deadline);
    }

    /// Whether there is a bundle that nobody holds.  From any thread.
    bool anything() const
    {
        return any([](common::slot_control c) { return c.is == state::ready; });
    }

    /// Whether nothing will come any more; what this consumer holds aside.
    /// From any thread.
    bool over() const
    {
        return shared().stream.closed() && !any([this](common::slot_control c) {
                   return c.is == state::ready ||
                          (c.is == state::leased && c.owner != place_.number());
               });
    }

    /// The item is done with.  False when it is not this consumer's any more.
    bool finish(holding& of, unsigned index)
    {
        COMMON_FAULT_POINT("consumer.finishing");
        const auto [set, bit] = place_of(index);
        if (finish_last(of, 1))
            return count(1);
        if (!finish_in(of, set, bit))
            return false;
        settle(of);
        return count(1);
    }

    /// Decodes `item()`, which nobody has in hand.  When its codec throws, that
    /// was an attempt: the item goes back as if it had been.
    T read()
    {
        try
        {
            return layout<T>::read(item_.bytes);
        }
        catch (...)
        {
            auto& of = *current_;
            of.hand_out(item_.index);
            give_back(of);
            take_from_hand(of);
            throw;
        }
    }

    /// Items of `current()`, `item()` the first of them, until `to` has `most`:
    /// finished and appended to `to`.  False when they are not this consumer's
    /// any more.  Before an item that cannot be decoded it stops; throws what
    /// its codec throws, as `read`, where `to` is empty.
    bool take_all(std::size_t most, std::vector<T>& to)
    {
        auto& of = *current_;
        const auto begun = to.size();
        some_items items;
        do
        {
            if (to.empty())
                to.push_back(read());
            else
                try
                {
                    to.push_back(layout<T>::read(item_.bytes));
                }
                catch (...) // next time; these must not be lost with it
                {
                    of.template look_again<T>(item_);
                    break;
                }
            items.add(some_items::range(item_.index, 1));
            if constexpr (layout<T>::array)
                take_array(most - to.size(), to, items);
            if (to.size() == most)
                break;
            // One set at a time can be taken away, or not.
            if (revocable() && of.next % item_set::items == 0)
                break;
        } while (of.next_item<T>(item_));
        if (to.size() == begun ||
            finish_all(of, items, static_cast<unsigned>(to.size() - begun)))
            return true;
        to.erase(to.begin() + static_cast<std::ptrdiff_t>(begun), to.end());
        return false;
    }

    void take_from_hand(holding& of)
    {
        if (--of.in_hand != 0)
            return;
        if (of.returning && of.left != 0)
            in_.give_back(of.lease);
        if (&of != current_)
            idle_.push_back(&of);
    }

    /// The rest of the bundle goes back, as soon as nothing of it is in hand.
    void give_back(holding& of)
    {
        of.returning = true;
        if (current_ == &of)
            leave_current();
    }

private:
    bool revocable() const { return shared().how.revocable; }

    bool next_of_current()
    {
        if (current_ && (!revocable() || in_.holds(current_->lease)) &&
            current_->next_item<T>(item_))
            return true;
        leave_current();
        return false;
    }

    // An item that has a bundle for itself, which nobody holds: what is copied
    // may be about to become another one, and counts when it is taken only.
    bool copy(std::span<std::byte> record, std::optional<T>& to) const
    {
        if constexpr (layout<T>::fixed)
        {
            const auto items = bundle(record).items();
            if (items.size() >= sizeof(T))
            {
                to.emplace(layout<T>::read(items.first(sizeof(T))));
                COMMON_FAULT_POINT("consumer.copied");
                return true;
            }
        }
        return false;
    }

    // Adds what follows in `current_` as far as all of it is open.
    void take_array(std::size_t most, std::vector<T>& to, some_items& items)
    {
        auto& from = *current_;
        auto count = std::min<std::size_t>(
            {most, from.parts - from.next, from.rest.size() / sizeof(T)});
        if (revocable())
            count =
                std::min<std::size_t>(count, (0 - from.next) % item_set::items);
        const auto these =
            some_items::range(from.next, static_cast<unsigned>(count));
        if (!from.open.has(these))
            return;
        items.add(these);
        const auto* const first =
            std::launder(reinterpret_cast<const T*>(from.rest.data()));
        append(to, first, count);
        from.rest = from.rest.subspan(count * sizeof(T));
        from.next += static_cast<unsigned>(count);
    }

    // The items come from another CPU's cache.  The hardware fetches ahead up
    // to the next page, so we do it, a page ahead: by an eighth faster.
    static void append(std::vector<T>& to, const T* first, std::size_t count)
    {
        constexpr std::size_t ahead = 4096, line = 64;
        constexpr auto part = std::max<std::size_t>(1, 8 * line / sizeof(T));
        while (count != 0)
        {
            const auto now = std::min(part, count);
            const auto* const place = reinterpret_cast<const std::byte*>(first);
            if constexpr (part > 1)
                for (std::size_t i = 0; i < 8 * line; i += line)
                    __builtin_prefetch(place + ahead + i);
            to.insert(to.end(), first, first + now);
            first += now;
            count -= now;
        }
    }

    bool finish_all(holding& of, const some_items& items, unsigned number)
    {
        COMMON_FAULT_POINT("consumer.finishing");
        if (finish_last(of, number))
            return count(number);
        for (unsigned i = 0; i < of.sets.size(); ++i)
            if (items.sets[i] != 0 && !finish_in(of, i, items.sets[i]))
                return false;
        settle(of);
        return count(number);
    }

    bool count(unsigned more)
    {
        COMMON_FAULT_POINT("consumer.finished");
        auto& items = place_.here().items;
        items.store(items.load(std::memory_order_relaxed) + more,
                    std::memory_order_relaxed);
        return true;
    }

    // What is in hand keeps its bundle.
    void leave_current()
    {
        if (current_ && current_->in_hand == 0)
            idle_.push_back(current_);
        current_ = nullptr;
    }

    void let_go()
    {
        if (!current_)
            return;
        current_->returning = true;
        if (current_->in_hand == 0 && current_->left != 0)
            in_.give_back(current_->lease);
        leave_current();
    }

    // For the next lease.
    common::lease& spare()
    {
        if (idle_.empty()) // leases of the user need all others
        {
            holdings_.push_back(std::make_unique<holding>());
            idle_.push_back(holdings_.back().get());
        }
        return idle_.back()->lease;
    }

    // What `spare` has leased.
    void open()
    {
        adapt(idle_.back()->lease.parts());
        current_ = idle_.back();
        idle_.pop_back();
        current_->begin();
        if (current_->again())
            look_back(*current_);
    }

    // An item that was in hand each time is dead after so many attempts.
    void look_back(holding& mine)
    {
        some_items dead;
        const auto suspects = mine.look_back(shared().how.attempts, dead);
        place_.here().extra.fetch_add(suspects);
        for (unsigned i = 0; i < mine.sets.size(); ++i)
            if (dead.sets[i] != 0 && !finish_in(mine, i, dead.sets[i]))
                return; // somebody else's meanwhile
        settle(mine);   // also where its holder died before it could say so
    }

    // Where these are all that is left, nobody needs to know which they were.
    bool finish_last(holding& of, unsigned number)
    {
        if (of.left != number || of.again() || revocable())
            return false;
        of.left = 0;
        in_.acknowledge(of.lease);
        return true;
    }

    // After something of it was finished.
    void settle(holding& of)
    {
        if (of.left == 0)
            return close(of);
        // What is finished was said by a plain store: who goes to sleep has
        // the kernel run the fence between that and this look.
        if (common::kernel::heeded_at_start)
            common::kernel::light_fence();
        else
            std::atomic_thread_fence(std::memory_order_seq_cst);
        auto& room = shared().stream.lane(of.lease.lane).room;
        if (room.awaited())
            room.notify_all();
    }

    bool finish_in(holding& of, unsigned set, std::uint64_t items)
    {
        auto& finished = of.sets[set].finished;
        auto word = finished.load(std::memory_order_relaxed);
        if (!revocable())
            finished.store(word | items, std::memory_order_release);
        else
            do // again when a word of ours was not the last
                if (number_of(word) != of.sign || !in_.holds(of.lease))
                    return false;
            while (!finished.compare_exchange_weak(word, word | items));
        of.close(set, items);
        return true;
    }

    void close(holding& of)
    {
        if (!of.anything_dead())
            in_.acknowledge(of.lease);
        else if (in_.bury(of.lease))
            place_.tell_of_dead_letters();
    }

    // Items that take long travel alone, so that idle consumers find some;
    // others in bundles that take a few microseconds.
    void adapt(unsigned items)
    {
        auto& bundle = shared().notes->bundle;
        const auto most = bundle.load(std::memory_order_relaxed);
        const auto had = std::exchange(items_, items);
        if (had < most && items < most)
            return; // no clock is read where it is not needed
        const auto now = common::clock::now();
        const auto taken = now - std::exchange(opened_, now);
        if (had < most)
            return;
        if (taken > slow && most > 1)
            bundle.store(std::max(1u, most / 4), std::memory_order_relaxed);
        else if (taken < quick && most < largest())
            bundle.store(std::min(largest(), 2 * most),
                         std::memory_order_relaxed);
    }

    unsigned largest() const
    {
        const auto& how = shared().how;
        if (how.when_full == overflow::drop_oldest ||
            how.when_full == overflow::keep_latest)
            return 1; // what is dropped is dropped one by one
        return static_cast<unsigned>(
            std::clamp<std::uint64_t>(how.capacity / 4, 1, most_items));
    }

    using state = common::slot_control::state;

    template <class Wanted>
    bool any(Wanted wanted) const
    {
        const auto& stream = shared().stream;
        bool found = false;
        for (unsigned i = 0; i < stream.used() && !found; ++i)
            stream.for_each(i, [&](std::uint64_t, common::slot_control c) {
                found = found || wanted(c);
            });
        return found;
    }

    static constexpr std::chrono::microseconds quick{10}, slow{100};

    membership place_;
    common::lane_reader in_;
    std::vector<std::unique_ptr<holding>> holdings_;
    std::vector<holding*> idle_; // of these, kept for their memory
    holding* current_ = nullptr;
    found item_{};
    common::time_point opened_{};
    unsigned items_ = 0; // in the last bundle
};

} // namespace producer_consumer::detail
