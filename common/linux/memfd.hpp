// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.

#pragma once

#include "common/linux/descriptor.hpp"
#include "common/linux/signals.hpp"

#include <boost/interprocess/detail/os_file_functions.hpp>
#include <boost/interprocess/exceptions.hpp>
#include <boost/interprocess/mapped_region.hpp>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <string>

namespace common::kernel {

/// Puts memory behind a range of a file of memory, which grows for that.
/// Throws (ENOSPC, ENOMEM) where touching the range later would have killed
/// the process.
inline void reserve_memory(const descriptor& fd, std::size_t offset,
                           std::size_t size)
{
    const auto what = std::to_string(size) + " bytes of shared memory";
    // The kernel takes pages until none is left, and then kills processes:
    // what the machine does not have must not be asked for.
    const auto pages = static_cast<std::size_t>(::sysconf(_SC_PHYS_PAGES));
    if (size / static_cast<std::size_t>(::sysconf(_SC_PAGESIZE)) >= pages)
    {
        errno = ENOMEM;
        fail("reserving " + what);
    }
    // In pieces: a signal undoes the piece that it interrupts.
    constexpr std::size_t piece = 256u << 10;
    const no_size_signal limited;
    for (std::size_t done = 0; done < size;) // grows, or a signal came
    {
        const auto part = std::min(piece, size - done);
        if (::fallocate(fd.get(), 0, static_cast<off_t>(offset + done),
                        static_cast<off_t>(part)) == 0)
            done += part;
        else if (errno != EINTR)
            fail("reserving " + what);
    }
}

/// Shared memory without a name: nothing to leak, to squat or to clean up; it
/// is gone with its last descriptor and mapping, however their owners ended.
///
/// Sealed against resizing, so that nobody who holds it can take pages away
/// from under the others.  Models Boost.Interprocess's MemoryMappable: a
/// `boost::interprocess::mapped_region` maps it.
class memfd
{
public:
    memfd() = default;

    /// `size` bytes, all zero, of which the first `reserved` have memory
    /// behind them from now on, so that touching them can never end in SIGBUS.
    /// The rest costs address space only.  Throws std::system_error.
    memfd(const std::string& name, std::size_t size, std::size_t reserved)
        : fd_(::memfd_create(name.c_str(), MFD_CLOEXEC | MFD_ALLOW_SEALING))
    {
        if (!fd_)
            fail("creating shared memory '" + name + "'");
        if (fd_.get() < 3) // a closed stdin must not become shared memory
            fd_ = fd_.duplicate();
        const no_size_signal limited;
        if (::ftruncate(fd_.get(), static_cast<off_t>(size)) != 0)
            fail("sizing shared memory '" + name + "' to " +
                 std::to_string(size) + " bytes");
        reserve(0, reserved);
        if (::fcntl(fd_.get(), F_ADD_SEALS,
                    F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0)
            fail("sealing shared memory '" + name + "'");
    }

    /// Takes over a descriptor that came from elsewhere.  Throws when it is
    /// not sealed shared memory of exactly `size` bytes.
    memfd(descriptor fd, std::size_t size) : fd_(std::move(fd))
    {
        struct stat info
        {
        };
        const int seals = ::fcntl(fd_.get(), F_GET_SEALS);
        constexpr int wanted = F_SEAL_SHRINK | F_SEAL_GROW;
        if (seals < 0 || (seals & wanted) != wanted ||
            ::fstat(fd_.get(), &info) != 0 ||
            static_cast<std::size_t>(info.st_size) != size)
            throw std::system_error(
                std::make_error_code(std::errc::invalid_argument),
                "not sealed shared memory of " + std::to_string(size) +
                    " bytes");
    }

    /// Puts memory behind a range: see reserve_memory.
    void reserve(std::size_t offset, std::size_t size) const
    {
        reserve_memory(fd_, offset, size);
    }

    /// Gives the memory behind a range back to the system; it reads as zero.
    void discard(std::size_t offset, std::size_t size) const noexcept
    {
        ::fallocate(fd_.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                    static_cast<off_t>(offset), static_cast<off_t>(size));
    }

    int get() const { return fd_.get(); }
    explicit operator bool() const { return static_cast<bool>(fd_); }

    /// What tells this memory from all other memory on the machine.
    std::uint64_t identity() const
    {
        struct stat info
        {
        };
        if (::fstat(fd_.get(), &info) != 0)
            fail("looking at shared memory");
        return info.st_ino;
    }

    boost::interprocess::mapping_handle_t get_mapping_handle() const
    {
        return boost::interprocess::ipcdetail::mapping_handle_from_file_handle(
            fd_.get());
    }

private:
    descriptor fd_;
};

/// Maps all of `memory`, readable and writable.  A process forked by a worker
/// does not get the mapping (it could write after the worker was reaped), and
/// core files leave it out.
inline boost::interprocess::mapped_region map(const memfd& memory)
try
{
    boost::interprocess::mapped_region region(memory,
                                              boost::interprocess::read_write);
    ::madvise(region.get_address(), region.get_size(), MADV_DONTFORK);
    ::madvise(region.get_address(), region.get_size(), MADV_DONTDUMP);
    return region;
}
catch (const boost::interprocess::interprocess_exception& error)
{
    throw std::system_error(error.get_native_error(), std::generic_category(),
                            "mapping shared memory, which takes address space "
                            "(ulimit -v) beside memory");
}

} // namespace common::kernel
