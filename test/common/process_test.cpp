// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.

#define BOOST_TEST_MODULE process

#include "common/linux/cpus.hpp"
#include "common/process.hpp"
#include "test/fixture.hpp"
#include "test/run_program.hpp"
#include "test/sanitizer.hpp"

#include <boost/test/unit_test.hpp>

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <csignal>
#include <cstring>
#include <deque>
#include <fstream>
#include <map>
#include <stdexcept>
#include <string>
#include <thread>
#include <tuple>
#include <utility>
#include <vector>

namespace {

using namespace std::chrono_literals;
using common::exit_status;
using common::process;
using common::shared;
using common::stop_token;

using number = shared<std::atomic<long>>;

void wait_for_stop(stop_token stop)
{
    stop.wait_until(common::time_point::max());
}

/// Runs until it is killed.
void spin(number beats)
{
    for (;;)
        ++*beats;
}

struct vast
{
};

/// Whether somebody goes on counting.
bool beats(const number& count)
{
    const auto before = count->load();
    return test::eventually([&] { return *count > before + 1000; });
}

} // namespace

template <>
struct common::codec<vast> // says that it is long
{
    static std::size_t size(const vast&) { return std::size_t{1} << 32; }
    static void write(writer&, const vast&) {}
    static vast read(reader&) { return {}; }
};

BOOST_FIXTURE_TEST_SUITE(process_laws, test::clean)

BOOST_AUTO_TEST_CASE(arguments_arrive_and_shared_objects_are_shared)
{
    const number sum{0};
    {
        process one{[](number n, int a, std::string b, std::vector<int> c) {
                        *n += a + std::stoi(b) + c.at(1);
                    },
                    sum, 1, std::string("20"), std::vector{0, 300}};
        process other{[](number n) { *n += 4000; }, sum};
    }
    BOOST_TEST(*sum == 4321);
}

int free_function(int code)
{
    return code;
}

BOOST_AUTO_TEST_CASE(the_body_may_be_a_function_or_hold_captures)
{
    BOOST_TEST(process(&free_function, 5).join().code == 5);
    BOOST_TEST(process(free_function, 6).join().code == 6);
    int seven = 7;
    BOOST_TEST(
        process(common::capture([seven] { return seven; })).join().code == 7);
    const auto generic = [](auto n) { return n + 1; };
    BOOST_TEST(process(generic, 7).join().code == 8);
}

BOOST_AUTO_TEST_CASE(the_end_tells_the_code)
{
    BOOST_TEST((process([] {}).join() == exit_status{0, 0}));
    BOOST_TEST((process([] { return 1; }).join() == exit_status{1, 0}));
    BOOST_TEST((process([] { return 8; }).join() == exit_status{8, 0}));
    BOOST_TEST((process([] { std::exit(9); }).join() == exit_status{9, 0}));
    BOOST_TEST((process([] { ::_exit(10); }).join() == exit_status{10, 0}));
    BOOST_TEST(process([] {}).join().success());
    BOOST_TEST(!process([] { return 1; }).join().success());
}

BOOST_AUTO_TEST_CASE(the_end_tells_the_signal)
{
    for (const int signal : {SIGKILL, SIGTERM, SIGABRT, SIGUSR1, SIGFPE})
    {
        const auto end = process(
                             [](int which) {
                                 ::signal(which, SIG_DFL);
                                 ::raise(which);
                             },
                             signal)
                             .join();
        BOOST_TEST((end == exit_status{0, signal}));
        BOOST_TEST(!end.success());
    }
    process one{wait_for_stop};
    one.terminate();
    BOOST_TEST(one.join().signal == SIGTERM);
    process other{wait_for_stop};
    other.kill();
    BOOST_TEST(other.join().signal == SIGKILL);
}

BOOST_AUTO_TEST_CASE(an_exception_is_code_1_and_a_line_on_stderr)
{
    const auto ran = test::run_program({{test::program("throwing_worker")}});
    BOOST_TEST(ran.code == 1); // the code of its worker
    BOOST_TEST(ran.err.find("std::out_of_range: no such thing\n") !=
               std::string::npos);
    BOOST_TEST(std::count(ran.err.begin(), ran.err.end(), '\n') == 1);
    BOOST_TEST(ran.out == "written before\n"); // and flushed
}

BOOST_AUTO_TEST_CASE(a_program_without_worker_main_is_told)
{
    const auto ran = test::run_program({{test::program("no_worker_main")}});
    BOOST_TEST(ran.code == 0);
    BOOST_TEST(ran.out.find("worker_main") != std::string::npos);
    BOOST_TEST(ran.out.find("one\n") == std::string::npos); // no second copy
}

BOOST_AUTO_TEST_CASE(joining_waits_and_says_the_same_again)
{
    process one{[] { return 3; }};
    BOOST_TEST(one.joinable());
    BOOST_TEST(one.join().code == 3);
    BOOST_TEST(!one.joinable());
    BOOST_TEST(one.join().code == 3);
    BOOST_TEST(one.join_until(common::time_point::min())->code == 3);
    BOOST_TEST(one.status()->code == 3);
}

BOOST_AUTO_TEST_CASE(joining_gives_up_at_its_deadline)
{
    process one{wait_for_stop};
    const auto start = common::clock::now();
    BOOST_TEST(!one.join_for(0s));
    BOOST_TEST(!one.join_for(-1s));
    BOOST_TEST(!one.join_until(common::time_point::min()));
    BOOST_TEST(!one.join_for(50ms));
    BOOST_TEST((common::clock::now() - start >= 50ms));
    BOOST_TEST(!one.status());
    BOOST_TEST(one.joinable());
    one.request_stop();
    BOOST_TEST(one.join().success());
}

BOOST_AUTO_TEST_CASE(a_stop_request_reaches_who_listens)
{
    process listens{wait_for_stop};
    BOOST_TEST(listens.request_stop());
    BOOST_TEST(listens.request_stop()); // again is the same
    BOOST_TEST(listens.join().success());
    process deaf{[] {}};
    BOOST_TEST(!deaf.request_stop());
    deaf.join();
}

BOOST_AUTO_TEST_CASE(waiting_for_a_stop_ends_at_its_deadline)
{
    process one{[](stop_token stop) {
        return stop.wait_until(common::clock::now() + 20ms) ? 1 : 0;
    }};
    BOOST_TEST(one.join().code == 0);
}

BOOST_AUTO_TEST_CASE(the_destructor_asks_to_stop_and_joins)
{
    pid_t pid = 0;
    {
        process one{wait_for_stop};
        pid = one.pid();
        BOOST_TEST(test::alive(pid));
    }
    BOOST_TEST(!test::alive(pid));
}

BOOST_AUTO_TEST_CASE(a_process_moves_like_a_thread)
{
    process empty;
    BOOST_TEST(!empty.joinable());
    BOOST_TEST(empty.native_handle() == -1);
    process one{wait_for_stop};
    const pid_t pid = one.pid();
    process other{std::move(one)};
    BOOST_TEST(!one.joinable());
    BOOST_TEST(other.joinable());
    BOOST_TEST(other.pid() == pid);
    empty = std::move(other);
    BOOST_TEST(empty.pid() == pid);
    BOOST_TEST(!other.joinable());
    process third{wait_for_stop};
    const pid_t replaced = third.pid();
    third = std::move(empty); // ends the one that was there
    BOOST_TEST(!test::alive(replaced));
    BOOST_TEST(test::alive(pid));
    process& self = third;
    third = std::move(self);
    BOOST_TEST(third.pid() == pid);
    std::vector<process> many;
    many.push_back(std::move(third));
    many.emplace_back(wait_for_stop);
    many.erase(many.begin());
    BOOST_TEST(!test::alive(pid));
}

BOOST_AUTO_TEST_CASE(the_handle_is_readable_when_the_process_has_ended)
{
    process one{wait_for_stop};
    pollfd handle{one.native_handle(), POLLIN, 0};
    BOOST_TEST(::poll(&handle, 1, 0) == 0);
    one.request_stop();
    BOOST_TEST(::poll(&handle, 1, 20'000) == 1);
    one.join();
    BOOST_TEST(one.native_handle() == -1);
}

// --- what the new process finds --------------------------------------------

namespace {

struct findings
{
    std::array<int, 64> descriptors;
    unsigned count;
    unsigned long long blocked, ignored;
};

void look_around(shared<findings> here)
{
    for (int fd = 0; fd < 1024; ++fd)
        if (::fcntl(fd, F_GETFD) != -1 && here->count < 64)
            here->descriptors[here->count++] = fd;
    std::ifstream status("/proc/self/status");
    for (std::string line; std::getline(status, line);)
    {
        std::sscanf(line.c_str(), "SigBlk: %llx", &here->blocked);
        std::sscanf(line.c_str(), "SigIgn: %llx", &here->ignored);
    }
}

} // namespace

BOOST_AUTO_TEST_CASE(it_has_the_standard_streams_and_what_it_was_given)
{
    std::vector<common::kernel::descriptor> open; // and inheritable
    for (int i = 0; i < 20; ++i)
        open.emplace_back(::open("/dev/null", O_RDONLY));
    shared<findings> here;
    BOOST_TEST(process(look_around, here).join().success());
    BOOST_REQUIRE(here->count == 4u);
    for (const int i : {0, 1, 2})
        BOOST_TEST(here->descriptors[static_cast<std::size_t>(i)] == i);
}

BOOST_AUTO_TEST_CASE(siblings_do_not_add_to_its_descriptors)
{
    process older[3] = {process(wait_for_stop), process(wait_for_stop),
                        process(wait_for_stop)};
    shared<findings> here;
    BOOST_TEST(process(look_around, here).join().success());
    BOOST_TEST(here->count == 4u);
}

BOOST_AUTO_TEST_CASE(its_signals_are_as_in_a_fresh_program)
{
    sigset_t all, mask;
    ::sigfillset(&all);
    ::pthread_sigmask(SIG_BLOCK, &all, &mask);
    const auto pipe = ::signal(SIGPIPE, SIG_IGN);
    const auto user = ::signal(SIGUSR1, SIG_IGN);
    shared<findings> here;
    BOOST_TEST(process(look_around, here).join().success());
    ::signal(SIGPIPE, pipe);
    ::signal(SIGUSR1, user);
    ::pthread_sigmask(SIG_SETMASK, &mask, nullptr);
    BOOST_TEST(here->blocked == 0u);
    constexpr unsigned long long internal = 3ull << 31; // of glibc: 32 and 33
    BOOST_TEST((here->ignored & ~internal) == 0u);
}

// What starts processes is a thread, too, and was there before.
BOOST_AUTO_TEST_CASE(a_signal_that_a_program_blocks_waits_for_it)
{
    const auto blocks_late = [] {
        process([] {}).join();
        sigset_t one;
        ::sigemptyset(&one);
        ::sigaddset(&one, SIGTERM);
        ::pthread_sigmask(SIG_BLOCK, &one, nullptr);
        ::kill(::getpid(), SIGTERM);
        int which = 0;
        ::sigwait(&one, &which); // ends: it was sent, and nobody else takes it
        return which == SIGTERM ? 0 : 1;
    };
    BOOST_TEST(process(blocks_late).join().success());
}

BOOST_AUTO_TEST_CASE(it_may_use_the_cpus_of_the_thread_that_started_it)
{
    const auto cpus = [] {
        return static_cast<int>(common::kernel::usable_cpus());
    };
    const auto all = cpus();
    BOOST_TEST(process(cpus).join().code == all);
    std::thread([&] {
        common::kernel::use_part_of_cpus(0, 4096);
        BOOST_TEST(process(cpus).join().code == 1);
    }).join();
    BOOST_TEST(process(cpus).join().code == all);
}

BOOST_AUTO_TEST_CASE(a_process_can_start_processes)
{
    struct recurse
    {
        int operator()(int depth) const
        {
            return depth == 0 ? 0
                              : 1 + process(recurse(), depth - 1).join().code;
        }
    };
    BOOST_TEST(process(recurse(), 5).join().code == 5);
}

// --- death of the parent ---------------------------------------------------

namespace {

struct family
{
    number pid{0}, count{0};
    process parent{[](stop_token stop, number child_pid, number child_count) {
                       process child{spin, child_count};
                       *child_pid = child.pid();
                       wait_for_stop(stop);
                       child.kill();
                   },
                   pid, count};

    pid_t child() const
    {
        BOOST_REQUIRE(beats(count));
        // The child may beat before its parent has noted the pid; and 0 would
        // be this very process group.
        BOOST_REQUIRE(test::eventually([&] { return pid->load() != 0; }));
        return static_cast<pid_t>(pid->load());
    }
    void lose_parent()
    {
        parent.kill();
        parent.join();
    }
};

} // namespace

BOOST_AUTO_TEST_CASE(a_busy_child_dies_with_its_parent)
{
    family one;
    const auto child = one.child();
    one.lose_parent();
    BOOST_TEST(test::eventually([&] { return !test::alive(child); }, 1s));
}

BOOST_AUTO_TEST_CASE(a_stopped_child_dies_with_its_parent)
{
    family one;
    const auto child = one.child();
    ::kill(child, SIGSTOP);
    BOOST_TEST(test::eventually([&] { return test::state(child) == 'T'; }));
    one.lose_parent();
    BOOST_TEST(test::eventually([&] { return !test::alive(child); }, 1s));
}

BOOST_AUTO_TEST_CASE(a_child_stopped_and_continued_dies_with_its_parent)
{
    family one;
    const auto child = one.child();
    ::kill(child, SIGSTOP);
    BOOST_TEST(test::eventually([&] { return test::state(child) == 'T'; }));
    ::kill(child, SIGCONT);
    BOOST_TEST(beats(one.count));
    one.lose_parent();
    BOOST_TEST(test::eventually([&] { return !test::alive(child); }, 1s));
}

BOOST_AUTO_TEST_CASE(a_parent_that_is_told_to_end_takes_its_child_along)
{
    for (const int signal : {SIGTERM, SIGSEGV, SIGINT})
    {
        family one;
        const auto child = one.child();
        ::kill(one.parent.pid(), signal);
        one.parent.join();
        BOOST_TEST(test::eventually([&] { return !test::alive(child); }, 1s));
    }
}

BOOST_AUTO_TEST_CASE(a_grandchild_dies_with_its_grandparent)
{
    const number grandchild{0}, count{0};
    process top{[](number pid, number n) {
                    process middle{[](number inner_pid, number inner_n) {
                                       process child{spin, inner_n};
                                       *inner_pid = child.pid();
                                       child.join();
                                   },
                                   pid, n};
                    middle.join();
                },
                grandchild, count};
    BOOST_TEST(beats(count));
    BOOST_REQUIRE(test::eventually([&] { return grandchild->load() != 0; }));
    top.kill();
    top.join();
    BOOST_TEST(test::eventually(
        [&] { return !test::alive(static_cast<pid_t>(grandchild->load())); },
        1s));
}

BOOST_AUTO_TEST_CASE(a_process_survives_the_thread_that_started_it)
{
    const number count{0};
    process one;
    std::thread starter([&] { one = process{spin, count}; });
    starter.join();
    for (int i = 0; i < 5; ++i)
        BOOST_TEST(beats(count));
    one.kill();
    BOOST_TEST(one.join().signal == SIGKILL);
}

// --- many, and under stress -------------------------------------------------

namespace {

// Of many starts, the one that nobody else on this machine has delayed.
std::chrono::nanoseconds fastest_start()
{
    auto fastest = std::chrono::nanoseconds::max();
    for (int i = 0; i < 31; ++i)
    {
        const auto start = common::clock::now();
        process([] { ::_exit(0); }).join();
        fastest = std::min<std::chrono::nanoseconds>(
            fastest, common::clock::now() - start);
    }
    return fastest;
}

} // namespace

BOOST_AUTO_TEST_CASE(a_start_takes_as_long_from_a_large_parent)
{
    const auto small = fastest_start();
    constexpr std::size_t size = 512u << 20;
    void* const memory = ::mmap(nullptr, size, PROT_READ | PROT_WRITE,
                                MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    BOOST_REQUIRE(memory != MAP_FAILED);
    std::memset(memory, 1, size);
    const auto large = fastest_start();
    ::munmap(memory, size);
    BOOST_TEST_MESSAGE("small " << small.count() / 1000 << " us, large "
                                << large.count() / 1000 << " us");
    // A fork would copy 131,072 page table entries: several milliseconds.
    BOOST_TEST((large < 2 * small + 1ms));
}

BOOST_AUTO_TEST_CASE(three_thousand_starts_from_a_busy_program)
{
    std::atomic<bool> over{false};
    std::vector<std::thread> busy;
    for (int i = 0; i < 4; ++i)
        busy.emplace_back([&over] {
            while (!over) // locks of the allocator and of the streams
            {
                std::map<int, std::string> map;
                for (int k = 0; k < 20; ++k)
                    map[k] = std::string(100, 'x');
                std::fflush(nullptr);
            }
        });
    const int starts =
        test::address_sanitizer || test::thread_sanitizer ? 300 : 3000;
    int good = 0;
    std::deque<process> running;
    for (int i = 0; i < starts; ++i)
    {
        running.emplace_back([](int n) { ::_exit(n % 100); }, i);
        if (running.size() == 4)
        {
            good += running.front().join().code == (i - 3) % 100;
            running.pop_front();
        }
    }
    for (auto& one : running)
        good += one.join().signal == 0;
    over = true;
    for (auto& one : busy)
        one.join();
    BOOST_TEST(good == starts);
}

BOOST_AUTO_TEST_CASE(many_threads_start_processes_at_once)
{
    std::atomic<int> good{0};
    std::vector<std::thread> threads;
    for (int t = 0; t < 8; ++t)
        threads.emplace_back([&good, t] {
            for (int i = 0; i < 10; ++i)
                good +=
                    process([](int n) { return n; }, 10 * t + i).join().code ==
                    10 * t + i;
        });
    for (auto& one : threads)
        one.join();
    BOOST_TEST(good == 80);
}

BOOST_AUTO_TEST_CASE(a_storm_of_interrupted_calls_changes_nothing)
{
    struct storm
    {
        storm()
        {
            struct sigaction action
            {
            };
            action.sa_handler = [](int) {}; // and no SA_RESTART
            ::sigaction(SIGALRM, &action, &old_);
            const itimerval often{{0, 1000}, {0, 1000}};
            ::setitimer(ITIMER_REAL, &often, nullptr);
        }
        ~storm()
        {
            const itimerval off{};
            ::setitimer(ITIMER_REAL, &off, nullptr);
            ::sigaction(SIGALRM, &old_, nullptr);
        }
        struct sigaction old_;
    };
    const storm here;
    for (int i = 0; i < 30; ++i)
    {
        const number sum{0};
        common::shared_array<char> large(16u << 20);
        process one{
            [](stop_token stop, number n, common::shared_array<char> all) {
                const storm there;
                all[all.size() - 1] = 'x';
                ++*n;
                common::shared_array<char> mine(16u << 20);
                wait_for_stop(stop);
            },
            sum, large};
        BOOST_TEST(test::eventually([&] { return *sum == 1; }));
        BOOST_TEST(!one.join_for(3ms));
        one.request_stop();
        BOOST_TEST(one.join().success());
        BOOST_TEST(large[large.size() - 1] == 'x');
    }
}

BOOST_AUTO_TEST_CASE(arguments_without_end_are_refused_before_a_process_starts)
{
    BOOST_CHECK_EXCEPTION(process([](vast) {}, vast{}), std::length_error,
                          [](const std::length_error& e) {
                              return std::string(e.what()).find("4294967296") !=
                                     std::string::npos;
                          });
}

BOOST_AUTO_TEST_CASE(a_start_that_fails_throws_and_leaves_nothing)
{
    // Far more environment than the kernel takes.
    const std::string huge(120'000, 'e');
    for (int i = 0; i < 100; ++i)
        ::setenv(("HUGE" + std::to_string(i)).c_str(), huge.c_str(), 1);
    BOOST_CHECK_THROW(process([] {}), std::system_error);
    for (int i = 0; i < 100; ++i)
        ::unsetenv(("HUGE" + std::to_string(i)).c_str());
    BOOST_TEST(process([] {}).join().success());
}

BOOST_AUTO_TEST_CASE(memory_that_is_an_argument_may_be_gone_from_the_parent)
{
    process one;
    const number told{0};
    {
        shared<std::atomic<long>> given{42};
        one = process{[](number to, shared<std::atomic<long>> from) {
                          *to = from->load();
                      },
                      told, given};
    }
    BOOST_TEST(one.join().success());
    BOOST_TEST(*told == 42);
}

BOOST_AUTO_TEST_SUITE_END()
