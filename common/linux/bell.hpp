// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.

#pragma once

#include "common/linux/descriptor.hpp"

#include <sys/eventfd.h>

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

    /// Never waits: a bell that rings already goes on ringing.
    static void ring(int fd) { ::eventfd_write(fd, 1); }

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
