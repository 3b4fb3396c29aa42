// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.

// What the program around a pool does, and what a task does beside its work.

#define BOOST_TEST_MODULE worker_pool_surroundings

#include "test/fixture.hpp"
#include "test/run_program.hpp"

#include <boost/test/unit_test.hpp>

#include "patterns/worker_pool/worker_pool.hpp"
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <exception>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace {

using namespace std::chrono_literals;
using namespace test;
using common::process;
using worker_pool::future;
using worker_pool::pool;
using worker_pool::pool_options;

using number = common::shared<std::atomic<int>>;

/// A signal is ignored as long as this lives.
class ignored
{
public:
    explicit ignored(int signal)
        : signal_(signal)
        , before_(::signal(signal, SIG_IGN))
    {
    }
    ignored(const ignored&) = delete;
    ~ignored() { ::signal(signal_, before_); }

private:
    int signal_;
    sighandler_t before_;
};

int twice(int x)
{
    return 2 * x;
}

/// As a daemon does at its start.
void close_all()
{
    for (int fd = 3; fd < 1024; ++fd)
        ::close(fd);
}

/// Kills the first worker; returns when it is known and replaced.
void kill_one(const pool& all)
{
    const auto first = [&] { return all.stats().workers.front(); };
    BOOST_REQUIRE(eventually([&] { return first().ready; }));
    const pid_t victim = first().pid;
    ::kill(victim, SIGKILL);
    BOOST_REQUIRE(
        eventually([&] { return first().ready && first().pid != victim; }));
}

/// Whose workers may die as often as they like.
pool_options sturdy(unsigned workers)
{
    pool_options how;
    how.workers = workers;
    how.restarts = 1'000'000;
    how.restart_backoff = {};
    return how;
}

} // namespace

BOOST_FIXTURE_TEST_SUITE(worker_pool_surroundings_laws, test::clean)

// --- who else hears of the end of children ---------------------------------

BOOST_AUTO_TEST_CASE(deaths_are_seen_where_sigchld_is_ignored)
{
    const ignored signal(SIGCHLD);
    pool all(1);
    BOOST_TEST(all.submit(&twice, 1).get() == 2);
    kill_one(all);
    BOOST_TEST(all.submit(&twice, 2).get() == 4);
    BOOST_CHECK_THROW(all.submit([] { std::abort(); }).get(),
                      common::worker_died);
    BOOST_TEST(all.submit(&twice, 3).get() == 6);
}

BOOST_AUTO_TEST_CASE(a_library_that_reaps_everybody_costs_nothing)
{
    const std::jthread reaper([&](const std::stop_token& over) {
        while (!over.stop_requested()) // ends with the test
            if (::waitpid(-1, nullptr, WNOHANG) <= 0)
                std::this_thread::yield();
    });
    pool all(sturdy(2));
    for (int i = 0; i < 20; ++i)
    {
        kill_one(all);
        BOOST_TEST(all.submit(&twice, i).get() == 2 * i);
    }
}

// --- what tasks do beside their work ---------------------------------------

BOOST_AUTO_TEST_CASE(a_task_that_closes_everything_holds_nothing_up)
{
    pool all(2);
    all.submit(&close_all).get();
    for (int i = 0; i < 20; ++i)
    {
        auto next = all.submit(&twice, i).then(
            [](future<int> x) { return x.get() + 1; });
        BOOST_REQUIRE(next.wait_for(30s));
        BOOST_TEST(next.get() == 2 * i + 1);
        if (i % 4 == 0)
            all.submit(&close_all).get();
    }
}

BOOST_AUTO_TEST_CASE(an_initializer_that_closes_everything_holds_nothing_up)
{
    pool all(pool_options{.workers = 1}, &close_all);
    for (int i = 0; i < 5; ++i)
    {
        auto next = all.submit(&twice, i).then(
            [](future<int> x) { return x.get() + 1; });
        BOOST_REQUIRE(next.wait_for(30s));
        BOOST_TEST(next.get() == 2 * i + 1);
    }
}

BOOST_AUTO_TEST_CASE(a_task_without_a_bell_keeps_nobody_elses_news_back)
{
    pool all(2);
    number silent{0}, go{0};
    auto held = all.submit(
        [](number told, number on) {
            close_all();
            while (*told == 0) // ends when the loop sleeps, and must be rung
                try
                {
                    common::announce();
                    std::this_thread::yield();
                }
                catch (const std::logic_error&)
                {
                    *told = 1;
                }
            while (*on == 0) // until the test lets it
                std::this_thread::yield();
        },
        silent, go);
    auto watched = held.then([](future<void> f) { f.get(); });
    BOOST_REQUIRE(eventually([&] { return *silent == 1; }));
    auto other =
        all.submit(&twice, 4).then([](future<int> f) { return f.get(); });
    BOOST_TEST(other.wait_for(30s));
    BOOST_TEST(other.get() == 8);
    *go = 1;
    watched.get();
}

BOOST_AUTO_TEST_CASE(nothing_is_written_into_a_file_that_a_task_opens)
{
    const directory place;
    const std::string path = place / "own";
    pool all(1);
    all.submit(
           [](const std::string& file) {
               close_all();
               for (int i = 0; i < 20; ++i) // stay open: under many numbers
                   ::open(file.c_str(), O_CREAT | O_WRONLY, 0600);
           },
           path)
        .then([](future<void>) {})
        .wait_for(30s);
    for (int i = 0; i < 10; ++i)
        BOOST_TEST(all.submit(&twice, i)
                       .then([](future<int> x) { return x.get(); })
                       .wait_for(30s));
    BOOST_TEST(slurp(path) == "");
}

BOOST_AUTO_TEST_CASE(what_a_task_has_forked_ends_with_the_pool)
{
    pid_t left = 0;
    {
        pool all(1);
        left = all.submit([] {
                      const pid_t child = ::fork();
                      if (child == 0)
                          for (;;) // until it is killed
                              ::pause();
                      return child;
                  })
                   .get();
        BOOST_TEST(alive(left));
    }
    BOOST_TEST(eventually([&] { return !alive(left); }));
}

BOOST_AUTO_TEST_CASE(what_a_task_has_forked_ends_with_its_worker)
{
    number left{0};
    pool all(1);
    auto doomed = all.submit(
        worker_pool::task_options{.attempts = 1},
        [](number child) {
            *child = ::fork();
            if (*child == 0)
                for (;;) // until it is killed
                    ::pause();
            std::abort();
        },
        left);
    BOOST_CHECK_THROW(doomed.get(), common::worker_died);
    BOOST_TEST(eventually([&] { return *left != 0 && !alive(*left); }));
}

BOOST_AUTO_TEST_CASE(
    a_worker_that_changes_its_user_dies_with_its_program,
    *boost::unit_test::precondition([](boost::unit_test::test_unit_id) {
        return boost::test_tools::assertion_result(::geteuid() == 0);
    }))
{
    number worker{0};
    process program{[](number pid) {
                        pool all(pool_options{.workers = 1}, [] {
                            if (::setgid(65534) != 0 || ::setuid(65534) != 0)
                                throw std::runtime_error(
                                    "cannot be somebody else");
                        });
                        *pid = all.submit([] { return ::getpid(); }).get();
                        ::kill(::getpid(), SIGKILL);
                    },
                    worker};
    BOOST_TEST(program.join().signal == SIGKILL);
    BOOST_TEST(*worker != 0);
    BOOST_TEST(eventually([&] { return !alive(*worker); }));
}

BOOST_AUTO_TEST_CASE(an_exception_without_a_text_is_told_by_its_type)
{
    struct mute : std::exception
    {
        const char* what() const noexcept override { return nullptr; }
    };
    pool all(1);
    auto answer = all.submit([]() -> int { throw mute(); });
    BOOST_CHECK_EXCEPTION(answer.get(), common::remote_error, [](auto& e) {
        return e.type.find("mute") != e.type.npos;
    });
}

// --- what the program does -------------------------------------------------

BOOST_AUTO_TEST_CASE(what_is_forked_from_a_program_with_workers_can_exit)
{
    process program{[] {
        process one{[] {}};
        one.join();
        const pid_t copy = ::fork();
        if (copy == 0)
            std::exit(7);
        int status = 0;
        const bool ended = eventually(
            [&] { return ::waitpid(copy, &status, WNOHANG) == copy; });
        if (!ended)
            ::kill(copy, SIGKILL);
        return ended ? WEXITSTATUS(status) : 1;
    }};
    BOOST_TEST(program.join().code == 7);
}

BOOST_AUTO_TEST_CASE(a_limit_on_files_is_an_error_and_not_a_signal)
{
    process program{[] {
        const rlimit small{1 << 20, 1 << 20};
        ::setrlimit(RLIMIT_FSIZE, &small);
        try
        {
            pool all(1);
            return 1;
        }
        catch (const std::system_error& e)
        {
            return e.code().value() == EFBIG ? 5 : 2;
        }
    }};
    BOOST_TEST((program.join() == common::exit_status{5, 0}));
}

// --- for ever --------------------------------------------------------------

BOOST_AUTO_TEST_CASE(for_ever_is_no_time_that_has_passed)
{
    constexpr auto ever = std::chrono::milliseconds::max();
    pool_options how{.workers = 1};
    how.linger = ever;
    how.recycle.age = ever;
    how.start_deadline = ever;
    how.restart_window = ever;
    number go{0};
    {
        pool all(how);
        auto slow = all.submit(
            [](number on) {
                while (*on == 0) // until the test lets it
                    std::this_thread::yield();
                return 1;
            },
            go);
        BOOST_TEST(!slow.wait_for(0s));
        BOOST_TEST(!slow.wait_for(-1s));
        BOOST_TEST(!slow.wait_for(std::chrono::duration<double>(0.01)));
        std::jthread later([&] { *go = 1; });
        BOOST_TEST(slow.wait_for(std::chrono::hours::max()));
        BOOST_TEST(slow.get() == 1);
        BOOST_TEST(all.stats().deaths == 0u);
        BOOST_TEST(all.shutdown(worker_pool::shutdown_mode::graceful, ever));
    }
    process one{[] {}};
    BOOST_TEST(one.join_for(ever)->success());
    BOOST_CHECK_THROW(pool(pool_options{.start_deadline = 0ms}),
                      std::invalid_argument);
}

BOOST_AUTO_TEST_SUITE_END()
