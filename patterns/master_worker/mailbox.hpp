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
    static constexpr unsigned slots = 32;

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
        // master: it sleeps until this turn is answered; 0: it is awake
        alignas(128) std::atomic<std::uint64_t> awaited{0};
        std::atomic<std::uint32_t> closing{0};                   // master, once
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

    /// Why the worker could not start, in its own words.
    std::string cause() const
    {
        const auto size =
            std::min<std::size_t>(at().cause_size.load(), sizeof at().cause);
        return std::string(at().cause, size);
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
