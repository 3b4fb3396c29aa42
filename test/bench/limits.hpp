// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.
//
// What the hardware and the kernel need: every result is divided by one of
// these, measured in turns with it.

#pragma once

#include "harness.hpp"

#include <fcntl.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cstddef>
#include <cstring>
#include <memory>
#include <new>
#include <string>
#include <system_error>

extern char** environ;

namespace bench {

/// One word on a cache line of its own; 128 bytes, because the hardware
/// fetches lines in pairs.
struct alignas(128) line
{
    std::atomic<unsigned> word{0}; // written by either side
};

/// An object in memory that forked children share.
template <class T>
class forked_with
{
public:
    forked_with()
    {
        void* at = ::mmap(nullptr, sizeof(T), PROT_READ | PROT_WRITE,
                          MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
        if (at == MAP_FAILED)
            throw std::system_error(errno, std::generic_category(), "mmap");
        object_ = ::new (at) T;
    }
    forked_with(const forked_with&) = delete;
    ~forked_with() { ::munmap(object_, sizeof(T)); }

    T* operator->() const { return object_; }
    T& operator*() const { return *object_; }

private:
    T* object_;
};

namespace detail {

/// Spins until the word has this value.  Ended by the other side's store; by
/// the watchdog, should it never come.
inline void await(const std::atomic<unsigned>& word, unsigned value)
{
    while (word.load(std::memory_order_acquire) != value)
        look_again();
}

inline double exchange_one_line(std::size_t count)
{
    const forked_with<line> shared;
    const auto last = static_cast<unsigned>(count);
    child other([&] {
        for (unsigned i = 1; i <= last; ++i)
        {
            await(shared->word, 2 * i - 1);
            shared->word.store(2 * i, std::memory_order_release);
        }
    });
    shared->word.store(1, std::memory_order_release);
    await(shared->word, 2); // the child is up
    const stopwatch time;
    for (unsigned i = 2; i <= last; ++i)
    {
        shared->word.store(2 * i - 1, std::memory_order_release);
        await(shared->word, 2 * i);
    }
    const double took = time.read();
    other.join();
    return took;
}

inline double exchange_two_lines(std::size_t count)
{
    struct lines
    {
        line to, from;
    };
    const forked_with<lines> shared;
    const auto last = static_cast<unsigned>(count);
    child other([&] {
        for (unsigned i = 1; i <= last; ++i)
        {
            await(shared->to.word, i);
            shared->from.word.store(i, std::memory_order_release);
        }
    });
    shared->to.word.store(1, std::memory_order_release);
    await(shared->from.word, 1); // the child is up
    const stopwatch time;
    for (unsigned i = 2; i <= last; ++i)
    {
        shared->to.word.store(i, std::memory_order_release);
        await(shared->from.word, i);
    }
    const double took = time.read();
    other.join();
    return took;
}

} // namespace detail

/// L1: two processes hand one line to and fro.
inline contestant one_line()
{
    return {"one line there and back (L1)", detail::exchange_one_line, {}};
}

/// L2: two processes with a line for each direction, as any pair of queues.
inline contestant two_lines()
{
    return {"two lines, one each way (L2)", detail::exchange_two_lines, {}};
}

// --- starting a process ----------------------------------------------------

/// What this program does when it is the child of `spawn_and_reap` or
/// `spawn_to_store`; returns otherwise.
inline void spawned_child(int argc, char* argv[])
{
    if (argc != 2 || std::strncmp(argv[1], "--spawned=", 10) != 0)
        return;
    if (std::strcmp(argv[1], "--spawned=store") == 0)
    {
        void* at = ::mmap(nullptr, sizeof(std::atomic<long long>),
                          PROT_READ | PROT_WRITE, MAP_SHARED, 3, 0);
        if (at == MAP_FAILED)
            ::_exit(1);
        static_cast<std::atomic<long long>*>(at)->store(now());
    }
    ::_exit(0);
}

namespace detail {

class own_copy
{
public:
    /// Runs this program again, with a descriptor as its number 3.
    own_copy(std::string argument, int given)
    {
        char name[] = "bench";
        char* arguments[] = {name, argument.data(), nullptr};
        posix_spawn_file_actions_t actions;
        ::posix_spawn_file_actions_init(&actions);
        if (given >= 0)
            ::posix_spawn_file_actions_adddup2(&actions, given, 3);
        const int error = ::posix_spawn(&pid_, "/proc/self/exe", &actions,
                                        nullptr, arguments, environ);
        ::posix_spawn_file_actions_destroy(&actions);
        if (error != 0)
            throw std::system_error(error, std::generic_category(),
                                    "starting this program again");
    }
    own_copy(const own_copy&) = delete;
    ~own_copy()
    {
        if (pid_ > 0)
            ::waitpid(pid_, nullptr, 0); // it does nothing but end
    }

    void join()
    {
        int status = 0;
        ::waitpid(std::exchange(pid_, -1), &status, 0);
        verify(status == 0, "posix_spawn");
    }

private:
    pid_t pid_ = -1;
};

} // namespace detail

/// This program is started, ends at once, and is reaped.
inline contestant spawn_and_reap()
{
    return {"posix_spawn to reaped",
            [](std::size_t count) {
                const stopwatch time;
                for (std::size_t i = 0; i < count; ++i)
                    detail::own_copy("--spawned=end", -1).join();
                return time.read();
            },
            {}};
}

/// This program is started and stores into shared memory.  Time to the store,
/// by the child's clock: nobody spins meanwhile, which would take a CPU.
inline contestant spawn_to_store()
{
    return {"posix_spawn to first store",
            [](std::size_t count) {
                const int fd = ::memfd_create("bench", MFD_CLOEXEC);
                if (fd < 0 || ::ftruncate(fd, 4096) != 0)
                    throw std::system_error(errno, std::generic_category(),
                                            "memfd");
                const auto close = [](const int* one) { ::close(*one); };
                const std::unique_ptr<const int, decltype(close)> owner(&fd,
                                                                        close);
                double sum = 0;
                for (std::size_t i = 0; i < count; ++i)
                {
                    const long long started = now();
                    detail::own_copy("--spawned=store", fd).join();
                    long long stored = 0;
                    verify(::pread(fd, &stored, sizeof stored, 0) ==
                                   sizeof stored &&
                               stored > started,
                           "posix_spawn to first store");
                    sum += static_cast<double>(stored - started);
                }
                return sum;
            },
            {}};
}

} // namespace bench
