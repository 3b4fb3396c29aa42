// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.

#pragma once

#include "future.hpp"

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <exception>
#include <functional>
#include <iterator>
#include <memory>
#include <optional>
#include <ranges>
#include <stdexcept>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

namespace worker_pool {

/// Which task runs first.
enum class priority : unsigned
{
    high,
    normal,
    low
};

struct task_options
{
    worker_pool::priority priority = priority::normal;
    unsigned attempts = 0; // workers it may kill; 0: as the pool says
    std::chrono::nanoseconds soft_deadline{0}; // running longer: asked to stop
    std::chrono::nanoseconds hard_deadline{0}; // running longer: killed
};

/// How map cuts its input.
struct map_options
{
    std::size_t chunk = 0;  // items of a task; 0: as many as take about 2 ms
    std::size_t window = 0; // tasks at a time; 0: four for each worker
    bool ordered = true;
    task_options task{}; // a chunk has the deadlines of a task
};

namespace detail {

/// Stands for the result of a function that returns nothing.
template <class R>
using value_of = std::conditional_t<std::is_void_v<R>, std::monostate, R>;

/// What a task of a map sends back: results in order, but for the items named
/// in `errors`.
template <class R>
struct chunk_result
{
    std::int64_t nanoseconds = 0;
    std::vector<R> values;
    std::vector<std::pair<std::uint64_t, common::error_message>> errors;
};

} // namespace detail

} // namespace worker_pool

// Boost.PFR and clang do not count the members of an aggregate that holds a
// vector of something that only moves.
template <class R>
struct common::codec<worker_pool::detail::chunk_result<R>>
{
    using chunk = worker_pool::detail::chunk_result<R>;

    static std::size_t size(const chunk& c)
    {
        return sizeof c.nanoseconds + encoded_size(c.values) +
               encoded_size(c.errors);
    }
    static void write(writer& to, const chunk& c)
    {
        encode(to, c.nanoseconds);
        encode(to, c.values);
        encode(to, c.errors);
    }
    static chunk read(reader& from)
    {
        return {decode<std::int64_t>(from),
                decode<decltype(chunk::values)>(from),
                decode<decltype(chunk::errors)>(from)};
    }
};

namespace worker_pool {

namespace detail {

template <class F, class Item>
decltype(auto) call_with(F& function, Item&& item)
{
    if constexpr (std::is_invocable_v<F&, Item>)
        return function(std::forward<Item>(item));
    else // a tuple of arguments
        return std::apply(function, std::forward<Item>(item));
}

template <class F, class Item>
struct run_chunk
{
    using result = std::decay_t<decltype(call_with(std::declval<F&>(),
                                                   std::declval<Item>()))>;

    chunk_result<value_of<result>> operator()(common::packed<F> f,
                                              std::vector<Item> items) const
    {
        chunk_result<value_of<result>> all;
        const auto start = clock::now();
        all.values.reserve(items.size());
        for (std::size_t i = 0; i < items.size(); ++i)
        {
            try
            {
                if constexpr (std::is_void_v<result>)
                {
                    call_with(f.function, std::move(items[i]));
                    all.values.emplace_back();
                }
                else
                    all.values.push_back(
                        call_with(f.function, std::move(items[i])));
            }
            catch (...)
            {
                all.errors.emplace_back(i, common::error_message::current());
            }
        }
        all.nanoseconds = (clock::now() - start).count();
        return all;
    }
};

} // namespace detail

/// The results of a function over a range, computed by a pool a bounded number
/// of items ahead of whoever reads them.  The input may be infinite.
///
///     for (const auto& digest : pool.map(paths, &sha256))
///
/// An item whose call threw throws when it is read; the next one is there
/// afterwards.  An item that kills its workers is found: it alone throws
/// common::worker_died, its neighbours are computed.  An exception of the
/// input itself comes after all that was read before it, and ends the results.
///
/// Destroyed early, it takes back what does not run yet.
template <class Pool, class Range, class F>
class mapping
{
    using item = std::ranges::range_value_t<Range>;
    using chunk = detail::run_chunk<F, item>;

public:
    using value_type = detail::value_of<typename chunk::result>;

    mapping(Pool& pool, Range range, F function, const map_options& how)
        : pool_(pool)
        , function_(std::move(function))
        , how_(how)
        , fixed_(how.chunk != 0)
        , size_(std::max<std::size_t>(1, how.chunk))
        , window_(how.window != 0 ? how.window : 4 * pool.size())
        , range_(std::make_unique<holder>(std::forward<Range>(range)))
    {
    }

    mapping(mapping&&) = default;

    ~mapping()
    {
        for (const auto& one : sent_)
            one.answer.cancel();
    }

    /// The next result; nothing after the last.  Throws what its call threw.
    std::optional<value_type> next()
    {
        for (;;) // each turn delivers, waits for a chunk, or ends
        {
            if (value_ < current_.values.size() || error_ < errors())
                return one();
            if (current_error_)
                std::rethrow_exception(std::exchange(current_error_, nullptr));
            fill();
            if (sent_.empty())
            {
                if (input_error_)
                    std::rethrow_exception(
                        std::exchange(input_error_, nullptr));
                return std::nullopt;
            }
            receive();
        }
    }

    class iterator
    {
    public:
        using value_type = mapping::value_type;
        using difference_type = std::ptrdiff_t;

        explicit iterator(mapping& all) : all_(&all) { ++*this; }
        value_type& operator*()
        {
            if (error_)
                std::rethrow_exception(error_);
            return *now_;
        }
        iterator& operator++()
        {
            error_ = nullptr;
            try
            {
                now_ = all_->next();
            }
            catch (...)
            {
                error_ = std::current_exception();
            }
            return *this;
        }
        void operator++(int) { ++*this; }
        bool operator==(std::default_sentinel_t) const
        {
            return !now_.has_value() && !error_;
        }

    private:
        mapping* all_;
        std::optional<value_type> now_;
        std::exception_ptr error_;
    };
    iterator begin() { return iterator(*this); }
    std::default_sentinel_t end() const { return {}; }

private:
    using result = detail::chunk_result<value_type>;

    struct sent
    {
        std::vector<item> items; // until the chunk has come back whole
        future<result> answer;
    };

    struct holder // the range stays where its iterators point
    {
        explicit holder(Range&& all)
            : range(std::forward<Range>(all))
            , at(std::ranges::begin(range))
        {
        }
        Range range;
        std::ranges::iterator_t<std::remove_reference_t<Range>> at;
        bool begun = false;
    };

    // A task for each chunk of input, until the window is full.
    void fill()
    {
        while (sent_.size() < window_ && !input_failed_)
        {
            std::vector<item> items;
            try
            {
                for (auto& in = *range_; items.size() < size_;)
                {
                    if (std::exchange(in.begun, true))
                        ++in.at;
                    if (in.at == std::ranges::end(in.range))
                    {
                        in.begun = false; // stay at the end
                        break;
                    }
                    items.push_back(*in.at);
                }
            }
            catch (...)
            {
                input_error_ = std::current_exception();
                input_failed_ = true; // read no further, ever
            }
            if (items.empty())
                return;
            sent_.push_back(send(std::move(items)));
        }
    }

    sent send(std::vector<item> items)
    {
        auto how = how_.task;
        if (items.size() > 1)
            how.attempts = 1; // then one by one, to find who did it
        auto answer =
            pool_.submit(how, chunk{}, common::packed<F>{function_}, items);
        return {std::move(items), std::move(answer)};
    }

    void receive()
    {
        auto first = sent_.begin();
        if (!how_.ordered)
            first = wait_for_any();
        auto one = std::move(*first);
        sent_.erase(first);
        current_ = {};
        value_ = error_ = place_ = 0;
        try
        {
            current_ = one.answer.get();
            if (!fixed_)
                measure(one.items.size());
        }
        catch (const common::worker_died&)
        {
            split(std::move(one.items));
        }
        catch (const common::timed_out&)
        {
            split(std::move(one.items));
        }
        catch (...)
        {
            current_error_ = std::current_exception();
        }
    }

    auto wait_for_any()
    {
        auto found = sent_.begin();
        found->answer.wait_any([&] {
            found = std::find_if(sent_.begin(), sent_.end(), [](const auto& s) {
                return s.answer.ready();
            });
            return found != sent_.end();
        });
        return found;
    }

    // In a handler.  One by one, to find which of them it was.
    void split(std::vector<item> items)
    {
        if (items.size() == 1)
        {
            current_error_ = std::current_exception();
            return;
        }
        std::deque<sent> single;
        for (auto& one : items)
            single.push_back(send({std::move(one)}));
        sent_.insert(sent_.begin(), std::make_move_iterator(single.begin()),
                     std::make_move_iterator(single.end()));
    }

    // Chunks of about two milliseconds: long beside what a task costs, short
    // beside what a straggler would.
    void measure(std::size_t items)
    {
        constexpr std::int64_t target = 2'000'000;
        const auto each = std::max<std::int64_t>(
            1, current_.nanoseconds / static_cast<std::int64_t>(items));
        const auto wanted = static_cast<std::size_t>(target / each);
        size_ = std::clamp<std::size_t>(
            wanted, 1, std::min<std::size_t>(size_ * 4, 65'536));
    }

    std::size_t errors() const { return current_.errors.size(); }

    // The result of the current chunk at `place_`.
    std::optional<value_type> one()
    {
        const auto place = place_++;
        if (error_ < errors() && current_.errors[error_].first == place)
            current_.errors[error_++].second.rethrow();
        if (value_ == current_.values.size())
            throw common::malformed("a chunk came back with results missing");
        return std::move(current_.values[value_++]);
    }

    Pool& pool_;
    F function_;
    map_options how_;
    bool fixed_;
    std::size_t size_, window_;
    std::unique_ptr<holder> range_;
    std::exception_ptr input_error_; // until it is reported
    bool input_failed_ = false;
    std::deque<sent> sent_;
    result current_; // being read: at place_, value_ and error_
    std::size_t place_ = 0, value_ = 0, error_ = 0;
    std::exception_ptr current_error_;
};

} // namespace worker_pool
