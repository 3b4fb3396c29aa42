// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.
//
// Text to count the words of: all headers of the Boost that this program was
// built with, as one file in the page cache.

#pragma once

#include "harness.hpp"
#include "python.hpp"

#include <boost/version.hpp>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <stdexcept>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

namespace bench {

/// The directory boost/ that holds version.hpp, as the compiler finds it.
/// Throws std::runtime_error when there is no compiler to ask.
inline std::filesystem::path boost_headers(const std::string& compiler)
{
    const std::string_view end = "boost/version.hpp";
    conversation asked({"sh", "-c",
                        "exec " + compiler +
                            " -M -x c++ -include boost/version.hpp /dev/null"});
    try
    {
        for (;;) // ends with the list of dependencies
        {
            std::string text = asked.answer();
            for (std::size_t at = 0; at < text.size();) // word by word
            {
                const auto space = std::min(text.find(' ', at), text.size());
                const auto word = text.substr(at, space - at);
                if (word.size() > end.size() && word.ends_with(end))
                    return std::filesystem::path(word).parent_path();
                at = space + 1;
            }
        }
    }
    catch (const std::runtime_error&)
    {
        throw std::runtime_error("cannot find the Boost headers with " +
                                 compiler + "; name them with --headers");
    }
}

/// Writes all files under a directory, sorted, into one; not again, when it
/// is there with the right size.
inline void concatenate(const std::filesystem::path& directory,
                        const std::filesystem::path& into)
{
    std::vector<std::filesystem::path> files;
    std::uintmax_t size = 0;
    for (const auto& entry :
         std::filesystem::recursive_directory_iterator(directory))
        if (entry.is_regular_file())
        {
            files.push_back(entry.path());
            size += entry.file_size();
        }
    std::error_code absent;
    if (std::filesystem::file_size(into, absent) == size && !absent)
        return;
    std::sort(files.begin(), files.end());
    std::ofstream out(into, std::ios::binary);
    for (const auto& file : files)
        if (std::ifstream in(file, std::ios::binary); in.peek() != EOF)
            out << in.rdbuf();
    if (!out.flush() || std::filesystem::file_size(into) != size)
        throw std::runtime_error("cannot write " + into.string());
}

/// What every way of counting must find.
struct words
{
    std::uint64_t spaced = 0;   // wc's: a printable character up to white space
    std::uint64_t total = 0;    // runs of [A-Za-z0-9_]
    std::uint64_t distinct = 0; // of these, in lower case
};

/// Counts in the plainest way, to judge the others by.
inline words count_words(const std::filesystem::path& file)
{
    std::ifstream in(file, std::ios::binary);
    std::unordered_map<std::string, std::uint64_t> seen;
    words found;
    bool inside = false;
    std::string word;
    const auto end_word = [&] {
        if (!word.empty())
            ++seen[word], ++found.total;
        word.clear();
    };
    for (std::istreambuf_iterator<char> at(in), end; at != end; ++at)
    {
        const char c = *at;
        const bool space = c == ' ' || (c >= '\t' && c <= '\r');
        if (c > ' ' && c <= '~' && !inside)
            inside = true, ++found.spaced;
        else if (space)
            inside = false;
        if (c >= 'A' && c <= 'Z')
            word += static_cast<char>(c - 'A' + 'a');
        else if ((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_')
            word += c;
        else
            end_word();
    }
    end_word();
    found.distinct = seen.size();
    return found;
}

/// The text whose words are counted, written when first asked for.
class text
{
public:
    text(std::string directory, std::filesystem::path file)
        : directory_(std::move(directory))
        , file_(std::move(file))
    {
    }

    const std::filesystem::path& file()
    {
        expected();
        return file_;
    }

    const words& expected()
    {
        if (expected_.total == 0)
        {
            const char* named = std::getenv("CXX");
            if (directory_.empty())
                directory_ = boost_headers(named ? named : "c++");
            concatenate(directory_, file_);
            expected_ = count_words(file_);
        }
        return expected_;
    }

private:
    std::filesystem::path directory_;
    std::filesystem::path file_;
    words expected_;
};

/// coreutils' wc, in the C locale, from its start to its last word.
inline contestant wc(const std::filesystem::path& file, const words& expected)
{
    const std::string name = "wc -w (C locale), one process";
    const auto run = [=](std::size_t count) {
        const stopwatch time;
        for (std::size_t i = 0; i < count; ++i)
        {
            conversation counted({"env", "LC_ALL=C", "wc", "-w", file});
            verify(counted.answer() ==
                       std::to_string(expected.spaced) + " " + file.string(),
                   name);
        }
        return time.read();
    };
    try
    {
        run(1);
    }
    catch (const wrong_result&)
    {
        throw;
    }
    catch (const std::runtime_error&)
    {
        return {name, {}, "wc was not found"};
    }
    return {name, run, {}};
}

/// Counter and re.findall in a Pool of as many workers as CPUs.
inline contestant python_words(const std::filesystem::path& file,
                               const words& expected)
{
    return python("Python Pool, Counter", {"word_count", file},
                  " " + std::to_string(expected.total) + " " +
                      std::to_string(expected.distinct));
}

} // namespace bench
