// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.

#pragma once

#include <signal.h>

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

} // namespace common::kernel
