// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.

#pragma once

#include "common/linux/descriptor.hpp"
#include "common/linux/futex.hpp"

#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <optional>

namespace common::kernel {

/// How a process ended: by a signal, or by its own exit code.
struct exit_status
{
    int code = 0;         // meaningful when signal is 0
    int signal = 0;       // 0: it exited by itself
    bool unknown = false; // neither: somebody else has reaped it

    bool success() const { return code == 0 && signal == 0 && !unknown; }
    friend bool operator==(const exit_status&, const exit_status&) = default;
};

/// A process, held by a descriptor, so that a signal can never reach a stranger
/// that was given the same pid.  Of a child, one owner reaps; of any other
/// process only its end is known, not how it ended.
class pidfd
{
public:
    pidfd() = default;

    /// Requires: `pid` is a child of this process; or, for one that is no
    /// child, it cannot have ended and been replaced.
    explicit pidfd(pid_t pid, bool child = true)
        : pid_(pid)
        , child_(child)
        , fd_(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)))
    {
        // It may have ended, and somebody else may have reaped it, before it
        // could be opened: then this is readable, as a pidfd would be.
        if (!fd_ && errno == ESRCH && child)
            fd_ = descriptor(::eventfd(1, EFD_CLOEXEC));
        if (!fd_)
            fail("opening process " + std::to_string(pid));
    }

    pid_t pid() const { return pid_; }
    int get() const { return fd_.get(); } // readable when the process ended
    explicit operator bool() const { return static_cast<bool>(fd_); }
    descriptor duplicate() const { return fd_.duplicate(); }

    /// Sends a signal; does nothing when the process has been reaped.
    void kill(int signal) const
    {
        if (fd_)
            ::syscall(SYS_pidfd_send_signal, fd_.get(), signal, nullptr, 0);
    }

    /// Whether it has ended: also when somebody has reaped it already.
    bool ended() const
    {
        pollfd readable{fd_.get(), POLLIN, 0};
        return ::poll(&readable, 1, 0) > 0;
    }

    /// Kills what the process has started and left in its process group.
    /// Only as long as it waits to be reaped, which keeps its pid from being
    /// given to a stranger.  Requires: it leads a group, and has ended.
    void kill_group() const
    {
        siginfo_t info{};
        if (::waitid(P_PIDFD, static_cast<id_t>(fd_.get()), &info,
                     WEXITED | WNOHANG | WNOWAIT) == 0 &&
            info.si_pid == pid_)
            ::kill(-pid_, SIGKILL);
    }

    /// Reaps the process if it has ended.  How is unknown when somebody else
    /// has reaped it: a loop of waitpid(-1) in the program, or the kernel,
    /// where SIGCHLD is ignored.  One that is no child counts as having exited
    /// with code 0.
    std::optional<exit_status> try_reap()
    {
        if (!child_)
        {
            if (!ended())
                return std::nullopt;
            fd_ = descriptor();
            return exit_status{};
        }
        siginfo_t info{};
        if (::waitid(P_PIDFD, static_cast<id_t>(fd_.get()), &info,
                     WEXITED | WNOHANG) != 0)
        {
            if ((errno != ECHILD && errno != EBADF) || !ended())
                fail("waiting for process " + std::to_string(pid_));
            fd_ = descriptor();
            return exit_status{0, 0, true};
        }
        if (info.si_pid == 0)
            return std::nullopt;
        fd_ = descriptor();
        if (info.si_code == CLD_EXITED)
            return exit_status{info.si_status, 0};
        return exit_status{0, info.si_status};
    }

    /// Reaps the process, waiting until it ends or `deadline` passes.
    std::optional<exit_status> reap(time_point deadline = time_point::max())
    {
        for (;;) // ends with the process or with the deadline
        {
            if (auto status = try_reap())
                return status;
            int timeout = -1;
            if (deadline != time_point::max())
            {
                const auto now = clock::now();
                if (now >= deadline) // it may be too far back to subtract
                    return std::nullopt;
                const auto left = std::chrono::ceil<std::chrono::milliseconds>(
                    deadline - now);
                timeout =
                    static_cast<int>(std::min<std::chrono::milliseconds::rep>(
                        left.count(), 1'000'000));
            }
            pollfd ended{fd_.get(), POLLIN, 0};
            if (::poll(&ended, 1, timeout) < 0 && errno != EINTR)
                fail("waiting for process " + std::to_string(pid_));
        }
    }

private:
    pid_t pid_ = -1;
    bool child_ = true;
    descriptor fd_;
};

} // namespace common::kernel
