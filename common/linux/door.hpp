// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.

#pragma once

#include "common/linux/descriptor.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <cstring>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

namespace common::kernel {

/// A message between processes of one user, with descriptors in it.
struct parcel
{
    static constexpr std::size_t largest = 512;
    std::vector<std::byte> text;
    std::vector<descriptor> descriptors;
};

/// One end of a connection.  The other end is a process of the same user: the
/// kernel has said so.  The end of that process ends the connection.
class visitor
{
public:
    visitor() = default;

    /// Throws std::system_error when the other end is another user's.
    explicit visitor(descriptor socket) : socket_(std::move(socket))
    {
        ucred other{};
        socklen_t size = sizeof other;
        if (::getsockopt(socket_.get(), SOL_SOCKET, SO_PEERCRED, &other,
                         &size) != 0)
            fail("asking who is there");
        if (other.uid != ::geteuid())
            throw std::system_error(
                std::make_error_code(std::errc::permission_denied),
                "process " + std::to_string(other.pid) + " of user " +
                    std::to_string(other.uid));
        pid_ = other.pid;
    }

    int get() const { return socket_.get(); }
    pid_t pid() const { return pid_; }
    explicit operator bool() const { return static_cast<bool>(socket_); }

    /// Never waits.  Returns false when the other end is gone, or reads
    /// nothing.  Requires: 8 descriptors at most.
    bool send(std::span<const std::byte> text,
              const std::vector<int>& descriptors) const
    {
        auto copy = std::vector<std::byte>(text.begin(), text.end());
        iovec part{copy.data(), copy.size()};
        msghdr message{};
        message.msg_iov = &part;
        message.msg_iovlen = 1;
        alignas(cmsghdr) std::array<char, space> control{};
        if (!descriptors.empty())
        {
            const auto size = descriptors.size() * sizeof(int);
            message.msg_control = control.data();
            message.msg_controllen = CMSG_SPACE(size);
            cmsghdr* head = CMSG_FIRSTHDR(&message);
            head->cmsg_level = SOL_SOCKET;
            head->cmsg_type = SCM_RIGHTS;
            head->cmsg_len = CMSG_LEN(size);
            std::memcpy(CMSG_DATA(head), descriptors.data(), size);
        }
        return ::sendmsg(socket_.get(), &message,
                         MSG_DONTWAIT | MSG_NOSIGNAL) >= 0;
    }

    /// The next message; nothing when there is none, or when the other end is
    /// gone (an empty message says which).  Waits for one if asked to.
    std::optional<parcel> receive(bool wait) const
    {
        parcel result;
        result.text.resize(parcel::largest);
        iovec part{result.text.data(), result.text.size()};
        alignas(cmsghdr) std::array<char, space> control{};
        msghdr message{};
        message.msg_iov = &part;
        message.msg_iovlen = 1;
        message.msg_control = control.data();
        message.msg_controllen = control.size();
        const auto n = ::recvmsg(socket_.get(), &message,
                                 MSG_CMSG_CLOEXEC | (wait ? 0 : MSG_DONTWAIT));
        if (n < 0)
            return std::nullopt;
        result.text.resize(static_cast<std::size_t>(n));
        for (cmsghdr* head = CMSG_FIRSTHDR(&message); head != nullptr;
             head = CMSG_NXTHDR(&message, head)) // ends with the message
            if (head->cmsg_level == SOL_SOCKET && head->cmsg_type == SCM_RIGHTS)
                unpack(*head, result.descriptors);
        return result;
    }

private:
    static constexpr std::size_t most = 8; // descriptors in a message
    static constexpr std::size_t space = CMSG_SPACE(most * sizeof(int));

    static void unpack(const cmsghdr& from, std::vector<descriptor>& into)
    {
        std::array<int, most> all{};
        const auto size = std::min(from.cmsg_len - CMSG_LEN(0), sizeof all);
        std::memcpy(all.data(), CMSG_DATA(&from), size);
        for (std::size_t i = 0; i < size / sizeof(int); ++i)
            into.emplace_back(all[i]);
    }

    descriptor socket_;
    pid_t pid_ = 0;
};

namespace detail {

inline sockaddr_un address(const std::filesystem::path& path)
{
    sockaddr_un result{};
    result.sun_family = AF_UNIX;
    if (path.native().size() >= sizeof result.sun_path)
        throw std::system_error(
            std::make_error_code(std::errc::filename_too_long), path.string());
    path.native().copy(result.sun_path, sizeof result.sun_path - 1);
    return result;
}

inline descriptor local_socket(int flags = 0)
{
    descriptor result(
        ::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | flags, 0));
    if (!result)
        fail("creating a socket");
    return result;
}

inline bool connected(const descriptor& socket, const sockaddr_un& to)
{
    return ::connect(socket.get(), reinterpret_cast<const sockaddr*>(&to),
                     sizeof to) == 0;
}

} // namespace detail

/// Connects to the door at `path`.  Throws std::system_error when nobody is
/// there, or another user.
inline visitor knock(const std::filesystem::path& path)
{
    auto socket = detail::local_socket();
    if (!detail::connected(socket, detail::address(path)))
        fail(path.string());
    return visitor(std::move(socket));
}

/// Where processes of the same user, from whatever terminal, come in.
class door
{
public:
    /// Opens it in a directory that only this user can enter, made if it is
    /// not there.  A door whose process was killed is replaced.  Throws
    /// std::system_error: the directory is open to others, the name is taken.
    explicit door(const std::filesystem::path& path)
        : path_(path)
        , socket_(detail::local_socket(SOCK_NONBLOCK))
    {
        // One after the other: who finds the door of somebody killed must not
        // remove the one that another has put there meanwhile, and does not
        // listen at yet.
        const auto turn = directory();
        const auto place = detail::address(path);
        if (!bound(place))
        {
            if (errno != EADDRINUSE)
                fail(path.string());
            if (!left_over(place))
            {
                errno = EADDRINUSE;
                fail(path.string());
            }
            if (::unlink(path.c_str()) != 0 || !bound(place))
                fail(path.string());
        }
        if (::listen(socket_.get(), 16) != 0)
            fail("listening at " + path.string());
    }
    door(const door&) = delete;
    ~door() { ::unlink(path_.c_str()); }

    int get() const { return socket_.get(); } // readable when somebody knocks

    /// Lets the next one in; nobody when nobody has knocked.  Others than this
    /// user are sent away.  Who comes when no descriptor is left has to wait;
    /// so has the caller, 10 ms: it would find him there again and again.
    visitor answer() const
    {
        descriptor socket(
            ::accept4(socket_.get(), nullptr, nullptr, SOCK_CLOEXEC));
        if (!socket && (errno == EMFILE || errno == ENFILE))
            ::poll(nullptr, 0, 10);
        if (!socket)
            return {};
        try
        {
            return visitor(std::move(socket));
        }
        catch (const std::system_error&)
        {
            return {};
        }
    }

private:
    // The directory, locked until it is closed: others wait until the door is
    // open, or who opens it has died.
    descriptor directory() const
    {
        const auto parent = path_.has_parent_path() ? path_.parent_path() : ".";
        if (::mkdir(parent.c_str(), 0700) != 0 && errno != EEXIST)
            fail(parent.string());
        descriptor result(::open(parent.c_str(), O_RDONLY | O_DIRECTORY |
                                                     O_NOFOLLOW | O_CLOEXEC));
        struct stat info
        {
        };
        if (!result || ::fstat(result.get(), &info) != 0)
            fail(parent.string());
        if (info.st_uid != ::geteuid() || (info.st_mode & 077) != 0)
            throw std::system_error(
                std::make_error_code(std::errc::permission_denied),
                parent.string() +
                    " must be a directory of this user's alone (mode 700)");
        while (::flock(result.get(), LOCK_EX) != 0) // again after a signal
            if (errno != EINTR)
                fail(parent.string());
        return result;
    }

    // Whether what is there is the door of a process that has ended.
    bool left_over(const sockaddr_un& place) const
    {
        struct stat info
        {
        };
        return ::lstat(path_.c_str(), &info) == 0 && S_ISSOCK(info.st_mode) &&
               !detail::connected(detail::local_socket(SOCK_NONBLOCK), place) &&
               errno == ECONNREFUSED;
    }

    bool bound(const sockaddr_un& place) const
    {
        return ::bind(socket_.get(), reinterpret_cast<const sockaddr*>(&place),
                      sizeof place) == 0;
    }

    std::filesystem::path path_;
    descriptor socket_;
};

} // namespace common::kernel
