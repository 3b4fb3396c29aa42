// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.

#define BOOST_TEST_MODULE master_worker_callback

// What the user gave, and the master calls or ends, may use the master.

#include "test/fixture.hpp"
#include "test/patterns/master_worker_tasks.hpp"

#include <boost/test/unit_test.hpp>

#include "patterns/master_worker/master_worker.hpp"

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <stdexcept>
#include <utility>
#include <vector>

namespace {

using namespace test;
using master_worker::event;
using master_worker::failure;
using master_worker::handle;
using master_worker::master;
using ending = master_worker::outcome;

/// Calls a function when it ends.
struct at_end
{
    explicit at_end(std::function<void()> f) : call(std::move(f)) {}
    at_end(const at_end&) = delete;
    ~at_end() { call(); }
    std::function<void()> call;
};

void check_squares(const std::vector<handle<int>>& all)
{
    for (std::size_t i = 0; i < all.size(); ++i)
        BOOST_TEST(all[i].get() == static_cast<int>(i * i));
}

std::vector<handle<int>> squares(master& m, int n)
{
    std::vector<handle<int>> result;
    for (int i = 0; i < n; ++i)
        result.push_back(m.submit(&square, i));
    return result;
}

} // namespace

BOOST_FIXTURE_TEST_SUITE(master_worker_callback_laws, test::clean)

BOOST_AUTO_TEST_CASE(who_is_told_of_an_event_may_submit)
{
    auto options = sturdy(2);
    master* here = nullptr;
    int more = 0;
    options.on_event = [&](const event& e) {
        if (e.what == event::kind::started && more++ < 20)
            here->submit(&square, 1);
    };
    master m(options);
    here = &m;
    check_squares(squares(m, 20));
    m.run();
    BOOST_TEST(m.stats().submitted == 40u);
    BOOST_TEST(m.stats().finished == 40u);
    BOOST_TEST(m.stats().queued + m.stats().running == 0u);
}

BOOST_AUTO_TEST_CASE(who_is_told_of_an_event_may_wait_and_cancel)
{
    auto options = sturdy(2);
    std::map<std::uint64_t, handle<int>> all;
    options.on_event = [&](const event& e) {
        if (e.what != event::kind::finished)
            return;
        BOOST_TEST(!all.at(e.task).cancel()); // it has come to its end
        if (const auto next = all.find(e.task + 1); next != all.end())
            next->second.get();
    };
    master m(options);
    for (const auto& one : squares(m, 20))
        all[one.number()] = one;
    m.run();
    BOOST_TEST(m.stats().finished == 20u);
}

BOOST_AUTO_TEST_CASE(who_decides_on_another_attempt_may_cancel_the_task)
{
    master m(sturdy(1));
    handle<void> fails;
    auto how = tries(5);
    how.retry.again = [&](const failure&) { return fails.cancel(); };
    fails = m.submit(how, [] { throw std::runtime_error("on purpose"); });
    m.run();
    BOOST_CHECK(fails.state() == ending::cancelled);
    BOOST_TEST(m.stats().finished == 1u);
    BOOST_TEST(m.stats().retried == 0u);
}

BOOST_AUTO_TEST_CASE(what_ends_with_a_task_may_use_the_master)
{
    master m(sturdy(1));
    const auto late = [&] {
        return std::make_shared<at_end>([&] { m.submit(&square, 1); });
    };
    for (int i = 0; i < 10; ++i) // nothing but the master has it any more
    {
        auto how = tries(1);
        how.retry.again = [one = late()](const failure&) { return false; };
        m.submit(how, &square, i).cancel();
    }
    m.submit(&square, 1).then([one = late()](const auto&) {});
    m.run();
    m.run();
    BOOST_TEST(m.stats().submitted == 22u);
    BOOST_TEST(m.stats().finished == 22u);
}

BOOST_AUTO_TEST_CASE(a_callback_of_a_master_that_ends_is_told_so)
{
    counter begun{0}, gate{0};
    int told = 0;
    auto options = sturdy(1);
    options.linger = {};
    {
        master m(options);
        m.submit(&hold, begun, gate).then([&](const auto& h) {
            BOOST_CHECK(h.state() == ending::abandoned);
            m.run();
            BOOST_TEST(m.stats().finished == 1u);
            BOOST_CHECK_THROW(m.submit(&square, 1), common::closed);
            BOOST_CHECK_THROW(m.resize(2), common::closed);
            BOOST_CHECK_THROW(m.carrier(), common::closed);
            ++told;
        });
    }
    BOOST_TEST(told == 1);
}

BOOST_AUTO_TEST_CASE(a_handle_without_a_task_is_an_error_not_a_crash)
{
    master m(sturdy(1));
    const auto chain =
        m.submit(&square, 1).then([](const auto&) { return handle<int>(); });
    BOOST_CHECK_THROW(chain.get(), std::logic_error);
    const std::vector parts{m.submit(&square, 1), handle<int>()};
    const auto all = [](const auto&) {};
    const auto any = [](std::size_t, const auto&) {};
    BOOST_CHECK_THROW(master_worker::when_all(parts, all), std::logic_error);
    BOOST_CHECK_THROW(master_worker::when_any(parts, any), std::logic_error);
}

BOOST_AUTO_TEST_CASE(an_event_whose_listener_throws_does_not_end_the_work)
{
    std::vector<handle<int>> all;
    {
        auto options = sturdy(1);
        options.on_event = [](const event&) {
            throw std::runtime_error("from an event");
        };
        master m(options);
        all = squares(m, 10);
    }
    check_squares(all);
}

BOOST_AUTO_TEST_CASE(a_task_that_is_taken_back_has_an_event_of_its_end)
{
    std::map<std::uint64_t, std::string> ends;
    auto options = sturdy(1);
    options.linger = {};
    options.on_event = [&](const event& e) {
        if (e.what == event::kind::finished)
            ends[e.task] = e.text;
    };
    counter begun{0}, gate{0};
    {
        master m(options);
        m.submit(&hold, begun, gate);
        m.submit(&square, 1).cancel();
    }
    BOOST_TEST(ends[2] == "cancelled");
    BOOST_TEST(ends[1] == "the master has ended");
}

BOOST_AUTO_TEST_SUITE_END()
