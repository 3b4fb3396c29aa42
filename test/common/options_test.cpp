// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.

#define BOOST_TEST_MODULE options

#include "common/options.hpp"
#include "common/process.hpp"
#include "test/fixture.hpp"

#include <boost/test/unit_test.hpp>

#include <signal.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <fstream>
#include <functional>
#include <iostream>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

namespace {

/// A program, run with these arguments; what it said.
struct run
{
    template <class Body>
    run(
        std::vector<std::string> arguments, Body body,
        std::function<void(common::program_line&)> add = [](auto&) {})
        : line("tool PATH...", "does nothing")
    {
        add(line);
        arguments.insert(arguments.begin(), "tool");
        std::vector<char*> argv;
        for (auto& one : arguments)
            argv.push_back(one.data());
        std::ostringstream to_out, to_err;
        auto* const old_out = std::cout.rdbuf(to_out.rdbuf());
        auto* const old_err = std::cerr.rdbuf(to_err.rdbuf());
        auto* const interrupt = ::signal(SIGINT, SIG_DFL);
        code = line.run(static_cast<int>(argv.size()), argv.data(), body);
        ::signal(SIGINT, interrupt);
        std::cout.rdbuf(old_out);
        std::cerr.rdbuf(old_err);
        out = to_out.str();
        err = to_err.str();
    }
    explicit run(std::vector<std::string> arguments)
        : run(std::move(arguments), [](auto&) { return true; })
    {
    }
    common::program_line line;
    int code = -1;
    std::string out, err;
};

} // namespace

BOOST_FIXTURE_TEST_SUITE(options_laws, test::clean)

BOOST_AUTO_TEST_CASE(options_and_paths_are_understood)
{
    const run one({"--workers", "3", "--chaos", "0.25:9", "a", "b"});
    BOOST_TEST(one.code == 0);
    BOOST_TEST(one.err == "");
    BOOST_TEST(one.line.workers == 3u);
    BOOST_TEST(one.line.chaos.probability == 0.25);
    BOOST_TEST(one.line.chaos.seed == 9u);
    BOOST_TEST((one.line.paths == std::vector<std::string>{"a", "b"}));
}

BOOST_AUTO_TEST_CASE(a_bad_command_line_is_one_line_and_status_2)
{
    using line = std::vector<std::string>;
    for (const auto& bad :
         {line{"--workers", "0"}, line{"--workers", "-1"},
          line{"--workers", "4096"}, line{"--workers", "many"},
          line{"--workers"}, line{"--unknown"}, line{"--chaos", "x"},
          line{"--chaos", "1"}, line{"--chaos", "-0.1"}, line{"--chaos", "nan"},
          line{"--chaos", "0.1:"}, line{"--chaos", "0.1:2x"},
          line{"--chaos", "0.1:-1"}, line{"--chaos", "0.1: 1"},
          line{"--chaos", "0.1:99999999999999999999"}, line{"--chaos", "0.1 "}})
    {
        const run one(bad);
        BOOST_TEST(one.code == 2, bad.back());
        BOOST_TEST(std::count(one.err.begin(), one.err.end(), '\n') == 1);
        BOOST_TEST(one.err.rfind("tool: ", 0) == 0u);
        BOOST_TEST(one.out == "");
    }
}

BOOST_AUTO_TEST_CASE(a_number_that_cannot_be_negative_is_refused_with_a_sign)
{
    unsigned few = 5;
    std::size_t many = 5;
    long any = 5;
    const auto tool = [&](std::vector<std::string> words) {
        return run(
            words, [](auto&) { return true; },
            [&](common::program_line& line) {
                namespace po = boost::program_options;
                line.add("few", po::value(&few), "");
                line.add("many", po::value(&many), "");
                line.add("any", po::value(&any), "");
            });
    };
    for (const std::string name : {"--few", "--many"})
        for (const auto& words :
             {std::vector{name, std::string("-1")}, std::vector{name + "=-1"}})
        {
            const auto one = tool(words);
            BOOST_TEST(one.code == 2);
            BOOST_TEST(one.err == "tool: " + name +
                                      " must be 0 or more, not -1 "
                                      "(see --help)\n");
        }
    BOOST_TEST(tool({"--any", "-1", "--few", "0", "--many=7"}).code == 0);
    BOOST_TEST(any == -1);
    BOOST_TEST(few == 0u);
    BOOST_TEST(many == 7u);
}

BOOST_AUTO_TEST_CASE(help_that_cannot_be_written_is_an_error)
{
    common::program_line line("tool PATH...", "does nothing");
    std::string name = "tool", help = "--help";
    char* argv[] = {name.data(), help.data(), nullptr};
    std::filebuf full;
    full.open("/dev/full", std::ios::out);
    std::ostringstream said;
    auto* const old_out = std::cout.rdbuf(&full);
    auto* const old_err = std::cerr.rdbuf(said.rdbuf());
    const int code = line.run(2, argv, [](auto&) { return true; });
    std::cout.rdbuf(old_out);
    std::cout.clear();
    std::cerr.rdbuf(old_err);
    BOOST_TEST(code == 1);
    BOOST_TEST(said.str() == "tool: cannot write to standard output\n");
}

BOOST_AUTO_TEST_CASE(help_says_what_there_is_and_runs_nothing)
{
    bool ran = false;
    const run one({"--help"}, [&](auto&) { return ran = true; });
    BOOST_TEST(one.code == 0);
    BOOST_TEST(!ran);
    for (const std::string name : {"--workers", "--stats", "--chaos", "--help"})
        BOOST_TEST(one.out.find(name) != std::string::npos);
}

BOOST_AUTO_TEST_CASE(a_failure_is_one_line_and_status_1)
{
    const run thrown(
        {}, [](auto&) -> bool { throw std::runtime_error("file x is gone"); });
    BOOST_TEST(thrown.code == 1);
    BOOST_TEST(thrown.err == "tool: file x is gone\n");
    BOOST_TEST(run({}, [](auto&) { return false; }).code == 1);
}

BOOST_AUTO_TEST_CASE(statistics_are_one_object_on_stderr)
{
    const run one({"--stats", "--workers", "2"}, [](common::run_statistics& s) {
        s.items = 5;
        s.deaths = 6;
        return true;
    });
    for (const std::string part : {"{\"pattern\":\"tool\"", "\"items\":5",
                                   "\"workers\":2", "\"deaths\":6"})
        BOOST_TEST(one.err.find(part) != std::string::npos, part);
    BOOST_TEST(one.out == "");
}

BOOST_AUTO_TEST_CASE(chaos_strikes_the_same_attempts_again)
{
    const auto fate = [](std::uint64_t task) {
        return common::process(
                   [](std::uint64_t t) {
                       const common::chaos some{0.9, 3};
                       some.before(t, 0);
                   },
                   task)
            .join();
    };
    int struck = 0;
    for (std::uint64_t task = 0; task < 20; ++task)
    {
        const auto end = fate(task);
        struck += end.signal == SIGKILL;
        BOOST_TEST((fate(task) == end));
    }
    BOOST_TEST(struck > 1);
    BOOST_TEST(struck < 19);
}

BOOST_AUTO_TEST_SUITE_END()
