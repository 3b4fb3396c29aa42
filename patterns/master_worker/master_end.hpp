// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.

#pragma once

#include "engine.hpp"
#include "mailbox.hpp"

#include "common/task.hpp"
#include "common/wait.hpp"

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <utility>

namespace master_worker {

/// The master's end.  Its counters are private; what it reads is checked.
class master_end
{
public:
    static constexpr unsigned slots = mailbox_memory::slots;

    master_end() = default;
    explicit master_end(mailbox_memory memory) : memory_(std::move(memory)) {}

    const mailbox_memory& memory() const { return memory_; }

    /// Turns that were posted and not answered.
    unsigned out() const { return static_cast<unsigned>(next_ - oldest_); }
    std::uint64_t oldest() const { return oldest_; }

    /// Requires: out() < slots; the input fits.
    void post(const assignment& what, bool certain)
    {
        auto& to = memory_.task(next_);
        const auto room = memory_.input(next_, what.input.size());
        memory_.reserve(room);
        // The worker looks at this line all the time.  All stores to it come
        // together, or it would be taken away in between.
        std::copy(what.input.begin(), what.input.end(), room.begin());
        to.task = what.task;
        to.entry = what.entry;
        to.size = static_cast<std::uint32_t>(what.input.size());
        to.attempt = what.attempt;
        to.flags = (what.deadline.count() > 0 || what.silence.count() > 0
                        ? mailbox_memory::limited
                        : 0u) |
                   (what.measured ? mailbox_memory::measured : 0u);
        to.word.store(mailbox_memory::word(
                          next_, certain ? mailbox_memory::state::certain
                                         : mailbox_memory::state::parked),
                      std::memory_order_release);
        // Before the look at who sleeps, as an exchange would order it.
        std::atomic_thread_fence(std::memory_order_seq_cst);
        memory_.at().work.notify_one();
        questions_[next_ % slots] = mailbox_memory::question(
            what.task, what.entry, what.attempt, what.input);
        ++next_;
    }

    /// Takes back the turn posted last.  Returns false when the worker has it.
    bool recall()
    {
        auto seen =
            mailbox_memory::word(next_ - 1, mailbox_memory::state::parked);
        if (!memory_.task(next_ - 1).word.compare_exchange_strong(
                seen, mailbox_memory::word(next_ - 1,
                                           mailbox_memory::state::recalled)))
            return false;
        --next_;
        return true;
    }

    /// Whether the worker has begun the oldest turn: it has, unless the last
    /// word of its own was about the turn before.
    bool begun() const { return memory_.at().turn.load() != oldest_ - 1; }

    /// Whether there is anything to read: the answer to the oldest turn, or
    /// nonsense in its place.
    bool news() const
    {
        return out() != 0 && memory_.result(oldest_).word.load(
                                 std::memory_order_acquire) != oldest_ - slots;
    }

    /// Reads the answer to the oldest turn, which must be to `task`.  Returns
    /// what is wrong with it; empty when all is well.
    std::string read(std::uint64_t task, bytes& content, bool& failed,
                     cost& spent)
    {
        auto& from = memory_.result(oldest_);
        if (from.word.load(std::memory_order_acquire) != oldest_)
            return "answered a turn that it was not given";
        const std::uint64_t claimed = copy(from.task);
        const std::uint32_t size = copy(from.size), kind = copy(from.failed);
        if (claimed != task)
            return "answered a task that is not its own";
        if (size > memory_.payload() || kind > 1)
            return "sent a result that is impossible";
        const auto where = memory_.output(oldest_, size);
        const std::uint64_t sealed = copy(from.seal);
        content.assign(where.begin(), where.end());
        memory_.discard(where);
        memory_.discard(memory_.input(oldest_, input_size(oldest_)));
        failed = kind == 1;
        if (sealed !=
            mailbox_memory::seal(questions_[oldest_ % slots], failed, content))
            return "sent a result that does not belong to its task";
        if (failed && !is_error(content))
            return "sent an exception that cannot be read";
        spent.began = time_point(clock::duration(copy(from.began)));
        spent.ran = std::chrono::nanoseconds(copy(from.ran));
        spent.cpu = std::chrono::nanoseconds(copy(from.cpu));
        spent.peak_memory = copy(from.peak_memory);
        ++oldest_;
        return {};
    }

    /// When the oldest turn began, if it is limited and has begun, and when it
    /// showed progress last: between `handed` and `now` in any case.
    std::optional<std::pair<time_point, time_point>> times(time_point handed,
                                                           time_point now) const
    {
        const auto& h = memory_.at();
        if (h.turn.load() != oldest_)
            return std::nullopt;
        const auto within = [&](std::int64_t claimed) {
            return std::clamp(time_point(clock::duration(claimed)), handed,
                              std::max(handed, now));
        };
        return std::pair(within(h.began.load()), within(h.beat.load()));
    }

    std::uint32_t phase() const { return memory_.at().phase.load(); }

    /// Why the worker could not start, in its own words.
    std::string cause() const { return memory_.cause(); }

    /// The worker is to ring the bell when it has answered all but `rest` of
    /// what is posted, and when it comes or goes.  Look for news afterwards.
    void await(unsigned rest) const
    {
        memory_.at().awaited.store(next_ - 1 - std::min(rest, out()));
        std::atomic_thread_fence(std::memory_order_seq_cst);
    }
    /// The worker need not ring.
    void awake() const
    {
        memory_.at().awaited.store(0, std::memory_order_relaxed);
    }

    /// The worker shall leave when nothing is posted any more.
    void close() const
    {
        memory_.at().closing.exchange(1);
        memory_.at().work.notify_after_death(); // in any case
    }

private:
    template <class T>
    static T copy(const T& from) // exactly once
    {
        return *const_cast<const volatile T*>(&from);
    }
    static bool is_error(const bytes& content)
    {
        try
        {
            common::reader from{content};
            common::decode<common::error_message>(from);
            return from.rest.empty();
        }
        catch (const common::malformed&)
        {
            return false;
        }
    }
    std::size_t input_size(std::uint64_t turn) const
    {
        return std::min<std::size_t>(copy(memory_.task(turn).size),
                                     memory_.payload());
    }

    mailbox_memory memory_;
    std::uint64_t next_ = slots, oldest_ = slots;
    std::array<std::uint64_t, slots> questions_{}; // of what is out
};

} // namespace master_worker
