// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.

#pragma once

#include "common/linux/new_file.hpp"

#include <algorithm>
#include <filesystem>
#include <string>
#include <system_error>
#include <vector>

namespace common {

using kernel::new_file;

/// The regular files that `path` stands for: itself, or all below it, in byte
/// order of their names.  Links to directories are not followed.
///
/// What cannot be looked at is reported to `complain(message)`, once each, and
/// left out; the rest is still returned.
template <class Complain>
std::vector<std::string> files_of(const std::string& path, Complain complain)
{
    namespace fs = std::filesystem;
    std::vector<std::string> found, directories;
    std::error_code error;
    const auto kind = fs::status(path, error);
    if (fs::is_regular_file(kind))
        found.push_back(path);
    else if (fs::is_directory(kind))
        directories.push_back(path);
    else
        complain(path + ": " +
                 (error ? error.message() : "not a file or directory"));
    while (!directories.empty()) // ends: links are not followed
    {
        const auto directory = directories.back();
        directories.pop_back();
        fs::directory_iterator at(directory, error);
        for (; !error && at != fs::directory_iterator(); at.increment(error))
        {
            std::error_code ignored; // what vanishes meanwhile is left out
            if (at->is_symlink(ignored) ? fs::is_regular_file(*at, ignored)
                                        : at->is_regular_file(ignored))
                found.push_back(at->path().string());
            else if (!at->is_symlink(ignored) && at->is_directory(ignored))
                directories.push_back(at->path().string());
        }
        if (error)
            complain(directory + ": " + error.message());
    }
    std::sort(found.begin(), found.end());
    return found;
}

} // namespace common
