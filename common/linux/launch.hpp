// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.

#pragma once

#include "common/linux/descriptor.hpp"
#include "common/linux/pidfd.hpp"
#include "common/linux/signals.hpp"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <condition_variable>
#include <exception>
#include <mutex>
#include <stdexcept>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

namespace common::kernel {

/// What to run, and what it is given.
struct program
{
    std::string path;
    std::vector<std::string> arguments;   // from argv[0] on
    std::vector<std::string> environment; // NAME=VALUE
    std::vector<int> descriptors;         // its numbers 3, 4, ... from here
};

namespace detail {

class file_actions
{
public:
    file_actions() { check(::posix_spawn_file_actions_init(&actions_)); }
    file_actions(const file_actions&) = delete;
    ~file_actions() { ::posix_spawn_file_actions_destroy(&actions_); }

    void duplicate(int from, int to)
    {
        check(::posix_spawn_file_actions_adddup2(&actions_, from, to));
    }
    void close_from(int first)
    {
        check(::posix_spawn_file_actions_addclosefrom_np(&actions_, first));
    }
    const posix_spawn_file_actions_t* get() const { return &actions_; }

private:
    static void check(int error)
    {
        if (error != 0)
            throw std::system_error(error, std::generic_category(),
                                    "preparing a launch");
    }
    posix_spawn_file_actions_t actions_;
};

inline std::vector<char*> pointers(const std::vector<std::string>& strings)
{
    std::vector<char*> result;
    for (const auto& string : strings)
        result.push_back(const_cast<char*>(string.c_str()));
    result.push_back(nullptr);
    return result;
}

} // namespace detail

/// Starts a program.  It gets stdin, stdout, stderr and the descriptors named,
/// and no other; no signal is blocked or ignored; it leads a process group of
/// its own, so that a Ctrl-C meant for this program does not reach it.
///
/// Costs the same however large this process is, and is safe while other
/// threads run: posix_spawn shares the address space until exec and executes
/// none of our code in between.  Throws std::system_error, and leaves no child
/// behind then.
inline pidfd launch(const program& what)
{
    const int first_free = 3 + static_cast<int>(what.descriptors.size());
    detail::file_actions actions;
    std::vector<descriptor> moved; // out of the way of the numbers given below
    for (std::size_t i = 0; i < what.descriptors.size(); ++i)
    {
        const int fd =
            ::fcntl(what.descriptors[i], F_DUPFD_CLOEXEC, first_free);
        if (fd < 0)
            fail("giving a descriptor to " + what.path);
        moved.emplace_back(fd);
        actions.duplicate(fd, 3 + static_cast<int>(i));
    }
    actions.close_from(first_free);

    posix_spawnattr_t attributes;
    ::posix_spawnattr_init(&attributes);
    sigset_t none, all;
    ::sigemptyset(&none);
    ::sigfillset(&all);
    ::posix_spawnattr_setsigmask(&attributes, &none);
    ::posix_spawnattr_setsigdefault(&attributes, &all);
    ::posix_spawnattr_setpgroup(&attributes, 0);
    ::posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK |
                                                POSIX_SPAWN_SETSIGDEF |
                                                POSIX_SPAWN_SETPGROUP);
    pid_t pid = -1;
    const int error =
        ::posix_spawn(&pid, what.path.c_str(), actions.get(), &attributes,
                      detail::pointers(what.arguments).data(),
                      detail::pointers(what.environment).data());
    ::posix_spawnattr_destroy(&attributes);
    if (error != 0)
        throw std::system_error(error, std::generic_category(),
                                "starting " + what.path);
    try
    {
        return pidfd(pid);
    }
    catch (...) // no descriptor left: end what cannot be held
    {
        ::kill(pid, SIGKILL);
        ::waitpid(pid, nullptr, 0);
        throw;
    }
}

/// The one thread that starts processes.
///
/// The kernel sends the parent-death signal when the *thread* that started a
/// process ends, so the thread must live as long as the program.
class launch_thread
{
public:
    /// Like `launch`, from the long-lived thread; the new process may use the
    /// CPUs that the calling thread may use.  Waits for the launch.  Throws
    /// std::logic_error in a process that was forked from this one,
    /// where that thread does not exist.
    static pidfd launch(const program& what)
    {
        // Never destroyed: the thread ends with the program, and what was
        // forked from it, and has no such thread, can exit as well.
        static launch_thread& only = *new launch_thread;
        return only.run(what);
    }

private:
    launch_thread()
    try
    {
        std::thread([this] { serve(); }).detach();
    }
    catch (const std::system_error& e)
    {
        throw std::system_error(e.code(),
                                "starting a thread, to start processes");
    }

    pidfd run(const program& what)
    {
        if (::getpid() != owner_)
            throw std::logic_error("a process that was forked from a program "
                                   "with workers cannot start any");
        std::unique_lock hold(mutex_);
        change_.wait(hold, [this] { return wanted_ == nullptr; });
        wanted_ = &what;
        CPU_ZERO(&cpus_);
        ::sched_getaffinity(0, sizeof cpus_, &cpus_);
        error_ = nullptr;
        done_ = false;
        change_.notify_all();
        change_.wait(hold, [this] { return done_; }); // posix_spawn returns
        wanted_ = nullptr;
        change_.notify_all();
        if (error_)
            std::rethrow_exception(error_);
        return std::move(started_);
    }

    void serve()
    {
        block_signals();
        std::unique_lock hold(mutex_);
        for (;;) // ends with the program
        {
            change_.wait(hold, [this] { return wanted_ && !done_; });
            ::sched_setaffinity(0, sizeof cpus_, &cpus_);
            try
            {
                started_ = kernel::launch(*wanted_);
            }
            catch (...)
            {
                error_ = std::current_exception();
            }
            done_ = true;
            change_.notify_all();
        }
    }

    std::mutex mutex_;
    std::condition_variable change_;
    const program* wanted_ = nullptr;
    cpu_set_t cpus_{}; // of who wants it
    bool done_ = false;
    pidfd started_;
    std::exception_ptr error_;
    const pid_t owner_ = ::getpid();
};

/// In a child: have the kernel kill this process when the parent dies, however
/// it dies.  Returns false when the parent is gone already.
///
/// The kernel forgets this when the process changes its user or group: after
/// that, it is to be called again.
inline bool die_with_parent(pid_t parent)
{
    return ::prctl(PR_SET_PDEATHSIG, SIGKILL) == 0 && ::getppid() == parent;
}

} // namespace common::kernel
