// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.
//
// A master and its workers: the mailbox between them, uneven work, what a
// journal costs.

#pragma once

#include "harness.hpp"
#include "limits.hpp"
#include "peers.hpp"
#include "python.hpp"
#include "work.hpp"

#include "patterns/master_worker/master_worker.hpp"

#ifdef BENCH_TBB
#include <tbb/blocked_range.h>
#include <tbb/parallel_reduce.h>
#include <tbb/task_arena.h>
#endif
#ifdef BENCH_ZEROMQ
#include <zmq.h>
#endif

#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <deque>
#include <filesystem>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

namespace bench {

/// Where the program for mpirun is; set by the command line.
inline std::string& mpi_peer()
{
    static std::string path;
    return path;
}

/// The library that Python calls; set by the command line.
inline std::string& work_library()
{
    static std::string path;
    return path;
}

namespace detail {

// --- a message there and back ----------------------------------------------

/// A worker that has nothing but its mailbox, on the other CPU.
inline double through_a_mailbox(std::size_t count, const std::string& name)
{
    using namespace master_worker;
    using call = common::task<std::uint64_t (*)(std::uint64_t), std::uint64_t>;
    const auto memory = mailbox_memory::create(1 << 16);
    const common::kernel::bell bell;
    child other([&] { // mappings are not inherited by a fork
        worker_end end(mailbox_memory::adopt(common::kernel::descriptor(
                                                 ::dup(memory.descriptor())),
                                             memory.payload()),
                       bell.get().get());
        const auto never = [] { return false; };
        while (end.next(never, time_point::max())) // ends with the mailbox
            end.run();
    });
    master_end end(memory);
    bytes input, content;
    cost spent;
    bool failed = false, right = true;
    stopwatch time;
    for (std::uint64_t i = 0; i <= count; ++i)
    {
        if (i == 1)
            time = stopwatch(); // the child is up
        input.resize(call::size(&square, i));
        common::writer to{input};
        call::write(to, &square, i);
        end.post({i + 1, 0, 0, call::id(), input}, true);
        while (!end.news()) // ends with the answer
            look_again();
        right = end.read(i + 1, content, failed, spent).empty() && right;
        common::reader from{content};
        right = common::decode<std::uint64_t>(from) == square(i) && right;
    }
    const double took = time.read();
    end.close();
    other.join();
    verify(right, name);
    return took;
}

inline contestant mailbox()
{
    const std::string name = "master_worker's mailbox";
    return {
        name,
        [name](std::size_t count) { return through_a_mailbox(count, name); },
        {}};
}

inline std::string sum_of_squares(std::uint64_t count)
{
    std::uint64_t sum = 0;
    for (std::uint64_t i = 0; i < count; ++i)
        sum += square(i);
    return " " + std::to_string(sum);
}

/// A program of MPI ranks on this machine, which answers with nanoseconds and
/// a sum.
inline contestant mpi(const std::string& name, unsigned ranks,
                      std::vector<std::string> words,
                      std::function<std::string(std::size_t)> expected)
{
    std::error_code error;
    if (std::filesystem::file_size(mpi_peer(), error) == 0 || error)
        return {name, {}, "mpicxx was not there at the build"};
    std::vector<std::string> line{"mpirun",
                                  "--allow-run-as-root",
                                  "--oversubscribe",
                                  "--bind-to",
                                  "none",
                                  "--mca",
                                  "btl",
                                  "vader,self",
                                  "-n"};
    line.push_back(std::to_string(ranks));
    line.push_back(std::filesystem::absolute(mpi_peer()).string());
    line.insert(line.end(), words.begin(), words.end());
    try
    {
        const auto talk = std::make_shared<conversation>(line);
        if (talk->answer() != "ready")
            return {name, {}, "mpirun cannot run the peer"};
        return {name,
                [=](std::size_t count) {
                    const auto answer = talk->ask(std::to_string(count));
                    char* rest = nullptr;
                    const double took = std::strtod(answer.c_str(), &rest);
                    verify(took > 0 && rest == expected(count),
                           name + ", " + answer);
                    return took;
                },
                {}};
    }
    catch (const std::system_error&)
    {
        return {name, {}, "mpirun was not found"};
    }
    catch (const std::runtime_error&)
    {
        return {name, {}, "mpirun cannot run the peer"};
    }
}

inline contestant mpi_ping()
{
    return mpi(
        "Open MPI, MPI_Send and MPI_Recv", 2,
        {"ping", std::to_string(cpus().here), std::to_string(cpus().there)},
        sum_of_squares);
}

#ifdef BENCH_ZEROMQ

class zeromq_pair
{
public:
    zeromq_pair(bool bind, const std::string& name)
    {
        if ((bind ? ::zmq_bind(socket_, name.c_str())
                  : ::zmq_connect(socket_, name.c_str())) != 0)
            throw std::runtime_error("zmq: " + name);
    }
    zeromq_pair(const zeromq_pair&) = delete;
    ~zeromq_pair()
    {
        ::zmq_close(socket_);
        ::zmq_ctx_term(context_);
    }
    void send(std::uint64_t value)
    {
        if (::zmq_send(socket_, &value, sizeof value, 0) < 0)
            throw std::runtime_error("zmq_send");
    }
    std::uint64_t receive()
    {
        std::uint64_t value = 0;
        if (::zmq_recv(socket_, &value, sizeof value, 0) != sizeof value)
            throw std::runtime_error("zmq_recv");
        return value;
    }

private:
    void* context_ = ::zmq_ctx_new();
    void* socket_ = ::zmq_socket(context_, ZMQ_PAIR);
};

#endif

inline contestant zeromq_ping()
{
    const std::string name = "ZeroMQ ipc, a pair of sockets";
#ifdef BENCH_ZEROMQ
    return {name,
            [name](std::size_t count) {
                const auto place =
                    "ipc://@bench-pair-" + std::to_string(::getpid());
                child other([&] {
                    zeromq_pair end(true, place);
                    for (std::size_t i = 0; i <= count; ++i)
                        end.send(square(end.receive()));
                });
                zeromq_pair end(false, place);
                end.send(0);
                bool right = end.receive() == 0; // the child is up
                const stopwatch time;
                for (std::uint64_t i = 0; i < count; ++i)
                {
                    end.send(i);
                    right = end.receive() == square(i) && right;
                }
                const double took = time.read();
                other.join();
                verify(right, name);
                return took;
            },
            {}};
#else
    return {name, {}, "ZeroMQ was not there at the build"};
#endif
}

/// A master whose only worker is on the other CPU.
inline contestant submit_and_get()
{
    const std::string name = "master_worker, submit to get";
    master_worker::master_options options;
    options.workers = {1};
    auto master = std::make_shared<master_worker::master>(options);
    master->submit(&square, std::uint64_t{1}).get(); // the worker is up
    auto& engine =
        dynamic_cast<master_worker::local_engine&>(master->carrier());
    for (const auto& worker : engine.workers())
        pin(worker.pid, {cpus().there});
    return {name,
            [master, name](std::size_t count) {
                bool right = true;
                const stopwatch time;
                for (std::uint64_t i = 0; i < count; ++i)
                    right =
                        master->submit(&square, i).get() == square(i) && right;
                const double took = time.read();
                verify(right, name);
                return took;
            },
            {}};
}

// --- uneven work -----------------------------------------------------------

/// A job, and what comes out.
struct uneven
{
    explicit uneven(const std::string& called)
        : name(called)
        , job(work::by_name(called))
        , expected(sum())
    {
    }
    std::uint64_t sum() const
    {
        std::uint64_t result = 0;
        for (std::uint64_t i = 0; i < job.tasks; ++i)
            result += job.task(i);
        return result;
    }

    std::string name;
    work::job job;
    std::uint64_t expected;
};

/// All of the job, so many times, by `whole()`, which returns the sum.
template <class Whole>
contestant doing(const uneven& what, const std::string& name, Whole whole)
{
    return {name,
            [=](std::size_t count) {
                const stopwatch time;
                for (std::size_t i = 0; i < count; ++i)
                    verify(whole() == what.expected, name);
                return time.read();
            },
            {}};
}

inline contestant by_master(const uneven& what, unsigned workers)
{
    master_worker::master_options options;
    options.workers = {workers};
    const auto master = std::make_shared<master_worker::master>(options);
    return doing(what,
                 "master_worker, " + std::to_string(workers) +
                     (workers == 1 ? " worker" : " workers"),
                 [master, job = what.job] {
                     std::vector<master_worker::handle<std::uint64_t>> parts;
                     for (std::uint64_t i = 0; i < job.tasks; ++i)
                         parts.push_back(master->submit(job.task, i));
                     std::uint64_t sum = 0;
                     for (const auto& part : parts)
                         sum += part.get();
                     return sum;
                 });
}

/// What one CPU takes, halved.
inline contestant ideal(const uneven& what)
{
    return {"half of what one CPU takes",
            [what](std::size_t count) {
                const stopwatch time;
                for (std::size_t i = 0; i < count; ++i)
                    verify(what.sum() == what.expected, "one CPU");
                return time.read() / 2;
            },
            {}};
}

inline contestant by_tbb(const uneven& what)
{
    const std::string name = "tbb::parallel_reduce, threads";
#ifdef BENCH_TBB
    return doing(
        what, name,
        [arena = std::make_shared<tbb::task_arena>(2), job = what.job] {
            using range = tbb::blocked_range<std::uint64_t>;
            return arena->execute([&] {
                return tbb::parallel_reduce(
                    range(0, job.tasks), std::uint64_t{0},
                    [&](const range& part, std::uint64_t sum) {
                        for (auto i = part.begin(); i != part.end(); ++i)
                            sum += job.task(i);
                        return sum;
                    },
                    std::plus<>());
            });
        });
#else
    static_cast<void>(what);
    return {name, {}, "TBB was not there at the build"};
#endif
}

inline contestant by_openmp(const uneven& what)
{
    const std::string name = "OpenMP, schedule(dynamic), threads";
#ifdef BENCH_OPENMP
    return doing(what, name, [job = what.job] {
        std::uint64_t sum = 0;
#pragma omp parallel for schedule(dynamic) num_threads(2) reduction(+ : sum)
        for (std::uint64_t i = 0; i < job.tasks; ++i)
            sum += job.task(i);
        return sum;
    });
#else
    static_cast<void>(what);
    return {name, {}, "OpenMP was not there at the build"};
#endif
}

inline contestant by_python(const uneven& what)
{
    const std::string name = "Python Pool, the arithmetic in C";
    if (!std::filesystem::exists(work_library()))
        return {name, {}, "the library for Python was not found"};
    return python(
        name, {what.name, std::filesystem::absolute(work_library()).string()},
        " " + std::to_string(what.expected));
}

inline void uneven_work(row& row, const std::string& name)
{
    constexpr auto peer = opponent::kind::peer;
    const uneven what(name);
    row.pinned = false;
    row.ours = by_master(what, 2);
    row.against = {{opponent::kind::limit, ideal(what)},
                   {peer, by_master(what, 1), 1.95},
                   {peer, by_tbb(what), 1},
                   {peer, by_openmp(what), 1},
                   {peer,
                    mpi("Open MPI, a master and 2 workers", 3, {name},
                        [what](std::size_t count) {
                            return " " + std::to_string(count * what.expected);
                        }),
                    1.05},
                   {peer, by_python(what)}};
}

// --- short tasks -----------------------------------------------------------

inline std::uint64_t steps(std::uint64_t count)
{
    volatile std::uint64_t x = 1;
    for (std::uint64_t i = 0; i < count; ++i)
        x = x * 6364136223846793005 + count;
    return count;
}

/// So many steps take 10 us here.
inline std::uint64_t steps_of_10_us()
{
    static const auto found = [] {
        const stopwatch time;
        steps(10'000'000);
        return static_cast<std::uint64_t>(1e4 * 1e7 / time.read());
    }();
    return found;
}

/// A window of 256 tasks, whose results are awaited in order.
inline double window_of_tasks(master_worker::master& master, std::size_t count,
                              std::uint64_t size, const std::string& name)
{
    std::deque<master_worker::handle<std::uint64_t>> sent;
    std::uint64_t sum = 0;
    const stopwatch time;
    for (std::size_t i = 0; i < count || !sent.empty();)
    {
        for (; i < count && sent.size() < 256; ++i)
            sent.push_back(master.submit(&steps, size));
        sum += sent.front().get();
        sent.pop_front();
    }
    const double took = time.read();
    verify(sum == size * count, name);
    return took;
}

inline contestant short_tasks()
{
    const std::string name = "master_worker, 2 workers";
    master_worker::master_options options;
    options.workers = {2};
    auto master = std::make_shared<master_worker::master>(options);
    return {name,
            [master, name](std::size_t count) {
                return window_of_tasks(*master, count, steps_of_10_us(), name);
            },
            {}};
}

inline contestant ideal_of_short_tasks()
{
    return {"half of what one CPU takes",
            [](std::size_t count) {
                const stopwatch time;
                for (std::size_t i = 0; i < count; ++i)
                    steps(steps_of_10_us());
                return time.read() / 2;
            },
            {}};
}

/// A journal that goes with its name.
class journal_file
{
public:
    journal_file()
        : path_(std::filesystem::temp_directory_path() /
                ("bench-journal-" + std::to_string(::getpid())))
    {
        std::filesystem::remove(path_);
    }
    journal_file(const journal_file&) = delete;
    ~journal_file()
    {
        std::error_code ignored;
        std::filesystem::remove(path_, ignored);
    }
    const std::filesystem::path& path() const { return path_; }

private:
    std::filesystem::path path_;
};

/// Tasks that do nothing, with a new journal for each block, or with none.
inline contestant journaled(const std::string& name, bool keeps,
                            master_worker::sync_policy sync)
{
    return {name,
            [=](std::size_t count) {
                const journal_file file;
                master_worker::master_options options;
                options.workers = {1};
                if (keeps)
                    options.journal.file = file.path();
                options.journal.sync = sync;
                master_worker::master master(options);
                master.submit(&steps, std::uint64_t{0}).get();
                return window_of_tasks(master, count, 0, name);
            },
            {}};
}

inline void journal(row& row)
{
    using master_worker::sync_policy;
    row.pinned = false;
    row.ours =
        journaled("journal, fsync at an interval", true, sync_policy::interval);
    row.against = {{opponent::kind::peer,
                    journaled("no journal", false, sync_policy::off), 0.7},
                   {opponent::kind::peer,
                    journaled("journal, no fsync", true, sync_policy::off)}};
}

} // namespace detail

inline std::vector<planned> hierarchy_rows()
{
    constexpr auto peer = opponent::kind::peer;
    constexpr auto limit = opponent::kind::limit;
    return {{"mailbox", "a task to another process, its result back",
             [](row& row) {
                 row.ours = detail::mailbox();
                 row.against = {
                     {limit, two_lines(), 1.15},
                     {limit, one_line()},
                     {peer, detail::mpi_ping(), 1.5},
                     {peer, detail::zeromq_ping()},
                     {peer, python("ProcessPoolExecutor", {"executor_latency"}),
                      500}};
             }},
            {"master_worker, submit to get", "the same through the master",
             [](row& row) {
                 row.ours = detail::submit_and_get();
                 row.against = {{limit, two_lines()},
                                {peer, detail::mpi_ping()},
                                {peer, python("ProcessPoolExecutor",
                                              {"executor_latency"})}};
             }},
            {"master_worker, N queens", "156 subtrees of 14 queens, 2 CPUs",
             [](row& row) { detail::uneven_work(row, "queens"); }, 3},
            {"master_worker, Mandelbrot", "480 rows of pixels, 2 CPUs",
             [](row& row) { detail::uneven_work(row, "mandelbrot"); }, 3},
            {"master_worker, 10 us", "a stream of short tasks, 2 CPUs",
             [](row& row) {
                 row.pinned = false;
                 row.ours = detail::short_tasks();
                 row.against = {{limit, detail::ideal_of_short_tasks()}};
             }},
            {"master_worker, journal", "a stream of tasks that do nothing",
             detail::journal}};
}

} // namespace bench
