// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.

#pragma once

#include "common/linux/descriptor.hpp"
#include "common/linux/memfd.hpp"

#include <boost/interprocess/detail/os_file_functions.hpp>
#include <boost/interprocess/mapped_region.hpp>

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <optional>
#include <string>
#include <system_error>
#include <utility>

namespace common::kernel {

/// Shared memory that can be given a name, for processes that are not parent
/// and child.
///
/// It is made without a name, and appears under one when it is complete: there
/// is no moment at which others find half of it.  Everybody who uses it holds
/// a shared flock, which the kernel drops with the process: so memory whose
/// lock somebody gets for himself alone is a leftover.
class named_memory
{
public:
    /// `size` bytes of zeros, all with memory behind them, without a name yet,
    /// in use by this process.  Throws std::system_error.
    explicit named_memory(std::size_t size)
        : fd_(::open(directory, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600))
    {
        if (!fd_)
            fail("creating shared memory in " + std::string(directory));
        if (::fchmod(fd_.get(), 0600) != 0) // whatever the umask says
            fail("protecting shared memory");
        reserve_memory(fd_, 0, size);
        if (!share())
            fail("locking shared memory");
    }

    /// What is there under a name, not yet in use by this process.  Throws
    /// std::system_error unless it is a file of this user that nobody else may
    /// open.
    static std::optional<named_memory> find(const std::string& name)
    {
        named_memory result;
        result.fd_ = descriptor(::open(
            path(name).c_str(), O_RDWR | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK));
        if (!result.fd_ && errno == ENOENT)
            return std::nullopt;
        if (!result.fd_)
            fail("shared memory '" + name + "'");
        const auto info = result.look();
        if (!S_ISREG(info.st_mode) || info.st_uid != ::geteuid() ||
            (info.st_mode & 077) != 0)
            throw std::system_error(
                std::make_error_code(std::errc::permission_denied),
                "shared memory '" + name + "' is not a file of user " +
                    std::to_string(::geteuid()) +
                    " alone (it belongs to user " +
                    std::to_string(info.st_uid) + ")");
        return result;
    }

    /// Gives it a name.  Returns false when the name is taken.
    bool publish(const std::string& name) const
    {
        const auto self = "/proc/self/fd/" + std::to_string(fd_.get());
        if (::linkat(AT_FDCWD, self.c_str(), AT_FDCWD, path(name).c_str(),
                     AT_SYMLINK_FOLLOW) == 0)
            return true;
        if (errno != EEXIST)
            fail("naming shared memory '" + name + "'");
        return false;
    }

    /// Uses it, too.  Returns false when somebody has it for himself alone.
    bool share() const { return ::flock(fd_.get(), LOCK_SH | LOCK_NB) == 0; }

    /// Whether nobody else uses it; then nobody can, until this object is
    /// gone.  Otherwise this process does not use it any more either.
    bool claim() const { return ::flock(fd_.get(), LOCK_EX | LOCK_NB) == 0; }

    /// Whether `name` is still the name of this, and not of another.
    bool has(const std::string& name) const
    {
        struct stat named
        {
        };
        const auto mine = look();
        return ::lstat(path(name).c_str(), &named) == 0 &&
               named.st_ino == mine.st_ino && named.st_dev == mine.st_dev;
    }

    /// Requires: claimed.  Returns whether it had that name.
    bool remove(const std::string& name) const
    {
        return has(name) && ::unlink(path(name).c_str()) == 0;
    }

    std::size_t size() const
    {
        return static_cast<std::size_t>(look().st_size);
    }

    boost::interprocess::mapping_handle_t get_mapping_handle() const
    {
        return boost::interprocess::ipcdetail::mapping_handle_from_file_handle(
            fd_.get());
    }

private:
    static constexpr const char* directory = "/dev/shm";

    named_memory() = default;

    static std::string path(const std::string& name)
    {
        if (name.empty() || name.front() == '.' ||
            name.find('/') != name.npos || name.find('\0') != name.npos ||
            name.size() > 200)
            throw std::system_error(
                std::make_error_code(std::errc::invalid_argument),
                "'" + name + "' as a name of shared memory");
        return directory + ('/' + name);
    }
    struct stat look() const
    {
        struct stat info
        {
        };
        if (::fstat(fd_.get(), &info) != 0)
            fail("looking at shared memory");
        return info;
    }

    descriptor fd_;
};

} // namespace common::kernel
