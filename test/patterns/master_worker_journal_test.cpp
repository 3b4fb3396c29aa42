// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.

#define BOOST_TEST_MODULE master_worker_journal

#include "test/fixture.hpp"
#include "test/patterns/master_worker_tasks.hpp"
#include "test/run_program.hpp"

#include <boost/test/unit_test.hpp>

#include "patterns/master_worker/journal.hpp"
#include "patterns/master_worker/master_worker.hpp"
#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <map>
#include <random>
#include <span>
#include <string>
#include <vector>

namespace {

using namespace test;
using master_worker::handle;
using master_worker::journal;
using master_worker::journal_error;
using master_worker::journal_options;
using master_worker::master;
using master_worker::sync_policy;

journal_options in(const std::filesystem::path& file,
                   const std::string& tasks = "a set",
                   sync_policy sync = sync_policy::interval)
{
    return {file, tasks, sync, 10ms};
}

void note(journal& j, const std::string& key, const std::string& value)
{
    j.append(key, std::as_bytes(std::span(value)));
    j.flush();
}

void write(const std::filesystem::path& path, const std::string& text)
{
    std::ofstream(path, std::ios::binary | std::ios::trunc) << text;
}

/// How large files of this process may get (ulimit -f), while it lives.
class size_limit
{
public:
    static constexpr rlim_t ample = rlim_t{1} << 40;
    size_limit()
    {
        ::getrlimit(RLIMIT_FSIZE, &before_);
        set(ample);
    }
    size_limit(const size_limit&) = delete;
    ~size_limit() { ::setrlimit(RLIMIT_FSIZE, &before_); }

    void set(rlim_t bytes) const
    {
        const rlimit now{bytes, before_.rlim_max};
        ::setrlimit(RLIMIT_FSIZE, &now);
    }

private:
    rlimit before_{};
};

std::string key(int i)
{
    return "task " + std::to_string(i);
}
std::string value(int i)
{
    return std::string(static_cast<std::size_t>(i) * 3, char('a' + i));
}

/// How many of the first records a journal has, if it has no others.
int prefix(const journal& j)
{
    int n = 0;
    while (j.find(key(n)) != nullptr && *j.find(key(n)) == value(n))
        ++n;
    return static_cast<int>(j.size()) == n ? n : -1;
}

/// Counts its runs.
int counted(int x, counter runs)
{
    ++*runs;
    return x * x;
}

master_worker::master_options with(const journal_options& j)
{
    auto result = sturdy(2);
    result.journal = j;
    return result;
}

} // namespace

BOOST_FIXTURE_TEST_SUITE(master_worker_journal_laws, test::clean)

BOOST_AUTO_TEST_CASE(a_checksum_is_the_same_by_the_cpu_and_by_hand)
{
    BOOST_TEST(master_worker::crc32c("123456789") == 0xE3069283u);
    std::mt19937_64 dice(1);
    std::string text;
    for (int i = 0; i < 300; ++i, text += static_cast<char>(dice()))
        BOOST_TEST(master_worker::crc32c(text) ==
                   master_worker::detail::crc32c_by_table(text));
}

BOOST_AUTO_TEST_CASE(what_was_written_is_found_again)
{
    const directory place;
    for (const auto sync :
         {sync_policy::each, sync_policy::interval, sync_policy::off})
    {
        const auto how = in(place / std::to_string(int(sync)), "a set", sync);
        {
            journal j(how, "tests");
            note(j, "one", "eins");
            note(j, "", "");
            note(j, std::string("\0\n", 2), std::string(100'000, 'x'));
            BOOST_TEST((j.find("one") == nullptr)); // only what was there
        }
        journal j(how, "tests");
        BOOST_REQUIRE(j.size() == 3u);
        BOOST_TEST(*j.find("one") == "eins");
        BOOST_TEST(*j.find("") == "");
        BOOST_TEST(j.find(std::string("\0\n", 2))->size() == 100'000u);
        BOOST_TEST((j.find("two") == nullptr));
    }
}

BOOST_AUTO_TEST_CASE(a_journal_cut_anywhere_keeps_all_that_was_whole)
{
    const directory place;
    const auto file = place / "j";
    std::vector<std::size_t> ends; // of the header, and of each record
    {
        journal j(in(file), "tests");
        ends.push_back(std::filesystem::file_size(file));
        for (int i = 0; i < 8; ++i)
        {
            note(j, key(i), value(i));
            ends.push_back(std::filesystem::file_size(file));
        }
    }
    const auto whole = slurp(file);
    for (std::size_t size = 0; size <= whole.size(); ++size)
    {
        write(file, whole.substr(0, size));
        const auto wanted =
            std::count_if(ends.begin() + 1, ends.end(),
                          [&](std::size_t end) { return end <= size; });
        {
            journal j(in(file), "tests");
            BOOST_TEST(prefix(j) == wanted);
            for (int i = int(wanted); i < 8; ++i) // the rest is done again
                note(j, key(i), value(i));
        }
        BOOST_TEST(slurp(file) == whole);
    }
}

BOOST_AUTO_TEST_CASE(a_damaged_record_costs_itself_only)
{
    const directory place;
    const auto file = place / "j";
    {
        journal j(in(file), "tests");
        for (int i = 0; i < 8; ++i)
            note(j, key(i), value(i));
    }
    auto text = slurp(file);
    text[text.find(value(5))] ^= 1;
    write(file, text);
    const journal j(in(file), "tests");
    BOOST_TEST(j.size() == 7u);
    BOOST_TEST((j.find(key(5)) == nullptr));
    BOOST_TEST(*j.find(key(7)) == value(7));
}

BOOST_AUTO_TEST_CASE(random_damage_yields_no_wrong_record_and_no_crash)
{
    const auto seed = std::random_device{}();
    BOOST_TEST_MESSAGE("seed " << seed);
    std::mt19937_64 dice(seed);
    const directory place;
    const auto file = place / "j";
    {
        journal j(in(file), "tests");
        for (int i = 0; i < 20; ++i)
            note(j, key(i), value(i));
    }
    const auto whole = slurp(file);
    const char* wanted = std::getenv("JOURNAL_ROUNDS");
    int read = 0;
    for (int round = wanted ? std::atoi(wanted) : 3000; round != 0; --round)
    {
        auto text = whole;
        for (auto n = dice() % 8 + 1; n != 0; --n)
            switch (dice() % 3)
            {
            case 0:
                text[dice() % text.size()] = static_cast<char>(dice());
                break;
            case 1:
                text.erase(dice() % text.size(), dice() % 16);
                break;
            case 2:
                text.insert(dice() % text.size(), dice() % 16,
                            static_cast<char>(dice()));
            }
        write(file, text);
        try
        {
            const journal j(in(file), "tests");
            ++read;
            std::size_t sound = 0;
            for (int i = 0; i < 20; ++i)
                if (const auto* v = j.find(key(i)))
                    sound += *v == value(i);
            BOOST_TEST(sound == j.size());
        }
        catch (const journal_error&) // then it is as it was
        {
            BOOST_TEST((slurp(file) == text));
        }
    }
    BOOST_TEST(read > 0);
}

BOOST_AUTO_TEST_CASE(foreign_files_are_refused_and_left_as_they_were)
{
    const directory place;
    const auto file = place / "j";
    {
        journal j(in(file), "tests");
        note(j, "one", "eins");
    }
    const auto text = slurp(file);
    BOOST_CHECK_EXCEPTION(journal(in(file, "another set"), "tests"),
                          journal_error, [&](const auto& e) {
                              return contains(e.what(), file) &&
                                     contains(e.what(), "a set") &&
                                     contains(e.what(), "another set");
                          });
    BOOST_TEST(slurp(file) == text);
    write(file, "my diary, not a journal\n");
    BOOST_CHECK_THROW(journal(in(file), "tests"), journal_error);
    BOOST_TEST(slurp(file) == "my diary, not a journal\n");
    BOOST_CHECK_THROW(journal(in(place.path()), "tests"), journal_error);
    BOOST_CHECK_THROW(journal(in("/dev/null"), "tests"), journal_error);
    BOOST_CHECK_THROW(journal(in(place / "no" / "where"), "tests"),
                      journal_error);
}

BOOST_AUTO_TEST_CASE(a_set_without_a_name_is_that_of_its_program)
{
    const directory place;
    const auto file = place / "j";
    {
        journal j(in(file, ""), "tests");
        note(j, "one", "eins");
    }
    BOOST_CHECK_THROW(journal(in(file, ""), "others"), journal_error);
    const journal again(in(file, ""), "tests");
    BOOST_TEST(again.size() == 1u);
}

BOOST_AUTO_TEST_CASE(two_masters_do_not_share_a_journal)
{
    const directory place;
    const journal first(in(place / "j"), "tests");
    BOOST_CHECK_EXCEPTION(
        journal(in(place / "j"), "tests"), journal_error,
        [](const auto& e) { return contains(e.what(), "another process"); });
}

BOOST_AUTO_TEST_CASE(a_full_disk_is_an_error_that_loses_nothing)
{
    const directory place;
    const auto file = place / "j";
    const size_limit limit;
    {
        journal j(in(file), "tests");
        for (int i = 0; i < 4; ++i)
            note(j, key(i), value(i));
        const auto size = std::filesystem::file_size(file);
        limit.set(size + 20);
        BOOST_CHECK_EXCEPTION(
            note(j, key(4), value(4) + std::string(50, 'x')), journal_error,
            [&](const auto& e) { return contains(e.what(), file); });
        BOOST_TEST(std::filesystem::file_size(file) == size);
        limit.set(size_limit::ample);
        j.flush(); // there is room again: what waited is written
    }
    const journal j(in(file), "tests");
    BOOST_TEST(j.size() == 5u);
    BOOST_TEST(*j.find(key(3)) == value(3));
}

BOOST_AUTO_TEST_CASE(a_master_whose_disk_is_full_goes_on_when_there_is_room)
{
    const directory place;
    const auto file = place / "j";
    counter runs{0};
    const size_limit limit;
    {
        master m(with(in(file)));
        m.submit(&counted, 1, runs).get(); // its workers are there
        limit.set(std::filesystem::file_size(file) + 100);
        std::vector<handle<int>> all;
        for (int i = 0; i < 20; ++i)
            all.push_back(m.submit(&counted, i, runs));
        BOOST_CHECK_THROW(m.run(), journal_error);
        limit.set(size_limit::ample);
        m.run();
        for (int i = 0; i < 20; ++i)
            BOOST_TEST(all[static_cast<std::size_t>(i)].get() == i * i);
    }
    BOOST_TEST(*runs == 21);
    master again(with(in(file)));
    again.submit(&counted, 1, runs);
    for (int i = 0; i < 20; ++i)
        again.submit(&counted, i, runs);
    again.run();
    BOOST_TEST(*runs == 21);
    BOOST_TEST(again.stats().recovered == 21u);
}

BOOST_AUTO_TEST_CASE(a_second_master_runs_only_what_is_left)
{
    const directory place;
    counter runs{0};
    const auto run = [&](int tasks) {
        master m(with(in(place / "j")));
        std::vector<handle<int>> all;
        for (int i = 0; i < tasks; ++i)
            all.push_back(m.submit(&counted, i, runs));
        for (int i = 0; i < tasks; ++i)
            BOOST_TEST(all[static_cast<std::size_t>(i)].get() == i * i);
    };
    run(30);
    BOOST_TEST(*runs == 30);
    run(50);
    BOOST_TEST(*runs == 50);
}

BOOST_AUTO_TEST_CASE(a_task_with_other_arguments_or_another_key_runs_itself)
{
    const directory place;
    const auto run = [&](int x, const std::string& name) {
        master m(with(in(place / "j")));
        auto how = tries(1);
        how.key = name;
        return m.submit(how, &square, x).get();
    };
    BOOST_TEST(run(2, "") == 4);
    BOOST_TEST(run(3, "") == 9);
    BOOST_TEST(run(4, "mine") == 16);
    BOOST_TEST(run(5, "mine") == 16); // the key was the user's word for it
    BOOST_TEST(run(5, "yours") == 25);
}

BOOST_AUTO_TEST_CASE(failures_are_not_kept)
{
    const directory place;
    counter runs{0};
    for (int round = 1; round <= 2; ++round)
    {
        master m(with(in(place / "j")));
        const auto bad = m.submit(
            [](counter n) {
                ++*n;
                throw std::out_of_range("always");
            },
            runs);
        BOOST_CHECK_THROW(bad.get(), std::out_of_range);
        BOOST_TEST(*runs == round);
    }
}

BOOST_AUTO_TEST_CASE(a_master_killed_at_any_write_runs_no_finished_task_again)
{
    using counters = common::shared_array<std::atomic<int>>;
    const directory place;
    const std::string file = place / "j";
    const counters runs(40);
    const auto all_tasks = [](std::string path, counters n) {
        master m(with(in(path)));
        std::vector<handle<int>> all;
        for (int i = 0; i < 40; ++i)
        {
            auto how = tries(3);
            how.key = key(i);
            all.push_back(m.submit(
                how,
                [](int x, counters c) {
                    ++c[static_cast<std::size_t>(x)];
                    return x * x;
                },
                i, n));
        }
        int total = 0;
        for (const auto& one : all)
            total += one.get();
        return total == 20'540 ? 0 : 1;
    };
    const faults armed("journal.writing=0.1"); // in the master, too
    std::map<std::size_t, int> finished;       // runs until it was in there
    int deaths = 0;
    for (bool done = false; !done && deaths < 200;)
    {
        common::process it(all_tasks, file, runs);
        const auto end = it.join();
        done = end.signal == 0;
        BOOST_TEST((done ? end.code == 0 : end.signal == SIGKILL));
        deaths += done ? 0 : 1;
        const journal now(in(file, "a set"), "tests");
        for (std::size_t i = 0; i < 40; ++i)
        {
            const auto known = finished.find(i);
            if (known != finished.end())
                BOOST_TEST(runs[i] == known->second);
            else if (now.find("=" + key(int(i))) != nullptr)
                finished[i] = runs[i];
        }
        BOOST_TEST(finished.size() == now.size());
    }
    BOOST_TEST_MESSAGE(deaths << " deaths");
    BOOST_TEST(finished.size() == 40u);
}

BOOST_AUTO_TEST_SUITE_END()
