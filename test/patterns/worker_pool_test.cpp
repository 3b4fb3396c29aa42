// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.

#define BOOST_TEST_MODULE worker_pool

// The program.  The laws of its pool are in worker_pool_*_test.cpp.

#include "test/fixture.hpp"
#include "test/run_program.hpp"

#include <boost/test/unit_test.hpp>

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <filesystem>
#include <fstream>
#include <random>
#include <set>
#include <string>
#include <thread>
#include <vector>

namespace {

using namespace test;

void write(const std::filesystem::path& path, const std::string& text)
{
    std::filesystem::create_directories(path.parent_path());
    std::ofstream(path, std::ios::binary) << text;
}

/// Files of many sizes in a few directories, some with odd names.
void plant(const directory& place, int files)
{
    for (int i = 0; i < files; ++i)
        write(place / "tree" / ("d" + std::to_string(i % 7)) /
                  ("f" + std::to_string(i)),
              std::string(static_cast<std::size_t>(i) * 331, 'a'));
    write(place / "tree" / "with blanks" / " and more", "1");
    write(place / "tree" / "zero", "");
    write(place / "tree" / "large", std::string(3 << 20, 'z'));
    write(place / "tree" / "new\nline", "2");
    write(place / "tree" / "back\\slash", "3");
    write(place / "tree" / "return\r", "4");
}

/// What sha256sum says of all below `tree`, in byte order of their names.
std::string expected_of(const directory& place)
{
    return run_program({{"sh", "-c",
                         "find tree -type f -print0 | LC_ALL=C sort -z | "
                         "xargs -0 sha256sum"},
                        "",
                        place.path()})
        .out;
}

command call(const directory& place, std::vector<std::string> arguments)
{
    arguments.insert(arguments.begin(), program("worker_pool"));
    return {std::move(arguments), "", place.path()};
}

/// A bad command line or input: the status, one line that says `part`.
void complains(const outcome& end, int status, const std::string& part)
{
    BOOST_TEST(end.code == status);
    BOOST_TEST(std::count(end.err.begin(), end.err.end(), '\n') == 1);
    BOOST_TEST(end.err.rfind("worker_pool: ", 0) == 0u);
    BOOST_TEST((end.err.find(part) != end.err.npos), end.err);
}

std::set<std::string> names_in(const std::filesystem::path& directory)
{
    std::set<std::string> result;
    for (const auto& one : std::filesystem::directory_iterator(directory))
        result.insert(one.path().filename());
    return result;
}

/// A program whose standard input and output are held by the test.
class dialogue
{
public:
    explicit dialogue(const directory& place, const std::string& options = "")
        : in_(pipe(place / "in"))
        , out_(pipe(place / "out"))
        , program_({{"sh", "-c", "exec \"$0\" " + options + " < in > out",
                     test::program("worker_pool")},
                    "",
                    place.path()})
    {
    }
    dialogue(const dialogue&) = delete;
    ~dialogue()
    {
        ::close(in_);
        ::close(out_);
    }

    void say(const std::string& line) const
    {
        const auto text = line + '\n';
        BOOST_REQUIRE(::write(in_, text.data(), text.size()) ==
                      static_cast<ssize_t>(text.size()));
    }

    /// The next line that the program writes; empty if none comes in time.
    std::string answer() const
    {
        std::string result;
        pollfd more{out_, POLLIN, 0};
        for (char c = 0; ::poll(&more, 1, 20'000) > 0 && // or a line's end
                         ::read(out_, &c, 1) == 1 && c != '\n';)
            result += c;
        return result;
    }
    running& program() { return program_; }

private:
    // Open for both directions: nobody waits for the other end.
    static int pipe(const std::filesystem::path& path)
    {
        BOOST_REQUIRE(::mkfifo(path.c_str(), 0600) == 0);
        return ::open(path.c_str(), O_RDWR | O_CLOEXEC);
    }
    int in_, out_;
    running program_;
};

} // namespace

BOOST_FIXTURE_TEST_SUITE(worker_pool_program_laws, test::clean)

BOOST_AUTO_TEST_CASE(the_program_says_what_sha256sum_says)
{
    const directory place;
    plant(place, 200);
    const auto expected = expected_of(place);
    BOOST_TEST(std::count(expected.begin(), expected.end(), '\n') == 206);
    for (const char* workers : {"1", "2", "5"})
    {
        const auto end =
            run_program(call(place, {"--workers", workers, "tree"}));
        BOOST_TEST(end.code == 0);
        BOOST_TEST((end.out == expected));
        BOOST_TEST(end.err == "");
    }
}

BOOST_AUTO_TEST_CASE(chaos_does_not_change_the_answer)
{
    const directory place;
    plant(place, 200);
    const auto end = run_program(call(
        place, {"--workers", "2", "--chaos", "0.05:7", "--stats", "tree"}));
    BOOST_TEST(end.code == 0);
    BOOST_TEST((end.out == expected_of(place)));
    BOOST_TEST((end.err.find("\"pattern\":\"worker_pool\"") != end.err.npos),
               end.err);
    BOOST_TEST((end.err.find("\"deaths\":0,") == end.err.npos), end.err);
    BOOST_TEST((end.err.find("\"poisoned\":0") != end.err.npos), end.err);
}

BOOST_AUTO_TEST_CASE(a_killer_from_outside_does_not_change_the_answer)
{
    const directory place;
    plant(place, 200);
    for (int i = 0; i < 40; ++i) // 80 MB: some hundred milliseconds
        write(place / "tree" / "more" / std::to_string(i),
              std::string(2 << 20, static_cast<char>('a' + i % 26)));
    const auto expected = expected_of(place);
    const unsigned seed = std::random_device{}();
    BOOST_TEST_MESSAGE("seed " << seed);
    std::mt19937 dice(seed);
    unsigned kills = 0;
    for (int round = 0; round < 20 && kills < 10; ++round)
    {
        running one(call(place, {"--workers", "2", "tree"}));
        kills += kill_workers_of(one.pid(), 10, dice);
        const auto end = one.wait();
        BOOST_TEST(end.code == 0);
        BOOST_TEST(end.err == "");
        BOOST_REQUIRE((end.out == expected));
    }
    BOOST_TEST(kills >= 10u);
}

BOOST_AUTO_TEST_CASE(sums_come_in_the_order_in_which_files_are_named)
{
    const directory place;
    plant(place, 3);
    const auto end =
        run_program(call(place, {"tree/zero", "tree/large", "tree/d0/f0"}));
    const auto same =
        run_program({{"sha256sum", "tree/zero", "tree/large", "tree/d0/f0"},
                     "",
                     place.path()});
    BOOST_TEST(end.out == same.out);
}

BOOST_AUTO_TEST_CASE(a_missing_file_is_one_line_and_all_others_are_done)
{
    const directory place;
    plant(place, 3);
    const auto end =
        run_program(call(place, {"tree/zero", "nowhere", "tree/large"}));
    complains(end, 1, "nowhere: No such file or directory");
    BOOST_TEST(std::count(end.out.begin(), end.out.end(), '\n') == 2);
}

BOOST_AUTO_TEST_CASE(what_may_not_be_read_is_one_line_and_all_others_are_done)
{
    const directory place;
    plant(place, 3);
    const std::string closed = place / "tree" / "closed";
    std::filesystem::create_directory(closed);
    const bool by_file = false, by_directory = true;
    for (const bool which : {by_directory, by_file})
    {
        if (which == by_file)
        {
            std::filesystem::remove(closed);
            write(closed, "secret");
        }
        ::chmod(place.path().c_str(), 0755);
        ::chmod(closed.c_str(), 0);
        auto what = call(place, {"tree"});
        if (::geteuid() == 0) // may read everything: be somebody else
            what.arguments.insert(what.arguments.begin(),
                                  {"setpriv", "--reuid=65534", "--regid=65534",
                                   "--clear-groups"});
        const auto end = run_program(what);
        if (end.code == 127 || end.err.find("setpriv") != end.err.npos)
        {
            BOOST_WARN_MESSAGE(false, "SKIPPED: root, and cannot be another");
            return;
        }
        complains(end, 1, "tree/closed: Permission denied");
        BOOST_TEST(std::count(end.out.begin(), end.out.end(), '\n') == 9);
    }
}

BOOST_AUTO_TEST_CASE(no_input_is_no_output)
{
    const directory place;
    std::filesystem::create_directory(place / "empty");
    for (const auto& what : {call(place, {}), call(place, {"empty"})})
    {
        const auto end = run_program(what);
        BOOST_TEST(end.code == 0);
        BOOST_TEST(end.out == "");
        BOOST_TEST(end.err == "");
    }
}

BOOST_AUTO_TEST_CASE(a_bad_command_line_is_one_line_and_status_two)
{
    const directory place;
    complains(run_program(call(place, {"--workers", "0", "."})), 2, "workers");
    complains(run_program(call(place, {"--workers", "-1", "."})), 2, "workers");
    complains(run_program(call(place, {"--workers", "two", "."})), 2,
              "workers");
    complains(run_program(call(place, {"--chaos", "often", "."})), 2, "chaos");
    complains(run_program(call(place, {"--colour"})), 2, "colour");
}

BOOST_AUTO_TEST_CASE(help_says_how_the_program_is_called)
{
    const directory place;
    const auto end = run_program(call(place, {"--help"}));
    BOOST_TEST(end.code == 0);
    BOOST_TEST((end.out.find("worker_pool PATH") != end.out.npos));
    BOOST_TEST(end.err == "");
}

BOOST_AUTO_TEST_CASE(paths_are_answered_as_they_arrive)
{
    const directory place;
    plant(place, 3);
    const dialogue with(place);
    for (const char* path : {"tree/zero", "tree/d0/f0", "tree/large"})
    {
        with.say(path);
        const auto answer = with.answer();
        BOOST_REQUIRE(answer.size() > 66u);
        BOOST_TEST(answer.substr(66) == path);
    }
}

BOOST_AUTO_TEST_CASE(
    idle_workers_killed_too_often_end_the_program_with_status_1)
{
    const directory place;
    plant(place, 1);
    dialogue with(place, "--workers 1");
    unsigned kills = 0;
    pid_t last = 0;
    BOOST_REQUIRE(eventually([&] { // the budget is ten
        for (const pid_t one : workers_of(with.program().pid()))
            if (one != last && ::kill(one, SIGKILL) == 0)
            {
                last = one;
                ++kills;
            }
        return kills == 11;
    }));
    with.say("tree/zero"); // it may come before the pool gives up
    BOOST_REQUIRE(eventually([&] { return !with.program().err().empty(); }));
    with.say("tree/zero"); // and this one comes after that
    const auto end = with.program().wait();
    BOOST_TEST(end.code == 1);
    BOOST_TEST(end.err.find(" times") != end.err.npos, end.err); // the reason
    BOOST_TEST(end.err.find("terminate") == end.err.npos, end.err);
}

BOOST_AUTO_TEST_CASE(an_inherited_sigchld_that_is_ignored_costs_nothing)
{
    const directory place;
    plant(place, 1);
    const auto ran =
        run_program({{"sh", "-c", "trap '' CHLD; exec \"$0\" tree/zero",
                      program("worker_pool")},
                     "",
                     place.path()});
    BOOST_TEST(ran.code == 0);
    BOOST_TEST(ran.err == "");
    BOOST_TEST(ran.out.size() > 66u);
}

BOOST_AUTO_TEST_CASE(closed_standard_streams_do_not_become_files_of_the_program)
{
    const directory place;
    plant(place, 1);
    const auto with = [&](const std::string& closed) {
        return run_program(
            {{"sh", "-c", "\"$0\" tree/zero " + closed, program("worker_pool")},
             "",
             place.path()});
    };
    for (const std::string closed : {">&-", ">&- 2>&-", "<&- >&- 2>&-"})
        BOOST_TEST(with(closed).code == 1, closed); // it could not print
    complains(with(">&-"), 1, "standard output");
    const auto mute = with("<&- 2>&-");
    BOOST_TEST(mute.code == 0);
    BOOST_TEST(mute.out.size() > 66u);
}

BOOST_AUTO_TEST_CASE(a_variable_of_ours_that_others_set_is_told)
{
    const directory place;
    auto what = call(place, {"--help"});
    what.environment.push_back("COMMON_WORKER=junk");
    const auto ran = run_program(what);
    BOOST_TEST(ran.code == 127);
    BOOST_TEST(ran.err.find("COMMON_WORKER") != ran.err.npos);
}

BOOST_AUTO_TEST_CASE(ctrl_c_ends_the_program_with_status_130)
{
    const directory place;
    plant(place, 1);
    dialogue with(place);
    with.say("tree/zero");
    BOOST_TEST(with.answer().size() > 66u); // it runs, and has workers
    const auto workers = workers_of(with.program().pid());
    BOOST_TEST(!workers.empty());
    with.program().kill(SIGINT);
    const auto end = with.program().wait();
    BOOST_TEST(end.code == 130);
    BOOST_TEST(end.err == "");
    BOOST_TEST(eventually(
        [&] { return std::none_of(workers.begin(), workers.end(), alive); },
        1s));
}

BOOST_AUTO_TEST_CASE(a_program_that_is_killed_under_load_leaves_nothing)
{
    const directory place, scratch;
    for (int i = 0; i < 30; ++i)
        write(place / "tree" / std::to_string(i), std::string(4 << 20, 'a'));
    const auto names = names_in("/dev/shm");
    for (const int delay : {0, 3, 10, 30, 60})
    {
        std::vector<std::string> words{"--workers", "3"};
        words.insert(words.end(), 30, "tree"); // seconds of work
        auto what = call(place, words);
        what.environment.push_back("TMPDIR=" + scratch.path().string());
        running one(what);
        BOOST_REQUIRE(
            eventually([&] { return workers_of(one.pid()).size() == 3; }));
        const auto workers = workers_of(one.pid());
        ::poll(nullptr, 0, delay);
        one.kill(SIGKILL);
        BOOST_TEST(one.wait().signal == SIGKILL);
        BOOST_TEST(eventually(
            [&] { return std::none_of(workers.begin(), workers.end(), alive); },
            1s));
        BOOST_TEST(names_in(scratch.path()).empty());
        const auto now = names_in("/dev/shm");
        BOOST_TEST(
            std::includes(names.begin(), names.end(), now.begin(), now.end()));
    }
}

BOOST_AUTO_TEST_SUITE_END()
