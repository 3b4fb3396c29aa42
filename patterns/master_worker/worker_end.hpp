// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.

#pragma once

#include "engine.hpp"
#include "mailbox.hpp"

#include "common/fault.hpp"
#include "common/linux/bell.hpp"
#include "common/linux/usage.hpp"
#include "common/task.hpp"
#include "common/worker.hpp"

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>

namespace master_worker {

/// The worker's end.
class worker_end : public common::output
{
public:
    worker_end(mailbox_memory memory, int bell)
        : memory_(std::move(memory))
        , bell_(bell)
    {
    }

    void enter(mailbox_memory::phase now)
    {
        memory_.at().phase.exchange(now);
        if (memory_.at().awaited.load() != 0)
            ring();
    }

    void failed(const std::string& cause)
    {
        auto& h = memory_.at();
        const auto size = std::min(cause.size(), sizeof h.cause);
        std::memcpy(h.cause, cause.data(), size);
        h.cause_size.store(static_cast<std::uint32_t>(size));
    }

    /// Waits for the next task.  False when there is none and the master has
    /// closed the mailbox, when `interrupted()`, or at `deadline`.
    template <class Interrupted>
    bool next(Interrupted interrupted, time_point deadline)
    {
        auto& h = memory_.at();
        bool mine = false;
        h.work.wait_until([&] { return (mine = take()) || closing(); },
                          deadline, interrupted);
        return mine;
    }
    bool closing() const { return memory_.at().closing.load() != 0; }

    /// Runs the task that `next` took, and answers.
    void run()
    {
        const auto& task = memory_.task(turn_);
        auto& result = memory_.result(turn_);
        begin((task.flags & mailbox_memory::limited) != 0);
        COMMON_FAULT_POINT("mailbox.taken");
        attempt_ = task.attempt;
        const auto question =
            mailbox_memory::question(task.task, task.entry, task.attempt,
                                     memory_.input(turn_, task.size));
        const meter reading((task.flags & mailbox_memory::measured) != 0);
        const bool good = execute(task);
        const auto seal = mailbox_memory::seal(question, !good, content());
        // Only now, and all of it together: the master may be looking at this
        // line all the time.
        const auto small = content();
        if (small.data() == small_.data())
            std::copy(small.begin(), small.end(),
                      memory_.output(turn_, size_).begin());
        result.task = task.task;
        result.failed = good ? 0 : 1;
        result.size = static_cast<std::uint32_t>(size_);
        result.seal = seal;
        reading.write(result);
        COMMON_FAULT_POINT("mailbox.written");
        result.word.store(turn_, std::memory_order_release);
        // Before the look at who sleeps, as an exchange would order it.
        std::atomic_thread_fence(std::memory_order_seq_cst);
        COMMON_FAULT_POINT("mailbox.answered");
        if (const auto awaited = memory_.at().awaited.load();
            awaited != 0 && turn_ >= awaited)
            ring();
        ++turn_;
    }

    unsigned attempt() const { return attempt_; }

    /// The task that runs has made progress.
    void progress() { memory_.at().beat.store(ticks()); }

    const mailbox_memory& memory() const { return memory_; }

    std::span<std::byte> room(std::size_t size) override
    {
        if (size > memory_.payload())
            throw std::length_error("the result of a task takes " +
                                    std::to_string(size) +
                                    " bytes, more than the payload of " +
                                    std::to_string(memory_.payload()));
        if (size > small_.size())
            memory_.reserve(memory_.output(turn_, size));
        size_ = size;
        return content();
    }

private:
    // What a task costs, read only where that is wanted: each reading of the
    // thread's clock is a system call.
    class meter
    {
    public:
        explicit meter(bool wanted) : wanted_(wanted)
        {
            if (wanted_)
            {
                began_ = ticks();
                cpu_ = common::kernel::thread_cpu_time().count();
            }
        }
        void write(mailbox_memory::result_slot& to) const
        {
            if (!wanted_)
                return;
            to.began = began_;
            to.ran = ticks() - began_;
            to.cpu = common::kernel::thread_cpu_time().count() - cpu_;
            to.peak_memory = common::kernel::peak_memory();
        }

    private:
        bool wanted_;
        std::int64_t began_ = 0, cpu_ = 0;
    };

    static std::int64_t ticks()
    {
        return clock::now().time_since_epoch().count();
    }

    bool take()
    {
        auto& word = memory_.task(turn_).word;
        auto seen = word.load(std::memory_order_acquire);
        if (seen == mailbox_memory::word(turn_, mailbox_memory::state::certain))
            return true; // without a write: the line stays where it is
        return seen ==
                   mailbox_memory::word(turn_, mailbox_memory::state::parked) &&
               word.compare_exchange_strong(
                   seen,
                   mailbox_memory::word(turn_, mailbox_memory::state::taken));
    }

    void begin(bool limited)
    {
        auto& h = memory_.at();
        if (limited)
        {
            const auto now = ticks();
            h.began.store(now);
            h.beat.store(now);
        }
        h.turn.store(turn_, std::memory_order_release);
    }

    bool execute(const mailbox_memory::task_slot& task)
    {
        size_ = 0;
        common::reader input{memory_.input(turn_, task.size)};
        try
        {
            common::run_task(task.entry, input, *this);
            return true;
        }
        catch (...)
        {
            auto error = common::error_message::current();
            error.what.resize(
                std::min(error.what.size(), memory_.payload() / 2));
            common::writer to{room(common::encoded_size(error))};
            common::encode(to, error);
            return false;
        }
    }

    // The master may need this very CPU: to spin on it for what the master
    // says next would keep it from saying anything.
    void ring() const
    {
        if (!common::kernel::bell::ring(bell_)) // the task has closed it
            common::detail::asked_to_leave = true;
        std::this_thread::yield();
    }

    // Where the result lies until it is written into its slot.
    std::span<std::byte> content()
    {
        if (size_ <= small_.size())
            return std::span(small_).first(size_);
        return memory_.output(turn_, size_);
    }

    mailbox_memory memory_;
    int bell_;
    std::uint64_t turn_ = mailbox_memory::slots;
    std::size_t size_ = 0; // of the result so far
    std::array<std::byte, sizeof(mailbox_memory::result_slot::small)> small_{};
    unsigned attempt_ = 0;
};

} // namespace master_worker
