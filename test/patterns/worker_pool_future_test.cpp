// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.

#define BOOST_TEST_MODULE worker_pool_future

#include "common/shared.hpp"
#include "test/fixture.hpp"
#include "test/patterns/worker_pool_tasks.hpp"

#include <boost/test/unit_test.hpp>

#include "patterns/worker_pool/worker_pool.hpp"
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <future>
#include <memory>
#include <new>
#include <optional>
#include <set>
#include <stdexcept>
#include <string>
#include <system_error>
#include <thread>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

namespace {

using namespace test;
using worker_pool::as_completed;
using worker_pool::cancel_result;
using worker_pool::future;
using worker_pool::pool;
using worker_pool::task_options;
using worker_pool::task_state;
using worker_pool::when;

struct sum_of
{
    int operator()(int a, long b) const { return a + static_cast<int>(b); }
};

struct record
{
    int number = 0;
    std::string name;
    std::vector<std::optional<double>> values;
    friend bool operator==(const record&, const record&) = default;
};

struct box // only moves
{
    std::unique_ptr<int> number;
};

struct odd_error : std::runtime_error
{
    using std::runtime_error::runtime_error;
};

template <class E>
void fail_as(std::string what)
{
    throw E(what);
}

/// Whether a worker's `E` arrives as an `E` that tells where it is from.
template <class E>
bool arrives(pool& p)
{
    try
    {
        p.submit(&fail_as<E>, std::string("no such luck")).get();
    }
    catch (const E& e)
    {
        const auto* origin = dynamic_cast<const common::remote_origin*>(&e);
        return e.what() == std::string("no such luck") && origin != nullptr &&
               origin->pid != ::getpid() && origin->pid != 0 &&
               origin->type == boost::core::demangle(typeid(E).name()) &&
               dynamic_cast<const common::remote_error*>(&e) == nullptr;
    }
    return false;
}

std::vector<future<int>> squares(pool& p, int n)
{
    std::vector<future<int>> result;
    for (int i = 0; i < n; ++i)
        result.push_back(p.submit(&square, i));
    return result;
}

} // namespace

template <>
struct common::codec<box>
{
    static std::size_t size(const box&) { return sizeof(int); }
    static void write(writer& to, const box& b) { encode(to, *b.number); }
    static box read(reader& from)
    {
        return {std::make_unique<int>(decode<int>(from))};
    }
};

BOOST_FIXTURE_TEST_SUITE(worker_pool_future_laws, test::clean)

BOOST_AUTO_TEST_CASE(a_task_gives_what_its_function_returns)
{
    pool p(with(2));
    int base = 30;
    BOOST_TEST(p.submit(&square, 7).get() == 49);
    BOOST_TEST(p.submit(square, 8).get() == 64);
    BOOST_TEST(p.submit([](int x) { return x + 1; }, 8).get() == 9);
    BOOST_TEST(p.submit(sum_of{}, 3, 4L).get() == 7);
    BOOST_TEST(p.submit(common::capture([base](int x) { return base + x; }), 3)
                   .get() == 33);
    p.submit([] {}).get();
    BOOST_TEST(p.submit(&own_pid).get() != ::getpid());
}

BOOST_AUTO_TEST_CASE(values_with_structure_cross_both_ways)
{
    pool p(with(1));
    const record sent{3, std::string(5000, 'q'), {1.5, std::nullopt, -2}};
    auto same = p.submit([](record r) { return r; }, sent);
    BOOST_TEST((same.get() == sent));
    auto pair = p.submit([] { return std::tuple<int, std::string>(1, "a"); });
    BOOST_TEST((pair.get() == std::tuple<int, std::string>(1, "a")));
}

BOOST_AUTO_TEST_CASE(options_of_the_pool_are_not_taken_for_arguments)
{
    pool p(with(1));
    task_options argument;
    argument.attempts = 7;
    const auto attempts = [](task_options o) { return o.attempts; };
    BOOST_TEST(p.submit(task_options{}, attempts, argument).get() == 7u);
    BOOST_TEST(p.submit(attempts, argument).get() == 7u);
}

BOOST_AUTO_TEST_CASE(a_future_tells_in_which_of_its_states_its_task_is)
{
    pool p(with(1));
    busy worker(p);
    BOOST_TEST((worker.task.state() == task_state::running));
    auto queued = p.submit(&square, 3);
    auto failing = p.submit(&fail_as<odd_error>, std::string("x"));
    auto dropped = p.submit(&square, 4);
    BOOST_TEST((queued.state() == task_state::pending));
    BOOST_TEST(!queued.ready());
    BOOST_TEST((dropped.cancel() == cancel_result::before_it_ran));
    BOOST_TEST((dropped.state() == task_state::cancelled));
    BOOST_TEST(dropped.ready());
    BOOST_TEST(dropped.failed());
    worker.release();
    failing.wait();
    BOOST_TEST((queued.state() == task_state::done));
    BOOST_TEST(!queued.failed());
    BOOST_TEST((failing.state() == task_state::done));
    BOOST_TEST(failing.failed());
    BOOST_TEST((worker.task.state() == task_state::done));
}

BOOST_AUTO_TEST_CASE(a_task_that_waits_can_be_taken_back_and_never_runs)
{
    pool p(with(1));
    counter runs{0};
    busy worker(p);
    auto queued = p.submit([](counter n) { ++*n; }, runs);
    BOOST_TEST((queued.cancel() == cancel_result::before_it_ran));
    worker.release();
    worker.task.wait();
    p.submit(&square, 1).get(); // behind it in the queue
    BOOST_TEST(*runs == 0);
    BOOST_CHECK_THROW(queued.get(), common::cancelled);
}

BOOST_AUTO_TEST_CASE(a_task_that_runs_or_is_over_refuses_a_polite_cancel)
{
    pool p(with(1));
    busy worker(p);
    BOOST_TEST((worker.task.cancel() == cancel_result::refused));
    BOOST_TEST((worker.task.state() == task_state::running));
    worker.release();
    worker.task.wait();
    BOOST_TEST((worker.task.cancel() == cancel_result::refused));
    BOOST_TEST((worker.task.cancel(true) == cancel_result::refused));
    BOOST_TEST(worker.task.get() > 0);
}

BOOST_AUTO_TEST_CASE(a_task_that_runs_is_taken_back_by_force_and_no_neighbour)
{
    pool p(with(2));
    busy neighbour(p);
    auto endless = p.submit(&spin);
    BOOST_REQUIRE(
        eventually([&] { return endless.state() == task_state::running; }));
    BOOST_TEST((endless.cancel(true) == cancel_result::while_it_ran));
    BOOST_CHECK_THROW(endless.get(), common::cancelled);
    BOOST_TEST((neighbour.task.state() == task_state::running));
    BOOST_TEST(p.submit(&square, 5).get() == 25); // by the replacement
    neighbour.release();
    BOOST_TEST(neighbour.task.get() > 0);
    BOOST_TEST(p.stats().retried == 0u);
}

BOOST_AUTO_TEST_CASE(waiting_ends_at_its_deadline_and_throws_nothing)
{
    pool p(with(1));
    busy worker(p);
    auto queued = p.submit(&fail_as<odd_error>, std::string("x"));
    BOOST_TEST(!worker.task.wait_for(0ms));
    BOOST_TEST(!queued.wait_for(0ms));
    BOOST_TEST(!queued.wait_until(worker_pool::clock::now() - 1s));
    const auto time = time_of([&] { BOOST_TEST(!queued.wait_for(60ms)); });
    BOOST_TEST(time >= 60ms);
    worker.release();
    BOOST_TEST(queued.wait_for(20s));
    queued.wait();
    BOOST_CHECK_THROW(queued.get(), common::remote_error);
}

BOOST_AUTO_TEST_CASE(a_thread_that_waits_wakes_for_a_value_and_for_a_cancel)
{
    pool p(with(1));
    std::optional<busy> worker(std::in_place, p);
    auto queued = p.submit(&square, 3);
    auto value =
        std::async(std::launch::async, [&] { return worker->task.get() > 0; });
    auto cancelled = std::async(std::launch::async, [&] {
        queued.wait();
        return queued.state() == task_state::cancelled;
    });
    BOOST_TEST((queued.cancel() == cancel_result::before_it_ran));
    BOOST_TEST(cancelled.get());
    worker->release();
    BOOST_TEST(value.get());
}

BOOST_AUTO_TEST_CASE(what_follows_a_future_runs_once_whatever_its_outcome)
{
    pool p(with(1));
    std::atomic<int> runs{0};
    const auto count = [&](future<void> f) {
        ++runs;
        try
        {
            f.get();
            return std::string("value");
        }
        catch (const common::worker_died&)
        {
            return std::string("died");
        }
        catch (const common::cancelled&)
        {
            return std::string("cancelled");
        }
        catch (const std::exception&)
        {
            return std::string("error");
        }
    };
    std::optional<busy> worker(std::in_place, p);
    auto value = p.submit([] {}).then(count);
    auto error = p.submit(&fail_as<odd_error>, std::string("x")).then(count);
    auto died = p.submit([] { ::raise(SIGKILL); }).then(count);
    auto dropped = p.submit([] {});
    dropped.cancel();
    auto cancelled = dropped.then(count);
    BOOST_TEST(cancelled.get() == "cancelled");
    worker->release();
    BOOST_TEST(value.get() == "value");
    BOOST_TEST(error.get() == "error");
    BOOST_TEST(died.get() == "died");
    BOOST_TEST(runs == 4);
}

BOOST_AUTO_TEST_CASE(what_follows_a_task_that_the_end_of_the_pool_cancels_runs)
{
    pool p(with(1));
    busy worker(p);
    auto next = p.submit(&square, 1).then([](future<int> f) {
        try
        {
            return f.get();
        }
        catch (const common::cancelled&)
        {
            return -1;
        }
    });
    auto end = std::async(std::launch::async, [&] {
        p.shutdown(worker_pool::shutdown_mode::fast);
    });
    BOOST_TEST(next.wait_for(20s));
    worker.release();
    end.get();
    BOOST_TEST(next.get() == -1);
}

BOOST_AUTO_TEST_CASE(the_future_of_a_continuation_takes_its_task_back)
{
    pool p(with(1));
    const busy worker(p);
    auto next = p.submit(&square, 1)
                    .then([](future<int> f) {
                        try
                        {
                            return f.get();
                        }
                        catch (const common::cancelled&)
                        {
                            return 2;
                        }
                    })
                    .then([](future<int> f) { return f.get() + 1; });
    BOOST_TEST((next.cancel() == cancel_result::before_it_ran));
    BOOST_TEST(next.get() == 3); // the square would be 1
}

// Two copies would have one result, one callback and one cell between them.
BOOST_AUTO_TEST_CASE(a_future_is_moved_and_not_copied)
{
    static_assert(std::is_nothrow_move_constructible_v<future<int>>);
    static_assert(std::is_nothrow_move_assignable_v<future<int>>);
    static_assert(!std::is_copy_constructible_v<future<int>>);
    static_assert(!std::is_copy_assignable_v<future<int>>);
}

BOOST_AUTO_TEST_CASE(continuations_chain_also_from_a_future_that_is_done)
{
    pool p(with(1));
    auto first = p.submit(&square, 4);
    first.wait();
    auto text = first.then([](future<int> f) { return f.get() + 0.5; })
                    .then([](future<double> f) {
                        return std::to_string(f.get()).substr(0, 4);
                    });
    BOOST_TEST(!first.valid());
    BOOST_TEST(text.get() == "16.5");
}

BOOST_AUTO_TEST_CASE(an_exception_passes_through_a_chain_of_continuations)
{
    pool p(with(1));
    auto end = p.submit(&fail_as<std::out_of_range>, std::string("page 9"))
                   .then([](future<void> f) { f.get(); })
                   .then([](future<void> f) { f.get(); });
    BOOST_CHECK_EXCEPTION(end.get(), std::out_of_range, [](const auto& e) {
        return std::string(e.what()) == "page 9";
    });
}

BOOST_AUTO_TEST_CASE(a_continuation_may_submit_to_its_pool)
{
    pool p(with(1));
    auto again = p.submit(&square, 3).then([&p](future<int> f) {
        return p.submit(&square, f.get()).get();
    });
    BOOST_TEST(again.get() == 81);
}

BOOST_AUTO_TEST_CASE(a_future_that_nobody_keeps_costs_nothing_but_its_task)
{
    pool p(with(1));
    counter runs{0};
    for (int i = 0; i < 3000; ++i) // more than there are cells
        p.submit([](counter n) { ++*n; }, runs);
    BOOST_TEST(eventually([&] { return *runs == 3000; }));
}

BOOST_AUTO_TEST_CASE(an_argument_is_let_go_when_its_result_is_taken)
{
    pool p(with(1));
    p.submit(&square, 1).get();
    const auto held = belongings::now();
    {
        const counter argument{0};
        p.submit([](counter n) { ++*n; }, argument).get();
    }
    BOOST_TEST(belongings::now().beyond(held) == "");
}

BOOST_AUTO_TEST_CASE(futures_outlive_their_pool)
{
    future<int> done, unread, failed;
    future<std::string> large;
    {
        pool p(with(1));
        done = p.submit(&square, 3);
        unread = p.submit(&square, 4);
        large = p.submit([] { return std::string(100'000, 'x'); });
        failed = p.submit([](int) -> int { throw odd_error("x"); }, 1);
        done.wait();
    }
    BOOST_TEST(done.get() == 9);
    BOOST_TEST(unread.ready());
    BOOST_TEST((unread.cancel() == cancel_result::refused));
    BOOST_TEST(unread.get() == 16);
    BOOST_TEST(large.get().size() == 100'000u);
    BOOST_CHECK_THROW(failed.get(), common::remote_error);
}

BOOST_AUTO_TEST_CASE(what_was_not_finished_when_the_pool_ended_says_so)
{
    future<int> waiting;
    future<void> running;
    {
        pool p(with(1));
        running = p.submit(&spin);
        waiting = p.submit(&square, 4);
        p.shutdown(worker_pool::shutdown_mode::kill);
    }
    BOOST_TEST(waiting.wait_for(0ms));
    BOOST_CHECK_THROW(waiting.get(), common::exhausted);
    BOOST_CHECK_THROW(running.get(), std::exception);
}

BOOST_AUTO_TEST_CASE(a_continuation_added_after_shutdown_runs_all_the_same)
{
    pool p(with(1));
    auto value = p.submit(&square, 4);
    p.shutdown(worker_pool::shutdown_mode::graceful);
    auto next = value.then([](future<int> f) { return f.get() + 1; });
    BOOST_REQUIRE(next.wait_for(5s));
    BOOST_TEST(next.get() == 17);
}

BOOST_AUTO_TEST_CASE(a_continuation_added_after_the_pool_runs_all_the_same)
{
    future<int> value;
    {
        pool p(with(1));
        value = p.submit(&square, 4);
    }
    auto next = value.then([](future<int> f) { return f.get() + 1; });
    BOOST_REQUIRE(next.wait_for(5s));
    BOOST_TEST(next.get() == 17);
}

BOOST_AUTO_TEST_CASE(a_future_that_was_moved_continues_elsewhere)
{
    pool p(with(1));
    auto first = p.submit(&square, 3);
    auto second = std::move(first);
    BOOST_TEST(!first.valid());
    BOOST_CHECK_THROW(first.then([](future<int>) {}), std::logic_error);
    BOOST_TEST(second.then([](future<int> f) { return f.get(); }).get() == 9);
    BOOST_CHECK_THROW(second.then([](future<int>) {}), std::logic_error);
}

BOOST_AUTO_TEST_CASE(a_future_without_a_task_says_so)
{
    future<int> none;
    BOOST_TEST(!none.valid());
    BOOST_CHECK_THROW(none.get(), std::logic_error);
    BOOST_CHECK_THROW(none.wait(), std::logic_error);
    BOOST_CHECK_THROW(none.wait_for(1ms), std::logic_error);
    BOOST_CHECK_THROW(none.ready(), std::logic_error);
    BOOST_CHECK_THROW(none.state(), std::logic_error);
    BOOST_CHECK_THROW(none.failed(), std::logic_error);
    BOOST_CHECK_THROW(none.then([](future<int>) {}), std::logic_error);
}

BOOST_AUTO_TEST_CASE(a_result_is_taken_once)
{
    pool p(with(1));
    auto value = p.submit(&square, 2);
    BOOST_TEST(value.get() == 4);
    BOOST_TEST(!value.valid());
    BOOST_CHECK_THROW(value.get(), std::logic_error);
    auto from = p.submit(&square, 3);
    auto to = std::move(from);
    BOOST_TEST(!from.valid());
    BOOST_TEST(to.get() == 9);
}

BOOST_AUTO_TEST_CASE(standard_exceptions_arrive_as_themselves_and_say_whence)
{
    pool p(with(1));
    BOOST_TEST(arrives<std::runtime_error>(p));
    BOOST_TEST(arrives<std::range_error>(p));
    BOOST_TEST(arrives<std::overflow_error>(p));
    BOOST_TEST(arrives<std::underflow_error>(p));
    BOOST_TEST(arrives<std::logic_error>(p));
    BOOST_TEST(arrives<std::invalid_argument>(p));
    BOOST_TEST(arrives<std::domain_error>(p));
    BOOST_TEST(arrives<std::length_error>(p));
    BOOST_TEST(arrives<std::out_of_range>(p));
}

BOOST_AUTO_TEST_CASE(a_system_error_keeps_its_code_and_bad_alloc_its_type)
{
    pool p(with(1));
    auto missing = p.submit([] {
        throw std::system_error(ENOENT, std::generic_category(), "f.txt");
    });
    BOOST_CHECK_EXCEPTION(
        missing.get(), std::system_error, [](const std::system_error& e) {
            return e.code() == std::errc::no_such_file_or_directory &&
                   contains(e.what(), "f.txt");
        });
    BOOST_CHECK_THROW(p.submit([] { throw std::bad_alloc(); }).get(),
                      std::bad_alloc);
}

BOOST_AUTO_TEST_CASE(other_exceptions_arrive_with_their_type_and_text)
{
    pool p(with(1));
    const int pid = p.submit(&own_pid).get();
    auto odd = p.submit(&fail_as<odd_error>, std::string("tilt"));
    BOOST_CHECK_EXCEPTION(
        odd.get(), common::remote_error, [&](const common::remote_error& e) {
            return e.pid == pid && contains(e.type, "odd_error") &&
                   contains(e.what(), "odd_error") &&
                   contains(e.what(), "tilt");
        });
    const auto told = [&](auto f) {
        try
        {
            p.submit(f).get();
            return std::string("nothing");
        }
        catch (const common::remote_error& e)
        {
            return std::string(e.what());
        }
    };
    BOOST_TEST(told([] { throw 7; }) == "int: (not a std::exception)");
    BOOST_TEST(told([] { throw "no"; }) == "const char*: no");
    BOOST_TEST(told([] { throw std::string("no"); }) == "std::string: no");
    BOOST_TEST(p.submit(&own_pid).get() == pid); // it lived on
}

BOOST_AUTO_TEST_CASE(each_failed_future_has_an_exception_of_its_own)
{
    pool p(with(1));
    auto a = p.submit(&fail_as<std::runtime_error>, std::string("a"));
    auto b = p.submit(&fail_as<std::runtime_error>, std::string("b"));
    BOOST_TEST(message_of([&] { b.get(); }) == "b");
    BOOST_TEST(message_of([&] { a.get(); }) == "a");
}

BOOST_AUTO_TEST_CASE(waiting_for_the_first_ends_with_the_first)
{
    pool p(with(2));
    busy worker(p);
    std::vector<future<int>> all;
    all.push_back(std::move(worker.task));
    all.push_back(p.submit(&square, 3));
    BOOST_TEST((worker_pool::wait(all, when::first_done) ==
                std::vector<bool>{false, true}));
    // One that is done already counts.
    BOOST_TEST((worker_pool::wait(all, when::first_done) ==
                std::vector<bool>{false, true}));
}

BOOST_AUTO_TEST_CASE(waiting_for_a_failure_passes_over_what_succeeds)
{
    pool p(with(2));
    busy worker(p);
    std::vector<future<int>> all;
    all.push_back(std::move(worker.task));
    all.push_back(p.submit(&square, 3));
    all.push_back(p.submit([](int) -> int { throw odd_error("x"); }, 1));
    const auto done = worker_pool::wait(all, when::first_failed);
    BOOST_TEST(!done[0]);
    BOOST_TEST(done[2]); // and done[1], unless it was looked at before
    worker.release();
    all.pop_back();
    BOOST_TEST((worker_pool::wait(all, when::first_failed) ==
                std::vector<bool>{true, true})); // none fails: all
}

BOOST_AUTO_TEST_CASE(waiting_for_all_waits_for_all_and_none_is_no_wait)
{
    pool p(with(2));
    const auto all = squares(p, 20);
    BOOST_TEST((worker_pool::wait(all, when::all_done) ==
                std::vector<bool>(20, true)));
    const std::vector<future<int>> none;
    BOOST_TEST(worker_pool::wait(none, when::all_done).empty());
    BOOST_TEST(worker_pool::wait(none, when::first_done).empty());
}

BOOST_AUTO_TEST_CASE(waiting_for_several_ends_at_its_deadline)
{
    pool p(with(2));
    busy worker(p);
    std::vector<future<int>> all;
    all.push_back(std::move(worker.task));
    all.push_back(p.submit(&square, 3));
    all[1].wait();
    const auto done = worker_pool::wait(all, when::all_done,
                                        worker_pool::clock::now() + 50ms);
    BOOST_TEST((done == std::vector<bool>{false, true}));
}

BOOST_AUTO_TEST_CASE(as_completed_gives_each_once_also_done_and_cancelled)
{
    pool p(with(2));
    auto all = squares(p, 50);
    all.front().wait();
    busy one(p), two(p);
    auto dropped = p.submit(&square, 1000);
    dropped.cancel();
    all.push_back(std::move(dropped));
    one.release();
    two.release();
    std::multiset<int> got;
    int cancelled = 0;
    for (auto& f : as_completed(std::move(all)))
        try
        {
            got.insert(f.get());
        }
        catch (const common::cancelled&)
        {
            ++cancelled;
        }
    std::multiset<int> expected;
    for (int i = 0; i < 50; ++i)
        expected.insert(i * i);
    BOOST_TEST((got == expected));
    BOOST_TEST(cancelled == 1);
}

BOOST_AUTO_TEST_CASE(as_completed_gives_first_what_is_done_first)
{
    pool p(with(2));
    busy worker(p);
    std::vector<future<int>> all;
    all.push_back(std::move(worker.task));
    all.push_back(p.submit(&square, 3));
    auto order = as_completed(std::move(all));
    BOOST_TEST(order.next()->get() == 9);
    worker.release();
    BOOST_TEST(order.next()->get() > 0);
    BOOST_TEST(!order.next().has_value());
}

BOOST_AUTO_TEST_CASE(several_are_waited_for_where_some_are_continuations)
{
    pool p(with(1));
    std::vector<future<int>> all;
    all.push_back(p.submit(&square, 2));
    all.push_back(
        p.submit(&square, 3).then([](future<int> f) { return f.get(); }));
    int sum = 0;
    for (auto& f : as_completed(std::move(all)))
        sum += f.get();
    BOOST_TEST(sum == 13);
}

BOOST_AUTO_TEST_CASE(waiting_for_a_failure_sees_one_in_a_continuation)
{
    pool p(with(2));
    busy worker(p);
    std::vector<future<int>> all;
    all.push_back(std::move(worker.task));
    all.push_back(p.submit(&square, 3).then([](future<int>) -> int {
        throw odd_error("x");
    }));
    const auto done = worker_pool::wait(all, when::first_failed,
                                        worker_pool::clock::now() + 5s);
    BOOST_TEST((done == std::vector<bool>{false, true}));
    BOOST_TEST(all[1].failed());
}

BOOST_AUTO_TEST_CASE(a_pool_serves_eight_threads_at_once)
{
    pool p(with(2));
    std::array<int, 8> wrong{};
    {
        std::vector<std::jthread> threads;
        for (int t = 0; t < 8; ++t)
            threads.emplace_back([&, t] {
                for (int i = 0; i < 300; ++i)
                    if (p.submit(&square, t * 1000 + i).get() !=
                        square(t * 1000 + i))
                        ++wrong[static_cast<std::size_t>(t)];
            });
    }
    BOOST_TEST((wrong == std::array<int, 8>{}));
    BOOST_TEST(p.stats().finished == 2400u);
}

BOOST_AUTO_TEST_CASE(futures_of_several_pools_are_waited_for_together)
{
    pool one(with(1)), other(with(1));
    for (const bool first : {true, false})
    {
        common::shared<std::atomic<int>> gate{0};
        const auto held = [](common::shared<std::atomic<int>> on) {
            while (*on == 0) // until the test lets it
                std::this_thread::yield();
            return 1;
        };
        std::vector<future<int>> all;
        if (first)
            all.push_back(one.submit([] { return 2; }));
        all.push_back(other.submit(held, gate));
        if (!first)
            all.push_back(one.submit([] { return 2; }));
        const auto done = worker_pool::wait(all, worker_pool::when::first_done);
        BOOST_TEST(done[first ? 0 : 1]);
        BOOST_TEST(!done[first ? 1 : 0]);
        auto next = worker_pool::as_completed(std::move(all));
        BOOST_TEST(next.next()->get() == 2);
        *gate = 1;
        BOOST_TEST(next.next()->get() == 1);
        BOOST_TEST(!next.next().has_value());
    }
}

BOOST_AUTO_TEST_CASE(to_wait_for_a_future_that_was_taken_is_an_error)
{
    pool p(with(1));
    for (const std::size_t taken : {0u, 1u})
    {
        std::vector<future<int>> all;
        for (int i = 0; i < 2; ++i)
            all.push_back(p.submit([](int x) { return x; }, i));
        all[taken].get();
        BOOST_CHECK_THROW(worker_pool::wait(all, worker_pool::when::first_done),
                          std::logic_error);
        BOOST_CHECK_THROW(worker_pool::as_completed(std::move(all)),
                          std::logic_error);
    }
    BOOST_CHECK_THROW(worker_pool::as_completed(std::vector<future<int>>(2)),
                      std::logic_error);
}

BOOST_AUTO_TEST_CASE(very_many_futures_are_given_as_they_are_done_in_time)
{
    constexpr int many = 100'000;
    worker_pool::pool_options how = with(2);
    how.capacity = many;
    how.payload = 4096; // sanitizers have little address space
    pool p(how);
    std::vector<future<int>> all;
    for (int i = 0; i < many; ++i)
        all.push_back(p.submit([](int x) { return x; }, i));
    long long sum = 0;
    const auto start = common::clock::now();
    for (auto& one : worker_pool::as_completed(std::move(all)))
        sum += one.get();
    BOOST_TEST(sum == many * (many - 1LL) / 2);
    // Quadratic, it would take half a minute; sanitizers take some seconds.
    BOOST_TEST((common::clock::now() - start < 15s));
}

BOOST_AUTO_TEST_CASE(arguments_may_be_values_that_only_move)
{
    auto options = with(1);
    options.capacity = 1;
    options.when_full = worker_pool::overflow::caller_runs;
    pool p(options);
    const auto open = [](box b) { return *b.number; };
    std::vector<future<int>> all;
    for (int i = 0; i < 4; ++i) // some of them here
        all.push_back(p.submit(open, box{std::make_unique<int>(i)}));
    for (int i = 0; i < 4; ++i)
        BOOST_TEST(all[std::size_t(i)].get() == i);
}

BOOST_AUTO_TEST_SUITE_END()
