// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.

#pragma once

#include "test/processes.hpp"

#include <boost/test/unit_test.hpp>

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <regex>
#include <stdexcept>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

namespace test {

/// A program that is built beside the tests: of a pattern, or test/programs/.
inline std::string program(const std::string& name)
{
    const auto& suite = boost::unit_test::framework::master_test_suite();
    for (int i = 1; i < suite.argc; ++i)
        if (const std::filesystem::path path = suite.argv[i];
            path.filename() == name)
            return std::filesystem::absolute(path);
    throw std::runtime_error("the path of " + name +
                             " is not among the arguments; give it after --");
}

/// An empty directory that goes away with this object.
class directory
{
public:
    directory()
    {
        std::string name =
            (std::filesystem::temp_directory_path() / "laws.XXXXXX").string();
        if (::mkdtemp(name.data()) == nullptr)
            throw std::system_error(errno, std::generic_category(), name);
        path_ = name;
    }
    directory(const directory&) = delete;
    ~directory()
    {
        std::error_code none;
        std::filesystem::remove_all(path_, none);
    }
    const std::filesystem::path& path() const { return path_; }
    std::filesystem::path operator/(const std::string& name) const
    {
        return path_ / name;
    }

private:
    std::filesystem::path path_;
};

/// How a program ended, and all it said.
struct outcome
{
    int code = -1;     // its exit code; -1 if a signal ended it
    int signal = 0;    // what ended it; 0 if it exited
    bool hung = false; // past its deadline, and killed for that
    std::string out;
    std::string err;
};

/// What to run: arguments from the program itself on, looked up in PATH.
struct command
{
    std::vector<std::string> arguments;
    std::string input = {};                    // all of stdin
    std::string directory = {};                // where to run it; here if empty
    std::vector<std::string> environment = {}; // added to ours
};

/// A program while it runs.
class running
{
public:
    explicit running(const command& what)
        : in_(memory(what.input))
        , out_(memory(""))
        , err_(memory(""))
    {
        posix_spawn_file_actions_t actions;
        ::posix_spawn_file_actions_init(&actions);
        ::posix_spawn_file_actions_adddup2(&actions, in_, 0);
        ::posix_spawn_file_actions_adddup2(&actions, out_, 1);
        ::posix_spawn_file_actions_adddup2(&actions, err_, 2);
        if (!what.directory.empty())
            ::posix_spawn_file_actions_addchdir_np(&actions,
                                                   what.directory.c_str());
        auto arguments = what.arguments;
        std::vector<std::string> environment = what.environment;
        for (char** one = environ; *one != nullptr; ++one)
            environment.emplace_back(*one);
        const int error = ::posix_spawnp(&pid_, arguments[0].c_str(), &actions,
                                         nullptr, pointers(arguments).data(),
                                         pointers(environment).data());
        ::posix_spawn_file_actions_destroy(&actions);
        if (error != 0)
        {
            close();
            throw std::system_error(error, std::generic_category(),
                                    arguments[0]);
        }
        pidfd_ = static_cast<int>(::syscall(SYS_pidfd_open, pid_, 0));
    }
    running(const running&) = delete;
    ~running()
    {
        if (pid_ > 0)
        {
            kill(SIGKILL);
            ::waitpid(pid_, nullptr, 0);
        }
        close();
    }

    pid_t pid() const { return pid_; }
    void kill(int signal) const { ::kill(pid_, signal); }

    /// What it has said up to now.
    std::string out() const { return text(out_); }
    /// The leak sanitizer remarks that a thread ended while it was looking:
    /// that is none of the program's words.
    std::string err() const
    {
        static const std::regex remark(
            "==[0-9]+==Unable to get registers from thread [0-9]+\\.\n");
        return std::regex_replace(text(err_), remark, "");
    }

    /// Waits for its end; kills it at the deadline.
    outcome wait(std::chrono::milliseconds limit = std::chrono::seconds(100))
    {
        outcome result;
        pollfd end{pidfd_, POLLIN, 0};
        if (::poll(&end, 1, static_cast<int>(limit.count())) == 0)
        {
            result.hung = true;
            for (const pid_t one : all_processes())
                if (one == pid_ || parent(one) == pid_)
                    result.err += evidence(one);
            kill(SIGKILL);
        }
        int status = 0;
        ::waitpid(std::exchange(pid_, -1), &status, 0);
        if (WIFSIGNALED(status))
            result.signal = WTERMSIG(status);
        else
            result.code = WEXITSTATUS(status);
        result.out = out();
        result.err += err();
        return result;
    }

private:
    /// Shared memory serves as a file: nobody has to empty it in time, as a
    /// pipe would demand.
    static int memory(const std::string& content)
    {
        const int fd = ::memfd_create("standard stream", MFD_CLOEXEC);
        for (std::size_t done = 0; done < content.size();) // grows, or throws
        {
            const auto n =
                ::write(fd, content.data() + done, content.size() - done);
            if (n <= 0)
                throw std::system_error(errno, std::generic_category());
            done += static_cast<std::size_t>(n);
        }
        ::lseek(fd, 0, SEEK_SET);
        return fd;
    }
    static std::string text(int fd)
    {
        return slurp("/proc/self/fd/" + std::to_string(fd));
    }
    static std::vector<char*> pointers(std::vector<std::string>& strings)
    {
        std::vector<char*> result;
        for (auto& string : strings)
            result.push_back(string.data());
        result.push_back(nullptr);
        return result;
    }
    void close() const
    {
        for (const int fd : {in_, out_, err_, pidfd_})
            if (fd >= 0)
                ::close(fd);
    }

    int in_, out_, err_;
    int pidfd_ = -1;
    pid_t pid_ = -1;
};

/// Runs a program to its end.
inline outcome
run_program(const command& what,
            std::chrono::milliseconds limit = std::chrono::seconds(100))
{
    return running(what).wait(limit);
}

} // namespace test
