// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.
//
// Counts words: runs of letters, digits and _, in lower case.
//
//   $ printf 'To be, or not to be' > hamlet
//   $ map_reduce hamlet --top 2
//   2       be
//   2       to

#include "map_reduce.hpp"
#include "words.hpp"

#include "common/files.hpp"
#include "common/options.hpp"
#include "common/process.hpp"

#include <boost/program_options/value_semantic.hpp>

#include <climits>
#include <cstddef>
#include <cstdint>
#include <iostream>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace {

// tag::job[]
struct word_count
{
    using key = std::string;
    using value = std::uint64_t;
    common::chaos chaos;

    void map(map_reduce::text_split& split, auto& emit) const
    {
        while (const auto text = split.next())
            map_reduce::for_each_word(*text,
                                      [&](const auto& word) { emit(word, 1); });
    }

    static bool before(const auto& a, const auto& b)
    {
        return a.value > b.value; // the same count: by word
    }

    void starting(std::uint64_t task) const
    {
        chaos.before(task, common::attempt());
    }
    void finishing(std::uint64_t task) const
    {
        chaos.after(task, common::attempt());
    }
};
// end::job[]

bool count_words(const common::program_line& line, std::size_t top,
                 common::run_statistics& statistics)
{
    bool good = true;
    const auto complain = [&good](const std::string& problem) {
        std::cerr << "map_reduce: " << problem << '\n';
        good = false;
    };
    std::vector<std::string> files;
    for (const auto& path : line.paths)
        for (auto& file : common::files_of(path, complain))
            files.push_back(std::move(file));

    map_reduce::options how;
    how.staff.workers = line.workers;
    how.limit = top;
    if (line.chaos.probability > 0)
    {
        how.attempts = 200;
        how.staff.restarts = UINT_MAX;
        how.staff.backoff = {};
    }
    const auto counts = map_reduce::run(
        word_count{line.chaos},
        map_reduce::files(files,
                          [](char c) { return !map_reduce::is_word(c); }),
        how);
    for (const auto& [word, count] : counts)
        std::cout << count << '\t' << word << '\n';
    for (const auto& [where, what] : counts.failures())
        complain(where + ": " + what);
    const auto& s = counts.stats();
    statistics = {s.emitted, s.bytes, s.deaths, s.retried, s.poisoned};
    return good;
}

} // namespace

int main(int argc, char* argv[])
{
    common::worker_main(argc, argv);
    std::ios::sync_with_stdio(false);
    std::size_t top = 20;
    common::program_line line("map_reduce PATH...",
                              "Counts the words of files and of directories.");
    line.add("top", boost::program_options::value(&top)->value_name("N"),
             "how many words to print, the most frequent first; 0: all");
    return line.run(argc, argv, [&](common::run_statistics& s) {
        if (line.paths.empty())
            throw common::usage_error("which files?");
        return count_words(line, top, s);
    });
}
