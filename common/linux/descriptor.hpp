// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.

#pragma once

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <string>
#include <system_error>
#include <utility>

namespace common::kernel {

/// Throws what `errno` says, with `what` in front.
[[noreturn]] inline void fail(const std::string& what)
{
    throw std::system_error(errno, std::generic_category(), what);
}

/// Owns one file descriptor and closes it.
class descriptor
{
public:
    descriptor() = default;
    explicit descriptor(int fd) : fd_(fd) {}
    descriptor(descriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1))
    {
    }
    descriptor& operator=(descriptor&& other) noexcept
    {
        descriptor old(std::exchange(fd_, other.release()));
        return *this;
    }
    ~descriptor()
    {
        if (fd_ >= 0)
            ::close(fd_);
    }

    int get() const { return fd_; }
    explicit operator bool() const { return fd_ >= 0; }
    int release() { return std::exchange(fd_, -1); }

    /// A second descriptor of the same thing, numbered `lowest` or above,
    /// closed on exec.
    descriptor duplicate(int lowest = 3) const
    {
        const int fd = ::fcntl(fd_, F_DUPFD_CLOEXEC, lowest);
        if (fd < 0)
            fail("duplicating descriptor " + std::to_string(fd_));
        return descriptor(fd);
    }

private:
    int fd_ = -1;
};

} // namespace common::kernel
