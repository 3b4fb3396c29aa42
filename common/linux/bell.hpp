// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.

#pragma once

#include "common/linux/descriptor.hpp"

#include <sys/eventfd.h>
#include <sys/stat.h>

#include <cerrno>

namespace common::kernel {

/// A descriptor that becomes readable when any process that has it rings: for
/// programs that wait in an event loop.  Rings that come together count once.
class bell
{
public:
    bell() : fd_(::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC))
    {
        if (!fd_)
            fail("creating an eventfd");
    }

    const descriptor& get() const { return fd_; }

    /// Never waits: a bell that rings already goes on ringing.  False when
    /// `fd` is no bell any more: a task that closes every descriptor, as
    /// daemons do, closes that, too, and may have a file of its own there.
    [[nodiscard]] static bool ring(int fd)
    {
        struct stat info
        {
        };
        if (::fstat(fd, &info) != 0 || (info.st_mode & S_IFMT) != 0)
            return false; // an eventfd has no type of file
        return ::eventfd_write(fd, 1) == 0 || errno == EAGAIN;
    }

    /// Not readable any more, until the next ring.
    void silence() const
    {
        eventfd_t rings = 0;
        ::eventfd_read(fd_.get(), &rings);
    }

private:
    descriptor fd_;
};

} // namespace common::kernel
