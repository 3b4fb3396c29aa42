// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.

#pragma once

#include "call.hpp"

#include "common/executor.hpp"
#include "common/shared.hpp"

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>

namespace parallel_execution {

namespace detail {

// Of what is copied into each worker, nothing that is written comes back.  A
// packed callable may be called, and that is all that is done with it.
template <class A>
inline constexpr bool is_copied = std::is_trivially_copyable_v<A> || requires
{
    typename A::allocator_type; // a string, or a container
};
template <class F>
inline constexpr bool is_copied<common::packed<F>> = false;

template <class A>
using seen = std::conditional_t<is_copied<A>, const A&, A&>;

template <class F, class... A>
constexpr void check_call()
{
    constexpr bool takes = std::is_invocable_v<F, std::size_t, A&...>;
    static_assert(takes,
                  "the callable does not take an index and the arguments");
    static_assert(!takes || std::is_invocable_v<F, std::size_t, seen<A>...>,
                  "the callable could write to an argument that is a copy, and "
                  "is lost: take it by value or as const, or share it, as "
                  "common::shared_array does");
}

} // namespace detail

/// Worker processes that stay warm and share the work on index ranges.
///
///     parallel_execution::team team;
///     common::shared_array<double> roots(1000);
///     team.transform({0, 1000}, roots,
///                    [](std::size_t i) { return std::sqrt(double(i)); });
///
/// Callables are empty, functions, or wrapped in common::capture; arguments
/// are sent with each chunk, shared arrays among them are not copied.
///
/// An item that kills its worker costs nobody else anything: its chunk is
/// halved until the item is alone, and when it has killed `attempts` workers
/// by itself, it has failed with common::worker_died.  The items that ran
/// beside it before it was alone run again: each item runs at least once.
///
/// An item may have a team of its own, eight levels deep.  All members may be
/// called from any thread at any time.
class team
{
public:
    struct statistics
    {
        std::uint64_t items = 0;    // that have come to an end
        std::uint64_t deaths = 0;   // of workers
        std::uint64_t retried = 0;  // chunks that were run again for one
        std::uint64_t poisoned = 0; // items that killed all their workers
    };

    /// What suits this pattern: every item may kill a bounded number of
    /// workers, so replacing them needs no pause.
    static common::crew::options staff(unsigned workers)
    {
        common::crew::options result;
        result.workers = workers;
        result.backoff = std::chrono::milliseconds(0);
        return result;
    }

    /// Starts the workers.  Throws std::invalid_argument for none of them,
    /// and std::system_error when the system has no process left.
    explicit team(unsigned workers = common::kernel::usable_cpus())
        : team(staff(workers))
    {
    }
    explicit team(const common::crew::options& staff)
        : executor_(shape(staff), [] {})
        , workers_(staff.workers)
    {
    }

    unsigned workers() const { return workers_; }

    /// Calls `f(i, arguments...)` for each index.  Returns when all are done.
    ///
    /// Throws what the first failed item threw (its type and text, as far as
    /// it is a standard type; else common::remote_error), or items_failed
    /// where `how` says collect; common::timed_out at the deadline, after
    /// those who ran have been killed; common::exhausted when workers die
    /// faster than they may be replaced.
    template <class F, class... A>
    void parallel_for(const options& how, range all, const F& f,
                      const A&... arguments)
    {
        detail::check_call<F&, A...>();
        run<detail::nothing>(how, all, false, detail::each{},
                             common::packed<std::decay_t<F>>{f}, arguments...);
    }
    template <class F, class... A>
    void parallel_for(range all, const F& f, const A&... arguments)
    {
        parallel_for(options(), all, f, arguments...);
    }

    /// `to[i] = f(i, arguments...)` for each index.  Throws
    /// std::invalid_argument when `to` ends before the range, and as
    /// parallel_for.
    template <class T, class F, class... A>
    void transform(const options& how, range all,
                   const common::shared_array<T>& to, const F& f,
                   const A&... arguments)
    {
        detail::check_call<F&, A...>();
        if (all.last > to.size())
            throw std::invalid_argument(
                "results up to index " + std::to_string(all.last) +
                " do not fit into " + std::to_string(to.size()) + " elements");
        run<detail::nothing>(
            how, all, false, detail::each{}, common::packed<detail::store>{},
            common::packed<std::decay_t<F>>{f}, to, arguments...);
    }
    template <class T, class F, class... A>
    void transform(range all, const common::shared_array<T>& to, const F& f,
                   const A&... arguments)
    {
        transform(options(), all, to, f, arguments...);
    }

    /// `to[i] = f(from[i], arguments...)` for each element of `from`.  The two
    /// may be the same array; then an item that was repeated after a death may
    /// see its own result: give such a call two arrays.
    template <class From, class T, class F, class... A>
    void transform(const options& how, const common::shared_array<From>& from,
                   const common::shared_array<T>& to, const F& f,
                   const A&... arguments)
    {
        transform(how, {0, from.size()}, to, detail::load{},
                  common::packed<std::decay_t<F>>{f}, from, arguments...);
    }
    template <class From, class T, class F, class... A>
    void transform(const common::shared_array<From>& from,
                   const common::shared_array<T>& to, const F& f,
                   const A&... arguments)
    {
        transform(options(), from, to, f, arguments...);
    }

    /// Combines `map(i, arguments...)` of all indexes; `identity` for an empty
    /// range.  Throws as parallel_for.
    ///
    /// The order of the combinations depends on the range alone: it is halved,
    /// and the halves are halved.  A chunk is one of these parts, so that the
    /// result has the same bits whatever the number of workers, the size of
    /// the chunks and the deaths on the way.  The topmost combinations run in
    /// the calling process.
    template <class T, class Map, class Combine, class... A>
    T reduce(const options& how, range all, const T& identity, const Map& map,
             const Combine& combine, const A&... arguments)
    {
        detail::check_call<const Map&, A...>();
        static_assert(
            std::is_invocable_r_v<T, const Map&, std::size_t, A&...>,
            "map does not make such a value of an index and the arguments");
        static_assert(std::is_invocable_r_v<T, const Combine&, T, T>,
                      "combine does not make one value of two");
        if (all.size() == 0)
            return identity;
        auto parts = run<T>(how, all, true, detail::fold<T>{},
                            common::packed<std::decay_t<Map>>{map},
                            common::packed<std::decay_t<Combine>>{combine},
                            arguments...);
        return detail::fold<T>::tree(
            all, combine, [&](range part) -> std::optional<T> {
                const auto at = parts.find(part.first);
                if (at == parts.end() || at->second.last != part.last)
                    return std::nullopt;
                return std::move(at->second.value);
            });
    }
    template <class T, class Map, class Combine, class... A>
    T reduce(range all, const T& identity, const Map& map,
             const Combine& combine, const A&... arguments)
    {
        return reduce(options(), all, identity, map, combine, arguments...);
    }

    statistics stats() const
    {
        const auto all = executor_.stats();
        return {tally_.items, all.deaths, all.retried + tally_.halved,
                tally_.poisoned};
    }

private:
    static common::executor::options shape(const common::crew::options& staff)
    {
        if (common::nesting_depth() >= 8)
            throw std::logic_error("teams are nested eight levels deep");
        common::executor::options result;
        result.staff = staff;
        result.table.capacity = std::max(256u, 4 * staff.workers);
        return result;
    }

    template <class T, class Body, class... A>
    detail::parts<T> run(const options& how, range all, bool tree,
                         const Body& body, const A&... arguments)
    {
        const auto send = [&](detail::chunk part) {
            common::executor::task_options task;
            task.quiet = true; // until the call waits
            task.attempts = part.size() > 1 ? 1 : how.attempts;
            return executor_.submit_until(how.deadline, task, body, part,
                                          arguments...);
        };
        const auto here = [&](detail::chunk part) {
            return body(part, arguments...);
        };
        detail::call<T, decltype(send), decltype(here)> mine(
            executor_, tally_, workers_, how, all, tree, send, here);
        return mine.run();
    }

    detail::tally tally_;
    common::executor executor_;
    unsigned workers_;
};

} // namespace parallel_execution
