// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.

#pragma once

#include "common/error.hpp"
#include "common/executor.hpp"
#include "common/shared.hpp"
#include "common/task.hpp"
#include "common/wait.hpp"

#include <boost/assert.hpp>
#include <boost/container/small_vector.hpp>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <limits>
#include <map>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

namespace parallel_execution {

/// The indexes first, first + 1, ... up to and without last.
struct range
{
    std::size_t first = 0, last = 0;

    std::size_t size() const { return last - first; }
    std::size_t middle() const { return first + size() / 2; }
};

/// How a range is cut into chunks, each of which is one task.
class chunks
{
public:
    /// Chunks that take about `target` each, by the time that the last one
    /// took; towards the end smaller ones, so that all workers end together.
    static chunks
    measured(std::chrono::nanoseconds target = std::chrono::milliseconds(2))
    {
        if (target.count() <= 0)
            throw std::invalid_argument("a chunk must take some time");
        chunks result;
        result.target_ = target;
        return result;
    }

    /// As many as there are workers: the least overhead, for even work.
    static chunks even() { return chunks(); }

    /// `items` in each.  Throws std::invalid_argument for less than one.
    static chunks of(std::ptrdiff_t items)
    {
        if (items <= 0)
            throw std::invalid_argument("a chunk needs at least 1 item, not " +
                                        std::to_string(items));
        chunks result;
        result.items_ = static_cast<std::size_t>(items);
        return result;
    }

    std::chrono::nanoseconds target() const { return target_; } // 0: fixed
    std::size_t items() const { return items_; }                // 0: it depends

private:
    std::chrono::nanoseconds target_{0};
    std::size_t items_ = 0;
};

/// What happens to the rest when an item fails.
enum class errors
{
    fail_fast, // what comes after it is cancelled, as in a loop
    collect    // everything else is done; then all errors are reported
};

struct options
{
    chunks cut = chunks::measured();
    errors on_error = errors::fail_fast;
    common::time_point deadline = common::time_point::max(); // of all
    unsigned attempts = 3; // how many workers an item may kill
    bool here = false;     // in the calling process, to debug: no worker runs,
                           // and nothing protects from crashes and hangs

    /// Called in the calling thread when items have come to their end.
    std::function<void(std::size_t done, std::size_t total)> progress;
};

struct item_error
{
    std::size_t index;
    std::string what;
    std::exception_ptr error; // rethrow it to catch what the item threw
};

/// Some items failed, all others are done.
class items_failed : public std::runtime_error
{
public:
    items_failed(std::vector<item_error> items, std::size_t total)
        : std::runtime_error(text(items, total))
        , items_(std::move(items))
    {
    }

    const std::vector<item_error>& items() const { return items_; } // by index

private:
    static std::string text(const std::vector<item_error>& items,
                            std::size_t total)
    {
        std::string result = std::to_string(items.size()) + " of " +
                             std::to_string(total) + " items failed";
        for (std::size_t i = 0; i < std::min<std::size_t>(3, items.size()); ++i)
            result += (i == 0 ? ": item " : "; item ") +
                      std::to_string(items[i].index) + ": " + items[i].what;
        return result + (items.size() > 3 ? "; ..." : "");
    }

    std::vector<item_error> items_;
};

namespace detail {

using nothing = std::tuple<>;

// --- what travels ----------------------------------------------------------

// With an empty callable and no arguments this fits into a cell.
struct chunk : range
{
    std::uint32_t timed = 0, collect = 0;
};

struct failure
{
    std::size_t index;
    common::error_message error;
};

template <class T>
struct report
{
    std::uint32_t nanoseconds = 0;
    std::vector<failure> failed;
    std::optional<T> value; // none: an item failed, or it was asked to stop
};

// --- in a worker -----------------------------------------------------------

/// Runs `work(report)`, and notes how long that took.
template <class T, class Work>
report<T> measure(const chunk& mine, Work work)
{
    report<T> result;
    if (mine.timed == 0)
    {
        work(result);
        return result;
    }
    const auto start = common::clock::now();
    work(result);
    result.nanoseconds = static_cast<std::uint32_t>(
        std::min<std::int64_t>((common::clock::now() - start).count(),
                               std::numeric_limits<std::uint32_t>::max()));
    return result;
}

inline void note(std::size_t index, std::vector<failure>& failed)
{
    failed.push_back({index, common::error_message::current()});
}

/// Visits the items from `at` on.  Returns whether it came to the end.
template <class Visit>
bool walk(const chunk& mine, std::size_t at, std::vector<failure>& failed,
          Visit visit)
{
    for (; at < mine.last; ++at)
        try
        {
            if (common::stop_requested())
                return false;
            visit(at);
        }
        catch (...)
        {
            note(at, failed);
            if (mine.collect == 0)
                return false;
        }
    return true;
}

/// Calls `f` for each item.
struct each
{
    template <class F, class... A>
    report<nothing> operator()(const chunk& mine, common::packed<F> f,
                               A... arguments) const
    {
        return measure<nothing>(mine, [&](report<nothing>& result) {
            const bool all =
                walk(mine, mine.first, result.failed,
                     [&](std::size_t i) { f.function(i, arguments...); });
            if (all && result.failed.empty())
                result.value.emplace();
        });
    }
};

struct store
{
    template <class F, class T, class... A>
    void operator()(std::size_t i, common::packed<F>& f,
                    common::shared_array<T>& to, A&... arguments) const
    {
        to[i] = f.function(i, arguments...);
    }
};

struct load
{
    template <class F, class T, class... A>
    decltype(auto) operator()(std::size_t i, common::packed<F>& f,
                              common::shared_array<T>& from,
                              A&... arguments) const
    {
        return f.function(std::as_const(from[i]), arguments...);
    }
};

struct stopped // leaves a tree that nobody waits for any more
{
};

/// Combines the items of a part: of its halves, and those of their halves.
template <class T>
struct fold
{
    /// `known(part)` gives the value of a part, or nothing: then it has two
    /// halves.
    template <class Combine, class Known>
    static T tree(range part, const Combine& combine, const Known& known)
    {
        if (auto value = known(part))
            return std::move(*value);
        BOOST_ASSERT(part.size() > 1);
        T left = tree({part.first, part.middle()}, combine, known);
        T right = tree({part.middle(), part.last}, combine, known);
        return combine(std::move(left), std::move(right));
    }

    template <class Map, class Combine, class... A>
    report<T> operator()(const chunk& mine, common::packed<Map> map,
                         common::packed<Combine> combine, A... arguments) const
    {
        return measure<T>(mine, [&](report<T>& result) {
            std::size_t at = mine.first; // items are visited in order
            const auto one = [&](range part) -> std::optional<T> {
                if (part.size() != 1)
                    return std::nullopt;
                if (common::stop_requested())
                    throw stopped();
                at = part.first;
                return map.function(at, arguments...);
            };
            try
            {
                result.value = tree(mine, combine.function, one);
            }
            catch (const stopped&)
            {
            }
            catch (...)
            {
                note(at, result.failed);
                if (mine.collect != 0)
                    walk(mine, at + 1, result.failed, [&](std::size_t i) {
                        static_cast<void>(map.function(i, arguments...));
                    });
            }
        });
    }
};

// --- in the calling process ------------------------------------------------

/// What a team counts over all its calls.
struct tally
{
    std::atomic<std::uint64_t> items{0}, halved{0}, poisoned{0};
};

template <class T>
struct part_value
{
    std::size_t last;
    T value;
};
template <class T>
using parts = std::map<std::size_t, part_value<T>>; // by their first index

/// One call of a team: cuts the range, keeps the workers busy, and brings
/// every item to its end.
template <class T, class Send, class Here>
class call
{
public:
    /// `tree`: chunks are to be parts of the tree that `fold` goes through.
    call(common::executor& executor, tally& counts, unsigned workers,
         const options& how, range all, bool tree, const Send& send,
         const Here& here)
        : executor_(executor)
        , ledger_(*executor.shared_ledger())
        , counts_(counts)
        , workers_(workers)
        , how_(how)
        , total_(all.size())
        , tree_(tree)
        , send_(send)
        , here_(here)
        , limit_(all.last)
    {
        if (all.last < all.first)
            throw std::invalid_argument(
                "the range from " + std::to_string(all.first) + " to " +
                std::to_string(all.last) + " is upside down");
        running_.reserve(2 * workers_);
        again(all);
    }
    call(const call&) = delete;

    /// However a call ends: when it has, nothing of it runs any more.
    ~call()
    {
        for (const auto& one : running_)
            executor_.cancel(one.ticket, true);
        for (const auto& one : running_) // ends with the kill that was ordered
            ledger_.finish(one.ticket, [](auto, auto&, auto) {});
        counts_.items += done_;
    }

    parts<T> run()
    {
        while (!waiting_.empty() || !running_.empty())
        {
            // A chunk for each worker, and the next one ready beside it.
            while (!waiting_.empty() && running_.size() < 2 * workers_)
                start(next());
            wait();
            collect();
            if (how_.progress)
            {
                wake(); // it may take long
                how_.progress(done_, total_);
            }
        }
        if (failed_.empty())
            return std::move(values_);
        std::sort(
            failed_.begin(), failed_.end(),
            [](const auto& a, const auto& b) { return a.index < b.index; });
        if (how_.on_error == errors::fail_fast)
            std::rethrow_exception(failed_.front().error);
        throw items_failed(std::move(failed_), total_);
    }

private:
    struct started
    {
        common::executor::ticket_ptr ticket;
        range part;
    };

    // --- cutting ---

    // tag::cut[]
    std::size_t wanted() const
    {
        if (how_.cut.items() != 0)
            return how_.cut.items();
        if (how_.cut.target().count() == 0)
            return (total_ - 1) / workers_ + 1;
        return std::clamp<std::size_t>(waiting_items_ / (2 * workers_), 1,
                                       measured_);
    }

    range next()
    {
        const auto size = wanted();
        range part = waiting_.back();
        waiting_.pop_back();
        while (part.size() > size) // of a tree: at most 64 halvings
        {
            const auto cut = tree_ ? part.middle() : part.first + size;
            waiting_.push_back({cut, part.last});
            part.last = cut;
        }
        waiting_items_ -= part.size();
        return part;
    }

    // At most four times as much as was measured: one cheap item says little.
    void learn(range part, std::uint32_t nanoseconds)
    {
        if (nanoseconds != 0)
            measured_ = std::clamp<std::size_t>(
                static_cast<std::size_t>(how_.cut.target().count()) *
                    part.size() / nanoseconds,
                1, 4 * part.size());
    }
    // end::cut[]

    // --- a chunk's life ---

    void start(range part)
    {
        const bool timed =
            how_.cut.target().count() != 0 && total_ > 2 * workers_;
        const bool collect = how_.on_error == errors::collect;
        const chunk mine{part, timed, collect};
        if (how_.here)
        {
            if (common::clock::now() > how_.deadline)
                expire();
            return accept(part, here_(mine));
        }
        auto ticket = send_(mine);
        if (!ticket)
            expire();
        running_.push_back({std::move(ticket), part});
    }

    // Ends with the end of a chunk, or the deadline.
    void wait()
    {
        // Whether it pays to wake workers is known when those who are awake
        // have had some time.  Until then at the oldest chunk alone: a look at
        // the cell of another would take it away from the worker that is about
        // to write there.
        for (int i = 0; i < 16 && !running_.empty(); ++i)
        {
            if (ledger_.over(*running_.front().ticket))
                return;
            common::beat();
        }
        wake();
        const auto ready = [&] {
            return std::any_of(
                running_.begin(), running_.end(),
                [&](const started& one) { return ledger_.over(*one.ticket); });
        };
        if (!running_.empty() && !ledger_.wait_any(ready, how_.deadline))
            expire();
    }

    void wake() const // for what who is awake did not get to
    {
        for (const auto& one : running_)
            executor_.wake_for(*one.ticket);
    }

    [[noreturn]] void expire() const
    {
        throw common::timed_out("the deadline passed with " +
                                std::to_string(done_) + " of " +
                                std::to_string(total_) + " items done");
    }

    void collect()
    {
        for (std::size_t i = 0; i < running_.size();)
        {
            if (!ledger_.over(*running_[i].ticket))
            {
                ++i;
                continue;
            }
            auto one = std::move(running_[i]);
            running_.erase(running_.begin() + static_cast<std::ptrdiff_t>(i));
            ledger_.take(std::move(one.ticket),
                         [&](common::outcome how, const common::ticket& task,
                             std::span<const std::byte> bytes) {
                             end(one.part, how, task, {bytes});
                         });
        }
    }

    void end(range part, common::outcome how, const common::ticket& task,
             common::reader bytes)
    {
        switch (how)
        {
        case common::outcome::value:
            return accept(part, common::decode<report<T>>(bytes));
        case common::outcome::error: // around the items: of all, not of one
            common::decode<common::error_message>(bytes).rethrow();
        case common::outcome::died:
            return die(part, task.deaths);
        case common::outcome::cancelled: // it comes after an item that failed
            return;
        default:
            throw common::exhausted(task.why);
        }
    }

    void accept(range part, report<T> result)
    {
        learn(part, result.nanoseconds);
        if (!result.value && result.failed.empty()) // stopped: see cancel()
            return again(part);
        done_ += part.size();
        for (const auto& one : result.failed)
            try
            {
                one.error.rethrow();
            }
            catch (...)
            {
                fail({one.index, one.error.what, std::current_exception()});
            }
        if constexpr (!std::is_same_v<T, nothing>)
            if (result.value)
                values_.insert(
                    {part.first, {part.last, std::move(*result.value)}});
    }

    // tag::die[]
    void die(range part, const std::vector<common::death>& deaths)
    {
        if (part.size() > 1) // one of them did it: halve until it is alone
        {
            ++counts_.halved;
            again({part.middle(), part.last});
            again({part.first, part.middle()});
            return;
        }
        ++done_;
        ++counts_.poisoned;
        const common::worker_died error("item " + std::to_string(part.first),
                                        deaths);
        fail({part.first, error.what(), std::make_exception_ptr(error)});
    }

    // What is not cancelled is to run, or to run again.
    void again(range part)
    {
        part.last = std::min(part.last, limit_);
        if (part.first >= part.last)
            return;
        waiting_.push_back(part);
        waiting_items_ += part.size();
    }
    // end::die[]

    void fail(item_error error)
    {
        const auto index = error.index;
        failed_.push_back(std::move(error));
        if (how_.on_error == errors::fail_fast && index < limit_)
            cancel(index);
    }

    // What comes before `from` still runs: a loop would have failed there.
    void cancel(std::size_t from)
    {
        limit_ = from;
        waiting_items_ = 0;
        for (const auto& part : std::exchange(waiting_, {}))
            again(part);
        for (const auto& one : running_)
            if (one.part.first >= from && !executor_.cancel(one.ticket, false))
                executor_.request_stop(*one.ticket);
    }

    common::executor& executor_;
    common::ledger& ledger_;
    tally& counts_;
    const std::size_t workers_;
    const options& how_;
    const std::size_t total_;
    const bool tree_;
    const Send& send_;
    const Here& here_;
    std::size_t limit_; // what is at or beyond it is cancelled
    boost::container::small_vector<range, 8> waiting_; // the next one is last
    std::size_t waiting_items_ = 0;
    std::size_t measured_ = 1; // items that take the target time
    boost::container::small_vector<started, 8> running_;
    std::vector<item_error> failed_;
    std::size_t done_ = 0; // items, well or not
    parts<T> values_;
};

} // namespace detail

} // namespace parallel_execution
