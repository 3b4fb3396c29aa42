// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.

#pragma once

#include "order.hpp"
#include "record.hpp"
#include "report.hpp"
#include "stage.hpp"

#include "common/crew.hpp"
#include "common/fault.hpp"
#include "common/lane_ends.hpp"
#include "common/linux/kill_timer.hpp"
#include "common/task.hpp"

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <utility>

namespace pipeline::detail {

/// What the workers of a stage are told.
struct stage_orders
{
    unsigned stage = 0;    // its place, from 0 on
    unsigned attempts = 3; // of an item to kill a process, then it has failed
    unsigned retries = 0;  // of an item that throws
    std::chrono::milliseconds deadline{0}; // of an item; 0: none
};

/// The life of a process of a stage: take a record, run, commit the result,
/// and only then acknowledge.
///
/// Killed before the acknowledgement, it leaves its record to the next one,
/// perhaps behind a result that is there already; whoever restores the order
/// drops the second.  An item that has killed its process too often is not run
/// again: an error takes its place.
template <class F, class In>
class stage_worker
{
    using out = passed_on<result<F, In>>;

public:
    stage_worker(common::crew_member me, const common::lanes& in,
                 const common::lanes& to,
                 const common::shared_array<meter>& all, stage_orders how,
                 F function)
        : from_(in, me.slot())
        , to_(to, me.slot() - 1)
        , time_(all[me.slot() - 1])
        , how_(how)
        , function_(std::move(function))
    {
        if (how_.deadline.count() != 0)
            timer_.emplace();
    }

    /// Ends with the stream, which it closes behind itself.
    void run()
    {
        while (const auto one = next_record(from_, time_, [] { return false; }))
        {
            COMMON_FAULT_POINT("pipeline.taken");
            const auto first = head_of(one->bytes).first;
            if (last_ != first) // or the process before wrote it twice
                process(*one);
            last_ = first;
            COMMON_FAULT_POINT("pipeline.committed");
            time_.items(one->parts());
            from_.acknowledge(*one);
            COMMON_FAULT_POINT("pipeline.acknowledged");
        }
        // All records are acknowledged, so nobody writes any more.
        to_.stream().close();
    }

private:
    void process(const common::lease& one)
    {
        auto head = head_of(one.bytes);
        if (one.attempt() > 0)
            blame(head, one);
        results_.clear();
        for_each_element<In>(
            one.bytes, one.parts(),
            [&](const element& what) { run(head, one, what); },
            [&](std::uint32_t part, const failure& why) {
                results_.add(part, why);
            });
        if (timer_)
            timer_->call_off();
        if (head.running != 0)
        {
            head.running = 0; // who dies from now on has not died of an item
            set_running(one.bytes, 0);
        }
        put(head, one.parts());
    }

    // The last reader died: of the element that it ran.
    void blame(record_head& head, const common::lease& one)
    {
        stopwatch::add(time_.counts().replayed, one.parts());
        const auto killer = std::exchange(head.running, 0);
        set_head(one.bytes, head); // never blame the same death twice
        if (killer == 0)
            return;
        head.deaths = killer == head.blamed ? head.deaths + 1 : 1;
        head.blamed = killer;
        set_head(one.bytes, head);
    }

    void run(record_head& head, const common::lease& one, const element& what)
    {
        const auto part = what.tag & element_tag::part;
        head.running = what.index + 1;
        const auto deaths = head.running == head.blamed ? head.deaths : 0;
        if (deaths >= how_.attempts && (what.tag & element_tag::killer) == 0)
        {
            common::writer to{one.bytes.subspan(what.place)};
            common::encode(to, what.tag | element_tag::killer);
        }
        if (deaths >= how_.attempts || (what.tag & element_tag::killer) != 0)
            return fail(
                part,
                {"",
                 "killed its process " + std::to_string(how_.attempts) +
                     " times" +
                     (timer_ ? ", or took longer than " +
                                   std::to_string(how_.deadline.count()) + " ms"
                             : "")});
        set_running(one.bytes, head.running);
        if (timer_)
            timer_->kill_after(how_.deadline);
        here() = {head.first + part, deaths};
        for (unsigned tries = 0;; ++tries) // ends with the last retry
        {
            const auto begun = results_.end();
            auto from = what.from;
            try
            {
                // The codecs are the item's as well: they may throw.
                return out::each(function_(common::decode<In>(from)),
                                 [&](const typename out::type& made) {
                                     results_.add<typename out::type>(part,
                                                                      made);
                                 });
            }
            catch (...)
            {
                results_.back_to(begun);
                if (tries == how_.retries)
                    return fail(part, common::error_message::current());
            }
        }
    }

    void fail(std::uint32_t part, common::error_message error)
    {
        constexpr std::size_t longest = 500; // many of them fit every lane
        error.what.resize(std::min(error.what.size(), longest));
        error.type.resize(std::min(error.type.size(), longest));
        results_.add(part, failure{how_.stage, std::move(error)});
    }

    // No room, ever, means that the run was stopped: this process is about to
    // be ended.
    void put(const record_head& head, unsigned parts)
    {
        std::optional<std::span<std::byte>> room;
        try
        {
            room = room_for(to_, results_.size(), time_);
        }
        catch (const std::length_error&) // for what they are together, too
        {
            const auto error = common::error_message::current();
            results_.clear();
            for (std::uint32_t part = 0; part < parts; ++part)
                fail(part, error);
            room = room_for(to_, results_.size(), time_);
        }
        if (!room)
            return;
        results_.write(*room, head.first);
        COMMON_FAULT_POINT("pipeline.processed");
        to_.commit(parts);
    }

    common::lane_reader from_;
    common::lane_writer to_;
    stopwatch time_;
    stage_orders how_;
    F function_;
    new_record results_; // kept for its memory
    std::optional<std::uint64_t> last_;
    std::optional<common::kernel::kill_timer> timer_; // where items have
                                                      // a deadline
};

/// The body of the processes of a stage.
template <class F, class In>
struct serve
{
    int operator()(common::crew_member me, common::lanes in, common::lanes to,
                   common::shared_array<meter> all, stage_orders how,
                   common::packed<F> function) const
    {
        stage_worker<F, In> worker(me, in, to, all, how,
                                   std::move(function.function));
        me.ready();
        worker.run();
        me.finished();
        return 0;
    }
};

} // namespace pipeline::detail
