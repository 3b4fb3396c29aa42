// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.

#pragma once

#include "common/linux/descriptor.hpp"
#include "common/linux/fence.hpp"

#include <linux/futex.h>
#include <pthread.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdint>

namespace common::kernel {

/// A lock's place in the list of locks that a thread holds.
///
/// The kernel knows one list for each thread, and one distance from a lock's
/// `next` to its word for all locks in it.  The C library has both already,
/// for its robust mutexes: so ours look as its do, and hang in its list.
struct robust_link
{
    static constexpr std::size_t distance = 32;

    void* previous = nullptr; // both: the holder, and the holder of the
    void* next = nullptr;     // neighbours, which is the same thread
};

#if defined(__GLIBC__) && __PTHREAD_MUTEX_HAVE_PREV
static_assert(offsetof(pthread_mutex_t, __data.__lock) == 0 &&
                  offsetof(pthread_mutex_t, __data.__list.__next) ==
                      robust_link::distance &&
                  offsetof(pthread_mutex_t, __data.__list.__prev) ==
                      robust_link::distance - sizeof(void*),
              "glibc's robust mutexes have another layout than they had");
#else
#error "common/robust.hpp needs glibc on a 64-bit machine"
#endif

/// The locks that the calling thread holds.  When the thread ends, however it
/// ends, the kernel walks this list: a word that still names the thread gets
/// the bit FUTEX_OWNER_DIED instead, and one of its sleepers is woken.
///
/// (The protocol: linux/Documentation/locking/robust-futexes.rst, and glibc's
/// nptl/pthreadP.h.  The layout is looked at when this is compiled, and again
/// when a thread locks for the first time: there may be another library then.)
///
/// Not for signal handlers: one that locks while its thread does so loses what
/// the thread has announced.
class robust_list
{
public:
    static robust_list& of_this_thread()
    {
        static constinit thread_local robust_list mine;
        if (mine.head_ == nullptr)
            mine.find();
        return mine;
    }

    /// This thread, as its number stands in a word.
    std::uint32_t thread() const { return thread_; }
    pid_t process() const { return process_; }

    /// Between giving up a lock and the look whether somebody sleeps, who has
    /// called heavy_fence before.
    void fence() const
    {
        if (heeds_)
            light_fence();
        else
            std::atomic_thread_fence(std::memory_order_seq_cst);
    }

    /// The lock at `link` is about to become ours, or to be given up: until
    /// another is announced, or this is `concluded`, the kernel looks at it
    /// beside those in the list.
    void announce(robust_link& link) const
    {
        write(head_->list_op_pending, &link.next);
    }
    void conclude() const { write(head_->list_op_pending, nullptr); }

    /// Pointers in the list lead to a `next`, also in the head; `previous`
    /// stands before it, except in the head, which needs none.  Nor does the
    /// first one: it is told when another comes before it.
    void enter(robust_link& link) const
    {
        void* const first = head_->list;
        link.next = first;
        tell(first, &link.next);
        write(head_->list, &link.next);
    }
    /// Whether this thread holds it, and has taken none since.
    bool is_first(const robust_link& link) const
    {
        return head_->list == &link.next;
    }
    /// Whether this thread holds it at all.  In other pid namespaces threads
    /// have the same numbers; a list is its thread's alone.
    bool has(const robust_link& link) const
    {
        for (void* at = head_->list; at != &head_->list;) // ends with the list
        {
            if (at == &link.next)
                return true;
            at = *reinterpret_cast<void**>(
                reinterpret_cast<std::uintptr_t>(at) & ~std::uintptr_t{1});
        }
        return false;
    }
    void leave(robust_link& link) const
    {
        auto& before =
            is_first(link) ? head_->list : *static_cast<void**>(link.previous);
        tell(link.next, &before);
        write(before, link.next);
    }

private:
    struct list_head // robust_list_head of linux/futex.h, in other types
    {
        void* list;
        long distance;
        void* list_op_pending;
    };
    static_assert(sizeof(list_head) == sizeof(robust_list_head));

    constexpr robust_list() = default;

    // The next one in the list learns what comes before it.  Bit 0 of a pointer
    // says that the lock there inherits priorities, as the C library's may.
    void tell(void* next, void* previous) const
    {
        const auto bits = reinterpret_cast<std::uintptr_t>(next);
        if (next != &head_->list)
            reinterpret_cast<void**>(bits & ~std::uintptr_t{1})[-1] = previous;
    }

    // The kernel sees the stores of a thread that it ends in program order: it
    // is enough that the compiler keeps it.
    static void write(void*& to, void* value)
    {
        std::atomic_signal_fence(std::memory_order_seq_cst);
        *const_cast<void* volatile*>(&to) = value;
        std::atomic_signal_fence(std::memory_order_seq_cst);
    }

    void find()
    {
        static const int forks = // the child is a thread of another number
            ::pthread_atfork(nullptr, nullptr,
                             [] { of_this_thread().head_ = nullptr; });
        static_cast<void>(forks);
        list_head* head = nullptr;
        std::size_t size = 0;
        if (::syscall(SYS_get_robust_list, 0, &head, &size) != 0)
            fail("asking for the list of robust locks");
        if (head == nullptr || head->distance != -long{robust_link::distance})
        {
            errno = ENOTSUP;
            fail("robust locks: this C library keeps its own in another way "
                 "than glibc on a 64-bit machine");
        }
        thread_ = static_cast<std::uint32_t>(::syscall(SYS_gettid));
        process_ = ::getpid();
        heeds_ = heed_heavy_fences();
        head_ = head;
    }

    list_head* head_ = nullptr;
    std::uint32_t thread_ = 0;
    pid_t process_ = 0;
    bool heeds_ = false;
};

} // namespace common::kernel
