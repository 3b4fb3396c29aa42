// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.

#define BOOST_TEST_MODULE asynchronous_processing

#include "common/codec.hpp"
#include "common/shared.hpp"
#include "test/fixture.hpp"

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/bind_allocator.hpp>
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/bind_executor.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/deferred.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/experimental/awaitable_operators.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/strand.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/thread_pool.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/use_future.hpp>
#include <boost/test/unit_test.hpp>

#include "patterns/asynchronous_processing/asynchronous_processing.hpp"
#include "patterns/asynchronous_processing/group.hpp"
#include "patterns/asynchronous_processing/stream.hpp"
#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdlib>
#include <exception>
#include <functional>
#include <future>
#include <memory>
#include <numeric>
#include <optional>
#include <random>
#include <set>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace {

using namespace test;
namespace asio = boost::asio;
namespace pattern = asynchronous_processing;
using asio::awaitable;
using asio::use_awaitable;
using pattern::pool;
using counter = common::shared<std::atomic<int>>;
using terminal = asio::cancellation_signal;

constexpr auto as_tuple = asio::as_tuple(use_awaitable);

int square(int x)
{
    return x * x;
}

int own_pid()
{
    return ::getpid();
}

[[noreturn]] void spin(counter begun)
{
    ++*begun;
    for (std::atomic<unsigned> turns = 0;;) // ends when it is killed
        ++turns;
}

/// Counts itself, then runs until the gate opens.
int hold(counter begun, counter gate)
{
    ++*begun;
    while (*gate == 0) // ends by the test, or with the pool
        ::poll(nullptr, 0, 1);
    return ::getpid();
}

/// Ends its worker by SIGKILL the first `times` attempts.
int mortal(int x, unsigned times)
{
    if (pattern::attempt() < times)
        ::kill(::getpid(), SIGKILL);
    return x;
}

pattern::pool_options with(unsigned workers)
{
    pattern::pool_options result;
    result.workers = workers;
    result.restarts = 1'000'000;
    result.restart_backoff = 0ms;
    return result;
}

/// Runs a coroutine to its end; throws what it throws.
void run(asio::io_context& io, awaitable<void> main)
{
    std::exception_ptr error;
    co_spawn(io, std::move(main), [&](std::exception_ptr e) { error = e; });
    io.restart();
    io.run();
    if (error)
        std::rethrow_exception(error);
}

/// What an error says of its type.
template <class E>
bool is(const std::exception_ptr& error)
{
    try
    {
        if (error)
            std::rethrow_exception(error);
    }
    catch (const E&)
    {
        return true;
    }
    catch (...)
    {
    }
    return false;
}

bool idle(const pool& p)
{
    const auto now = p.stats();
    return now.in_flight == 0 && now.running == 0 && now.queued == 0;
}

/// Allocates as std::allocator does, and counts what is not given back.
template <class T>
struct counting
{
    using value_type = T;
    counting(std::atomic<int>& all, std::atomic<int>& left)
        : all_(&all)
        , left_(&left)
    {
    }
    template <class U>
    counting(const counting<U>& other) : all_(other.all_)
                                       , left_(other.left_)
    {
    }
    T* allocate(std::size_t n)
    {
        ++*all_;
        ++*left_;
        return std::allocator<T>().allocate(n);
    }
    void deallocate(T* p, std::size_t n)
    {
        --*left_;
        std::allocator<T>().deallocate(p, n);
    }
    friend bool operator==(const counting&, const counting&) = default;
    std::atomic<int>* all_;
    std::atomic<int>* left_;
};

} // namespace

BOOST_FIXTURE_TEST_SUITE(asynchronous_processing_laws, test::clean)

// Tokens.

BOOST_AUTO_TEST_CASE(a_coroutine_gets_the_result_and_stays_in_its_thread)
{
    asio::io_context io;
    pool p(io, with(1));
    run(io, [&]() -> awaitable<void> {
        const auto here = std::this_thread::get_id();
        BOOST_TEST(co_await p.async_submit(square, 12, use_awaitable) == 144);
        BOOST_TEST(co_await p.async_submit(own_pid, use_awaitable) !=
                   ::getpid());
        BOOST_TEST((here == std::this_thread::get_id()));
        const std::string text(100'000, 'x');
        BOOST_TEST(co_await p.async_submit([](std::string s) { return s + s; },
                                           text, use_awaitable) == text + text);
    }());
}

BOOST_AUTO_TEST_CASE(every_token_works)
{
    asio::io_context io;
    pool p(io, with(2));
    int called = 0;
    p.async_submit(square, 2, [&](std::exception_ptr error, int value) {
        BOOST_TEST(!error);
        called = value;
    });
    auto future = p.async_submit(square, 3, asio::use_future);
    auto later = p.async_submit(square, 4, asio::deferred);
    int deferred = 0;
    std::move(later)([&](std::exception_ptr, int value) { deferred = value; });
    auto nothing = p.async_submit([] {}, asio::use_future);
    io.run();
    BOOST_TEST(called == 4);
    BOOST_TEST(future.get() == 9);
    BOOST_TEST(deferred == 16);
    nothing.get();
    run(io, [&]() -> awaitable<void> {
        const auto [error, value] =
            co_await p.async_submit(square, 5, as_tuple);
        BOOST_TEST(!error);
        BOOST_TEST(value == 25);
    }());
}

BOOST_AUTO_TEST_CASE(a_deferred_call_is_not_sent_before_it_is_started)
{
    asio::io_context io;
    pool p(io, with(1));
    {
        auto never = p.async_submit(square, 1, asio::deferred);
    }
    BOOST_TEST(p.stats().submitted == 0u);
}

BOOST_AUTO_TEST_CASE(a_task_throws_into_the_coroutine_that_awaits_it)
{
    asio::io_context io;
    pool p(io, with(1));
    run(io, [&]() -> awaitable<void> {
        BOOST_CHECK_THROW(
            co_await p.async_submit(
                []() -> int { throw std::out_of_range("far"); }, use_awaitable),
            std::out_of_range);
        const auto [error, value] = co_await p.async_submit(
            []() -> int { throw std::domain_error("no"); }, as_tuple);
        BOOST_TEST(is<std::domain_error>(error));
        BOOST_TEST(value == 0);
    }());
}

BOOST_AUTO_TEST_CASE(no_handler_runs_inside_of_async_submit)
{
    asio::io_context io;
    auto options = with(1);
    options.in_flight = 1;
    options.when_full = pattern::overflow::reject;
    pool p(io, options);
    bool inside = true;
    int called = 0;
    const auto handler = [&](std::exception_ptr, int) {
        BOOST_TEST(!inside);
        ++called;
    };
    post(io, [&] {
        for (int i = 0; i < 100; ++i)
            p.async_submit(square, i, handler); // most are rejected
        p.stop(common::clock::now());
        p.async_submit(square, 1, handler); // closed
        inside = false;
    });
    io.run();
    BOOST_TEST(called == 101);
}

BOOST_AUTO_TEST_CASE(a_handler_that_throws_costs_no_other)
{
    asio::io_context io;
    pool p(io, with(1));
    std::vector<int> ends(200);
    for (std::size_t i = 0; i < ends.size(); ++i)
        p.async_submit(square, 3, [&ends, i](std::exception_ptr, int) {
            ++ends[i];
            if (i % 10 == 0)
                throw std::domain_error("of a handler");
        });
    int thrown = 0;
    for (bool more = true; more;) // each time a handler has thrown
    {
        more = false;
        try
        {
            io.run();
        }
        catch (const std::domain_error&)
        {
            more = true;
            ++thrown;
        }
    }
    BOOST_TEST(thrown == 20);
    BOOST_TEST((ends == std::vector<int>(200, 1)));
    BOOST_TEST(idle(p));
}

BOOST_AUTO_TEST_CASE(a_handler_runs_on_its_associated_executor)
{
    asio::io_context io;
    asio::thread_pool other(1);
    pool p(io, with(1));
    std::promise<bool> there;
    p.async_submit(
        square, 2,
        asio::bind_executor(other.get_executor(), [&](std::exception_ptr, int) {
            there.set_value(other.get_executor().running_in_this_thread());
        }));
    BOOST_TEST(there.get_future().get());
    other.join();
    auto strand = asio::make_strand(io);
    bool inside = false;
    p.async_submit(square, 2,
                   asio::bind_executor(strand, [&](std::exception_ptr, int) {
                       inside = strand.running_in_this_thread();
                   }));
    io.run();
    BOOST_TEST(inside);
}

BOOST_AUTO_TEST_CASE(memory_comes_from_the_handlers_allocator_and_goes_first)
{
    asio::io_context io;
    pool p(io, with(1));
    std::atomic<int> all = 0, left = 0;
    int at_call = -1;
    p.async_submit(
        square, 2,
        asio::bind_allocator(counting<int>(all, left),
                             [&](std::exception_ptr, int) { at_call = left; }));
    BOOST_TEST(all > 0);
    io.run();
    BOOST_TEST(at_call == 0);
    BOOST_TEST(left == 0);
}

BOOST_AUTO_TEST_CASE(a_call_in_flight_is_work_for_its_loop)
{
    asio::io_context io;
    pool p(io, with(1));
    counter begun{0}, gate{0};
    bool done = false;
    p.async_submit(hold, begun, gate,
                   [&](std::exception_ptr, int) { done = true; });
    std::thread runs([&] { io.run(); });
    BOOST_TEST(eventually([&] { return *begun == 1; }));
    BOOST_TEST(!io.stopped());
    *gate = 1;
    runs.join();
    BOOST_TEST(done);
}

// Loops.

BOOST_AUTO_TEST_CASE(several_loops_and_threads_share_a_pool)
{
    asio::io_context first, second;
    asio::thread_pool many(3);
    pool p(first, with(2));
    std::atomic<long> sum = 0;
    const auto caller = [&](int from) -> awaitable<void> {
        for (int i = from; i < from + 200; ++i)
            sum += co_await p.async_submit(square, i, use_awaitable);
    };
    for (int i = 0; i < 4; ++i)
    {
        co_spawn(first, caller(0), asio::detached);
        co_spawn(second, caller(0), asio::detached);
        co_spawn(many, caller(0), asio::detached);
    }
    std::thread a([&] { first.run(); }), b([&] { first.run(); }),
        c([&] { second.run(); });
    a.join();
    b.join();
    c.join();
    many.join();
    BOOST_TEST(sum == 12l * 199 * 200 * 399 / 6);
    BOOST_TEST(idle(p));
}

BOOST_AUTO_TEST_CASE(a_loop_that_sticks_holds_up_no_other)
{
    asio::io_context first, second;
    pool p(first, with(1));
    std::atomic<bool> sticks = false, done = false;
    co_spawn(
        first,
        [&]() -> awaitable<void> {
            for (int i = 0; i < 100; ++i) // it is awake, and looks out
                co_await p.async_submit(square, i, use_awaitable);
            sticks = true;
            while (!done) // ends when the other loop has its results
                ::poll(nullptr, 0, 1);
        },
        asio::detached);
    std::thread runs([&] { first.run(); });
    BOOST_TEST(eventually([&] { return sticks.load(); }));
    auto strand = asio::make_strand(second);
    std::function<void(int)> next = [&](int left) {
        p.async_submit(
            square, left,
            asio::bind_executor(strand, [&, left](std::exception_ptr, int) {
                if (left > 0)
                    next(left - 1);
            }));
    };
    next(100);
    second.run();
    done = true;
    runs.join();
}

BOOST_AUTO_TEST_CASE(a_loop_that_goes_takes_its_handlers_with_it_uncalled)
{
    asio::io_context home;
    pool p(home, with(1));
    const auto witness = std::make_shared<int>(0);
    bool called = false;
    counter begun{0};
    {
        asio::io_context brief;
        const auto handler = asio::bind_executor(
            brief,
            [&called, witness](std::exception_ptr, auto...) { called = true; });
        p.async_submit(spin, begun, handler);
        p.async_submit(square, 2, handler);
        BOOST_TEST(eventually([&] { return *begun == 1; }));
    }
    BOOST_TEST(witness.use_count() == 1);
    BOOST_TEST(!called);
    BOOST_TEST(eventually([&] { return idle(p); })); // the tasks are cancelled
    auto answer = p.async_submit(square, 3, asio::use_future);
    home.run();
    BOOST_TEST(answer.get() == 9);
}

BOOST_AUTO_TEST_CASE(a_loop_that_goes_takes_its_coroutines_with_it)
{
    const auto witness = std::make_shared<int>(0);
    counter begun{0};
    std::optional<asio::io_context> io(std::in_place);
    std::optional<pool> p(std::in_place, *io, with(1));
    for (int i = 0; i < 10; ++i)
        co_spawn(
            *io,
            [&, w = witness]() -> awaitable<void> {
                co_await p->async_submit(spin, begun, use_awaitable);
                (void)w;
            },
            asio::detached);
    std::thread runs([&] { io->run(); });
    BOOST_TEST(eventually([&] { return *begun == 1; }));
    io->stop();
    runs.join();
    io.reset();
    BOOST_TEST(witness.use_count() == 1);
    p.reset();
}

BOOST_AUTO_TEST_CASE(loops_that_go_while_results_come_do_no_harm)
{
    asio::io_context home;
    pool p(home, with(2));
    const auto witness = std::make_shared<int>(0);
    for (int round = 0; round < 200; ++round)
    {
        asio::io_context brief;
        for (int i = 0; i < 20; ++i)
            p.async_submit(square, i,
                           asio::bind_executor(
                               brief, [witness](std::exception_ptr, int) {}));
        brief.poll();
    }
    BOOST_TEST(eventually([&] { return idle(p); }));
    BOOST_TEST(witness.use_count() == 1);
}

BOOST_AUTO_TEST_CASE(a_pool_that_goes_completes_what_is_in_flight_once)
{
    asio::io_context io;
    int completed = 0;
    counter begun{0};
    {
        auto options = with(1);
        options.in_flight = 3;
        pool p(io, options);
        for (int i = 0; i < 10; ++i) // one runs, two are sent, seven wait
            p.async_submit(spin, begun, [&](std::exception_ptr error) {
                BOOST_TEST(is<common::closed>(error));
                ++completed;
            });
        BOOST_TEST(eventually([&] { return *begun == 1; }));
    }
    BOOST_TEST(completed == 0);
    io.run();
    BOOST_TEST(completed == 10);
}

BOOST_AUTO_TEST_CASE(a_pool_may_go_inside_of_a_handler)
{
    asio::io_context io;
    auto p = std::make_unique<pool>(io, with(1));
    p->async_submit(square, 2, [&](std::exception_ptr, int) { p.reset(); });
    io.run();
    BOOST_TEST(!p);
}

// Bounds.

BOOST_AUTO_TEST_CASE(calls_wait_for_room_in_the_order_in_which_they_come)
{
    asio::io_context io;
    auto options = with(1);
    options.in_flight = 1;
    pool p(io, options);
    std::vector<int> order;
    for (int i = 0; i < 50; ++i)
        p.async_submit(square, i, [&order, i](std::exception_ptr, int) {
            order.push_back(i);
        });
    BOOST_TEST(p.stats().in_flight <= 1u);
    io.run();
    std::vector<int> wanted(50);
    std::iota(wanted.begin(), wanted.end(), 0);
    BOOST_TEST(order == wanted);
}

BOOST_AUTO_TEST_CASE(a_pool_that_rejects_says_so_and_goes_on)
{
    asio::io_context io;
    auto options = with(1);
    options.in_flight = 2;
    options.when_full = pattern::overflow::reject;
    pool p(io, options);
    counter begun{0}, gate{0};
    int full = 0, good = 0;
    for (int i = 0; i < 5; ++i)
        p.async_submit(hold, begun, gate, [&](std::exception_ptr e, int) {
            full += is<common::full>(e);
            good += !e;
            *gate = 1;
        });
    io.run();
    BOOST_TEST(full == 3);
    BOOST_TEST(good == 2);
}

BOOST_AUTO_TEST_CASE(ten_thousand_calls_in_flight_each_end_once)
{
    asio::io_context io;
    auto options = with(2);
    options.in_flight = 10'000;
    options.payload = 4096;
    pool p(io, options);
    std::vector<int> ends(20'000);
    for (int i = 0; i < 20'000; ++i)
        p.async_submit(square, i, [&ends, i](std::exception_ptr e, int v) {
            ends[static_cast<std::size_t>(i)] +=
                !e && v == static_cast<int>(static_cast<unsigned>(i) *
                                            static_cast<unsigned>(i))
                    ? 1
                    : 100;
        });
    io.run();
    BOOST_TEST((ends == std::vector<int>(20'000, 1)));
}

BOOST_AUTO_TEST_CASE(a_hundred_results_wake_the_loop_at_most_once)
{
    asio::io_context io;
    auto options = with(1);
    options.in_flight = 10'000;
    options.payload = 4096;
    pool p(io, options);
    int sent = 0, ended = 0;
    std::function<void()> send = [&] {
        ++sent;
        p.async_submit(square, 2, [&](std::exception_ptr, int) {
            ++ended;
            if (sent < 50'000)
                send();
        });
    };
    while (sent < 10'000)
        send();
    io.run();
    BOOST_TEST(ended == 50'000);
    BOOST_TEST(p.stats().wakes <= 500u);
}

BOOST_AUTO_TEST_CASE(options_that_make_no_sense_are_refused)
{
    asio::io_context io;
    BOOST_CHECK_THROW(pool(io, with(0)), std::invalid_argument);
    auto none = with(1);
    none.in_flight = 0;
    BOOST_CHECK_THROW(pool(io, none), std::invalid_argument);
    auto no_attempts = with(1);
    no_attempts.attempts = 0;
    BOOST_CHECK_THROW(pool(io, no_attempts), std::invalid_argument);
    pool p(io, with(1));
    pattern::call_options how;
    how.hard_deadline = -1ns; // what was left of a budget, say
    auto late = p.async_submit(how, own_pid, asio::use_future);
    io.run();
    BOOST_CHECK_THROW(late.get(), std::invalid_argument);
}

// Cancellation.

BOOST_AUTO_TEST_CASE(a_running_task_is_cancelled_with_its_process)
{
    asio::io_context io;
    pool p(io, with(1));
    counter begun{0};
    run(io, [&]() -> awaitable<void> {
        using namespace asio::experimental::awaitable_operators;
        const pid_t victim = co_await p.async_submit(own_pid, use_awaitable);
        asio::steady_timer limit(io, 50ms);
        const auto first =
            co_await (p.async_submit(spin, begun, use_awaitable) ||
                      limit.async_wait(use_awaitable));
        BOOST_TEST(first.index() == 1u);
        BOOST_TEST(!alive(victim)); // gone already
        BOOST_TEST(co_await p.async_submit(own_pid, use_awaitable) != victim);
    }());
    BOOST_TEST(idle(p));
}

BOOST_AUTO_TEST_CASE(total_cancellation_takes_back_only_what_has_not_begun)
{
    asio::io_context io;
    auto options = with(1);
    options.in_flight = 2;
    pool p(io, options);
    counter begun{0}, gate{0};
    terminal runs, is_sent, waits;
    std::vector<std::string> said;
    const auto submit = [&](terminal& signal, const char* name) {
        p.async_submit(
            hold, begun, gate,
            asio::bind_cancellation_slot(
                signal.slot(), [&said, name](std::exception_ptr e, int) {
                    said.push_back(name + std::string(is<common::cancelled>(e)
                                                          ? " cancelled"
                                                      : e ? " failed"
                                                          : " done"));
                }));
    };
    submit(runs, "runs");
    BOOST_TEST(eventually([&] { return *begun == 1; }));
    submit(is_sent, "is sent");
    submit(waits, "waits");
    for (auto* one : {&waits, &is_sent, &runs})
        one->emit(asio::cancellation_type::total);
    BOOST_TEST(said.empty());
    BOOST_TEST(eventually([&] {
        io.poll();
        return said.size() == 2;
    }));
    *gate = 1;
    io.restart();
    io.run();
    BOOST_TEST(said ==
               (std::vector<std::string>{"waits cancelled", "is sent cancelled",
                                         "runs done"}));
    BOOST_TEST(*begun == 1);
    BOOST_TEST(p.stats().deaths == 0u);
}

BOOST_AUTO_TEST_CASE(cancelling_late_or_twice_does_nothing)
{
    asio::io_context io;
    pool p(io, with(1));
    terminal signal;
    int called = 0;
    p.async_submit(square, 2,
                   asio::bind_cancellation_slot(signal.slot(),
                                                [&](std::exception_ptr e, int) {
                                                    BOOST_TEST(!e);
                                                    ++called;
                                                }));
    BOOST_TEST(eventually([&] { return p.stats().in_flight == 0; }));
    signal.emit(asio::cancellation_type::terminal);
    io.run();
    signal.emit(asio::cancellation_type::terminal);
    BOOST_TEST(called == 1);
    BOOST_TEST(p.stats().deaths == 0u);
}

BOOST_AUTO_TEST_CASE(cancelling_in_a_race_with_the_end_ends_once)
{
    asio::io_context io;
    pool p(io, with(2));
    int called = 0, wanted = 0;
    std::mt19937 dice(7);
    for (int i = 0; i < 300; ++i)
    {
        terminal signal;
        ++wanted;
        p.async_submit(square, i,
                       asio::bind_cancellation_slot(
                           signal.slot(), [&](std::exception_ptr e, int) {
                               BOOST_TEST((!e || is<common::cancelled>(e)));
                               ++called;
                           }));
        for (auto turns = dice() % 20'000; turns > 0; --turns)
            common::relax();
        signal.emit(asio::cancellation_type::terminal);
        io.restart();
        io.run();
    }
    BOOST_TEST(called == wanted);
    BOOST_TEST(idle(p));
}

/// ASYNC_TIMEOUTS=10000 for the long run.
BOOST_AUTO_TEST_CASE(calls_that_time_out_again_and_again_leave_no_process)
{
    const char* text = std::getenv("ASYNC_TIMEOUTS");
    const int times = text ? std::atoi(text) : 60;
    asio::io_context io;
    pool p(io, with(2));
    counter begun{0};
    run(io, [&]() -> awaitable<void> {
        using namespace asio::experimental::awaitable_operators;
        for (int i = 0; i < times; ++i)
        {
            asio::steady_timer limit(io, std::chrono::milliseconds(i % 10));
            const auto first =
                co_await (p.async_submit(spin, begun, use_awaitable) ||
                          limit.async_wait(use_awaitable));
            BOOST_REQUIRE(first.index() == 1u);
        }
    }());
    BOOST_TEST(idle(p));
    BOOST_TEST(eventually([] { return descendants().size() <= 2; }));
}

BOOST_AUTO_TEST_CASE(a_hard_deadline_ends_a_call_by_itself)
{
    asio::io_context io;
    pool p(io, with(1));
    counter begun{0};
    pattern::call_options how;
    how.name = "the endless one";
    how.hard_deadline = 20ms;
    run(io, [&]() -> awaitable<void> {
        try
        {
            co_await p.async_submit(how, spin, begun, use_awaitable);
            BOOST_ERROR("it should have timed out");
        }
        catch (const common::timed_out& e)
        {
            BOOST_TEST(
                e.what() ==
                std::string("the endless one ran longer than its deadline"));
        }
    }());
}

// Deaths.

BOOST_AUTO_TEST_CASE(a_killed_worker_costs_no_call)
{
    asio::io_context io;
    pool p(io, with(2));
    run(io, [&]() -> awaitable<void> {
        for (int i = 0; i < 20; ++i)
            BOOST_TEST(co_await p.async_submit(mortal, i, 2u, use_awaitable) ==
                       i);
    }());
    BOOST_TEST(p.stats().deaths == 40u);
}

BOOST_AUTO_TEST_CASE(a_call_that_kills_its_workers_is_reported)
{
    asio::io_context io;
    pool p(io, with(1));
    run(io, [&]() -> awaitable<void> {
        const auto [error, value] =
            co_await p.async_submit(mortal, 1, 99u, as_tuple);
        BOOST_TEST(is<common::worker_died>(error));
        BOOST_TEST(co_await p.async_submit(square, 3, use_awaitable) == 9);
    }());
}

BOOST_AUTO_TEST_CASE(workers_killed_at_random_cost_no_call)
{
    asio::io_context io;
    auto options = with(2);
    options.attempts = 200;
    pool p(io, options);
    std::atomic<bool> over = false;
    const unsigned seed = 20261123;
    BOOST_TEST_MESSAGE("seed " << seed);
    std::thread killer([&, dice = std::mt19937(seed)]() mutable {
        while (!over) // ends below
        {
            for (const auto& one : p.stats().workers)
                if (one.pid > 0 && dice() % 2 == 0)
                    ::kill(one.pid, SIGKILL);
            ::poll(nullptr, 0, 3);
        }
    });
    int wrong = 0;
    run(io, [&]() -> awaitable<void> {
        pattern::group<int> all(p);
        for (int i = 0; i < 2000; ++i)
            all.submit(square, i);
        while (auto one = co_await all.next())
            wrong += one->get() != square(static_cast<int>(one->number));
    }());
    over = true;
    killer.join();
    BOOST_TEST(wrong == 0);
}

BOOST_AUTO_TEST_CASE(a_result_of_a_group_is_taken_once)
{
    asio::io_context io;
    pool p(io, with(1));
    run(io, [&]() -> awaitable<void> {
        pattern::group<int> all(p);
        all.submit(square, 3);
        auto one = co_await all.next();
        BOOST_TEST(one->get() == 9);
        BOOST_CHECK_THROW(one->get(), std::logic_error);
    }());
}

BOOST_AUTO_TEST_CASE(a_pool_without_workers_fails_every_call)
{
    asio::io_context io;
    pool p(io, with(1),
           []() -> int { throw std::runtime_error("no licence"); });
    run(io, [&]() -> awaitable<void> {
        for (int i = 0; i < 3; ++i)
        {
            const auto [error, value] =
                co_await p.async_submit(square, i, as_tuple);
            BOOST_TEST(is<common::exhausted>(error));
        }
    }());
}

BOOST_AUTO_TEST_CASE(who_looks_sees_pid_task_and_restarts)
{
    asio::io_context io;
    pool p(io, with(1));
    counter begun{0}, gate{0};
    pattern::call_options how;
    how.name = "a long one";
    p.async_submit(how, hold, begun, gate, [](std::exception_ptr, int) {});
    BOOST_TEST(eventually([&] { return *begun == 1; }));
    const auto first = p.stats().workers.at(0);
    BOOST_TEST(first.name == "a long one");
    BOOST_TEST(first.task == 1u);
    BOOST_TEST(eventually([&] { return p.stats().workers[0].running > 5ms; }));
    BOOST_TEST(p.kill(1));
    BOOST_TEST(!p.kill(2));
    BOOST_TEST(eventually([&] { return *begun == 2; }));
    const auto after = p.stats().workers.at(0);
    BOOST_TEST(after.pid != first.pid);
    BOOST_TEST(after.restarts == 1u);
    *gate = 1;
    io.run();
    BOOST_TEST(p.stats().workers[0].finished == 1u);
}

// Streams and groups.

void count_to(pattern::emitter<int> emit, int n)
{
    for (int i = 1; i <= n; ++i)
        emit(i);
}

BOOST_AUTO_TEST_CASE(a_task_emits_values_that_are_read_one_by_one)
{
    asio::io_context io;
    pool p(io, with(1));
    run(io, [&]() -> awaitable<void> {
        pattern::stream<int> some(p, count_to, 5'000); // more than fits
        int wanted = 0;
        while (auto value = co_await some.next())
            BOOST_REQUIRE(*value == ++wanted);
        BOOST_TEST(wanted == 5'000);
    }());
}

BOOST_AUTO_TEST_CASE(a_value_is_read_while_its_task_still_runs)
{
    asio::io_context io;
    pool p(io, with(1));
    counter gate{0};
    run(io, [&]() -> awaitable<void> {
        pattern::stream<std::string> some(
            p,
            [](pattern::emitter<std::string> emit, counter go) {
                emit("first");
                while (*go == 0) // ends by the test
                    ::poll(nullptr, 0, 1);
                emit("second");
                throw std::runtime_error("third");
            },
            gate);
        BOOST_TEST(*co_await some.next() == "first");
        *gate = 1;
        BOOST_TEST(*co_await some.next() == "second");
        BOOST_CHECK_THROW(co_await some.next(), std::runtime_error);
    }());
}

BOOST_AUTO_TEST_CASE(a_stream_whose_worker_dies_gives_what_was_emitted)
{
    asio::io_context io;
    pool p(io, with(1));
    run(io, [&]() -> awaitable<void> {
        pattern::stream<int> some(p, [](pattern::emitter<int> emit) {
            emit(1);
            emit(2);
            ::kill(::getpid(), SIGKILL);
        });
        BOOST_TEST(*co_await some.next() == 1);
        BOOST_TEST(*co_await some.next() == 2);
        BOOST_CHECK_THROW(co_await some.next(), common::worker_died);
    }());
}

BOOST_AUTO_TEST_CASE(tasks_that_close_everything_hold_nothing_up)
{
    asio::io_context io;
    pool p(io, with(2));
    const auto close_all = [](int x) {
        for (int fd = 3; fd < 1024; ++fd)
            ::close(fd);
        return x;
    };
    std::atomic<int> sum{0};
    for (int i = 0; i < 12; ++i)
    {
        const auto add = [&](const std::exception_ptr& error, int x) {
            BOOST_TEST(!error);
            sum += x;
        };
        if (i % 4 == 0)
            p.async_submit(close_all, i, add);
        else
            p.async_submit(&square, i, add);
    }
    io.run_for(60s);
    BOOST_TEST(sum == 0 + 1 + 4 + 9 + 4 + 25 + 36 + 49 + 8 + 81 + 100 + 121);
}

BOOST_AUTO_TEST_CASE(a_stream_whose_task_closes_everything_ends_with_an_error)
{
    asio::io_context io;
    pool p(io, with(1));
    run(io, [&]() -> awaitable<void> {
        pattern::stream<int> some(p, [](pattern::emitter<int> emit) {
            for (int fd = 3; fd < 1024; ++fd)
                ::close(fd);
            for (int i = 0;; ++i) // more than fits: ends when nobody is told
                emit(i);
        });
        int wanted = 0;
        try
        {
            while (auto value = co_await some.next())
                BOOST_REQUIRE(*value == wanted++);
            BOOST_ERROR("it ended as if nothing were");
        }
        catch (const std::exception&) // of the stream's bell, or its memory
        {
        }
    }());
}

BOOST_AUTO_TEST_CASE(a_stream_that_is_left_ends_its_task)
{
    asio::io_context io;
    pool p(io, with(1));
    run(io, [&]() -> awaitable<void> {
        pattern::stream<int> some(p, count_to, 1'000'000'000);
        co_await some.next();
    }());
    BOOST_TEST(eventually([&] { return idle(p); }));
}

BOOST_AUTO_TEST_CASE(a_group_gives_each_result_once_in_the_order_they_come)
{
    asio::io_context io;
    pool p(io, with(2));
    counter begun{0}, gate{0};
    run(io, [&]() -> awaitable<void> {
        pattern::group<int> all(p);
        all.submit(hold, begun, gate);
        for (int i = 1; i < 20; ++i)
            all.submit(square, i);
        std::set<std::size_t> seen;
        while (auto one = co_await all.next())
        {
            seen.insert(one->number);
            if (one->number == 0)
                BOOST_TEST(seen.size() == 20u); // the slow one came last
            else
                BOOST_TEST(one->get() == square(static_cast<int>(one->number)));
            if (seen.size() == 19)
                *gate = 1;
        }
        BOOST_TEST(seen.size() == 20u);
    }());
}

int race(int i, counter begun, counter gate)
{
    if (i == 1)
    {
        while (*begun < 1) // the other one runs, too
            ::poll(nullptr, 0, 1);
        return i;
    }
    return hold(begun, gate);
}

BOOST_AUTO_TEST_CASE(the_first_wins_and_the_others_are_cancelled)
{
    asio::io_context io;
    pool p(io, with(2));
    counter begun{0}, gate{0};
    run(io, [&]() -> awaitable<void> {
        pattern::group<int> all(p);
        for (int i = 0; i < 5; ++i)
            all.submit(race, i, begun, gate);
        auto first = co_await first_of(all);
        BOOST_TEST(first.number == 1u);
        BOOST_TEST(first.get() == 1);
        BOOST_TEST(idle(p));
        pattern::group<int> none(p);
        BOOST_CHECK_THROW(co_await first_of(none), std::invalid_argument);
        pattern::group<int> bad(p);
        for (int i = 0; i < 3; ++i)
            bad.submit([]() -> int { throw std::range_error("no"); });
        BOOST_CHECK_THROW(co_await first_of(bad), std::range_error);
    }());
}

// The other way round.

/// A worker body that is an Asio program: many waits at once in one process.
int waits_in_a_worker(int n)
{
    asio::io_context io;
    int done = 0;
    for (int i = 0; i < n; ++i)
        co_spawn(
            io,
            [&]() -> awaitable<void> {
                asio::steady_timer pause(co_await asio::this_coro::executor,
                                         20ms);
                co_await pause.async_wait(use_awaitable);
                ++done;
            },
            asio::detached);
    io.run();
    return done;
}

BOOST_AUTO_TEST_CASE(a_task_may_be_an_event_loop_itself)
{
    asio::io_context io;
    pool p(io, with(1));
    run(io, [&]() -> awaitable<void> {
        const auto start = common::clock::now();
        BOOST_TEST(co_await p.async_submit(waits_in_a_worker, 500,
                                           use_awaitable) == 500);
        BOOST_TEST((common::clock::now() - start < 9s)); // not 500 x 20 ms
    }());
}

BOOST_AUTO_TEST_CASE(draining_finishes_what_was_sent)
{
    asio::io_context io;
    auto options = with(1);
    options.in_flight = 2;
    pool p(io, options);
    int good = 0, turned_away = 0;
    for (int i = 0; i < 5; ++i)
        p.async_submit(square, i, [&](std::exception_ptr e, int) {
            good += !e;
            turned_away += is<common::closed>(e);
        });
    BOOST_TEST(p.drain(common::clock::now() + 20s));
    io.run();
    BOOST_TEST(good + turned_away == 5);
    BOOST_TEST(good >= 2);
}

BOOST_AUTO_TEST_SUITE_END()
