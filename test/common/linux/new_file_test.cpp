// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.

#define BOOST_TEST_MODULE new_file

#include "common/linux/new_file.hpp"
#include "common/process.hpp"
#include "test/fixture.hpp"
#include "test/run_program.hpp"

#include <boost/test/unit_test.hpp>

#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <span>
#include <string>
#include <system_error>

namespace {

namespace fs = std::filesystem;
using common::kernel::descriptor;
using common::kernel::new_file;

void put(new_file& to, const std::string& text)
{
    to.write(std::as_bytes(std::span(text)));
}

std::ptrdiff_t files_in(const test::directory& place)
{
    return std::distance(fs::directory_iterator(place.path()), {});
}

boost::test_tools::assertion_result
unnamed_files_are_known(boost::unit_test::test_unit_id)
{
    const test::directory place;
    const descriptor file(
        ::open(place.path().c_str(), O_WRONLY | O_TMPFILE | O_CLOEXEC, 0600));
    return static_cast<bool>(file);
}

/// Runs in a process: is killed when it has written half of a file.
void write_half(std::string name)
{
    new_file out(name);
    put(out, "half");
    ::raise(SIGKILL);
}

} // namespace

BOOST_FIXTURE_TEST_SUITE(new_file_laws, test::clean)

BOOST_AUTO_TEST_CASE(a_file_is_there_whole_or_not_at_all)
{
    for (const bool unnamed : {true, false})
    {
        const test::directory place;
        {
            new_file out(place / "one", unnamed);
            put(out, "forgotten");
        }
        BOOST_TEST(files_in(place) == 0);
        new_file out(place / "one", unnamed);
        put(out, "first ");
        BOOST_TEST(!fs::exists(place / "one"));
        put(out, "last");
        out.keep();
        out.keep(); // once is enough
        BOOST_TEST(test::slurp(place / "one") == "first last");
        BOOST_TEST(files_in(place) == 1);
    }
}

BOOST_AUTO_TEST_CASE(what_had_the_name_before_is_untouched_until_it_is_replaced)
{
    for (const bool unnamed : {true, false})
    {
        const test::directory place;
        std::ofstream(place / "one") << "old";
        ::chmod((place / "one").c_str(), 0640);
        {
            new_file out(place / "one", unnamed);
            put(out, "forgotten");
        }
        new_file out(place / "one", unnamed);
        put(out, "new");
        BOOST_TEST(test::slurp(place / "one") == "old");
        out.keep();
        BOOST_TEST(test::slurp(place / "one") == "new");
        BOOST_TEST(files_in(place) == 1);
        struct stat now = {};
        BOOST_TEST(::stat((place / "one").c_str(), &now) == 0);
        BOOST_TEST((now.st_mode & 0777) == 0640u);
    }
}

BOOST_AUTO_TEST_CASE(a_name_that_is_taken_meanwhile_is_replaced)
{
    const test::directory place;
    new_file out(place / "one");
    put(out, "ours");
    std::ofstream(place / "one") << "theirs";
    out.keep();
    BOOST_TEST(test::slurp(place / "one") == "ours");
    BOOST_TEST(files_in(place) == 1);
}

BOOST_AUTO_TEST_CASE(a_killed_writer_leaves_nothing,
                     *boost::unit_test::precondition(unnamed_files_are_known))
{
    const test::directory place;
    common::process writer(&write_half, (place / "one").string());
    BOOST_TEST(writer.join().signal == SIGKILL);
    BOOST_TEST(files_in(place) == 0);
}

BOOST_AUTO_TEST_CASE(a_link_leads_to_the_new_file)
{
    const test::directory place;
    fs::create_directory(place / "there");
    std::ofstream(place / "there/one") << "old";
    fs::create_symlink("there/one", place / "link");
    new_file out(place / "link");
    put(out, "new");
    out.keep();
    BOOST_TEST(fs::is_symlink(place / "link"));
    BOOST_TEST(test::slurp(place / "there/one") == "new");
}

BOOST_AUTO_TEST_CASE(what_is_no_regular_file_is_written_directly)
{
    const test::directory place;
    const auto pipe = place / "pipe";
    BOOST_REQUIRE(::mkfifo(pipe.c_str(), 0600) == 0);
    const descriptor reader(::open(pipe.c_str(), O_RDONLY | O_NONBLOCK));
    new_file out(pipe);
    put(out, "text");
    char text[5] = {};
    BOOST_TEST(::read(reader.get(), text, 4) == 4);
    BOOST_TEST(text == std::string("text"));
    out.keep();
    BOOST_TEST(fs::is_fifo(pipe));
    new_file nowhere("/dev/null");
    put(nowhere, "text");
    nowhere.keep();
    BOOST_TEST(fs::is_character_file("/dev/null"));
}

BOOST_AUTO_TEST_CASE(what_cannot_be_written_is_said_with_its_name)
{
    const test::directory place;
    const auto says = [](std::string text) {
        return [text](const std::system_error& e) { return e.what() == text; };
    };
    BOOST_CHECK_EXCEPTION(new_file("no/where/one"), std::system_error,
                          says("cannot write no/where/one: No such file or "
                               "directory"));
    BOOST_CHECK_EXCEPTION(new_file("."), std::system_error,
                          says("cannot write .: Is a directory"));
    new_file full("/dev/full");
    BOOST_CHECK_EXCEPTION(
        put(full, "text"), std::system_error,
        says("cannot write /dev/full: No space left on device"));
    const auto folder = (place / "folder").string();
    fs::create_directory(folder);
    new_file out(folder + "/one");
    fs::remove_all(folder);
    BOOST_CHECK_EXCEPTION(
        out.keep(), std::system_error,
        says("cannot write " + folder + "/one: No such file or directory"));
}

BOOST_AUTO_TEST_CASE(a_limit_on_the_size_of_files_is_an_error_and_no_signal)
{
    const test::directory place;
    common::process program{[](std::string name) {
                                const rlimit small{1 << 20, 1 << 20};
                                ::setrlimit(RLIMIT_FSIZE, &small);
                                try
                                {
                                    new_file out(name);
                                    put(out, std::string(2 << 20, 'x'));
                                    return 1;
                                }
                                catch (const std::system_error& e)
                                {
                                    return e.code() == std::errc::file_too_large
                                               ? 7
                                               : 2;
                                }
                            },
                            (place / "one").string()};
    BOOST_TEST((program.join() == common::exit_status{7, 0}));
    BOOST_TEST(files_in(place) == 0);
}

BOOST_AUTO_TEST_SUITE_END()
