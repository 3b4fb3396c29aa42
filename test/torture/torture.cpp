// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.

// Kills workers at every named point, as fast as they can be replaced, and
// checks that this costs nothing that was submitted:
//
//     torture [--seconds N] [--kills N] [--seed N] [--workers N]
//
// Ends after so many seconds, or once so many have died, and then when the
// tasks that are in the table have come to their end.  Prints one line; exit
// status 1 when a promise was broken.

#include "common/cell_ends.hpp"
#include "common/crew.hpp"
#include "common/worker.hpp"
#include "test/processes.hpp"
#include "test/torture/ordeal.hpp"

#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <mutex>
#include <random>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

using namespace std::chrono_literals;
using common::cell_control;
using common::cells;
using test::mix;

namespace {

// Where a worker dies, and whether it holds a task there that must run again.
struct place
{
    std::string_view name;
    bool runs_again;
};
constexpr std::array<place, 7> places{{{"(killed from outside)", false},
                                       {"worker.ready", false},
                                       {"cells.claimed", true},
                                       {"torture.task", true},
                                       {"torture.half_written", true},
                                       {"cells.output_written", true},
                                       {"cells.committed", false}}};

struct seat // of one worker after the other
{
    std::atomic<std::uint32_t> place{0}; // worker, just before it dies there
    std::atomic<std::int64_t> died{0};   // worker, or its killer: when
    std::atomic<std::int64_t> delay{0};  // its successor, when it is ready
};
using seats = common::shared_array<seat>;

std::int64_t now()
{
    return common::clock::now().time_since_epoch().count();
}

// What a task carries: words that follow from its number, so that any other
// word among them is seen.
struct words
{
    std::uint64_t number = 0;
    std::vector<std::uint64_t> rest;

    static words of(std::uint64_t number, std::uint64_t salt)
    {
        words result{number, {}};
        const bool large = number % 4 == 0; // does not fit into the cell
        result.rest.resize(large ? 3 + mix(number) % 600 : 1);
        for (std::size_t i = 0; i < result.rest.size(); ++i)
            result.rest[i] = mix(number * 1009 + i) ^ salt;
        return result;
    }
    friend bool operator==(const words&, const words&) = default;
};

} // namespace

// Written in two halves, with a death between them.
template <>
struct common::codec<words>
{
    static std::size_t size(const words& w) { return 8 * (1 + w.rest.size()); }
    static void write(writer& to, const words& w)
    {
        encode(to, w.number);
        const auto half = w.rest.size() / 2;
        to.bytes(w.rest.data(), 8 * half);
        COMMON_FAULT_POINT("torture.half_written");
        to.bytes(w.rest.data() + half, 8 * (w.rest.size() - half));
    }
    static words read(reader& from)
    {
        words result{decode<std::uint64_t>(from), {}};
        result.rest.resize(from.rest.size() / 8);
        from.bytes(result.rest.data(), 8 * result.rest.size());
        return result;
    }
};

namespace {

constexpr std::uint64_t there = 0x5bd1e995, back = 0x1b873593;

words answer(words given)
{
    if (given != words::of(given.number, there))
        throw std::runtime_error("the input is torn");
    COMMON_FAULT_POINT("torture.task");
    return words::of(given.number, back);
}

void begin(seats all, common::crew_member me)
{
    static const seats kept = std::move(all); // mapped as long as we live
    static seat* const mine = &kept[me.slot() - 1];
    mine->place.store(0);
    if (const auto died = mine->died.exchange(0); died != 0)
        mine->delay.store(now() - died);
#ifdef COMMON_FAULT_POINTS
    common::fault::plan::of_this_process().last_words =
        [](std::string_view name) {
            const auto at = std::find_if(
                places.begin(), places.end(),
                [&](const place& one) { return one.name == name; });
            mine->place.store(static_cast<unsigned>(at - places.begin()));
            mine->died.store(now());
        };
#endif
}

// The real body of a worker, after it has learnt which seat is its own.
struct body
{
    int operator()(common::crew_member me, cells table, seats all,
                   common::inherited bell) const
    {
        begin(std::move(all), me);
        return common::serve<void (*)()>{}(me, std::move(table), {}, bell,
                                           {+[] {}});
    }
};

class torture
{
public:
    explicit torture(const test::torture_options& wanted)
        : wanted_(wanted)
        , table_({1, false, capacity, wanted.workers, 64u << 10})
        , seats_(wanted.workers)
        , bell_(::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC))
        , crew_(test::tireless(wanted),
                {[this](const common::crew::ended& e) { bury(e); },
                 [this](const std::string& cause) { break_down(cause); }},
                body{}, table_, seats_, common::inherited{bell_.get()})
        , lane_(table_)
        , in_flight_(capacity)
        , outside_([this] { kill_from_outside(); })
    {
    }

    ~torture()
    {
        {
            const std::lock_guard hold(mutex_);
            over_ = true;
        }
        change_.notify_all();
        outside_.join();
    }

    void run()
    {
        started_ = now();
        const auto end = common::clock::now() +
                         std::chrono::duration_cast<common::clock::duration>(
                             std::chrono::duration<double>(wanted_.seconds));
        while (common::clock::now() < end && crew_.deaths() < wanted_.kills &&
               !broken_)
        {
            submit();
            await_one(end);
            collect();
        }
        seconds_ = static_cast<double>(now() - started_) * 1e-9;
        kills_ = crew_.deaths();
        const auto last = common::clock::now() + 30s;
        while (lane_.in_use() != 0 && common::clock::now() < last && !broken_)
        {
            await_one(last);
            collect();
        }
        table_.close(false);
        crew_.stop(common::clock::now() + 5s);
    }

    /// Says what happened in one line.  Returns whether all was well.
    bool report()
    {
        std::uint64_t lost = 0;
        for (const auto times : results_)
            lost += times == 0;
        std::sort(delays_.begin(), delays_.end());
        const auto at = [this](double part) {
            return delays_.empty()
                       ? 0.0
                       : static_cast<double>(delays_[static_cast<std::size_t>(
                             part * static_cast<double>(delays_.size() - 1))]) *
                             1e-6;
        };
        const double rate = static_cast<double>(kills_) / seconds_;
        std::printf("torture: seed %llu, %u workers, %llu tasks, %llu kills, "
                    "%.0f kills/s, lost %llu, doubled %llu, torn %llu, "
                    "retried %llu, poisoned %llu, death to replacement ready "
                    "p50 %.2f ms, p99 %.2f ms, max %.2f ms\n",
                    test::ull(wanted_.seed), wanted_.workers,
                    test::ull(results_.size()), test::ull(kills_), rate,
                    test::ull(lost), test::ull(doubled_), test::ull(torn_),
                    test::ull(retried_), test::ull(poisoned_), at(0.5),
                    at(0.99), at(1));
        std::uint64_t run_again = outside_running_;
        for (std::size_t i = 0; i < places.size(); ++i)
        {
            std::printf("  %8llu deaths at %s\n", test::ull(deaths_at_[i]),
                        std::string(places[i].name).c_str());
            if (places[i].runs_again)
                run_again += deaths_at_[i];
        }
        verdict_.require(lost == 0, "a task was lost");
        verdict_.require(doubled_ == 0, "a task was committed twice");
        verdict_.require(torn_ == 0, "a value was torn");
        verdict_.require(broken_ == 0, "the crew gave up");
        // Each death that held a task is one more attempt of it, or its end;
        // no other death is.
        verdict_.require(run_again == retried_ + poisoned_,
                         "deaths and attempts do not add up");
        verdict_.require(strange_ == 0,
                         "a death did not leave what its place says");
        verdict_.require(at(0.99) <= 50, "replacements take longer than 50 ms");
        for (std::size_t i = 1; i < places.size(); ++i)
            verdict_.require(kills_ < 1000 || deaths_at_[i] > 0,
                             "nobody died at " + std::string(places[i].name));
        return verdict_.good();
    }

private:
    static constexpr unsigned capacity = 64;
    static constexpr unsigned attempts = 200;

    // --- the submitting thread ---------------------------------------------

    void submit()
    {
        using what = common::task<words (*)(words), words>;
        while (const auto index = lane_.acquire()) // until the table is full
        {
            const auto number = results_.size();
            results_.push_back(0);
            const auto input = words::of(number, there);
            const auto size = what::size(&answer, input);
            common::writer to{lane_.input(*index, size)};
            what::write(to, &answer, input);
            in_flight_[*index] = {true, number, 0};
            in_flight_[*index].lap = lane_.publish(*index, what::id(), size, 0);
        }
    }

    bool over(unsigned index) const
    {
        const auto control = table_.control(index);
        return in_flight_[index].used && control.final() &&
               control.lap == in_flight_[index].lap;
    }

    void await_one(common::time_point deadline)
    {
        table_.done().wait_until(
            [this] {
                if (broken_)
                    return true;
                for (unsigned i = 0; i < capacity; ++i)
                    if (over(i))
                        return true;
                return false;
            },
            deadline);
    }

    void collect()
    {
        for (unsigned i = 0; i < capacity; ++i)
            if (over(i))
            {
                take_result(i);
                in_flight_[i].used = false;
                lane_.release(i);
            }
    }

    void take_result(unsigned index)
    {
        auto& times = results_[in_flight_[index].number];
        if (++times > 1)
            ++doubled_;
        if (table_.control(index).is != cell_control::state::done)
            return; // poisoned: reported
        const auto& from = table_.at(index);
        common::reader bytes{table_.output(index, from.output_size)};
        if (from.output_kind != static_cast<std::uint8_t>(cells::kind::value) ||
            common::decode<words>(bytes) !=
                words::of(in_flight_[index].number, back))
            ++torn_;
    }

    // --- the supervising thread --------------------------------------------

    void bury(const common::crew::ended& who)
    {
        unsigned held = 0;
        table_.recover(who.slot, [&](unsigned, unsigned attempt) {
            ++held;
            const bool again = attempt + 1 < attempts;
            ++(again ? retried_ : poisoned_);
            return again;
        });
        auto& mine = seats_[who.slot - 1];
        if (const auto delay = mine.delay.exchange(0); delay != 0)
            delays_.push_back(delay);
        if (who.left || who.status.signal != SIGKILL)
        {
            strange_ += !who.status.success(); // it left when we closed
            return;
        }
        const auto at =
            std::min<std::size_t>(mine.place.exchange(0), places.size() - 1);
        ++deaths_at_[at];
        if (at == 0)
        {
            outside_running_ += held;
            strange_ += held > 1;
        }
        else
            strange_ += held != (places[at].runs_again ? 1u : 0u);
    }

    void break_down(const std::string& cause)
    {
        std::printf("%s\n", cause.c_str());
        broken_ = 1;
        table_.done().notify_after_death();
    }

    // --- the thread that kills from outside --------------------------------

    void kill_from_outside()
    {
        std::mt19937_64 dice(wanted_.seed);
        std::unique_lock hold(mutex_);
        while (!change_.wait_for(hold,
                                 std::chrono::microseconds(dice() % 20'000),
                                 [this] { return over_; }))
        {
            const auto slot = static_cast<unsigned>(dice() % crew_.size()) + 1;
            seats_[slot - 1].died.store(now());
            crew_.kill(slot);
        }
    }

    struct use // of a cell
    {
        bool used = false;
        std::uint64_t number = 0, lap = 0;
    };

    test::torture_options wanted_;
    cells table_;
    seats seats_;
    common::kernel::descriptor bell_;

    // Supervising thread, and the report after it has ended.
    std::uint64_t retried_ = 0, poisoned_ = 0, outside_running_ = 0;
    std::uint64_t strange_ = 0;
    std::array<std::uint64_t, places.size()> deaths_at_{};
    std::vector<std::int64_t> delays_;
    std::atomic<int> broken_{0};

    std::int64_t started_ = 0;
    double seconds_ = 0;
    std::uint64_t kills_ = 0, doubled_ = 0, torn_ = 0;
    std::vector<std::uint8_t> results_; // of each task: how often
    test::verdict verdict_;

    common::crew crew_;
    common::submitter lane_;
    std::vector<use> in_flight_;
    std::mutex mutex_;
    std::condition_variable change_;
    bool over_ = false;
    std::thread outside_;
};

} // namespace

int main(int argc, char** argv)
{
    return test::torture_main<torture>(
        argc, argv,
        "worker.ready=0.03,cells.claimed=0.05,torture.task=0.05,"
        "torture.half_written=0.05,cells.output_written=0.05,"
        "cells.committed=0.05");
}
