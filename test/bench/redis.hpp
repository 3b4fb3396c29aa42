// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.
//
// A Redis server of our own, as a peer of maps: on a Unix socket in a
// directory of its own, without a port, and without a file.

#pragma once

#include "harness.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <optional>
#include <sstream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>

namespace bench {

/// Where PATH has a program of that name; nothing if it has none.
inline std::optional<std::string> found_on_path(const std::string& name)
{
    const char* const all = std::getenv("PATH");
    std::istringstream directories(all == nullptr ? "" : all);
    for (std::string one; std::getline(directories, one, ':');)
        if (::access((one + "/" + name).c_str(), X_OK) == 0)
            return one + "/" + name;
    return std::nullopt;
}

/// The server.  Dies with this process.
class redis_server
{
public:
    /// On these CPUs.  Throws std::runtime_error when there is none.
    explicit redis_server(std::initializer_list<int> cpus)
        : process_([&] {
            pin(0, cpus);
            const int nowhere = ::open("/dev/null", O_WRONLY | O_CLOEXEC);
            ::dup2(nowhere, 1);
            ::dup2(nowhere, 2);
            ::execl(program_.c_str(), "redis-server", "--port", "0",
                    "--unixsocket", socket_.c_str(), "--save", "",
                    "--appendonly", "no", "--dir", directory_.c_str(),
                    static_cast<char*>(nullptr));
            ::_exit(1);
        })
    {
    }
    ~redis_server() { std::filesystem::remove_all(directory_); }

    const std::string& socket() const { return socket_; }

private:
    static std::string program()
    {
        if (auto found = found_on_path("redis-server"))
            return *found;
        throw std::runtime_error("redis-server was not found");
    }
    static std::string make_directory()
    {
        std::string made = "/tmp/bench-redis.XXXXXX";
        if (::mkdtemp(made.data()) == nullptr)
            throw std::system_error(errno, std::generic_category(), made);
        return made;
    }

    const std::string program_ = program();
    const std::string directory_ = make_directory();
    const std::string socket_ = directory_ + "/socket";
    child process_;
};

/// A client, which waits for each answer.  Keys and values are 8 bytes.
class redis_client
{
public:
    explicit redis_client(const std::string& path)
        : fd_(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0))
    {
        sockaddr_un to{};
        to.sun_family = AF_UNIX;
        path.copy(to.sun_path, sizeof to.sun_path - 1);
        for (int left = 5'000; // ms until the server has opened it
             ::connect(fd_, reinterpret_cast<const sockaddr*>(&to),
                       sizeof to) != 0;
             ::poll(nullptr, 0, 1))
            if (--left == 0)
                throw std::system_error(errno, std::generic_category(), path);
    }
    redis_client(const redis_client&) = delete;
    ~redis_client() { ::close(fd_); }

    std::uint64_t find(std::uint64_t key) const
    {
        ask_for(key);
        return answer();
    }
    void assign(std::uint64_t key, std::uint64_t value) const
    {
        begin_assignment(key, value);
        end_assignment();
    }

    // The two halves of these, so that several can be on their way.
    void ask_for(std::uint64_t key) const
    {
        message<32> ask;
        ask.add("*2\r\n$3\r\nGET\r\n").add(key);
        ask.send(fd_);
    }
    std::uint64_t answer() const
    {
        const auto got = receive<14>();
        verify(std::string_view(got.data(), 4) == "$8\r\n", "Redis");
        std::uint64_t value = 0;
        std::memcpy(&value, got.data() + 4, sizeof value);
        return value;
    }
    void begin_assignment(std::uint64_t key, std::uint64_t value) const
    {
        message<48> ask;
        ask.add("*3\r\n$3\r\nSET\r\n").add(key).add(value);
        ask.send(fd_);
    }
    void end_assignment() const
    {
        const auto got = receive<5>();
        verify(std::string_view(got.data(), got.size()) == "+OK\r\n", "Redis");
    }

private:
    template <std::size_t Most>
    class message
    {
    public:
        message& add(std::string_view text)
        {
            text.copy(bytes_.data() + size_, text.size());
            size_ += text.size();
            return *this;
        }
        message& add(std::uint64_t number)
        {
            char text[sizeof number];
            std::memcpy(text, &number, sizeof number);
            return add("$8\r\n").add({text, sizeof text}).add("\r\n");
        }
        void send(int to) const
        {
            if (::send(to, bytes_.data(), size_, MSG_NOSIGNAL) !=
                static_cast<ssize_t>(size_))
                throw std::runtime_error("Redis takes no more");
        }

    private:
        std::array<char, Most> bytes_;
        std::size_t size_ = 0;
    };

    template <std::size_t Size>
    std::array<char, Size> receive() const
    {
        std::array<char, Size> got;
        if (::recv(fd_, got.data(), Size, MSG_WAITALL) !=
            static_cast<ssize_t>(Size))
            throw std::runtime_error("Redis has ended");
        return got;
    }

    int fd_;
};

} // namespace bench
