// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.

#pragma once

/// How much memory something takes, as the kernel counts it.

#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <set>
#include <string>

namespace test {

/// Bytes behind the shared memory that this process has descriptors of: all of
/// it, whoever has touched it.
inline std::uint64_t shared_memory()
{
    namespace fs = std::filesystem;
    std::set<ino_t> seen;
    std::uint64_t result = 0;
    std::error_code gone; // the descriptor that lists the others
    for (const auto& one : fs::directory_iterator("/proc/self/fd"))
    {
        struct stat info
        {
        };
        const auto target = fs::read_symlink(one.path(), gone).string();
        if (target.rfind("/memfd:", 0) == 0 &&
            ::stat(one.path().c_str(), &info) == 0 &&
            seen.insert(info.st_ino).second)
            result += static_cast<std::uint64_t>(info.st_blocks) * 512;
    }
    return result;
}

/// Bytes of its own that a process has in memory; 0 when it is gone.
inline std::uint64_t private_memory(pid_t process)
{
    std::ifstream status("/proc/" + std::to_string(process) + "/status");
    std::uint64_t pages = 0; // of 1 KiB
    for (std::string word; status >> word;)
        if (word == "RssAnon:")
            status >> pages;
    return pages * 1024;
}

} // namespace test
