// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.

#define BOOST_TEST_MODULE producer_consumer

// The program.  The laws of its queue are in producer_consumer_*_test.cpp.

#include "test/fixture.hpp"
#include "test/run_program.hpp"

#include <boost/test/unit_test.hpp>

#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <iostream>
#include <random>
#include <string>
#include <vector>

namespace {

using namespace test;

/// What grep says, in byte order of the names.
std::string grep(const std::string& text, const std::string& where,
                 const std::string& directory = "")
{
    return run_program({{"sh", "-c",
                         "LC_ALL=C grep -rcF -e \"$1\" \"$2\" | "
                         "grep -v ':0$' | LC_ALL=C sort",
                         "sh", text, where},
                        "",
                        directory})
        .out;
}

std::string sorted(const std::string& lines)
{
    return run_program({{"sh", "-c", "LC_ALL=C sort"}, lines}).out;
}

const std::string headers = "/usr/include/linux"; // wherever a compiler is

} // namespace

BOOST_FIXTURE_TEST_SUITE(producer_consumer_laws, test::clean)

BOOST_AUTO_TEST_CASE(the_program_counts_as_grep_does)
{
    const auto expected = grep("include", headers);
    BOOST_TEST(expected.size() > 10'000u);
    for (const std::string workers : {"1", "2", "5"})
        for (const std::string chaos : {"0", "0.02", "0.2:7"})
        {
            const auto run =
                run_program({{program("producer_consumer"), "include", headers,
                              "--workers", workers, "--chaos", chaos}});
            BOOST_TEST(run.err == "");
            BOOST_TEST(run.code == 0);
            BOOST_TEST((sorted(run.out) == expected),
                       workers << " workers, chaos " << chaos);
        }
}

BOOST_AUTO_TEST_CASE(long_lines_and_binary_files_count_as_grep_counts_them)
{
    const directory place;
    const auto write = [&](const std::string& name, const std::string& text) {
        std::filesystem::create_directories(place / "tree");
        std::ofstream(place / "tree" / name, std::ios::binary) << text;
    };
    std::mt19937 dice(5);
    std::string binary;
    for (int i = 0; i < 300'000; ++i)
        binary += static_cast<char>(dice());
    const std::string mega(1 << 20, 'x');
    write("binary", binary + "needle" + binary);
    write("zeros", "needle" + std::string(3, '\0') + "needle needle\0needle\n");
    write("long", mega + "needle" + mega + "\n" + mega + "needle");
    write("empty", "");
    write("no newline", "needle");
    write("newlines", "\n\n\nneedle\n\n");
    for (const std::string text : {"needle", "x", "\xff", "e", ""})
    {
        const auto run =
            run_program({{program("producer_consumer"), text, "tree"},
                         "",
                         place.path().string()});
        BOOST_TEST(run.err == "");
        BOOST_TEST(sorted(run.out) == grep(text, "tree", place.path().string()),
                   "for '" << text << "'");
    }
}

BOOST_AUTO_TEST_CASE(workers_killed_from_outside_change_no_count)
{
    const auto expected = grep("include", headers);
    const auto seed = std::random_device{}();
    std::cout << "seed " << seed << '\n';
    std::mt19937 dice(seed);
    unsigned kills = 0;
    for (int round = 0; round < 3; ++round)
    {
        running one({{program("producer_consumer"), "include", headers, headers,
                      headers, headers}});
        kills += kill_workers_of(one.pid(), 30, dice);
        const auto end = one.wait();
        BOOST_TEST(end.err == "");
        BOOST_TEST(end.code == 0);
        std::string four;
        for (int i = 0; i < 4; ++i)
            four += expected;
        BOOST_TEST((sorted(end.out) == sorted(four)));
    }
    BOOST_TEST(kills > 0u);
}

BOOST_AUTO_TEST_CASE(what_cannot_be_read_is_named_and_the_rest_is_done)
{
    const directory place;
    std::ofstream(place / "good") << "needle\n";
    const auto run = run_program(
        {{program("producer_consumer"), "needle", (place / "missing").string(),
          (place / "good").string()}});
    BOOST_TEST(run.code == 1);
    BOOST_TEST(run.err.find("missing: No such file") != std::string::npos);
    BOOST_TEST(run.out == (place / "good").string() + ":1\n");
}

BOOST_AUTO_TEST_CASE(a_bad_command_line_is_refused)
{
    using words = std::vector<std::string>;
    for (auto command : {words{}, words{"text"}, words{"two\nlines", "."}})
    {
        command.insert(command.begin(), program("producer_consumer"));
        const auto run = run_program({command});
        BOOST_TEST(run.code == 2);
        BOOST_TEST(run.out == "");
        BOOST_TEST(run.err.find("see --help") != std::string::npos);
    }
}

BOOST_AUTO_TEST_SUITE_END()
