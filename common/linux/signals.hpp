// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.

#pragma once

#include <signal.h>
#include <time.h>

namespace common::kernel {

/// Leaves all signals to other threads: for a thread that a program did not
/// start itself.  Who waits for a signal, and has blocked it everywhere that it
/// knows of, would otherwise never see it.
inline void block_signals()
{
    sigset_t all;
    ::sigfillset(&all);
    ::pthread_sigmask(SIG_BLOCK, &all, nullptr);
}

/// Gives a signal its default action, if it is ignored.
inline void do_not_ignore(int signal)
{
    struct sigaction now
    {
    };
    if (::sigaction(signal, nullptr, &now) == 0 && now.sa_handler == SIG_IGN)
        ::signal(signal, SIG_DFL);
}

/// While it lives, to grow a file beyond RLIMIT_FSIZE is an error (EFBIG) for
/// the calling thread, and not a signal that ends the program.
class no_size_signal
{
public:
    no_size_signal()
    {
        ::sigemptyset(&size_);
        ::sigaddset(&size_, SIGXFSZ);
        ::pthread_sigmask(SIG_BLOCK, &size_, &before_);
    }
    no_size_signal(const no_size_signal&) = delete;
    ~no_size_signal()
    {
        const timespec at_once{};
        while (::sigtimedwait(&size_, nullptr, &at_once) > 0) // ends: it is
        {                                                     // one at most
        }
        ::pthread_sigmask(SIG_SETMASK, &before_, nullptr);
    }

private:
    sigset_t size_, before_;
};

} // namespace common::kernel
