// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.

#pragma once

#include "engine.hpp"
#include "fingerprint.hpp"

#include "common/fault.hpp"
#include "common/linux/bell.hpp"
#include "common/linux/usage.hpp"
#include "common/shared.hpp"
#include "common/task.hpp"
#include "common/wait.hpp"

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <new>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <utility>

namespace master_worker {

// A mailbox belongs to one worker process: to nobody before it, and to nobody
// after it.  So a worker that writes where it should not can spoil nothing
// but its own mailbox, which is thrown away with it.
//
// Tasks have turns, counted from `slots` on; turn t uses slot t % slots, for
// the task on its way there and for the result on its way back.  The master
// posts turns in order, the worker answers them in order.  A slot's word is the
// turn it serves and, for a task, what has become of it:
//
//   (older turn) -> certain   master: the worker's, for good
//   (older turn) -> parked    master: the worker is busy and may take it later
//   parked -> taken           worker, by compare-and-swap
//   parked -> recalled        master, by compare-and-swap: as if never posted
//
// The master believes nothing that it reads here.  It copies once, compares
// with what it knows, and looks only at its copy from then on.  An answer
// carries a seal, a checksum of what was asked and of what is answered: so a
// stray write to a task on its way, or to an answer that waits, is found out.

/// What the two sides of a mailbox share.
struct mailbox_memory
{
    static constexpr unsigned slots = 8;

    enum class state : std::uint64_t
    {
        recalled,
        parked,
        certain,
        taken
    };
    static std::uint64_t word(std::uint64_t turn, state is)
    {
        return turn << 2 | static_cast<std::uint64_t>(is);
    }

    enum : std::uint32_t // flags of a task
    {
        limited = 1, // the worker notes when it began
        measured = 2 // the worker reports what it cost
    };

    // Two lines for each direction, since the hardware fetches lines in pairs;
    // what is small fits into the first.
    struct alignas(128) task_slot
    {
        std::atomic<std::uint64_t> word; // see above
        std::uint64_t task;              // master, before it posts; like ...
        common::entry_id entry;
        std::uint32_t size;
        std::uint32_t attempt;
        std::uint32_t flags;
        std::byte small[96];
    };
    struct alignas(128) result_slot
    {
        std::atomic<std::uint64_t> word; // worker: the turn, when it is done
        std::uint64_t task;              // worker, before word; like ...
        std::uint32_t size;
        std::uint32_t failed; // 1: it threw, and this is the error_message
        std::uint64_t seal;
        std::byte small[64];
        std::int64_t began, ran, cpu;
        std::uint64_t peak_memory;
    };
    static_assert(sizeof(task_slot) == 128 && sizeof(result_slot) == 128);

    /// The checksum of a task, as the master has put it and as the worker has
    /// found it; and that of an answer to it.
    static std::uint64_t question(std::uint64_t task, common::entry_id entry,
                                  std::uint32_t attempt,
                                  std::span<const std::byte> input)
    {
        return quick_sum(input, task ^ std::uint64_t{attempt} << 56 ^
                                    static_cast<std::uint64_t>(entry) << 24);
    }
    static std::uint64_t seal(std::uint64_t question, bool failed,
                              std::span<const std::byte> content)
    {
        return quick_sum(content, question + (failed ? 1 : 0));
    }

    enum phase : std::uint32_t
    {
        starting,
        ready,
        leaving
    };
    struct head
    {
        alignas(128) common::event_count work; // worker sleeps, master notifies
        alignas(128) std::atomic<std::uint32_t> awaited{0}; // master: it sleeps
        std::atomic<std::uint32_t> closing{0};              // master, once
        alignas(128) std::atomic<std::uint32_t> phase{starting}; // worker
        std::atomic<std::uint32_t> cause_size{0}; // worker, if it cannot start
        std::atomic<std::uint64_t> turn{slots - 1}; // worker: begun last
        std::atomic<std::int64_t> began{0}; // if limited, it began then, ...
        std::atomic<std::int64_t> beat{0};  // ... with the last progress then
        char cause[400];                    // worker, before cause_size
        task_slot tasks[slots];
        result_slot results[slots];
    };

    /// Throws std::system_error when there is no memory for it.
    static mailbox_memory create(std::size_t payload)
    {
        mailbox_memory result;
        result.window_ = (payload + 4095) / 4096 * 4096;
        result.memory_ =
            common::segment("mailbox", size_for(result.window_), sizeof(head));
        auto* h = new (result.memory_.data()) head{};
        for (std::uint64_t i = 0; i < slots; ++i)
        {
            h->tasks[i].word.store(word(i, state::taken));
            h->results[i].word.store(i);
        }
        return result;
    }

    /// A mailbox that its master has sent here, with the payload that it has.
    /// Throws when it is none.
    static mailbox_memory adopt(common::kernel::descriptor fd,
                                std::size_t payload)
    {
        mailbox_memory result;
        result.window_ = payload;
        result.memory_ =
            common::segment::adopt(std::move(fd), size_for(payload));
        return result;
    }

    explicit operator bool() const { return static_cast<bool>(memory_); }
    head& at() const
    {
        return *std::launder(reinterpret_cast<head*>(memory_.data()));
    }
    task_slot& task(std::uint64_t turn) const
    {
        return at().tasks[turn % slots];
    }
    result_slot& result(std::uint64_t turn) const
    {
        return at().results[turn % slots];
    }

    /// The largest task, and the largest result.
    std::size_t payload() const { return window_; }

    /// What another process needs to adopt it.
    int descriptor() const { return memory_.memory().get(); }

    /// Where the bytes of a task or result lie.  Requires: size <= payload().
    std::span<std::byte> input(std::uint64_t turn, std::size_t size) const
    {
        return area(task(turn).small, sizeof(task_slot::small), turn % slots,
                    size);
    }
    std::span<std::byte> output(std::uint64_t turn, std::size_t size) const
    {
        return area(result(turn).small, sizeof(result_slot::small),
                    slots + turn % slots, size);
    }

    /// Puts memory behind large bytes before they are written: throws then,
    /// instead of a SIGBUS later.
    void reserve(std::span<std::byte> where) const
    {
        if (const auto offset = outside(where))
            memory_.memory().reserve(*offset, where.size());
    }
    /// Gives that memory back, where it is worth a system call.
    void discard(std::span<std::byte> where) const
    {
        if (const auto offset = outside(where); offset && where.size() > 65536)
            memory_.memory().discard(*offset, where.size());
    }

private:
    friend struct common::codec<mailbox_memory>;

    static constexpr std::size_t start()
    {
        return (sizeof(head) + 4095) / 4096 * 4096;
    }
    static constexpr std::size_t size_for(std::size_t window)
    {
        return start() + 2 * slots * window;
    }
    std::span<std::byte> area(std::byte* small, std::size_t small_size,
                              std::size_t index, std::size_t size) const
    {
        if (size <= small_size)
            return {small, size};
        return {memory_.data() + start() + index * window_, size};
    }
    std::optional<std::size_t> outside(std::span<std::byte> where) const
    {
        const auto offset =
            static_cast<std::size_t>(where.data() - memory_.data());
        return where.empty() || offset < start() ? std::nullopt
                                                 : std::optional(offset);
    }

    common::segment memory_;
    std::size_t window_ = 0;
};

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
        std::copy(what.input.begin(), what.input.end(), room.begin());
        to.task = what.task;
        to.entry = what.entry;
        to.size = static_cast<std::uint32_t>(what.input.size());
        to.attempt = what.attempt;
        to.flags = (what.deadline.count() > 0 || what.silence.count() > 0
                        ? mailbox_memory::limited
                        : 0u) |
                   (what.measured ? mailbox_memory::measured : 0u);
        // An exchange: it orders the look at who sleeps, too.
        to.word.exchange(mailbox_memory::word(
            next_, certain ? mailbox_memory::state::certain
                           : mailbox_memory::state::parked));
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
    std::string cause() const
    {
        const auto& h = memory_.at();
        const auto size =
            std::min<std::size_t>(h.cause_size.load(), sizeof h.cause);
        return std::string(h.cause, size);
    }

    /// Whether the worker is to ring the bell when it has something to say.
    void await(bool asleep) const { memory_.at().awaited.store(asleep); }

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
        // Only now: the master may be looking at this line all the time.
        result.task = task.task;
        result.failed = good ? 0 : 1;
        result.size = static_cast<std::uint32_t>(size_);
        result.seal =
            mailbox_memory::seal(question, !good, memory_.output(turn_, size_));
        reading.write(result);
        COMMON_FAULT_POINT("mailbox.written");
        result.word.exchange(turn_); // orders the look at who sleeps, too
        ++turn_;
        COMMON_FAULT_POINT("mailbox.answered");
        ring();
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
        const auto where = memory_.output(turn_, size);
        memory_.reserve(where);
        size_ = size;
        return where;
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

    void ring() const
    {
        if (memory_.at().awaited.load() != 0)
            common::kernel::bell::ring(bell_);
    }

    mailbox_memory memory_;
    int bell_;
    std::uint64_t turn_ = mailbox_memory::slots;
    std::size_t size_ = 0; // of the result so far
    unsigned attempt_ = 0;
};

} // namespace master_worker

template <>
struct common::codec<master_worker::mailbox_memory>
{
    using mailbox = master_worker::mailbox_memory;
    static std::size_t size(const mailbox& m)
    {
        return sizeof(std::uint64_t) + encoded_size(m.memory_);
    }
    static void write(writer& to, const mailbox& m)
    {
        encode(to, std::uint64_t{m.window_});
        encode(to, m.memory_);
    }
    static mailbox read(reader& from)
    {
        mailbox result;
        result.window_ = static_cast<std::size_t>(decode<std::uint64_t>(from));
        result.memory_ = decode<segment>(from);
        if (result.memory_.size() != mailbox::size_for(result.window_))
            throw malformed("shared memory is not a mailbox");
        return result;
    }
};
