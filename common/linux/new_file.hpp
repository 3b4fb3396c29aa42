// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.

#pragma once

#include "common/linux/descriptor.hpp"
#include "common/linux/signals.hpp"

#include <fcntl.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <span>
#include <string>
#include <utility>

namespace common::kernel {

/// A file that is written whole, or not at all.
///
///     new_file out("picture.png");  // throws here if that cannot be
///     out.write(bytes);
///     out.keep();                   // from now on it is there
///
/// Until `keep`, what had the name before is untouched.  Without it, also when
/// the process is killed, nothing is left: the file has no name yet.  (Where
/// the file system knows no such files, it is called NAME.XXXXXXXX.part until
/// then, and a killed process leaves that; so does one that is killed within
/// `keep`, while it replaces another file.)  What is there and is no regular
/// file (a terminal, a pipe, /dev/null) is written directly.
class new_file
{
public:
    /// Throws std::system_error.
    explicit new_file(const std::string& name, bool unnamed = true)
        : name_(name)
        , path_(name)
    {
        struct stat old = {};
        const bool exists = ::stat(name.c_str(), &old) == 0;
        if (exists && !S_ISREG(old.st_mode))
        {
            file_ = descriptor(::open(name.c_str(), O_WRONLY | O_CLOEXEC));
            direct_ = true;
        }
        else
        {
            std::error_code none; // a link stays, what it leads to is new
            if (exists)
                path_ = std::filesystem::canonical(name, none);
            if (none || (exists && ::access(name.c_str(), W_OK) != 0))
                refuse();
            begin(unnamed);
        }
        if (!file_)
            refuse();
        if (exists && !direct_)
            ::fchmod(file_.get(), old.st_mode & 0777); // or else ours
    }

    /// Writes to what is open already, directly.
    new_file(descriptor file, std::string name)
        : name_(std::move(name))
        , file_(std::move(file))
        , direct_(true)
    {
    }

    new_file(const new_file&) = delete;
    ~new_file() { forget(); }

    int get() const { return file_.get(); }

    /// Throws std::system_error when not all of it can be written; also where
    /// a limit on the size of files (ulimit -f) would be a signal.
    void write(std::span<const std::byte> bytes)
    {
        const no_size_signal limited;
        while (!bytes.empty()) // gets shorter, or throws
        {
            const auto n = ::write(file_.get(), bytes.data(), bytes.size());
            if (n >= 0)
                bytes = bytes.subspan(static_cast<std::size_t>(n));
            else if (errno != EINTR)
                refuse();
        }
    }

    /// Gives the file its name; what is written from then on is there at once.
    /// Throws std::system_error; then nothing has changed.
    void keep()
    {
        if (direct_)
            return;
        if (!part_.empty() || !link_as(path_))
            replace();
        direct_ = true;
    }

private:
    [[noreturn]] void refuse() const { fail("cannot write " + name_); }

    void begin(bool unnamed)
    {
        auto folder = path_.parent_path();
        if (folder.empty())
            folder = ".";
        if (!path_.has_filename())
        {
            errno = EISDIR;
            return;
        }
        if (unnamed)
            file_ = descriptor(
                ::open(folder.c_str(), O_WRONLY | O_TMPFILE | O_CLOEXEC, 0666));
        // Old kernels take the flag for a wish to write to the directory.
        if (file_ || (unnamed && errno != EOPNOTSUPP && errno != EISDIR))
            return;
        const auto part = new_name();
        file_ = descriptor(::open(
            part.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666));
        if (file_)
            part_ = part;
    }

    void replace()
    {
        if (part_.empty()) // something has that name: only a rename replaces
        {
            const auto part = new_name();
            if (errno != EEXIST || !link_as(part))
                refuse();
            part_ = part;
        }
        if (::rename(part_.c_str(), path_.c_str()) != 0)
            refuse();
        part_.clear();
    }

    bool link_as(const std::filesystem::path& to) const
    {
        const auto from = "/proc/self/fd/" + std::to_string(file_.get());
        return ::linkat(AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(),
                        AT_SYMLINK_FOLLOW) == 0;
    }

    // Nobody else's.
    std::filesystem::path new_name() const
    {
        const int before = errno;
        std::uint32_t dice = 0;
        if (::getrandom(&dice, sizeof dice, 0) != sizeof dice)
            dice = static_cast<std::uint32_t>(::getpid());
        char text[16];
        std::snprintf(text, sizeof text, ".%08x.part", dice);
        auto result = path_;
        result += text;
        errno = before;
        return result;
    }

    void forget() const
    {
        if (!part_.empty())
            ::unlink(part_.c_str());
    }

    std::string name_;           // as the user says it
    std::filesystem::path path_; // where it will be
    descriptor file_;
    std::filesystem::path part_; // its name, as long as it has another one
    bool direct_ = false;
};

} // namespace common::kernel
