// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.

#pragma once

#include "common/codec.hpp"

#include <iterator>
#include <optional>
#include <stdexcept>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

namespace pipeline {

/// What a stage returns that makes several items of one, or none.
template <class T>
struct several
{
    explicit several(std::vector<T> all) : items(std::move(all)) {}
    std::vector<T> items;
};

/// In a stage: which item it runs for, and how many processes of this stage
/// that item has killed before.
struct current_item
{
    std::uint64_t number = 0; // as the source counts, from 0 on
    unsigned attempt = 0;
};

namespace detail {

inline current_item& here()
{
    static current_item only;
    return only;
}

/// What goes on from a result: `type` is the item; calls `add(item)` for each.
template <class R>
struct passed_on
{
    using type = R;
    template <class Add>
    static void each(const R& one, Add add)
    {
        add(one);
    }
};
template <class T>
struct passed_on<std::optional<T>>
{
    using type = T;
    template <class Add>
    static void each(const std::optional<T>& one, Add add)
    {
        if (one)
            add(*one);
    }
};
template <class T>
struct passed_on<several<T>>
{
    using type = T;
    template <class Add>
    static void each(const several<T>& all, Add add)
    {
        for (const T& one : all.items)
            add(one);
    }
};

/// Names, in the compiler's message, what was to be connected: the stage
/// before, the item it gives, the stage behind.
template <class Before, class Item, class After>
struct connection
{
    static constexpr bool fits = std::is_invocable_v<After&, Item>;
    static_assert(fits, "a stage does not take what the one before it gives: "
                        "see connection<stage before, item, stage behind>");
    static_assert(common::codable<Item>,
                  "an item cannot cross to another process");
};

template <class F, class Item>
using result = std::decay_t<std::invoke_result_t<F&, Item>>;

/// What a stage passes on.
template <class F, class Item>
using item_after = typename passed_on<result<F, Item>>::type;

/// A stage that is not connected yet.
template <class F>
struct stage_part
{
    F function;
    unsigned workers;
    bool ordered; // wants its input in order
    std::string name;
};

template <class G>
struct source_part
{
    using item = typename decltype(std::declval<G&>()())::value_type;
    G next; // gives an optional item
};

template <class F>
struct sink_part
{
    F function;
};

/// A range as a source.  `R` is a reference where the range belongs to others.
template <class R>
struct range_source
{
    using item = std::decay_t<decltype(*std::begin(std::declval<R&>()))>;

    std::optional<item> operator()()
    {
        if (!at)
            at.emplace(std::begin(range));
        if (*at == std::end(range))
            return std::nullopt;
        std::optional<item> result(**at);
        ++*at;
        return result;
    }

    R range;
    std::optional<decltype(std::begin(std::declval<R&>()))> at = {};
};

/// A flow without its sink.  `Last` is what gives `Item`.
template <class Source, class Item, class Last, class... Stages>
struct open_flow
{
    Source source;
    std::tuple<Stages...> stages;

    template <class... Options>
    void run(const Options&...) const
    {
        static_assert(common::detail::never<std::tuple<Options...>>,
                      "a pipeline ends with a sink: `| pipeline::sink(f)`");
    }
};

template <class G>
using flow_from = open_flow<source_part<G>, typename source_part<G>::item, G>;

} // namespace detail

/// The item that this stage runs for; in a worker.
inline const current_item& current()
{
    return detail::here();
}

/// Where items come from, in the calling process: a callable that returns
/// std::optional, nothing at the end of the stream; or a range.
template <class S>
auto source(S&& from)
{
    // No call in between: g++ 12 loses what a callable captured by reference
    // when a function that got it by reference returns what another one returns
    // (-fipa-modref; test/patterns/pipeline_captures_test.cpp).
    if constexpr (std::is_invocable_v<S&>)
        return detail::flow_from<std::decay_t<S>>{{std::forward<S>(from)}, {}};
    else
        return detail::flow_from<detail::range_source<S>>{
            {{std::forward<S>(from)}}, {}};
}

/// A stage of one process that gets the items in the order of the source.
///
/// `function` takes an item and returns the next one; or std::optional of it,
/// nothing to drop the item; or `several`.  It has no captures, or is wrapped
/// in common::capture, as every callable that crosses to another process.
template <class F>
auto stage(F function, std::string name = "")
{
    return detail::stage_part<F>{std::move(function), 1, true, std::move(name)};
}

/// A stage of one process that takes the items as they come.
template <class F>
auto unordered(F function, std::string name = "")
{
    return detail::stage_part<F>{std::move(function), 1, false,
                                 std::move(name)};
}

/// A stage of `workers` processes; items overtake each other.  Throws
/// std::invalid_argument for none, or for more than 4094.
template <class F>
auto parallel(unsigned workers, F function, std::string name = "")
{
    if (workers == 0 || workers > 4094)
        throw std::invalid_argument("a stage has 1 to 4094 workers, not " +
                                    std::to_string(workers));
    return detail::stage_part<F>{std::move(function), workers, false,
                                 std::move(name)};
}

/// Where items end, in the calling process, in the order of the source, each
/// of them once.
template <class F>
auto sink(F function)
{
    return detail::sink_part<F>{std::move(function)};
}

} // namespace pipeline
