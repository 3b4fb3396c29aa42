// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.

#define BOOST_TEST_MODULE master_worker

// The program.  The laws of its master are in master_worker_*_test.cpp.

#include "test/fixture.hpp"
#include "test/run_program.hpp"
#include "test/sanitizer.hpp"

#include <boost/property_tree/json_parser.hpp>
#include <boost/test/unit_test.hpp>

#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include <chrono>
#include <cstddef>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <random>
#include <sstream>
#include <string>
#include <vector>

namespace {

using namespace test;

outcome run(std::vector<std::string> arguments)
{
    arguments.insert(arguments.begin(), program("master_worker"));
    return run_program({arguments});
}

/// The answers for 1 queen, 2 queens, ...
const std::vector<long> known{1,  0,   0,   2,    10,    4,     40,
                              92, 352, 724, 2680, 14200, 73712, 365596};

long statistic(const outcome& o, const std::string& name)
{
    boost::property_tree::ptree all;
    std::istringstream text(o.err);
    boost::property_tree::read_json(text, all);
    return all.get<long>(name);
}

} // namespace

BOOST_FIXTURE_TEST_SUITE(master_worker_program_laws, test::clean)

BOOST_AUTO_TEST_CASE(the_counts_are_right)
{
    for (std::size_t n = 1; n <= known.size(); ++n)
    {
        const auto o = run({"--queens", std::to_string(n)});
        BOOST_TEST(o.code == 0);
        BOOST_TEST(o.out == std::to_string(known[n - 1]) + "\n");
        BOOST_TEST(o.err == "");
    }
}

BOOST_AUTO_TEST_CASE(chaos_and_the_number_of_workers_change_nothing)
{
    for (const char* workers : {"1", "2", "5"})
        for (const char* chaos : {"0", "0.3:7"})
        {
            const auto o = run({"--queens", "11", "--workers", workers,
                                "--chaos", chaos, "--stats"});
            BOOST_TEST(o.out == "2680\n");
            BOOST_TEST((statistic(o, "deaths") > 0) == (chaos[1] != '\0'));
            BOOST_TEST(statistic(o, "poisoned") == 0);
        }
}

BOOST_AUTO_TEST_CASE(workers_killed_from_outside_change_nothing)
{
    running it({{program("master_worker"), "--queens", "15", "--stats"}});
    std::mt19937 dice(std::random_device{}());
    const auto kills = kill_workers_of(it.pid(), 100, dice);
    const auto o = it.wait();
    BOOST_TEST(o.out == "2279184\n");
    BOOST_TEST(kills > 3u);
    BOOST_TEST_MESSAGE(kills << " kills");
}

BOOST_AUTO_TEST_CASE(
    a_program_killed_at_random_moments_goes_on_from_its_journal)
{
    const directory place;
    const std::string file = place / "journal";
    const auto seed = std::random_device{}();
    BOOST_TEST_MESSAGE("seed " << seed);
    std::mt19937 dice(seed);
    std::uintmax_t written = 0;
    int kills = 0;
    for (int round = 0; round < 20; ++round)
    {
        running it(
            {{program("master_worker"), "--queens", "14", "--journal", file}});
        if (round == 0) // once, when some of it is done
            BOOST_TEST(eventually([&] {
                std::error_code none;
                const auto size = std::filesystem::file_size(file, none);
                return !none && size > 1000;
            }));
        else
            ::poll(nullptr, 0, static_cast<int>(dice() % 30 + 2));
        it.kill(SIGKILL);
        kills += it.wait().signal == SIGKILL;
        std::error_code none;
        const auto size = std::filesystem::file_size(file, none);
        if (none)
            continue; // it was not even begun
        BOOST_TEST(size >= written);
        written = size;
    }
    BOOST_TEST(kills > 0);
    const auto all = run({"--queens", "14", "--stats"});
    const auto rest = run({"--queens", "14", "--journal", file, "--stats"});
    BOOST_TEST(rest.out == "365596\n");
    BOOST_TEST(statistic(rest, "items") < statistic(all, "items"));
    const auto again = run({"--queens", "14", "--journal", file, "--stats"});
    BOOST_TEST(again.out == "365596\n");
    BOOST_TEST(statistic(again, "items") == 0);
}

BOOST_AUTO_TEST_CASE(a_journal_of_another_count_is_refused)
{
    const directory place;
    const std::string file = place / "journal";
    BOOST_TEST(run({"--queens", "8", "--journal", file}).code == 0);
    const auto o = run({"--queens", "9", "--journal", file});
    BOOST_TEST(o.code == 1);
    BOOST_TEST(o.err.find(file) != o.err.npos);
    BOOST_TEST(o.out == "");
}

BOOST_AUTO_TEST_CASE(a_trace_is_written)
{
    const directory place;
    BOOST_TEST(run({"--queens", "8", "--trace", place / "t.json"}).out ==
               "92\n");
    boost::property_tree::ptree all;
    boost::property_tree::read_json((place / "t.json").string(), all);
    BOOST_TEST(all.size() > 42u);
}

BOOST_AUTO_TEST_CASE(a_trace_that_cannot_be_written_is_an_error)
{
    const auto o = run({"--queens", "4", "--trace", "/dev/full"});
    BOOST_TEST(o.code == 1);
    BOOST_TEST(o.err.find("/dev/full") != o.err.npos);
}

BOOST_AUTO_TEST_CASE(little_address_space_is_enough, *test::unless_sanitized())
{
    const auto o =
        run_program({{"bash", "-c", "ulimit -v 500000; exec \"$0\" --queens 8",
                      program("master_worker")}});
    BOOST_TEST(o.out == "92\n", o.err);
}

BOOST_AUTO_TEST_CASE(a_bad_command_line_is_told_in_one_line)
{
    for (const char* bad : {"0", "19", "-3", "many"})
    {
        const auto o = run({"--queens", bad});
        BOOST_TEST(o.code == 2);
        BOOST_TEST(o.out == "");
        BOOST_TEST(o.err.find("queens") != o.err.npos);
    }
}

BOOST_AUTO_TEST_SUITE_END()
