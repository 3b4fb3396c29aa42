// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.
//
// In how many ways N queens stand on an N x N board, none attacking another.
// With a journal, an interrupted count goes on where it was.
//
//   $ master_worker --queens 13
//   73712

#include "master_worker.hpp"

#include "common/options.hpp"

#include <signal.h>

#include <cstdint>
#include <iostream>
#include <memory>
#include <string>
#include <vector>

namespace {

/// Queens in the first rows; bits of what they attack in the next.
struct board
{
    std::uint32_t columns = 0, falling = 0, rising = 0;
    std::uint32_t row = 0;

    std::uint32_t open(unsigned size) const
    {
        return ((1u << size) - 1) & ~(columns | falling | rising);
    }
    board with(std::uint32_t queen) const
    {
        return {columns | queen, (falling | queen) >> 1, (rising | queen) << 1,
                row + 1};
    }
};

std::uint64_t count(const board& b, unsigned size)
{
    if (b.row == size)
        return 1;
    std::uint64_t found = 0;
    for (auto open = b.open(size); open != 0; open &= open - 1)
        found += count(b.with(open & -open), size);
    return found;
}

// tag::task[]
// Runs in a worker: one subtree, which may be large or nearly empty.
std::uint64_t subtree(board start, unsigned size, common::chaos chaos,
                      std::uint64_t number)
{
    chaos.before(number, master_worker::attempt());
    const auto found = count(start, size);
    chaos.after(number, master_worker::attempt());
    return found;
}
// end::task[]

/// All boards with queens in the first `rows`, and their names.
void grow(const board& b, unsigned size, unsigned rows, const std::string& name,
          std::vector<std::pair<std::string, board>>& into)
{
    if (b.row == rows)
        return into.emplace_back(name, b), void();
    for (auto open = b.open(size); open != 0; open &= open - 1)
        grow(b.with(open & -open), size, rows,
             name + '.' + std::to_string(__builtin_ctz(open)), into);
}

std::uint64_t queens(unsigned size, const common::program_line& line,
                     master_worker::master& m)
{
    std::vector<std::pair<std::string, board>> starts;
    grow({}, size, std::min(size, size < 10 ? 2u : 3u), "", starts);
    // tag::submit[]
    std::vector<master_worker::handle<std::uint64_t>> parts;
    for (const auto& [name, start] : starts)
    {
        master_worker::task_options how;
        how.key = name;           // in the journal
        how.retry.attempts = 200; // only kills from outside take any
        how.retry.backoff = {};
        parts.push_back(m.submit(how, &subtree, start, size, line.chaos,
                                 std::uint64_t{parts.size()}));
    }
    std::uint64_t total = 0;
    for (const auto& part : parts)
        total += part.get();
    // end::submit[]
    return total;
}

} // namespace

int main(int argc, char* argv[])
{
    namespace po = boost::program_options;
    common::worker_main(argc, argv);
    common::program_line line("master_worker --queens N",
                              "in how many ways N queens stand on an N x N "
                              "board, none attacking another");
    unsigned size = 8;
    std::string journal, trace, listen, join;
    line.add("queens", po::value(&size)->value_name("N"),
             "how many, 1 to 18 (default: 8)");
    line.add("journal", po::value(&journal)->value_name("F"),
             "keeps what is done, and goes on with what is in it");
    line.add("trace", po::value(&trace)->value_name("F.json"),
             "what happened when, for chrome://tracing or Perfetto");
    line.add("listen", po::value(&listen)->value_name("DIR/NAME"),
             "lets others of your processes join, in a directory of your own");
    line.add("join", po::value(&join)->value_name("DIR/NAME"),
             "works for the master that listens there");
    return line.run(argc, argv, [&](common::run_statistics& statistics) {
        if (!join.empty())
            return master_worker::join(join, 0, [] {}) == 0;
        if (size < 1 || size > 18)
            throw common::usage_error("--queens must be 1 to 18, not " +
                                      std::to_string(size));
        ::signal(SIGXFSZ, SIG_IGN); // ulimit -f: an error, and not the end
        master_worker::master_options options;
        options.workers = {line.workers};
        options.payload = 4096; // a task is a board, and its result a number
        options.journal.file = journal;
        options.journal.tasks = std::to_string(size) + " queens";
        options.staff.door = listen;
        options.staff.restarts = 1'000'000; // kills from outside are no reason
        options.staff.backoff = {};         // to give up
        std::unique_ptr<master_worker::trace> events;
        if (!trace.empty())
        {
            events = std::make_unique<master_worker::trace>(trace);
            options.on_event = std::ref(*events);
            options.measure = true;
        }
        {
            master_worker::master m(options);
            std::cout << queens(size, line, m) << '\n';
            const auto stats = m.stats();
            statistics.items = stats.finished - stats.recovered;
            statistics.deaths = stats.deaths;
            statistics.retried = stats.retried;
            statistics.poisoned = stats.poisoned;
        }
        if (events)
            events->finish();
        return true;
    });
}
