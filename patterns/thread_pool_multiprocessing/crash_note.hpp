// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.

#pragma once

#include "common/task.hpp"

#include <boost/stacktrace/safe_dump_to.hpp>

#include <signal.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <vector>

namespace thread_pool_multiprocessing {

/// What the thread that brings its process down writes before it does, in
/// memory shared with the supervisor, who alone reads it, after the process
/// was reaped.
struct crash_note
{
    enum stage : std::uint32_t
    {
        none,
        named, // slot is right
        whole  // frames are, too
    };
    std::atomic<std::uint32_t> now; // first thread that crashes: named, whole;
                                    // supervisor: none, before a launch
    std::uint32_t slot;             // the same thread, before `named`; 0: none
                                    // of the pool's threads did it
    std::array<std::int32_t, 64> frames; // the same thread, before `whole`:
                                         // distances from the program's start,
                                         // 0 for code of a shared library

    /// Where the thread was, the innermost function first.  Leaves out the
    /// handler, which ends where the kernel called it from code of the
    /// library.  Return addresses are moved back into the call.
    std::vector<std::int32_t> stack() const
    {
        std::vector<std::int32_t> result;
        if (now.load() != whole)
            return result;
        std::size_t first = 0;
        while (first < frames.size() && frames[first] > 0)
            ++first; // ends behind the last
        const bool split = first < frames.size() && frames[first] == 0;
        for (std::size_t i = split ? first + 1 : 0; i < frames.size(); ++i)
            if (frames[i] > 1) // -1 marks the end
                result.push_back(frames[i] - (i == first + 1 ? 0 : 1));
        return result;
    }
};

/// Has threads of this process write a note when they crash.
///
/// Only what is safe in a signal handler happens there: stores, and the walk
/// over the stack (boost::stacktrace::safe_dump_to).  Where that crashes again,
/// since the stack is in ruins, the note still names the thread.
class crash_watch
{
public:
    /// For the whole process; `note` lives as long as it does.
    static void install(crash_note& note)
    {
        note_ = &note;
        process_ = ::getpid();
        struct sigaction action
        {
        };
        action.sa_sigaction = &on_signal;
        action.sa_flags = SA_SIGINFO | SA_ONSTACK;
        ::sigemptyset(&action.sa_mask);
        // All that the kernel sends to the thread whose fault it is.
        for (const int one : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGTRAP,
                              SIGSYS, SIGPIPE, SIGXFSZ})
            ::sigaction(one, &action, nullptr);
        // Who calls exit in a task ends the process as surely.
        std::atexit(&on_exit);
        std::at_quick_exit(&on_exit);
    }

    /// For the thread that makes it, while it lives: a stack for the handler,
    /// since its own may have run over; and the slot that is to blame.
    explicit crash_watch(unsigned slot)
    {
        stack_t mine{};
        mine.ss_sp = stack_.data();
        mine.ss_size = stack_.size();
        ::sigaltstack(&mine, &before_);
        slot_ = slot;
    }
    crash_watch(const crash_watch&) = delete;
    ~crash_watch()
    {
        slot_ = 0;
        ::sigaltstack(&before_, nullptr);
    }

private:
    static void on_signal(int signal, siginfo_t* about, void*)
    {
        // A signal from elsewhere says nothing about this thread.
        const bool sent = about->si_code == SI_USER ||
                          about->si_code == SI_TKILL ||
                          about->si_code == SI_QUEUE;
        write(sent && about->si_pid != process_ ? 0 : slot_);
        ::signal(signal, SIG_DFL);
        sigset_t this_one;
        ::sigemptyset(&this_one);
        ::sigaddset(&this_one, signal);
        ::pthread_sigmask(SIG_UNBLOCK, &this_one, nullptr);
        ::raise(signal);
    }

    static void on_exit()
    {
        if (slot_ != 0)
            write(slot_);
    }

    static void write(unsigned slot)
    {
        if (wrote_)
            return; // it crashes once more on its way out
        if (::getpid() != process_)
            return; // a task has forked: its child has nothing to tell
        if (writing_.test_and_set())
            for (;;) // ends when the first one has ended the process
                ::pause();
        wrote_ = true;
        note_->slot = slot;
        note_->now.store(crash_note::named);
        const void* addresses[64] = {};
        const auto count =
            boost::stacktrace::safe_dump_to(addresses, sizeof addresses);
        for (std::size_t i = 0; i < note_->frames.size(); ++i)
            note_->frames[i] = i < count ? distance(addresses[i]) : -1;
        note_->now.store(crash_note::whole);
    }

    static std::int32_t distance(const void* address)
    {
        const auto at = reinterpret_cast<std::intptr_t>(address);
        if (at == 0)
            return -1;
        if (at <= common::detail::program_start() ||
            at >= reinterpret_cast<std::intptr_t>(&etext))
            return 0;
        return static_cast<std::int32_t>(at - common::detail::program_start());
    }

    static inline crash_note* note_ = nullptr;
    static inline pid_t process_ = 0;
    static inline std::atomic_flag writing_;
    static inline thread_local unsigned slot_ = 0;
    static inline thread_local bool wrote_ = false;

    std::vector<std::byte> stack_ = std::vector<std::byte>(64 * 1024);
    stack_t before_{};
};

} // namespace thread_pool_multiprocessing
