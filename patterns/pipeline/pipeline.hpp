// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.

#pragma once

/// Streams through stages, each in processes of its own:
///
///     auto line = pipeline::source(read) | pipeline::parallel(4, squeeze) |
///                 pipeline::sink(write);
///     const auto report = line.run();
///
/// Each item of the source reaches the sink exactly once and in order,
/// whatever stages are killed; a stage may run it more often than once.

#include "engine.hpp"
#include "report.hpp"
#include "stage.hpp"

#include "common/large.hpp"   // items of many bytes
#include "common/process.hpp" // worker_main

#include <cstddef>
#include <exception>
#include <stdexcept>
#include <tuple>
#include <type_traits>
#include <utility>

namespace pipeline {

/// A source, stages and a sink, ready to run.
template <class Source, class Sink, class... Stages>
class flow
{
public:
    flow(Source from, std::tuple<Stages...> stages, Sink to)
        : source_(std::move(from))
        , stages_(std::move(stages))
        , sink_(std::move(to))
    {
    }

    /// Runs until the source has ended and the sink has got everything.
    ///
    /// The sink runs in this thread, the source in another one of this
    /// process.  Throws what source and sink throw, stage_error for an item
    /// that a stage cannot process (the sink has got all before it), and
    /// common::exhausted when the processes of a stage die all the time: then
    /// the source is not called again; if it waits for input of its own, that
    /// is waited for.  No process is left.  Throws std::logic_error when it
    /// has run before: its source has been used up.
    report run(const options& wanted = {})
    {
        const unsigned workers = std::apply(
            [](const auto&... one) { return (0u + ... + one.workers); },
            stages_);
        detail::engine engine(wanted, workers);
        if (std::exchange(has_run_, true))
            throw std::logic_error("this pipeline has run already: make "
                                   "another one, with a source of its own");
        return connect<typename Source::item>(engine);
    }

private:
    // Adds the stages from number I on; then runs.
    template <class Item, std::size_t I = 0>
    report connect(detail::engine& engine)
    {
        if constexpr (I < sizeof...(Stages))
        {
            auto& one = std::get<I>(stages_);
            using function = decltype(one.function);
            engine.template add<function, Item>(one);
            return connect<detail::item_after<function, Item>, I + 1>(engine);
        }
        else
        {
            engine.template feed<typename Source::item>(source_.next);
            return engine.template drain<Item>(sink_.function);
        }
    }

    Source source_;
    std::tuple<Stages...> stages_;
    Sink sink_;
    bool has_run_ = false;
};

namespace detail {

template <class Source, class Item, class Last, class... Stages, class F>
auto operator|(open_flow<Source, Item, Last, Stages...> all, stage_part<F> next)
{
    if constexpr (connection<Last, Item, F>::fits)
        return open_flow<Source, item_after<F, Item>, F, Stages...,
                         stage_part<F>>{
            std::move(all.source),
            std::tuple_cat(std::move(all.stages),
                           std::make_tuple(std::move(next)))};
}

template <class Source, class Item, class Last, class... Stages, class F>
auto operator|(open_flow<Source, Item, Last, Stages...> all, sink_part<F> last)
{
    if constexpr (connection<Last, Item, F>::fits)
        return flow<Source, sink_part<F>, Stages...>(
            std::move(all.source), std::move(all.stages), std::move(last));
}

} // namespace detail

} // namespace pipeline
