// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.

#pragma once

#include "consumer_end.hpp"
#include "producer.hpp"

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <iterator>
#include <memory>
#include <new>
#include <optional>
#include <type_traits>
#include <utility>
#include <vector>

namespace producer_consumer {

/// An item that a consumer has, and must answer for: it is done with when it
/// is acknowledged; otherwise it goes back to the queue, at the latest with
/// this object or with its process.
template <class T>
class [[nodiscard]] leased
{
public:
    leased() = default;
    leased(leased&& other) noexcept
        : end_(std::move(other.end_))
        , of_(other.of_)
        , item_(other.item_)
        , value_(std::move(other.value_))
    {
        other.end_.reset();
    }
    leased& operator=(leased&& other) noexcept
    {
        if (this != &other)
        {
            give_back();
            end_ = std::exchange(other.end_, nullptr);
            of_ = other.of_;
            item_ = other.item_;
            value_ = std::move(other.value_);
        }
        return *this;
    }
    ~leased() { give_back(); }

    /// Whether there is an item that waits for an answer.
    explicit operator bool() const { return end_ != nullptr; }

    /// The item: in place, in shared memory, where its type allows that.
    const T& operator*() const
    {
        if constexpr (detail::layout<T>::fixed)
            return *std::launder(
                reinterpret_cast<const T*>(item_.bytes.data()));
        else
            return *value_;
    }
    const T* operator->() const { return &**this; }

    /// How often it was in hand before, of processes that died or gave it back.
    unsigned redelivered() const { return of_->deaths_of(item_.index); }

    /// Done with.  False when it has gone back meanwhile: then somebody else
    /// has it, or has finished it.
    bool acknowledge()
    {
        if (!end_)
            return false;
        const bool mine = end_->finish(*of_, item_.index);
        end_->take_from_hand(*of_);
        end_.reset();
        return mine;
    }

    /// Not done: for anybody, this consumer included.
    void give_back()
    {
        if (!end_)
            return;
        end_->give_back(*of_);
        end_->take_from_hand(*of_);
        end_.reset();
    }

private:
    template <class>
    friend class consumer;
    using end = detail::consumer_end<T>;
    // The item that the end went to last.
    explicit leased(std::shared_ptr<end> at)
        : end_(std::move(at))
        , of_(&end_->current())
        , item_(end_->item())
    {
        of_->hand_out(item_.index);
        if constexpr (!detail::layout<T>::fixed)
            try
            {
                value_.emplace(detail::layout<T>::read(item_.bytes, true));
            }
            catch (...)
            {
                give_back();
                throw;
            }
    }

    std::shared_ptr<end> end_;
    detail::holding* of_ = nullptr; // of `end_`
    detail::found item_{};
    std::optional<std::conditional_t<detail::layout<T>::fixed, char, T>> value_;
};

/// The other end of a queue: items come out here.
///
///     for (const auto& item : in)   // until the queue is closed and empty
///         work(item);               // acknowledged when the next one is asked
///
/// Copies are the same end; an end is for one thread at a time.  Items that a
/// consumer had in hand when it was killed come again to another one, at once.
/// Whoever asks for an item that cannot be decoded gets what its codec throws;
/// that was one of its attempts.
template <class T>
class consumer
{
public:
    /// An item, acknowledged before it is returned: who wants it back when
    /// this process dies uses `lease` or the loop.  Waits for one; nothing when
    /// the queue is closed and empty.
    std::optional<T> pop()
    {
        std::optional<T> result;
        take(common::time_point::max(), result);
        return result;
    }

    /// Done, empty or closed; never waits.
    outcome try_pop(std::optional<T>& item)
    {
        const auto result = take(common::time_point::min(), item);
        return result == outcome::timed_out ? outcome::empty : result;
    }

    /// Done, timed out or closed.
    outcome pop_until(std::optional<T>& item, common::time_point deadline)
    {
        return take(deadline, item);
    }
    template <class Rep, class Period>
    outcome pop_for(std::optional<T>& item,
                    std::chrono::duration<Rep, Period> time)
    {
        return take(common::deadline_after(time), item);
    }

    /// At least one item, and up to `most` if they are there already; none when
    /// the queue is closed and empty.
    std::vector<T> pop_all(std::size_t most)
    {
        std::vector<T> result;
        result.reserve(std::min<std::size_t>(most, 128));
        const auto& at = seat();
        auto deadline = common::time_point::max();
        while (result.size() < most) // ends: nothing is there any more
        {
            if (at->next_until(deadline) != outcome::done)
                break;
            const auto before = result.size();
            if (!at->take_all(most, result))
                continue; // it was taken back meanwhile
            if (result.size() == before)
                break;
            deadline = common::time_point::min();
        }
        return result;
    }

    /// An item to answer for; none when the queue is closed and empty, or at
    /// the deadline.
    leased<T> lease(common::time_point deadline = common::time_point::max())
    {
        const auto& at = seat();
        return at->next_until(deadline) == outcome::done ? leased<T>(at)
                                                         : leased<T>();
    }

    /// Done, empty or closed; never waits.
    outcome try_lease(leased<T>& item)
    {
        const auto& at = seat();
        const auto how = at->next_until(common::time_point::min());
        if (how == outcome::done)
            item = leased<T>(at);
        return how == outcome::timed_out ? outcome::empty : how;
    }

    /// Acknowledges an item when it goes to the next; a loop that is left, also
    /// by an exception, gives its item back.
    class iterator
    {
    public:
        using value_type = T;
        using difference_type = std::ptrdiff_t;
        using iterator_category = std::input_iterator_tag;

        explicit iterator(consumer& from) : from_(&from)
        {
            one_ = from_->lease();
        }
        const T& operator*() const { return *one_; }
        iterator& operator++()
        {
            one_.acknowledge();
            one_ = from_->lease();
            return *this;
        }
        void operator++(int) { ++*this; }
        bool operator==(std::default_sentinel_t) const { return !one_; }

    private:
        consumer* from_;
        leased<T> one_;
    };
    iterator begin() { return iterator(*this); }
    std::default_sentinel_t end() const { return {}; }

    /// No more items for this end; what is not acknowledged goes back.
    void leave() { held_.reset(); }

private:
    template <class>
    friend class queue;
    template <class>
    friend class async_consumer;
    friend struct detail::end_codec<consumer>;
    static constexpr auto here = detail::side::consumer;
    struct held
    {
        // Leases keep the end alive, and with it the seat.
        struct slot
        {
            std::shared_ptr<detail::consumer_end<T>> one;
            template <class... A>
            void emplace(A&&... arguments)
            {
                one = std::make_shared<detail::consumer_end<T>>(
                    std::forward<A>(arguments)...);
            }
        };
        std::optional<detail::claim> claim; // in the process of the queue
        slot end;
    };

    explicit consumer(std::shared_ptr<held> one) : held_(std::move(one)) {}

    const std::shared_ptr<detail::consumer_end<T>>& seat()
    {
        if (!held_)
            throw common::closed("this consumer has left");
        if (!held_->end.one)
            held_->end.emplace(held_->claim->owner(), here);
        return held_->end.one;
    }

    outcome take(common::time_point deadline, std::optional<T>& into)
    {
        auto& at = *seat();
        const auto how = at.wait([&] { return at.pop(into); }, deadline);
        if (how != outcome::done)
            into.reset(); // a copy of what somebody else was faster to take
        return how;
    }

    std::shared_ptr<held> held_;
};

} // namespace producer_consumer

template <class T>
struct common::codec<producer_consumer::consumer<T>>
    : producer_consumer::detail::end_codec<producer_consumer::consumer<T>>
{
};
