// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.
//
// Measures the core and the patterns against the limits of the hardware and
// against their peers, all in turns, and prints one table.

#include "async.hpp"
#include "candidates.hpp"
#include "harness.hpp"
#include "hierarchy.hpp"
#include "http.hpp"
#include "hybrid.hpp"
#include "limits.hpp"
#include "peers.hpp"
#include "python.hpp"
#include "report.hpp"
#include "shared.hpp"
#include "streams.hpp"
#include "text.hpp"

#include "common/process.hpp"
#include "common/wait.hpp"

#include <boost/program_options/options_description.hpp>
#include <boost/program_options/parsers.hpp>
#include <boost/program_options/variables_map.hpp>

#include <sys/times.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdlib>
#include <exception>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iostream>
#include <string>
#include <utility>
#include <vector>

namespace {

namespace options = boost::program_options;
using bench::opponent;
using bench::planned;
using bench::text;
constexpr auto limit = opponent::kind::limit;
constexpr auto peer = opponent::kind::peer;

void two_lines(bench::row& row)
{
    row.ours = bench::two_lines();
    row.against = {{limit, bench::one_line()}};
}

void submit(bench::row& row)
{
    row.ours = bench::submit_to_result();
    row.against = {
        {limit, bench::two_lines(), 1.15},
        {peer, bench::python("ProcessPoolExecutor", {"executor_latency"}), 500},
        {peer, bench::python("ProcessPoolExecutor, on one CPU",
                             {"executor_latency", "--same"})},
        {peer, bench::python("Python Pool.apply", {"pool_latency"})},
        {peer, bench::python("Python Pool.apply, on one CPU",
                             {"pool_latency", "--same"})},
        {peer, bench::asio_round_trip()},
        {peer, bench::message_queue_round_trip()}};
}

void stream(bench::row& row)
{
    row.ours = bench::submit_stream();
    row.against = {
        {limit, bench::two_lines(), 0.2},
        {peer, bench::asio_stream(), 3},
        {peer, bench::asio_stream_on_one_cpu()},
        {peer, bench::python("ProcessPoolExecutor.submit", {"executor_submit"}),
         1000},
        {peer, bench::python("ProcessPoolExecutor.submit, on one CPU",
                             {"executor_submit", "--same"})},
        {peer, bench::tbb_stream(1024)},
        {peer, bench::message_queue_stream(1024)}};
}

void map(bench::row& row)
{
    row.ours = bench::map_stream();
    row.against = {
        {limit, bench::two_lines(), 0.2},
        {peer, bench::asio_stream(), 3},
        {peer, bench::asio_stream_on_one_cpu()},
        {peer, bench::python("ProcessPoolExecutor.map", {"executor_map_1"}),
         1000},
        {peer, bench::python("ProcessPoolExecutor.map, best chunks",
                             {"executor_map_best"})},
        {peer, bench::python("Python Pool.imap", {"pool_map_1"})},
        {peer,
         bench::python("Python Pool.imap, best chunks", {"pool_map_best"})}};
}

void parallel_for(bench::row& row)
{
    row.ours = bench::empty_parallel_for();
    row.against = {{limit, bench::two_lines(), 2},
                   {peer, bench::tbb_parallel_for()}};
}

void start(bench::row& row)
{
    row.pinned = false;
    row.ours = bench::start_to_first_task();
    row.against = {{limit, bench::spawn_to_store(), 1.3}};
}

void start_and_join(bench::row& row)
{
    row.pinned = false;
    row.ours = bench::start_to_joined();
    row.against = {{limit, bench::spawn_and_reap()}};
}

void count(bench::row& row, text& all)
{
    row.pinned = false;
    row.ours = bench::count_with(2, all.file(), all.expected());
    row.against = {
        {peer, bench::count_with(1, all.file(), all.expected()), 1.9},
        {peer, bench::wc(all.file(), all.expected()), 2.5, 4}};
}

void count_python(bench::row& row, text& all)
{
    row.pinned = false;
    row.ours = bench::count_with(2, all.file(), all.expected());
    row.against = {{peer, bench::python_words(all.file(), all.expected()), 30}};
}

std::vector<planned> first_rows(text& all)
{
    return {
        {"exchange", "two processes, a line each way", two_lines},
        {"submit to result", "one small task, its result; worker awake",
         submit},
        {"task of a stream",
         "tiny tasks with results, one worker, a window of 64", stream},
        {"task of a map", "the same by map, automatic chunks", map},
        {"empty parallel_for", "two chunks, two workers awake", parallel_for},
        {"start to first task", "a new process runs its body", start},
        {"start to joined", "a new process that does nothing", start_and_join},
        {"word count", "all Boost headers as one file, 2 workers",
         [&](bench::row& row) { count(row, all); }, 3},
        {"word count, Python", "the same against Python",
         [&](bench::row& row) { count_python(row, all); }, 3}};
}

std::vector<planned> plan(text& all)
{
    std::vector<planned> result = first_rows(all);
    for (const auto& more : {bench::stream_rows(all), bench::shared_data_rows(),
                             bench::hierarchy_rows(), bench::hybrid_rows(),
                             bench::async_rows(), bench::http_rows()})
        result.insert(result.end(), more.begin(), more.end());
    return result;
}

/// CPU time that others on this machine take while it lives.
class others
{
public:
    /// In percent of what the two CPUs could give; and what the host took.
    std::string text() const
    {
        const auto now = read();
        const auto all = static_cast<double>(::times(nullptr) - started_) *
                         (bench::cpus().one() ? 1 : 2);
        const auto percent = [&](long part) {
            return std::to_string(
                std::lround(100 * static_cast<double>(part) / all));
        };
        return "Others took " + percent(now.foreign - before_.foreign) +
               " % of the CPU time, the host " +
               percent(now.stolen - before_.stolen) +
               " %: above 10 % the figures are noise.";
    }

private:
    struct ticks
    {
        long foreign = 0;
        long stolen = 0;
    };

    static ticks read()
    {
        std::ifstream file("/proc/stat");
        std::string word;
        long user = 0, nice = 0, system = 0, idle = 0, io = 0, irq = 0,
             soft = 0, stolen = 0;
        file >> word >> user >> nice >> system >> idle >> io >> irq >> soft >>
            stolen;
        tms own{};
        ::times(&own);
        return {user + nice + system + irq + soft - own.tms_utime -
                    own.tms_stime - own.tms_cutime - own.tms_cstime,
                stolen};
    }

    clock_t started_ = ::times(nullptr);
    ticks before_ = read();
};

/// A contestant that fails costs its row, not the table.
bench::result measure(const planned& one, double seconds)
try
{
    bench::row row{one.name, one.what, {}, {}};
    one.set_up(row);
    return bench::measure(row, seconds);
}
catch (const std::exception& error)
{
    bench::result failed;
    failed.name = one.name;
    failed.what = one.what;
    failed.missing = error.what();
    failed.failed = true;
    return failed;
}

int run(const options::variables_map& given)
{
    const auto wanted = given["filter"].as<std::string>();
    const std::filesystem::path json = given["json"].as<std::string>();
    if (json.has_parent_path())
        std::filesystem::create_directories(json.parent_path());
    bench::peers_py() = given["peers"].as<std::string>();
    bench::mpi_peer() = given["mpi"].as<std::string>();
    bench::work_library() = given["work"].as<std::string>();
    bench::tile_library() = given["tiles"].as<std::string>();
    std::cout << "CPUs " << bench::cpus().here << " and " << bench::cpus().there
              << (bench::cpus().one() ? " (only one: all take turns on it)"
                                      : "")
              << std::endl;
    const others elsewhere;

    std::vector<bench::result> results;
    bench::write_json(json.string(), results); // or fail before the work
    text all(given["headers"].as<std::string>(),
             json.parent_path() / "bench_headers.txt");
    for (const auto& one : plan(all))
    {
        if (one.name.find(wanted) == std::string::npos)
            continue;
        if (::isatty(2) == 1)
            std::cerr << one.name << "...\n";
        results.push_back(
            measure(one, one.patience * given["seconds"].as<double>()));
        bench::write_json(json.string(), results);
    }
    bench::print_table(std::cout, results);
    std::cout << elsewhere.text() << std::endl;
    return std::any_of(results.begin(), results.end(),
                       [](const auto& one) { return one.failed; });
}

} // namespace

int main(int argc, char* argv[])
try
{
    common::worker_main(argc, argv);
    bench::spawned_child(argc, argv);
    bench::cpus(); // both of these before anything is pinned
    common::spin_budget();

    options::options_description known("bench");
    known.add_options()("help", "this text")(
        "filter", options::value<std::string>()->default_value(""),
        "only rows whose name contains this")(
        "seconds", options::value<double>()->default_value(6),
        "how long to measure a row")(
        "json", options::value<std::string>()->default_value("bin/bench.json"),
        "where to write the rows")(
        "peers",
        options::value<std::string>()->default_value("test/bench/peers.py"),
        "the Python peers")("mpi",
                            options::value<std::string>()->default_value(""),
                            "the peer that runs with MPI")(
        "work", options::value<std::string>()->default_value(""),
        "the library with arithmetic for Python")(
        "tiles", options::value<std::string>()->default_value(""),
        "the library that paints tiles for Python")(
        "headers", options::value<std::string>()->default_value(""),
        "the directory of text to count words of; else the Boost headers, "
        "where $CXX (or c++) finds them");
    options::variables_map given;
    options::store(options::parse_command_line(argc, argv, known), given);
    if (given.count("help") != 0)
    {
        std::cout << known;
        return 0;
    }
    return run(given);
}
catch (const options::error& error)
{
    std::cerr << "bench: " << error.what() << '\n';
    return 2;
}
catch (const std::exception& error)
{
    std::cerr << "bench: " << error.what() << '\n';
    return 1;
}
