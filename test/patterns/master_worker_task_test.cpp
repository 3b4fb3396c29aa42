// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.

#define BOOST_TEST_MODULE master_worker_task

#include "test/fixture.hpp"
#include "test/patterns/master_worker_tasks.hpp"
#include "test/run_program.hpp"

#include <boost/property_tree/json_parser.hpp>
#include <boost/test/unit_test.hpp>

#include "patterns/master_worker/master_worker.hpp"
#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <stdexcept>
#include <string>
#include <utility>
#include <variant>
#include <vector>

namespace {

using namespace test;
using master_worker::handle;
using master_worker::master;
using master_worker::master_options;
using ending = master_worker::outcome;
using master_worker::task_options;

struct no_such_thing : std::runtime_error
{
    using std::runtime_error::runtime_error;
};

int fail_with_system_error(int code)
{
    throw std::system_error(code, std::generic_category(), "on purpose");
}

std::string large(std::size_t size, char c)
{
    return std::string(size, c);
}

struct grow
{
    int by;
};
struct shout
{
    std::string text;
};
using message = std::variant<grow, shout>;

/// Runs tasks right here, one at a time; the first attempt of every tenth task
/// gets lost.
class engine_of_one : public master_worker::engine, private common::output
{
public:
    bool works = true;

    std::size_t window(unsigned, bool) override { return reports_.size() < 3; }
    void put(const master_worker::assignment& what) override
    {
        if (!works)
            throw std::runtime_error("out of order");
        master_worker::report r;
        r.task = what.task;
        if (what.task % 10 == 0 && what.attempt == 0)
            r.what = master_worker::report::kind::lost;
        else
        {
            common::reader input{what.input};
            common::run_task(what.entry, input, *this);
            r.content = result_;
        }
        reports_.push_back(r);
    }
    bool take(master_worker::report& into, master_worker::time_point) override
    {
        if (reports_.empty())
            return false;
        into = reports_.front();
        reports_.pop_front();
        return true;
    }
    void drop(std::uint64_t) override {}
    void resize(unsigned, unsigned) override {}
    bool enforces_limits() const override { return false; }

private:
    std::span<std::byte> room(std::size_t size) override
    {
        result_.resize(size);
        return result_;
    }
    master_worker::bytes result_;
    std::deque<master_worker::report> reports_;
};

} // namespace

BOOST_FIXTURE_TEST_SUITE(master_worker_task_laws, test::clean)

BOOST_AUTO_TEST_CASE(a_call_comes_back_with_its_result)
{
    master m(sturdy(2));
    auto answer = m.submit(&square, 7);
    BOOST_TEST(answer.get() == 49);
    BOOST_TEST(answer.get() == 49); // again and again
    BOOST_TEST(
        m.submit([](std::string a, int b) { return a + std::to_string(b); },
                 std::string("hey"), 1)
            .get() == "hey1");
    m.submit([] {}).get();
}

BOOST_AUTO_TEST_CASE(many_tasks_come_back_each_with_its_own_result)
{
    master m(sturdy(3));
    std::vector<handle<int>> all;
    for (int i = 0; i < 20'000; ++i)
        all.push_back(m.submit(&square, i % 1000));
    int wrong = 0;
    for (int i = 0; i < 20'000; ++i)
        wrong +=
            all[static_cast<std::size_t>(i)].get() != (i % 1000) * (i % 1000);
    BOOST_TEST(wrong == 0);
    BOOST_TEST(m.stats().finished == 20'000u);
    BOOST_TEST(m.stats().deaths == 0u);
}

BOOST_AUTO_TEST_CASE(values_of_every_size_cross_both_ways)
{
    auto options = sturdy(2);
    options.payload = 1 << 20;
    master m(options);
    for (const unsigned size :
         {0u, 1u, 31u, 32u, 64u, 72u, 73u, 96u, 97u, 4096u, 65'537u, 999'999u})
    {
        const auto back = m.submit([](std::string s) { return s + "."; },
                                   std::string(size, 'x'));
        BOOST_TEST(back.get() == std::string(size, 'x') + ".");
    }
}

BOOST_AUTO_TEST_CASE(what_is_larger_than_the_payload_fails_alone)
{
    auto options = sturdy(1);
    options.payload = 10'000;
    master m(options);
    BOOST_CHECK_THROW(m.submit([](std::string s) { return s.size(); },
                               std::string(20'000, 'x')),
                      std::length_error);
    BOOST_CHECK_THROW(m.submit(&large, std::size_t{20'000}, 'x').get(),
                      std::length_error);
    BOOST_TEST(m.submit(&square, 3).get() == 9);
    BOOST_TEST(m.stats().deaths == 0u);
}

BOOST_AUTO_TEST_CASE(exceptions_cross_as_themselves_and_are_not_retried)
{
    master m(sturdy(1));
    const auto bad = m.submit(&fail_with_system_error, EACCES);
    BOOST_CHECK_EXCEPTION(bad.get(), std::system_error, [](const auto& e) {
        return e.code() == std::errc::permission_denied;
    });
    BOOST_TEST((bad.state() == ending::error));
    BOOST_TEST(bad.failures().size() == 1u);
    BOOST_CHECK_THROW(m.submit([] { throw no_such_thing("x"); }).get(),
                      common::remote_error);
    BOOST_TEST(m.stats().retried == 0u);
}

BOOST_AUTO_TEST_CASE(a_task_is_retried_for_the_errors_that_its_policy_names)
{
    master m(sturdy(1));
    auto how = tries(5);
    how.retry.again = [](const master_worker::failure& f) {
        return f.threw<std::system_error>();
    };
    const auto third_time = [] {
        if (master_worker::attempt() < 2)
            fail_with_system_error(EAGAIN);
        return master_worker::attempt();
    };
    BOOST_TEST(m.submit(how, third_time).get() == 2u);
    const auto other = m.submit(how, [] { throw std::out_of_range("no"); });
    BOOST_CHECK_THROW(other.get(), std::out_of_range);
    BOOST_TEST(other.failures().size() == 1u);
    const auto always = m.submit(how, &fail_with_system_error, EAGAIN);
    BOOST_CHECK_THROW(always.get(), std::system_error);
    BOOST_TEST(always.failures().size() == 5u);
    BOOST_TEST(m.stats().retried == 6u);
}

BOOST_AUTO_TEST_CASE(pauses_between_attempts_double_up_to_a_limit)
{
    master m(sturdy(1));
    auto how = tries(5);
    how.retry.backoff = 20ms;
    how.retry.longest = 40ms;
    how.retry.again = [](const auto&) { return true; };
    const auto bad = m.submit(how, &fail_with_system_error, EAGAIN);
    BOOST_CHECK_THROW(bad.get(), std::system_error);
    const auto& all = bad.failures();
    BOOST_REQUIRE(all.size() == 5u);
    for (std::size_t i = 1; i < all.size(); ++i) // never earlier than that
        BOOST_TEST(((all[i].when - all[i - 1].when) >= (i == 1 ? 16ms : 32ms)));
}

BOOST_AUTO_TEST_CASE(tasks_are_handed_out_on_demand)
{
    master m(sturdy(2));
    counter begun{0}, gate{0};
    const auto slow = m.submit(&hold, begun, gate);
    BOOST_REQUIRE(work_until(m, [&] { return *begun == 1; }));
    std::vector<handle<int>> quick; // none of them waits behind the slow one
    for (int i = 0; i < 100; ++i)
        quick.push_back(m.submit(&square, i));
    for (int i = 0; i < 100; ++i)
        BOOST_TEST(quick[static_cast<std::size_t>(i)].get() == i * i);
    BOOST_TEST(!slow.ready());
    *gate = 1;
    BOOST_TEST(slow.get() > 0);
}

BOOST_AUTO_TEST_CASE(what_was_batched_behind_a_slow_task_is_taken_back)
{
    master m(sturdy(2));
    for (int i = 0; i < 2000; ++i) // the role is known to be quick now
        m.submit(&square, i);
    m.run();
    counter begun{0}, gate{0};
    const auto slow = m.submit(&hold, begun, gate);
    std::vector<handle<int>> quick;
    for (int i = 0; i < 12; ++i)
        quick.push_back(m.submit(&square, i));
    for (const auto& one : quick)
        one.get();
    BOOST_TEST(!slow.ready());
    *gate = 1;
    m.run();
}

BOOST_AUTO_TEST_CASE(roles_have_workers_and_queues_of_their_own)
{
    auto options = sturdy(2);
    options.workers = {2, 1};
    master m(options, [] { return int(master_worker::role()) * 100; });
    std::map<int, std::set<int>> seen;
    std::vector<handle<std::pair<int, int>>> all;
    for (unsigned i = 0; i < 40; ++i)
    {
        task_options how;
        how.role = i % 2;
        all.push_back(m.submit(how, [] {
            return std::pair(master_worker::worker_state<int>(),
                             static_cast<int>(::getpid()));
        }));
    }
    for (unsigned i = 0; i < 40; ++i)
    {
        const auto [state, pid] = all[i].get();
        BOOST_TEST(state == int(i % 2) * 100);
        seen[state].insert(pid);
    }
    BOOST_TEST(seen[100].size() == 1u);
    task_options none;
    none.role = 2;
    BOOST_CHECK_THROW(m.submit(none, &square, 1), std::invalid_argument);
}

BOOST_AUTO_TEST_CASE(messages_reach_the_handler_of_their_kind)
{
    master m(sturdy(1));
    const master_worker::handlers artist{
        [](grow g) { return std::string(static_cast<std::size_t>(g.by), '+'); },
        [](const shout& s) { return s.text + "!"; }};
    BOOST_TEST(m.send(artist, message(grow{3})).get() == "+++");
    BOOST_TEST(m.send(artist, message(shout{"ho"})).get() == "ho!");
}

BOOST_AUTO_TEST_CASE(a_callback_runs_once_whatever_the_outcome)
{
    master m(sturdy(1));
    std::vector<ending> seen;
    const auto note = [&](const auto& h) { seen.push_back(h.state()); };
    m.submit(&square, 2).then(note);
    m.submit(&fail_with_system_error, 1).then(note);
    m.submit(tries(1), &mortal, 1, 9u).then(note);
    const auto late = m.submit(&square, 3);
    m.run();
    late.then(note); // over already
    m.run();
    const std::vector<ending> wanted{ending::value, ending::error,
                                     ending::poisoned, ending::value};
    BOOST_TEST((seen == wanted));
}

BOOST_AUTO_TEST_CASE(what_a_callback_returns_or_throws_is_a_result)
{
    master m(sturdy(1));
    const auto nine = m.submit(&square, 3);
    BOOST_TEST(
        nine.then([](const handle<int>& h) { return std::to_string(h.get()); })
            .get() == "9");
    BOOST_CHECK_THROW(
        nine.then([](const handle<int>&) { throw std::domain_error("no"); })
            .get(),
        std::domain_error);
    const auto chain = nine.then(
        [&m](const handle<int>& h) { return m.submit(&square, h.get()); });
    BOOST_TEST(chain.get() == 81);
}

BOOST_AUTO_TEST_CASE(a_failure_travels_down_a_chain)
{
    master m(sturdy(1));
    const auto end =
        m.submit(&fail_with_system_error, 1)
            .then([&](const handle<int>& h) {
                return m.submit(&square, h.get());
            })
            .then([](const handle<int>& h) { return h.get() + 1; });
    BOOST_CHECK_THROW(end.get(), std::system_error);
}

BOOST_AUTO_TEST_CASE(when_all_is_told_the_outcome_of_each_part)
{
    master m(sturdy(2));
    std::vector<handle<int>> parts;
    for (int i = 0; i < 10; ++i)
        parts.push_back(i == 4 ? m.submit(&fail_with_system_error, 1)
                               : m.submit(&square, i));
    const auto sum = when_all(parts, [](const std::vector<handle<int>>& all) {
        int total = 0, failed = 0;
        for (const auto& one : all)
            if (one.state() == ending::value)
                total += one.get();
            else
                ++failed;
        return std::pair(total, failed);
    });
    BOOST_TEST((sum.get() == std::pair(285 - 16, 1)));
    BOOST_CHECK_THROW(when_all(std::vector<handle<int>>(), [](const auto&) {}),
                      std::invalid_argument);
}

BOOST_AUTO_TEST_CASE(when_any_is_told_which_was_first)
{
    master m(sturdy(2));
    counter begun{0}, gate{0};
    int calls = 0;
    std::vector<handle<int>> parts{m.submit(&hold, begun, gate),
                                   m.submit(&square, 5)};
    const auto first = when_any(
        parts, [&](std::size_t i, const std::vector<handle<int>>& all) {
            ++calls;
            return std::pair(i, all[i].get());
        });
    BOOST_TEST((first.get() == std::pair(std::size_t{1}, 25)));
    *gate = 1;
    m.run();
    BOOST_TEST(calls == 1);
}

BOOST_AUTO_TEST_CASE(callbacks_may_submit_and_wait)
{
    master m(sturdy(2));
    int total = 0;
    for (int i = 0; i < 10; ++i)
        m.submit(&square, i).then([&](const handle<int>& h) {
            total += m.submit(&square, h.get()).get();
        });
    m.run();
    BOOST_TEST(total == 15'333);
}

BOOST_AUTO_TEST_CASE(to_wait_for_what_nothing_can_end_is_an_error_not_a_hang)
{
    master m(sturdy(1));
    auto self = std::make_shared<handle<int>>();
    *self = m.submit(&square, 1).then([self](const handle<int>&) {
        return self->get();
    });
    BOOST_CHECK_THROW(self->get(), std::logic_error);
    *self = {};
}

BOOST_AUTO_TEST_CASE(a_task_that_waits_is_cancelled_without_a_death)
{
    master m(sturdy(1));
    counter begun{0}, gate{0};
    const auto slow = m.submit(&hold, begun, gate);
    BOOST_REQUIRE(work_until(m, [&] { return *begun == 1; }));
    const auto waits = m.submit(&hold, begun, gate);
    BOOST_TEST(waits.cancel());
    BOOST_TEST(!waits.cancel());
    BOOST_CHECK_THROW(waits.get(), common::cancelled);
    *gate = 1;
    m.run();
    BOOST_TEST(*begun == 1);
    BOOST_TEST(m.stats().deaths == 0u);
}

BOOST_AUTO_TEST_CASE(a_task_that_runs_is_cancelled_with_its_worker)
{
    master m(sturdy(1));
    counter begun{0}, gate{0};
    const auto slow = m.submit(&hold, begun, gate);
    BOOST_REQUIRE(work_until(m, [&] { return *begun == 1; }));
    const auto pid = pids(m).at(0);
    BOOST_TEST(slow.cancel());
    BOOST_CHECK_THROW(slow.get(), common::cancelled);
    BOOST_TEST(m.submit(&square, 3).get() == 9);
    BOOST_TEST(!alive(pid));
}

BOOST_AUTO_TEST_CASE(what_is_cancelled_behind_a_running_task_is_not_run)
{
    master m(sturdy(1));
    for (int i = 0; i < 2000; ++i) // quick ones: they are batched from now on
        m.submit(&square, i);
    m.run();
    counter begun{0}, gate{0}, runs{0};
    const auto count = [](counter n) { ++*n; };
    const auto first = m.submit(&hold, begun, gate);
    const auto second = m.submit(count, runs), third = m.submit(count, runs);
    BOOST_REQUIRE(work_until(m, [&] { return *begun == 1; }));
    BOOST_TEST(second.cancel());
    *gate = 1;
    first.get();
    third.get();
    BOOST_TEST(*runs == 1);
    BOOST_TEST(m.stats().deaths == 0u);
}

// The worker is further than the master, who has not read what it answered.
struct ahead_of_its_master
{
    ahead_of_its_master()
    {
        for (int i = 0; i < 200; ++i) // short ones: it may have several
            m.submit(&square, i);
        m.run();
        first = m.submit(tries(1), &hold, begun, first_gate);
        second = m.submit(tries(1), &hold, begun, second_gate);
        BOOST_REQUIRE(eventually([&] { return *begun == 1; }));
        *first_gate = 1;
        BOOST_REQUIRE(eventually([&] { return *begun == 2; }));
    }
    counter begun{0}, first_gate{0}, second_gate{0};
    master m{sturdy(1)};
    handle<int> first, second;
};

BOOST_AUTO_TEST_CASE(
    what_runs_behind_an_unread_answer_is_cancelled_all_the_same)
{
    ahead_of_its_master it;
    BOOST_TEST(it.second.cancel());
    BOOST_TEST(it.first.get() != 0);
    const auto next = it.m.submit(&square, 3);
    BOOST_TEST(next.wait_until(std::chrono::steady_clock::now() + 10s));
    *it.second_gate = 1;
}

BOOST_AUTO_TEST_CASE(who_runs_behind_an_unread_answer_is_not_killed_for_it)
{
    ahead_of_its_master it;
    BOOST_TEST(it.first.cancel());
    BOOST_CHECK_THROW(it.first.get(), common::cancelled);
    *it.second_gate = 1;
    BOOST_TEST(it.second.get() != 0);
    BOOST_TEST(staff(it.m).workers().front().launches == 1u);
}

BOOST_AUTO_TEST_CASE(a_role_that_nobody_could_ever_serve_is_refused)
{
    BOOST_CHECK_THROW(master(sturdy(0)), std::invalid_argument);
}

BOOST_AUTO_TEST_CASE(a_master_that_makes_no_sense_is_refused)
{
    using change = void (*)(master_options&);
    for (const change& spoil :
         {change([](master_options& o) { o.workers = {}; }),
          change([](master_options& o) {
              o.workers = {4000, 96};
          }),
          change([](master_options& o) { o.payload = 0; }),
          change([](master_options& o) { o.payload = ~std::size_t{0}; }),
          change([](master_options& o) { o.staff.start_deadline = {}; })})
    {
        auto options = sturdy(1);
        spoil(options);
        BOOST_CHECK_THROW(master{options}, std::invalid_argument);
    }
    master m(sturdy(1));
    BOOST_CHECK_THROW(m.resize(1, 1), std::invalid_argument);
    BOOST_CHECK_THROW(m.resize(4096), std::invalid_argument);
    BOOST_TEST(m.submit(&square, 3).get() == 9);
}

BOOST_AUTO_TEST_CASE(a_task_that_makes_no_sense_is_refused)
{
    master m(sturdy(1));
    using change = void (*)(task_options&);
    for (const change& spoil :
         {change([](task_options& o) { o.role = 1; }),
          change([](task_options& o) { o.deadline = -1s; }),
          change([](task_options& o) { o.silence = -1s; }),
          change([](task_options& o) { o.speculate = -1; }),
          change([](task_options& o) { o.retry.attempts = 0; }),
          change([](task_options& o) { o.retry.backoff = -1s; }),
          change([](task_options& o) { o.retry.jitter = 2; })})
    {
        auto how = tries(2);
        spoil(how);
        BOOST_CHECK_THROW(m.submit(how, &square, 3), std::invalid_argument);
    }
    BOOST_TEST(m.stats().submitted == 0u);
}

BOOST_AUTO_TEST_CASE(a_time_that_no_clock_reaches_is_no_limit)
{
    auto options = sturdy(1);
    options.staff.start_deadline = std::chrono::milliseconds::max();
    options.staff.ahead = std::chrono::microseconds::max();
    options.linger = std::chrono::milliseconds::max();
    master m(options);
    auto how = tries(2);
    how.deadline = how.silence = std::chrono::nanoseconds::max();
    how.retry.longest = std::chrono::milliseconds::max();
    BOOST_TEST(m.submit(how, &mortal, 3, 1u).get() == 3);
    BOOST_TEST(m.stats().retried == 1u);
}

BOOST_AUTO_TEST_CASE(workers_join_and_leave_while_tasks_run)
{
    master m(sturdy(1));
    std::vector<handle<int>> all;
    const auto more = [&] {
        for (int i = 0; i < 200; ++i)
            all.push_back(m.submit(&square, i));
    };
    more();
    m.resize(4);
    more();
    BOOST_REQUIRE(work_until(m, [&] { return pids(m).size() == 4; }));
    more();
    m.resize(1);
    more();
    BOOST_REQUIRE(work_until(m, [&] { return pids(m).size() == 1; }));
    for (std::size_t i = 0; i < all.size(); ++i)
        BOOST_TEST(all[i].get() == square(static_cast<int>(i % 200)));
    BOOST_TEST(m.stats().deaths == 0u);
    BOOST_TEST(m.stats().retried == 0u);
}

BOOST_AUTO_TEST_CASE(who_is_too_many_finishes_what_it_runs)
{
    master m(sturdy(1));
    counter begun{0}, gate{0};
    const auto slow = m.submit(&hold, begun, gate);
    BOOST_REQUIRE(work_until(m, [&] { return *begun == 1; }));
    m.resize(0);
    *gate = 1;
    BOOST_TEST(slow.get() > 0);
    BOOST_REQUIRE(work_until(m, [&] { return pids(m).empty(); }));
    const auto waits = m.submit(&square, 4);
    m.resize(1);
    BOOST_TEST(waits.get() == 16);
}

/// Only the thread that waits could call workers back.
BOOST_AUTO_TEST_CASE(who_waits_for_a_role_without_workers_is_told_so)
{
    master m(sturdy(1));
    BOOST_TEST(m.submit(&square, 3).get() == 9);
    m.resize(0);
    const auto waits = m.submit(&square, 4);
    BOOST_CHECK_THROW(waits.get(), std::logic_error);
    BOOST_CHECK_THROW(m.run(), std::logic_error);
    BOOST_TEST(!waits.wait_until(master_worker::clock::now() +
                                 std::chrono::milliseconds(20)));
    BOOST_CHECK(waits.state() == master_worker::outcome::pending);
    m.resize(1); // it was kept
    BOOST_TEST(waits.get() == 16);
}

BOOST_AUTO_TEST_CASE(a_role_without_workers_does_not_keep_others_from_work)
{
    auto options = sturdy(1);
    options.workers = {1, 1};
    master m(options);
    m.resize(0, 1);
    master_worker::task_options second;
    second.role = 1;
    const auto waits = m.submit(second, &square, 4);
    BOOST_TEST(m.submit(&square, 3).get() == 9);
    BOOST_CHECK_THROW(waits.get(), std::logic_error);
    BOOST_TEST(m.submit(&square, 5).get() == 25);
    m.resize(1, 1);
    BOOST_TEST(waits.get() == 16);
}

/// A callback runs in the thread that waits: it can.
BOOST_AUTO_TEST_CASE(workers_may_be_called_back_by_a_callback)
{
    master m(sturdy(1));
    counter begun{0}, gate{0};
    const auto slow = m.submit(&hold, begun, gate);
    BOOST_REQUIRE(work_until(m, [&] { return *begun == 1; }));
    m.resize(0);
    const auto waits = m.submit(&square, 4);
    const auto back = slow.then([&m](const auto&) { m.resize(1); });
    *gate = 1;
    BOOST_TEST(waits.get() == 16);
}

BOOST_AUTO_TEST_CASE(the_end_of_a_master_does_not_wait_for_nobody)
{
    std::optional<handle<int>> waits;
    const auto began = master_worker::clock::now();
    {
        master m(sturdy(1));
        m.resize(0);
        waits = m.submit(&square, 4);
    }
    BOOST_CHECK(waits->state() == master_worker::outcome::abandoned);
    BOOST_TEST(
        (master_worker::clock::now() - began < std::chrono::seconds(20)));
}

BOOST_AUTO_TEST_CASE(the_end_of_a_master_finishes_what_was_submitted)
{
    counter done{0};
    handle<void> last;
    {
        master m(sturdy(2));
        for (int i = 0; i < 100; ++i)
            last = m.submit([](counter n) { ++*n; }, done);
    }
    BOOST_TEST(*done == 100);
    last.get();
}

BOOST_AUTO_TEST_CASE(what_a_master_could_not_finish_is_abandoned_and_told)
{
    counter begun{0}, gate{0};
    handle<int> stays;
    bool told = false;
    {
        auto options = sturdy(1);
        options.linger = 50ms;
        master m(options);
        stays = m.submit(&hold, begun, gate);
        stays.then(
            [&](const auto& h) { told = h.state() == ending::abandoned; });
    }
    BOOST_TEST(told);
    BOOST_CHECK_THROW(stays.get(), common::exhausted);
}

BOOST_AUTO_TEST_CASE(an_exception_on_its_way_ends_a_master_at_once)
{
    counter begun{0}, gate{0};
    handle<int> stays;
    try
    {
        master m(sturdy(1));
        stays = m.submit(&hold, begun, gate);
        throw std::runtime_error("on its way");
    }
    catch (const std::runtime_error&)
    {
    }
    BOOST_CHECK_THROW(stays.get(), common::exhausted);
}

BOOST_AUTO_TEST_CASE(what_a_task_costs_is_told)
{
    auto options = sturdy(1);
    options.measure = true;
    master m(options);
    const auto busy = m.submit([] {
        const auto end = common::kernel::thread_cpu_time() + 20ms;
        while (common::kernel::thread_cpu_time() < end) // ends in time
            continue;
    });
    busy.get();
    BOOST_TEST(busy.spent().cpu.count() >= 19'000'000);
    BOOST_TEST((busy.spent().ran >= busy.spent().cpu));
    BOOST_TEST(busy.spent().peak_memory > 100'000u);
    BOOST_TEST(busy.spent().waited.count() > 0);
}

BOOST_AUTO_TEST_CASE(events_tell_the_story_of_each_task)
{
    std::map<std::uint64_t, std::string> story;
    auto options = sturdy(1);
    options.on_event = [&](const master_worker::event& e) {
        if (e.task != 0)
            story[e.task] += std::string(name_of(e.what)) + " ";
    };
    master m(options);
    m.submit(&square, 1);
    m.submit(tries(2), &mortal, 1, 1u);
    m.submit(tries(1), &mortal, 1, 1u);
    m.run();
    BOOST_TEST(story[1] == "received started finished ");
    BOOST_TEST(story[2] == "received started retried started finished ");
    BOOST_TEST(story[3] == "received started poisoned ");
}

BOOST_AUTO_TEST_CASE(a_trace_is_json_with_a_bar_for_each_attempt)
{
    const directory place;
    {
        master_worker::trace trace(place / "t.json");
        auto options = sturdy(2);
        options.on_event = std::ref(trace);
        options.measure = true;
        master m(options);
        for (int i = 0; i < 50; ++i)
            m.submit(tries(3), &mortal, i, i == 7 ? 1u : 0u);
        m.submit([] { throw no_such_thing("\"quoted\\\n"); });
        m.run();
    }
    boost::property_tree::ptree all;
    boost::property_tree::read_json((place / "t.json").string(), all);
    std::map<std::string, int> kinds;
    for (const auto& [none, one] : all)
        ++kinds[one.get<std::string>("ph")];
    BOOST_TEST(kinds["X"] == 52); // one task had two attempts
    BOOST_TEST(kinds["i"] > 50);
}

BOOST_AUTO_TEST_CASE(a_trace_on_a_full_disk_is_an_error)
{
    BOOST_CHECK_EXCEPTION(
        master_worker::trace("/dev/full"), std::runtime_error,
        [](const auto& e) { return contains(e.what(), "/dev/full"); });
}

BOOST_AUTO_TEST_CASE(a_callback_of_events_that_throws_loses_nothing)
{
    auto options = sturdy(1);
    int calls = 0;
    options.on_event = [&](const master_worker::event&) {
        if (++calls == 3)
            throw std::runtime_error("from an event");
    };
    master m(options);
    std::vector<handle<int>> all;
    for (int i = 0; i < 10; ++i)
        all.push_back(m.submit(&square, i));
    BOOST_CHECK_THROW(m.run(), std::runtime_error);
    m.run();
    for (int i = 0; i < 10; ++i)
        BOOST_TEST(all[static_cast<std::size_t>(i)].get() == i * i);
}

BOOST_AUTO_TEST_CASE(a_straggler_gets_a_copy_and_the_first_result_wins)
{
    master m(sturdy(2));
    counter runs{0};
    auto how = tries(3);
    how.speculate = 3;
    // Whoever runs it first never ends; whoever comes second does at once.
    const auto slow_once = [](counter n) {
        if (++*n == 1)
            for (;;) // until it is killed
                ::pause();
        return 5;
    };
    for (int i = 0; i < 10; ++i)
        m.submit(&square, i);
    const auto straggler = m.submit(how, slow_once, runs);
    BOOST_TEST(straggler.get() == 5);
    BOOST_TEST(m.stats().copied == 1u);
    BOOST_TEST(m.stats().retried == 0u);
    BOOST_TEST(m.stats().deaths == 0u); // who was killed was not wanted
    BOOST_TEST(m.submit(&square, 3).get() == 9);
    BOOST_TEST(*runs == 2);
}

BOOST_AUTO_TEST_CASE(an_initializer_that_throws_ends_all_with_its_reason)
{
    master m(sturdy(2), [] { throw std::runtime_error("no licence"); });
    const auto lost = m.submit(&square, 1);
    BOOST_CHECK_EXCEPTION(lost.get(), common::exhausted, [](const auto& e) {
        return contains(e.what(), "no licence");
    });
    BOOST_CHECK_THROW(m.submit(&square, 1), common::exhausted);
}

BOOST_AUTO_TEST_CASE(an_engine_of_another_kind_changes_no_task)
{
    master m({}, std::make_unique<engine_of_one>());
    std::vector<handle<int>> all;
    for (int i = 0; i < 100; ++i)
        all.push_back(m.submit(tries(2), &square, i));
    for (int i = 0; i < 100; ++i)
        BOOST_TEST(all[static_cast<std::size_t>(i)].get() == i * i);
    BOOST_TEST(m.stats().retried == 10u);
    auto limited = tries(1);
    limited.deadline = 1s; // it cannot do that, and says so
    BOOST_CHECK_THROW(m.submit(limited, &square, 1), std::invalid_argument);
}

BOOST_AUTO_TEST_CASE(a_task_that_cannot_be_handed_out_is_kept_and_runs_once)
{
    auto mine = std::make_unique<engine_of_one>();
    auto& engine = *mine;
    engine.works = false;
    master m({}, std::move(mine));
    const auto kept = m.submit(tries(2), &square, 3); // it was taken
    BOOST_CHECK_THROW(kept.get(), std::runtime_error);
    engine.works = true;
    BOOST_TEST(kept.get() == 9);
    BOOST_TEST(m.stats().finished == 1u);
}

BOOST_AUTO_TEST_SUITE_END()
