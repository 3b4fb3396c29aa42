// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.

#pragma once

#include "order.hpp"
#include "record.hpp"
#include "report.hpp"
#include "worker.hpp"

#include "common/crew.hpp"
#include "common/error.hpp"
#include "common/lane_ends.hpp"

#include <algorithm>
#include <atomic>
#include <bit>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace pipeline {

/// What happens with an item that a stage cannot process.
enum class on_error : std::uint8_t
{
    stop, // run() throws a stage_error that names it
    skip  // the others go on
};

struct options
{
    unsigned batch = 0;  // so many items may travel together, where a stage is
                         // slower than the source; 1 to 255; 0: as many as the
                         // slowest stage does in 20 us, and one at least
    unsigned tokens = 0; // items between source and sink at once; 0: four
                         // batches for each worker
    std::size_t edge_bytes = 1u << 20; // of each lane between two stages; the
                                       // largest item is a little smaller
    unsigned attempts = 3; // an item that has killed so many processes of one
                           // stage has failed; 1 to 4000
    unsigned retries = 0;  // of an item that throws, in the same process
    std::chrono::milliseconds deadline{0}; // of an item in a stage, with its
                                           // retries: then its process is
                                           // killed; 0: none
    on_error errors = on_error::stop;
    std::function<void(const stage_error&)> skipped = {}; // told of each, in
                                                          // order
    common::crew::options staff = {}; // restarts; not its workers and its name
};

namespace detail {

/// The engine room of a run: edges, processes, tokens.
///
///     source -> edge -> crew -> edge -> ... -> edge -> sink
///
/// An edge is a stream of common/lanes.hpp, with a lane for each process that
/// writes.  Where order is wanted behind a stage that does not keep it, a
/// thread of this process restores it between two edges.
class engine
{
public:
    explicit engine(const options& wanted, unsigned workers)
        : options_(wanted)
        , workers_(std::max(1u, workers))
        , batch_(std::min(largest_batch(), std::max(1u, wanted.batch)))
        , tail_(new_edge(1))
        , ends_(2)
    {
        if (wanted.attempts == 0 || wanted.attempts > 4000)
            throw std::invalid_argument("an item may have 1 to 4000 attempts, "
                                        "not " +
                                        std::to_string(wanted.attempts));
        constexpr auto longest = std::chrono::hours(24 * 365);
        if (wanted.deadline.count() < 0 || wanted.deadline > longest)
            throw std::invalid_argument(
                "a deadline is 0 ms to a year, not " +
                std::to_string(wanted.deadline.count()) + " ms");
        if (wanted.batch > most_batch)
            throw std::invalid_argument("a batch has 1 to 255 items, not " +
                                        std::to_string(wanted.batch));
    }

    engine(const engine&) = delete;

    /// Ends everything that still runs.
    ~engine()
    {
        stop();
        crews_.clear(); // kills who is left
        for (auto& one : threads_)
            one.join();
    }

    /// Starts the processes of one more stage, behind the others.
    template <class F, class In>
    void add(const stage_part<F>& part)
    {
        if (part.ordered && !in_order_)
            restore_order();
        in_order_ = in_order_ && part.workers == 1;
        const auto index = static_cast<unsigned>(stages_.size());
        auto& mine = stages_.emplace_back(std::make_unique<stage_state>(
            part.name.empty() ? "stage " + std::to_string(index + 1)
                              : part.name,
            part.workers));
        const auto in = tail_;
        const auto out = tail_ = new_edge(part.workers);
        auto staff = options_.staff;
        staff.workers = part.workers;
        staff.name = mine->name;
        crews_.push_back(std::make_unique<common::crew>(
            staff,
            common::crew::events{
                [this, in, out,
                 name = mine->name](const common::crew::ended& e) {
                    in.recover(e.slot);
                    end_with_dead(in, name);
                    // It may have died before it woke who waits.
                    out.work().notify_after_death();
                },
                [this, name = mine->name](const std::string& cause) {
                    fail(std::make_exception_ptr(
                        common::exhausted(name + ": " + cause)));
                }},
            serve<F, In>{}, in, out, mine->meters,
            stage_orders{index, options_.attempts, options_.retries,
                         options_.deadline},
            common::packed<F>{part.function}));
    }

    /// Calls `next()` for items, in a thread of its own.
    template <class T, class Next>
    void feed(Next& next)
    {
        threads_.emplace_back([this, &next] {
            try
            {
                give_all<T>(next);
            }
            catch (...)
            {
                fail(std::current_exception());
            }
        });
    }

    /// Calls `use(item)` for all that arrives, until the stream ends.
    template <class T, class Use>
    report drain(Use&& use)
    {
        ordered_reader from(tail_, stopped_);
        stopwatch time(ends_[1]);
        while (const auto record = from.next(time))
        {
            const auto first = head_of(record->bytes).first;
            for_each_element<T>(
                record->bytes, record->parts,
                [&](element one) {
                    std::optional<T> item;
                    try
                    {
                        item.emplace(common::decode<T>(one.from));
                    }
                    catch (...) // a codec's, not what `use` throws
                    {
                        return give_up("sink",
                                       first + (one.tag & element_tag::part),
                                       common::error_message::current());
                    }
                    use(std::move(*item));
                },
                [&](std::uint32_t part, const failure& why) {
                    if (why.stage >= stages_.size())
                        throw common::malformed("an error of stage " +
                                                std::to_string(why.stage));
                    give_up(stages_[why.stage]->name, first + part, why.error);
                });
            time.items(record->parts);
            delivered_.store(from.number());
            room_.notify_all();
        }
        const std::lock_guard hold(mutex_);
        if (failure_)
            std::rethrow_exception(failure_);
        if (from.number() != admitted_)
            throw std::logic_error("of " + std::to_string(admitted_) +
                                   " items, only " +
                                   std::to_string(from.number()) + " arrived");
        return summary();
    }

private:
    struct stage_state
    {
        stage_state(std::string n, unsigned workers)
            : name(std::move(n))
            , meters(workers)
        {
        }
        std::string name;
        common::shared_array<meter> meters;
        stage_statistics seen; // by the source, when it looked last
    };
    static constexpr unsigned most_batch = common::slot_control::most_parts;

    common::lanes new_edge(unsigned writers)
    {
        common::lanes::options how;
        how.lanes = writers;
        how.bytes = options_.edge_bytes;
        const auto most = options_.batch != 0 ? options_.batch : most_batch;
        how.records =
            std::bit_ceil(std::clamp(2 * tokens(most), 64u, 1u << 20));
        how.readers = 4095;
        how.attempts = common::slot_control::most_attempts; // see stage_worker
        const std::lock_guard hold(mutex_);
        const auto& one = edges_.emplace_back(how);
        if (stopped_)
            one.close();
        return one;
    }

    // A record that has been leased as often as a record can be will never
    // pass: without it the order has a gap for ever.
    void end_with_dead(const common::lanes& in, const std::string& name)
    {
        in.take_dead(
            [&](std::span<const std::byte> record, common::slot_control now) {
                fail(std::make_exception_ptr(common::exhausted(
                    name + ": item " + std::to_string(head_of(record).first) +
                    (now.parts > 1 ? " and those with it" : "") + " cost " +
                    std::to_string(now.attempt) + " processes")));
            });
    }

    // The thread between two edges.
    void restore_order()
    {
        const auto in = tail_;
        const auto out = tail_ = new_edge(1);
        in_order_ = true;
        threads_.emplace_back([this, in, out] {
            try
            {
                meter nobody_asks;
                stopwatch time(nobody_asks);
                ordered_reader from(in, stopped_);
                common::lane_writer to(out, 0);
                while (const auto record = from.next(time))
                {
                    const auto bytes = record->bytes;
                    const auto room = room_for(to, bytes.size(), time);
                    if (!room)
                        return;
                    std::memcpy(room->data(), bytes.data(), bytes.size());
                    to.commit(record->parts);
                }
                out.close();
            }
            catch (...)
            {
                fail(std::current_exception());
            }
        });
    }

    template <class T, class Next>
    void give_all(Next& next)
    {
        common::lane_writer to(edges_.front(), 0);
        stopwatch time(ends_[0]);
        std::uint64_t first = 0; // of the record that may still grow
        std::uint64_t number = 0, most = 0;
        for (; wait_for_token(number, time); ++number)
        {
            const std::optional<T> item = next();
            if (!item)
                break;
            most = std::max(most, number + 1 - delivered_.load());
            if (options_.batch == 0 && number % 256 == 255)
                batch_ = measured_batch();
            if (!grow(to, *item, number - first))
            {
                first = number;
                const auto size = sizeof(record_head) + element_size<T>(*item);
                const auto room = room_for(to, size, time);
                if (!room)
                    return;
                set_head(*room, {first});
                write_element<T>(room->subspan(sizeof(record_head)), 0, *item);
                time.lap();
                to.commit();
            }
            time.count(1);
        }
        admitted_ = number;
        most_ = most;
        edges_.front().close();
    }

    // Adds an item to the last record, if nobody has taken that.
    template <class T>
    bool grow(common::lane_writer& to, const T& item, std::uint64_t part) const
    {
        if (part == 0 || part >= batch_)
            return false;
        const auto more = to.grow(element_size<T>(item), batch_);
        if (!more)
            return false;
        write_element<T>(*more, static_cast<std::uint32_t>(part), item);
        return to.commit_growth();
    }

    // False when the run is stopped.  Who has to wait waits for a quarter of
    // the tokens: to sleep and wake for each single one costs more than it
    // brings.
    bool wait_for_token(std::uint64_t number, stopwatch& time)
    {
        const auto in_flight_at_most = [&](unsigned limit) {
            return number - delivered_.load() <= limit || stopped_.load();
        };
        const auto all = tokens(batch_);
        if (!in_flight_at_most(all - 1))
            time.blocked([&] {
                const auto limit = all - std::max(1u, all / 4);
                const auto fewer = [&] { return in_flight_at_most(limit); };
                return give_way(fewer) || room_.sleep_until(fewer);
            });
        return !stopped_;
    }

    unsigned tokens(unsigned batch) const
    {
        return options_.tokens != 0 ? options_.tokens : 4 * workers_ * batch;
    }

    // Items that take long travel alone, so that each process finds some.
    unsigned measured_batch()
    {
        std::int64_t slowest = 1; // nanoseconds for an item
        for (const auto& one : stages_)
        {
            const auto now = sum("", one->meters.data(), one->meters.size());
            const auto last = std::exchange(one->seen, now);
            if (now.items == last.items)
                return batch_; // it has finished nothing meanwhile
            slowest = std::max(
                slowest, (now.busy - last.busy).count() /
                             static_cast<std::int64_t>(now.items - last.items));
        }
        return static_cast<unsigned>(
            std::clamp<std::int64_t>(20'000 / slowest, 1, largest_batch()));
    }

    // All items of a record may fail: their errors must fit into an edge.
    unsigned largest_batch() const
    {
        return static_cast<unsigned>(
            std::clamp<std::size_t>(options_.edge_bytes / 1200, 1, most_batch));
    }

    void give_up(const std::string& stage, std::uint64_t number,
                 const common::error_message& why)
    {
        const stage_error what(stage, number, why);
        if (options_.errors == on_error::stop)
            throw what;
        ++skipped_;
        poisoned_ += what.killed();
        if (options_.skipped)
            options_.skipped(what);
    }

    void fail(std::exception_ptr why)
    {
        {
            const std::lock_guard hold(mutex_);
            if (!failure_)
                failure_ = std::move(why);
        }
        stop();
    }

    // Whoever waits for an edge or for a token goes on, and sees it.
    void stop()
    {
        {
            const std::lock_guard hold(mutex_);
            stopped_ = true;
            for (const auto& one : edges_)
                one.close();
        }
        room_.notify_all();
    }

    static stage_statistics sum(const std::string& name, const meter* first,
                                std::size_t count)
    {
        stage_statistics result;
        result.name = name;
        result.workers = static_cast<unsigned>(count);
        const auto time = [](const std::atomic<std::uint64_t>& ns) {
            return std::chrono::nanoseconds(
                static_cast<std::int64_t>(ns.load()));
        };
        for (const auto& one : std::span(first, count))
        {
            result.items += one.items;
            result.replayed += one.replayed;
            result.busy += time(one.busy);
            result.starved += time(one.starved);
            result.blocked += time(one.blocked);
        }
        return result;
    }

    report summary() const
    {
        report result;
        result.items = admitted_;
        result.skipped = skipped_;
        result.poisoned = poisoned_;
        result.most_in_flight = most_;
        result.stages.push_back(sum("source", &ends_[0], 1));
        for (std::size_t i = 0; i < stages_.size(); ++i)
        {
            const auto& one = *stages_[i];
            result.stages.push_back(
                sum(one.name, one.meters.data(), one.meters.size()));
            result.stages.back().deaths = crews_[i]->deaths();
        }
        result.stages.push_back(sum("sink", &ends_[1], 1));
        return result;
    }

    options options_;
    unsigned workers_;
    unsigned batch_;                   // the source's thread
    std::mutex mutex_;                 // of edges_ and failure_
    std::vector<common::lanes> edges_; // from the source to the sink
    std::exception_ptr failure_;       // the first
    std::atomic<bool> stopped_{false};
    common::lanes tail_;      // the last one
    bool in_order_ = true;    // it is, but for records that are double
    std::vector<meter> ends_; // of source and sink
    std::vector<std::unique_ptr<stage_state>> stages_;

    std::atomic<std::uint64_t> delivered_{0}; // to the sink; the sink
    common::event_count room_;                // the source waits for a token
    // By the source, before it closes its edge:
    std::uint64_t admitted_ = 0, most_ = 0;
    std::uint64_t skipped_ = 0, poisoned_ = 0; // by the sink
    std::vector<std::thread> threads_;
    std::vector<std::unique_ptr<common::crew>> crews_;
};

} // namespace detail

} // namespace pipeline
