// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.

#pragma once

#include "common/linux/cpus.hpp"
#include "common/wait.hpp"

#include <boost/program_options.hpp>

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <charconv>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <iomanip>
#include <iostream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <typeinfo>
#include <utility>
#include <vector>

namespace common {

/// Tasks that kill their worker on purpose, to show that the answer does not
/// change.  Crosses to workers as an argument.
struct chaos
{
    double probability = 0;
    std::uint64_t seed = 1;

    /// Where a task begins and where it ends: kills this process with the
    /// probability given, shared between the two.  The same seed kills the
    /// same attempts of the same tasks.
    void before(std::uint64_t task, unsigned attempt) const
    {
        strike(2 * task, attempt);
    }
    void after(std::uint64_t task, unsigned attempt) const
    {
        strike(2 * task + 1, attempt);
    }

private:
    void strike(std::uint64_t place, unsigned attempt) const
    {
        if (probability <= 0)
            return;
        // splitmix64, by Sebastiano Vigna: one good draw from a place.
        auto x = seed * 0x9e3779b97f4a7c15 + (place << 8 | attempt);
        for (const auto factor : {0xbf58476d1ce4e5b9, 0x94d049bb133111eb})
        {
            x += 0x9e3779b97f4a7c15;
            x = (x ^ x >> 30) * factor;
            x ^= x >> 27;
        }
        const double draw = static_cast<double>(x >> 11) * 0x1p-53;
        if (draw < probability / 2)
            ::kill(::getpid(), SIGKILL);
    }
};

/// What every program of the collection can say about its run.
struct run_statistics
{
    std::uint64_t items = 0, bytes = 0, deaths = 0, retried = 0, poisoned = 0;
};

/// A command line that cannot be run: exit status 2.
struct usage_error : std::runtime_error
{
    using std::runtime_error::runtime_error;
};

/// The command line that all programs share, and the frame of their `main`:
///
///     common::program_line line("worker_pool PATH...", "what it does");
///     line.add("top", value(&top), "how many words to print");
///     return line.run(argc, argv, [&](common::run_statistics& s) { ... });
///
/// Adds --workers, --stats, --chaos and --help.  Prints what must be printed:
/// help, one line for an error, and the statistics.
class program_line
{
public:
    unsigned workers = kernel::usable_cpus();
    struct chaos chaos;
    std::vector<std::string> paths; // what is not an option

    program_line(std::string usage, std::string purpose)
        : usage_(std::move(usage))
        , purpose_(std::move(purpose))
        , name_(usage_.substr(0, usage_.find(' ')))
    {
        all_.add_options()("help", "say what the program does, and end")(
            "workers", boost::program_options::value<long>()->value_name("N"),
            "worker processes (default: the usable CPUs)")(
            "stats", "at the end, one JSON object on stderr")(
            "chaos",
            boost::program_options::value<std::string>()->value_name(
                "P[:SEED]"),
            "each task kills its worker with probability P");
    }

    void add(const char* name, boost::program_options::value_semantic* value,
             const char* help)
    {
        all_.add_options()(name, value, help);
    }

    /// Parses, runs `body`, and turns its end into an exit status: 0, 1 after
    /// an exception or when `body` returns false, 2 for a bad command line,
    /// 130 after Ctrl-C (workers end with the program).
    template <class Body>
    int run(int argc, char** argv, Body body)
    {
        keep_standard_numbers();
        try
        {
            bool good = true;
            if (parse(argc, argv)) // else it was help that was wanted
            {
                ::signal(SIGINT, [](int) { ::_exit(130); });
                const auto start = clock::now();
                run_statistics statistics;
                good = body(statistics);
                std::cout.flush();
                if (stats_)
                    print(statistics, clock::now() - start);
            }
            if (!std::cout.flush())
                throw std::runtime_error("cannot write to standard output");
            return good ? EXIT_SUCCESS : EXIT_FAILURE;
        }
        catch (const usage_error& e)
        {
            std::cerr << name_ << ": " << e.what() << " (see --help)\n";
            return 2;
        }
        catch (const std::exception& e)
        {
            std::cout.flush();
            std::cerr << name_ << ": " << e.what() << '\n';
            return EXIT_FAILURE;
        }
    }

private:
    // A closed stdin, stdout or stderr must not become a file of ours, which
    // what is printed would end up in.  Opened the wrong way round, so that to
    // use it is the error that it was.
    static void keep_standard_numbers()
    {
        for (int fd = 0; fd < 3; ++fd)
            if (::fcntl(fd, F_GETFD) < 0) // then it is the next to be given
                static_cast<void>(
                    ::open("/dev/null", fd == 0 ? O_WRONLY : O_RDONLY));
    }

    bool parse(int argc, char** argv)
    {
        namespace po = boost::program_options;
        auto options = all_;
        options.add_options()("path", po::value(&paths), "");
        po::positional_options_description rest;
        for (const auto* word : {" PATH", " [FILE]"})
            if (usage_.find(word) != usage_.npos)
                rest.add("path", -1);
        po::variables_map found;
        try
        {
            const auto parsed = po::command_line_parser(argc, argv)
                                    .options(options)
                                    .positional(rest)
                                    .run();
            refuse_negative(parsed, options);
            po::store(parsed, found);
            if (found.count("help") != 0)
            {
                std::cout << "usage: " << usage_ << '\n'
                          << purpose_ << "\n\n"
                          << all_;
                return false;
            }
            po::notify(found);
        }
        catch (const po::error& e)
        {
            throw usage_error(e.what());
        }
        stats_ = found.count("stats") != 0;
        if (found.count("workers") != 0)
        {
            const auto wanted = found["workers"].as<long>();
            if (wanted < 1 || wanted > 4095)
                throw usage_error("--workers must be 1 to 4095, not " +
                                  std::to_string(wanted));
            workers = static_cast<unsigned>(wanted);
        }
        if (found.count("chaos") != 0)
            parse_chaos(found["chaos"].as<std::string>());
        return true;
    }

    // An unsigned number would be read as one from the other end.
    static void
    refuse_negative(const boost::program_options::parsed_options& given,
                    const boost::program_options::options_description& known)
    {
        namespace po = boost::program_options;
        for (const auto& one : given.options)
        {
            const auto* const option = known.find_nothrow(one.string_key, true);
            if (option == nullptr || one.value.empty() ||
                !one.value[0].starts_with('-'))
                continue;
            const auto* const type = dynamic_cast<const po::typed_value_base*>(
                option->semantic().get());
            if (type != nullptr &&
                (type->value_type() == typeid(unsigned short) ||
                 type->value_type() == typeid(unsigned) ||
                 type->value_type() == typeid(unsigned long)))
                throw usage_error("--" + one.string_key +
                                  " must be 0 or more, not " + one.value[0]);
        }
    }

    void parse_chaos(const std::string& text)
    {
        char* end = nullptr;
        chaos.probability = std::strtod(text.c_str(), &end);
        bool good = end != text.c_str() && chaos.probability >= 0 &&
                    chaos.probability <= 0.9;
        if (*end == ':')
        {
            const char* const last = text.data() + text.size();
            const auto read = std::from_chars(end + 1, last, chaos.seed);
            good = good && read.ec == std::errc();
            end += read.ptr - end;
        }
        if (!good || *end != '\0')
            throw usage_error("--chaos must be P or P:SEED with P from 0 to "
                              "0.9, not '" +
                              text + "'");
    }

    void print(const run_statistics& s, clock::duration time) const
    {
        std::cerr << "{\"pattern\":\"" << name_ << "\",\"items\":" << s.items
                  << ",\"bytes\":" << s.bytes << ",\"seconds\":" << std::fixed
                  << std::setprecision(6)
                  << std::chrono::duration<double>(time).count()
                  << ",\"workers\":" << workers << ",\"deaths\":" << s.deaths
                  << ",\"retried\":" << s.retried
                  << ",\"poisoned\":" << s.poisoned << "}\n";
    }

    std::string usage_, purpose_, name_;
    bool stats_ = false;
    boost::program_options::options_description all_{"options"};
};

} // namespace common
