// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.

#pragma once

#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <random>
#include <sstream>
#include <string>
#include <vector>

namespace test {

/// All of a file, or of as much of it as this process may read.
inline std::string slurp(const std::filesystem::path& path)
{
    std::ifstream file(path, std::ios::binary);
    std::ostringstream text;
    text << file.rdbuf();
    return text.str();
}

inline std::filesystem::path proc(pid_t pid)
{
    return "/proc/" + std::to_string(pid);
}

/// R, S, T, Z ... as in ps(1); X where there is no such process.
inline char state(pid_t pid)
{
    const std::string text = slurp(proc(pid) / "stat");
    const auto name_end = text.rfind(')');
    return name_end == text.npos ? 'X' : text[name_end + 2];
}

/// Whether a process runs.  One that has ended and that nobody has reaped yet
/// (an orphan in a container, say) does not.
inline bool alive(pid_t pid)
{
    const char now = state(pid);
    return now != 'X' && now != 'Z';
}

/// The parent of a process; 0 where there is no such process.
inline pid_t parent(pid_t pid)
{
    const std::string text = slurp(proc(pid) / "stat");
    const auto name_end = text.rfind(')');
    return name_end == text.npos ? 0 : std::atoi(text.c_str() + name_end + 4);
}

/// All processes that run.
inline std::vector<pid_t> all_processes()
{
    std::vector<pid_t> result;
    for (const auto& one : std::filesystem::directory_iterator("/proc"))
        if (const int pid = std::atoi(one.path().filename().c_str()); pid > 0)
            if (alive(pid))
                result.push_back(pid);
    return result;
}

/// The workers that a process started itself, and that run.  Each leads a
/// process group; the process by which the leak sanitizer looks at one that
/// ends does not, and must live.
inline std::vector<pid_t> workers_of(pid_t one)
{
    auto result = all_processes();
    std::erase_if(result, [&](pid_t pid) {
        return parent(pid) != one || ::getpgid(pid) != pid;
    });
    return result;
}

/// All processes that this program started, and those started by them, that
/// run: also when their parent is gone.  test/main.cpp marks them.
inline std::vector<pid_t> descendants()
{
    const char* mark = std::getenv("COMMON_TEST");
    const std::string wanted =
        '\0' + std::string("COMMON_TEST=") + (mark ? mark : "?") + '\0';
    const auto marked = [&](pid_t pid) {
        const std::string environment = '\0' + slurp(proc(pid) / "environ");
        return environment.find(wanted) != std::string::npos;
    };
    std::vector<pid_t> result;
    for (const pid_t pid : all_processes())
        if (pid != ::getpid() && (parent(pid) == ::getpid() || marked(pid)))
            result.push_back(pid);
    return result;
}

/// Kills one of a program's processes every 20 ms while it runs, `most` times
/// at most: under a sanitizer a process needs longer than that to start.
/// Returns how often it did.
inline unsigned kill_workers_of(pid_t program, unsigned most,
                                std::mt19937& dice)
{
    unsigned kills = 0;
    while (kills < most && alive(program))
    {
        const auto all = workers_of(program);
        if (!all.empty() && ::kill(all[dice() % all.size()], SIGKILL) == 0)
            ++kills;
        ::poll(nullptr, 0, 20);
    }
    return kills;
}

inline void kill_descendants()
{
    for (const pid_t one : descendants())
        ::kill(one, SIGKILL);
}

/// Whether this process has a child, dead or alive, that it has not reaped.
inline bool has_children()
{
    siginfo_t info{};
    return ::waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) == 0;
}

inline void reap_dead_children()
{
    while (::waitpid(-1, nullptr, WNOHANG) > 0) // until none is left
        continue;
}

/// Whatever the kernel tells of a process and its threads: where it waits, for
/// what, and on whose behalf (the stack: to root only).
inline std::string evidence(pid_t pid)
{
    std::string command = slurp(proc(pid) / "cmdline");
    std::replace(command.begin(), command.end(), '\0', ' ');
    std::string result = "process " + std::to_string(pid) + ": " + command;
    std::error_code gone;
    for (const auto& one :
         std::filesystem::directory_iterator(proc(pid) / "task", gone))
    {
        result += "\n  thread " + one.path().filename().string() + " state " +
                  state(pid) + " waits in '" + slurp(one.path() / "wchan") +
                  "' system call " + slurp(one.path() / "syscall");
        std::istringstream stack(slurp(one.path() / "stack"));
        for (std::string line; std::getline(stack, line);)
            result += "    " + line + "\n";
    }
    return result + "\n";
}

} // namespace test
