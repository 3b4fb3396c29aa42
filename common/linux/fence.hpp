// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.

#pragma once

#include <linux/membarrier.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>

namespace common::kernel {

/// Two processes each write a word and then look at the other's: at least one
/// must see what the other wrote, and so both need a fence between the two.
/// Where one of them is in a hurry and the other is not, the second can pay
/// for both: its fence is run by the kernel, on all CPUs.  What is left for
/// the first is to keep the compiler from exchanging the two.
///
/// (Goldblatt, P1202: Asymmetric fences.  Linux: membarrier(2).)
inline void light_fence()
{
    std::atomic_signal_fence(std::memory_order_seq_cst);
}

/// Takes about as long as a sleep.  Where the kernel refuses it is an ordinary
/// fence, and who relies on it should not sleep for ever.
inline void heavy_fence()
{
    std::atomic_thread_fence(std::memory_order_seq_cst);
    ::syscall(SYS_membarrier, MEMBARRIER_CMD_GLOBAL_EXPEDITED, 0, 0);
}

/// Has the heavy fences of all processes reach the threads of this one.  If
/// this returns false a light fence is not enough here.
inline bool heed_heavy_fences()
{
    return ::syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED,
                     0, 0) == 0;
}

/// Asked for before main, while there is one thread: afterwards the kernel
/// would wait for all CPUs (10 ms); asked again it has nothing to do.
inline const bool heeded_at_start = heed_heavy_fences();

} // namespace common::kernel
