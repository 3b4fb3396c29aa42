// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.

#pragma once

/// What every case of a law runs in:
///
///     BOOST_FIXTURE_TEST_SUITE(worker_pool_laws, test::clean)
///
/// A case that hangs becomes a failure with evidence, and a case that leaves
/// anything behind fails.

#include "test/processes.hpp"

#include <boost/test/unit_test.hpp>

#include <poll.h>
#include <unistd.h>

#include <chrono>
#include <condition_variable>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <mutex>
#include <set>
#include <sstream>
#include <string>
#include <thread>

namespace test {

using namespace std::chrono_literals;

/// Waits until `fact()` is true.  Returns whether it became true in time.
template <class Fact>
bool eventually(Fact fact, std::chrono::milliseconds limit = 20s)
{
    const auto deadline = std::chrono::steady_clock::now() + limit;
    while (!fact()) // ends by the deadline
    {
        if (std::chrono::steady_clock::now() > deadline)
            return false;
        ::poll(nullptr, 0, 2);
    }
    return true;
}

/// What this process holds that a case might forget to give back.
struct belongings
{
    std::set<std::string> descriptors; // "5 -> /memfd:cells (deleted)"
    std::set<std::string> mappings;    // of shared memory without a name
    std::set<std::string> names;       // of shared memory with one
    std::size_t threads = 0;

    static belongings now()
    {
        namespace fs = std::filesystem;
        belongings result;
        std::error_code gone; // the descriptor that lists the others
        for (const auto& one : fs::directory_iterator("/proc/self/fd"))
        {
            const auto target = fs::read_symlink(one.path(), gone);
            if (!gone && target.string().find("/proc/") == std::string::npos)
                result.descriptors.insert(one.path().filename().string() +
                                          " -> " + target.string());
        }
        std::ifstream maps("/proc/self/maps");
        for (std::string line; std::getline(maps, line);)
            if (line.find("/memfd:") != std::string::npos)
                result.mappings.insert(line);
        for (const auto& one : fs::directory_iterator("/dev/shm"))
            if (const auto name = one.path().filename().string();
                name.rfind("common", 0) == 0)
                result.names.insert(name);
        for (const auto& one : fs::directory_iterator("/proc/self/task"))
            result.threads += one.is_directory(gone);
        return result;
    }

    /// What is here and was not in `before`, a line each; empty if nothing.
    std::string beyond(const belongings& before) const
    {
        std::string result =
            news("descriptor ", descriptors, before.descriptors) +
            news("mapping ", mappings, before.mappings) +
            news("name ", names, before.names);
        if (threads > before.threads)
            result += std::to_string(threads - before.threads) + " threads\n";
        return result;
    }

private:
    static std::string news(const std::string& kind,
                            const std::set<std::string>& after,
                            const std::set<std::string>& before)
    {
        std::string result;
        for (const auto& one : after)
            if (before.count(one) == 0)
                result += kind + one + "\n";
        return result;
    }
};

/// Ends a case that takes too long: says what every process of it is doing,
/// kills them all, so that whoever waits for them goes on, and ends the
/// program where even that does not help.
class watchdog
{
public:
    watchdog() : thread_([this] { watch(); }) {}
    ~watchdog() { stop(); }

    void stop()
    {
        {
            const std::lock_guard hold(mutex_);
            over_ = true;
        }
        change_.notify_all();
        if (thread_.joinable())
            thread_.join();
    }
    bool fired() const { return fired_; }

    /// TEST_DEADLINE, in seconds, or what is generous on a loaded machine.
    static std::chrono::seconds limit()
    {
        const char* text = std::getenv("TEST_DEADLINE");
        return std::chrono::seconds(text ? std::atoi(text) : 120);
    }

private:
    void watch()
    {
        std::unique_lock hold(mutex_);
        if (change_.wait_for(hold, limit(), [this] { return over_; }))
            return;
        fired_ = true;
        std::cerr << "\nthe case takes longer than " << limit().count()
                  << " s; what its processes are doing:\n"
                  << evidence(::getpid());
        for (const pid_t one : descendants())
            std::cerr << evidence(one);
        kill_descendants();
        if (change_.wait_for(hold, 10s, [this] { return over_; }))
            return;
        std::cerr << "and it does not end without them either\n" << std::flush;
        kill_descendants();
        std::_Exit(124);
    }

    std::mutex mutex_;
    std::condition_variable change_;
    bool over_ = false;
    bool fired_ = false; // read after stop() only
    std::thread thread_; // last: it uses all of the above
};

/// The fixture of a case.
struct clean
{
    clean() : before(belongings::now()) {}

    /// Runs after the case, whose objects are gone by then.
    void teardown()
    {
        dog.stop();
        BOOST_CHECK_MESSAGE(!dog.fired(), "the case hung");
        // Who was killed may still be on its way out.
        if (!eventually([] { return descendants().empty(); }, 2s))
            for (const pid_t one : descendants())
                BOOST_ERROR("a process is left: " + evidence(one));
        BOOST_CHECK_MESSAGE(!has_children(), "a child was not reaped");
        end_processes();
        std::string more;
        eventually(
            [&] {
                more = belongings::now().beyond(before);
                return more.empty();
            },
            2s);
        BOOST_CHECK_MESSAGE(more.empty(), "left behind:\n" + more);
    }

    /// Also after a case that threw: no case is to suffer from another.
    ~clean() { end_processes(); }

    belongings before;
    watchdog dog;

private:
    static void end_processes()
    {
        eventually(
            [] {
                kill_descendants();
                reap_dead_children();
                return !has_children();
            },
            2s);
    }
};

} // namespace test
