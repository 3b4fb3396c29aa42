// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.
//
// Python's pools, run by peers.py in an interpreter of their own, which waits
// for its turn in a read.

#pragma once

#include "harness.hpp"

#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <memory>
#include <stdexcept>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

extern char** environ;

namespace bench {

/// A program found on PATH, that reads lines and answers each with a line.
class conversation
{
public:
    /// Throws std::system_error when there is no such program.
    explicit conversation(std::vector<std::string> words)
    {
        int to[2], from[2];
        if (::pipe2(to, O_CLOEXEC) != 0 || ::pipe2(from, O_CLOEXEC) != 0)
            throw std::system_error(errno, std::generic_category(), "pipe");
        std::vector<char*> arguments;
        for (auto& word : words)
            arguments.push_back(word.data());
        arguments.push_back(nullptr);
        posix_spawn_file_actions_t actions;
        ::posix_spawn_file_actions_init(&actions);
        ::posix_spawn_file_actions_adddup2(&actions, to[0], 0);
        ::posix_spawn_file_actions_adddup2(&actions, from[1], 1);
        const int error = ::posix_spawnp(&pid_, arguments.front(), &actions,
                                         nullptr, arguments.data(), environ);
        ::posix_spawn_file_actions_destroy(&actions);
        ::close(to[0]);
        ::close(from[1]);
        to_.reset(::fdopen(to[1], "w"));
        from_.reset(::fdopen(from[0], "r"));
        if (error != 0)
            throw std::system_error(error, std::generic_category(),
                                    words.front());
    }
    conversation(const conversation&) = delete;

    /// Ends its input, which ends it, and reaps it.
    ~conversation()
    {
        to_.reset();
        if (pid_ > 0)
            ::waitpid(pid_, nullptr, 0);
    }

    /// Throws std::runtime_error when it has ended.
    std::string ask(const std::string& question)
    {
        std::fprintf(to_.get(), "%s\n", question.c_str());
        std::fflush(to_.get());
        return answer();
    }

    /// The next line that it prints.
    std::string answer()
    {
        std::string line;
        for (int c; (c = std::fgetc(from_.get())) != '\n';) // or end of file
        {
            if (c == EOF)
                throw std::runtime_error("peers.py has ended");
            line += static_cast<char>(c);
        }
        return line;
    }

private:
    struct closes
    {
        void operator()(std::FILE* file) const { std::fclose(file); }
    };
    std::unique_ptr<std::FILE, closes> to_, from_;
    pid_t pid_ = -1;
};

/// Where peers.py is; set by the command line.
inline std::string& peers_py()
{
    static std::string path = "test/bench/peers.py";
    return path;
}

/// One of the functions of peers.py, with its arguments.  Requires of each
/// answer that it closes with `expected`.
inline contestant python(const std::string& name,
                         std::vector<std::string> words,
                         const std::string& expected = "")
{
    if (!std::ifstream(peers_py()))
        return {name, {}, peers_py() + " was not found"};
    words.insert(words.begin(), {"python3", peers_py(), "--cpus",
                                 std::to_string(cpus().here) + "," +
                                     std::to_string(cpus().there)});
    try
    {
        auto talk = std::make_shared<conversation>(words);
        if (talk->answer() != "ready")
            return {name, {}, "python3 cannot run peers.py"};
        return {name,
                [talk, name, expected](std::size_t count) {
                    const auto answer = talk->ask(std::to_string(count));
                    char* rest = nullptr;
                    const double took = std::strtod(answer.c_str(), &rest);
                    verify(took > 0 && rest == expected, name + ", " + answer);
                    return took;
                },
                {}};
    }
    catch (const std::system_error&)
    {
        return {name, {}, "python3 was not found"};
    }
    catch (const std::runtime_error&)
    {
        return {name, {}, "python3 cannot run peers.py"};
    }
}

} // namespace bench
