// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.

#pragma once

#include "common/crew.hpp"
#include "common/process.hpp"
#include "common/wait.hpp"
#include "test/processes.hpp"

#include <unistd.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <filesystem>
#include <fstream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>

namespace test {

struct torture_options
{
    double seconds = 10;
    std::uint64_t kills = UINT64_MAX;
    std::uint64_t seed = 1;
    unsigned workers = 4;

    /// Throws std::invalid_argument.
    static torture_options parse(int argc, char** argv)
    {
        torture_options result;
        for (int i = 1; i + 1 < argc; i += 2)
        {
            const std::string name = argv[i];
            const char* value = argv[i + 1];
            if (name == "--seconds")
                result.seconds = std::strtod(value, nullptr);
            else if (name == "--kills")
                result.kills = std::strtoull(value, nullptr, 10);
            else if (name == "--seed")
                result.seed = std::strtoull(value, nullptr, 10);
            else if (name == "--workers")
                result.workers =
                    static_cast<unsigned>(std::strtoul(value, nullptr, 10));
            else
                throw std::invalid_argument(name + " is not an option");
        }
        if (argc % 2 == 0)
            throw std::invalid_argument(std::string(argv[argc - 1]) +
                                        " needs a value");
        return result;
    }
};

/// One step of splitmix64: any mistake changes all that follows.
inline std::uint64_t mix(std::uint64_t x)
{
    x += 0x9e3779b97f4a7c15;
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9;
    x = (x ^ x >> 27) * 0x94d049bb133111eb;
    return x ^ x >> 31;
}

/// Where a worker dies, and how likely each time it comes there.
struct place
{
    std::string_view name;
    double probability;
};

/// As the environment names them, see common/fault.hpp.
template <class Places>
std::string plan_of(const Places& places)
{
    std::string plan;
    for (const place& one : places)
        plan +=
            std::string(one.name) + "=" + std::to_string(one.probability) + ",";
    return plan;
}

/// A crew that replaces its dead at once, however many they are.
inline common::crew::options tireless(const torture_options& wanted)
{
    common::crew::options result;
    result.workers = wanted.workers;
    result.name = "torture";
    result.restarts = result.start_failures = 1'000'000'000;
    result.backoff = std::chrono::milliseconds(0);
    result.window = std::chrono::milliseconds(1);
    return result;
}

/// What printf takes.
inline unsigned long long ull(std::uint64_t n)
{
    return n;
}

/// Good until a promise was broken, which it prints.
class verdict
{
public:
    void require(bool fact, const std::string& otherwise)
    {
        if (!fact)
            std::printf("broken: %s\n", otherwise.c_str());
        good_ = good_ && fact;
    }
    bool good() const { return good_; }

private:
    bool good_ = true;
};

/// What a process holds: descriptors, and mappings of shared memory.
inline std::pair<std::ptrdiff_t, std::ptrdiff_t> holdings()
{
    namespace fs = std::filesystem;
    std::ptrdiff_t shared = 0;
    std::ifstream maps("/proc/self/maps");
    for (std::string line; std::getline(maps, line);)
        shared += line.find("/memfd:") != std::string::npos;
    maps.close();
    const fs::directory_iterator all("/proc/self/fd");
    return {std::distance(begin(all), end(all)), shared};
}

/// The main function of a torture: an `Ordeal` made of the options runs with
/// these fault points, reports whether all is well, and leaves nothing behind.
template <class Ordeal>
int torture_main(int argc, char** argv, const std::string& fault_points)
try
{
    common::worker_main(argc, argv);
    const auto wanted = torture_options::parse(argc, argv);
    ::setenv("COMMON_FAULT", fault_points.c_str(), 1);
    ::setenv("COMMON_FAULT_SEED", std::to_string(wanted.seed).c_str(), 1);
    ::alarm(static_cast<unsigned>(wanted.seconds) + 60); // a hang ends here
    common::spin_budget(); // measured by a thread: not to be taken for a leak
    const auto before = holdings();
    bool good = false;
    {
        Ordeal one(wanted);
        one.run();
        good = one.report();
    }
    if (has_children() || holdings() != before)
    {
        std::printf("broken: something is left behind\n");
        good = false;
    }
    return good ? EXIT_SUCCESS : EXIT_FAILURE;
}
catch (const std::exception& e)
{
    std::fprintf(stderr, "torture: %s\n", e.what());
    return 2;
}

} // namespace test
