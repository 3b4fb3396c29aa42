// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.
//
// Counts the lines of files that contain a text, as grep -rcF does; files
// without any are left out.
//
//   $ producer_consumer include patterns
//   patterns/map_reduce/combine_table.hpp:14
//   ...

#include "producer_consumer.hpp"

#include "common/crew.hpp"
#include "common/files.hpp"
#include "common/options.hpp"

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <future>
#include <iostream>
#include <mutex>
#include <set>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

namespace {

using producer_consumer::consumer;
using producer_consumer::producer;

struct file
{
    std::uint32_t number = 0;
    std::string path;
};

struct chunk // whole lines of a file
{
    std::uint32_t file = 0, number = 0;
    std::string lines;
};

struct finding
{
    std::uint32_t file = 0, chunk = 0;
    std::uint64_t count = 0, bytes = 0;
    std::string error; // why the file could not be read
};

// What ends a line for grep, which takes a zero for an end, too.
constexpr std::string_view ends("\n\0", 2);

// tag::produce[]
/// Runs in a worker: reads files, and pushes their lines in chunks.
int read(common::crew_member me, consumer<file> files, producer<chunk> out,
         producer<finding> errors, common::chaos chaos)
{
    me.ready();
    while (auto one = files.lease())
    {
        chaos.before(one->number, one.redelivered());
        std::ifstream from(one->path, std::ios::binary);
        std::string lines;
        std::uint32_t number = 0;
        std::vector<char> block(128 << 10);
        while (from.read(block.data(), std::ssize(block)), from.gcount() > 0)
        {
            const std::string_view got(block.data(),
                                       static_cast<std::size_t>(from.gcount()));
            const auto whole = got.find_last_of(ends) + 1; // 0 when none
            lines += got.substr(0, whole);
            if (whole != 0)
            {
                out.push({one->number, number++, lines});
                lines.clear();
            }
            lines += got.substr(whole);
        }
        const int why = errno; // before a push changes it
        if (!lines.empty())
            out.push({one->number, number++, lines});
        if (from.bad() || !from.eof())
            errors.push({one->number, ~0u, 0, 0,
                         one->path + ": " + std::strerror(why)});
        chaos.after(one->number, one.redelivered());
        one.acknowledge();
    }
    me.finished();
    return 0;
}
// end::produce[]

std::uint64_t matching_lines(std::string_view text, std::string_view lines)
{
    std::uint64_t count = 0;
    while (!lines.empty()) // each turn: a line with the text, or the rest
    {
        const auto found = lines.find(text);
        if (found == lines.npos)
            break;
        ++count;
        const auto end = lines.find_first_of(ends, found);
        lines.remove_prefix(end == lines.npos ? lines.size() : end + 1);
    }
    return count;
}

// tag::consume[]
/// Runs in a worker: counts in each chunk, and pushes what it found.
int count(common::crew_member me, consumer<chunk> chunks, producer<finding> out,
          std::string text, common::chaos chaos)
{
    me.ready();
    while (auto one = chunks.lease())
    {
        const auto id = std::uint64_t{one->file} << 32 | one->number;
        chaos.before(~id, one.redelivered());
        out.push({one->file, one->number, matching_lines(text, one->lines),
                  one->lines.size(), ""});
        chaos.after(~id, one.redelivered());
        one.acknowledge();
    }
    me.finished();
    return 0;
}
// end::consume[]

/// Prints what was found in the order of `paths`.  A worker that was killed
/// when it had pushed, but not acknowledged, has pushed again: each chunk
/// counts once.
bool print(const std::vector<std::string>& paths, consumer<finding> findings,
           common::run_statistics& statistics)
{
    std::vector<std::uint64_t> counts(paths.size());
    std::set<std::pair<std::uint32_t, std::uint32_t>> seen;
    bool good = true;
    for (const auto& one : findings)
    {
        if (!seen.insert({one.file, one.chunk}).second)
            continue;
        counts[one.file] += one.count;
        statistics.bytes += one.bytes;
        if (!one.error.empty())
            std::cerr << "producer_consumer: " + one.error + "\n";
        good = good && one.error.empty();
    }
    for (std::size_t i = 0; i < paths.size(); ++i)
        if (counts[i] != 0)
            std::cout << paths[i] << ':' << counts[i] << '\n';
    statistics.items = paths.size();
    return good;
}

bool search(const common::program_line& line, const std::string& text,
            const std::vector<std::string>& paths,
            common::run_statistics& statistics)
{
    producer_consumer::queue_options how;
    how.producers = how.consumers = line.workers + 1;
    how.attempts = 1000; // only kills from outside, or chaos, take any
    how.bytes = 4u << 20;
    producer_consumer::queue<file> files(how);
    how.capacity = 64;
    producer_consumer::queue<chunk> chunks(how);
    how.producers = 2 * line.workers;
    producer_consumer::queue<finding> findings(how);

    std::promise<void> broken; // set when workers cannot be kept alive
    std::once_flag once;
    const common::crew::events events{
        {}, [&](const std::string& cause) {
            std::call_once(once, [&] {
                broken.set_exception(
                    std::make_exception_ptr(common::exhausted(cause)));
                files.close(); // and so nobody waits for what will not come
                chunks.close();
                findings.close();
            });
        }};
    common::crew::options staff;
    staff.restarts = 1'000'000;
    staff.backoff = {};
    staff.workers = (line.workers + 1) / 2;
    common::crew readers(staff, events, &read, files.consumer(),
                         chunks.producer(), findings.producer(), line.chaos);
    staff.workers = line.workers;
    common::crew counters(staff, events, &count, chunks.consumer(),
                          findings.producer(), text, line.chaos);
    std::jthread feeder([&, names = files.producer()]() mutable {
        for (std::uint32_t i = 0; i < paths.size(); ++i)
            if (names.push_until({i, paths[i]}, common::time_point::max()) !=
                producer_consumer::outcome::done)
                return;
    });
    const bool good = print(paths, findings.consumer(), statistics);
    if (auto failed = broken.get_future();
        failed.wait_for(std::chrono::seconds(0)) == std::future_status::ready)
        failed.get();
    statistics.deaths = readers.deaths() + counters.deaths();
    statistics.retried = files.stats().redelivered + chunks.stats().redelivered;
    return good;
}

} // namespace

int main(int argc, char* argv[])
{
    common::worker_main(argc, argv);
    common::program_line line("producer_consumer TEXT PATH...",
                              "how many lines of each file contain TEXT");
    return line.run(argc, argv, [&](common::run_statistics& statistics) {
        if (line.paths.size() < 2)
            throw common::usage_error("needs a text, and where to look for it");
        const auto text = line.paths.front();
        if (text.find_first_of(ends) != text.npos)
            throw common::usage_error("a text of several lines is in no line");
        bool good = true;
        std::vector<std::string> paths;
        for (auto at = line.paths.begin() + 1; at != line.paths.end(); ++at)
            for (auto& one : common::files_of(*at, [&](const std::string& m) {
                     std::cerr << "producer_consumer: " + m + "\n";
                     good = false;
                 }))
                paths.push_back(std::move(one));
        return search(line, text, paths, statistics) && good;
    });
}
