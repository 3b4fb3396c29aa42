// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.

// Kills workers while they hold locks of shared data, as fast as they can be
// replaced, and checks that what the locks guard stays whole and that nobody
// waits for the dead:
//
//     shared_data [--seconds N] [--kills N] [--seed N] [--workers N]
//
// Prints one line, and one for each place; exit status 1 when a promise was
// broken.

#include "patterns/shared_data/shared_data.hpp"

#include "common/crew.hpp"
#include "test/processes.hpp"
#include "test/torture/ordeal.hpp"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <numeric>
#include <random>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

using namespace std::chrono_literals;

namespace {

// Where a worker dies, and how likely; it holds a lock at all of these.
constexpr std::array<test::place, 13> places{{{"robust.taken", 0.005},
                                              {"robust.entered", 0.005},
                                              {"robust.leaving", 0.005},
                                              {"guarded.repaired", 0.3},
                                              {"snapshot.written", 0.05},
                                              {"transactional.committed", 0.05},
                                              {"shared_mutex.seated", 0.005},
                                              {"semaphore.taken", 0.05},
                                              {"map.written", 0.05},
                                              {"map.published", 0.05},
                                              {"map.taken_out", 0.05},
                                              {"torture.half_written", 0.1},
                                              {"torture.awaited", 0.3}}};
constexpr auto longest_stall = 250ms;
constexpr auto stuck = 10s; // a wait that is given up

// Changed in two steps, with a death between them.
struct pair
{
    std::uint64_t first = 0, second = 0;

    bool whole() const { return first == second; }
    void change()
    {
        ++first;
        common::settle();
        COMMON_FAULT_POINT("torture.half_written");
        ++second;
    }
};
void mend(pair& p)
{
    p.second = p.first;
}

// A number and what follows from it.
struct entry
{
    std::uint64_t number = 0, second = 0, third = 0;

    static entry of(std::uint64_t n)
    {
        return {n, test::mix(n), test::mix(test::mix(n))};
    }
    bool whole() const
    {
        return second == test::mix(number) && third == test::mix(second);
    }
};

// What all processes share.
struct square
{
    shared_data::guarded<pair, &mend> guarded;
    shared_data::shared_guarded<pair, &mend> read_or_written;
    shared_data::transactional<pair> transactional;
    shared_data::semaphore<> semaphore{2u};
    std::atomic<std::uint64_t> operations{0}; // all of these: anybody
    std::atomic<std::uint64_t> broken{0};
    std::atomic<std::uint64_t> stuck{0};
    std::atomic<std::int64_t> longest{0}; // wait, in ns
};
using shared_square = common::shared<square>;
using entries = shared_data::map<std::uint64_t, entry>;
constexpr std::uint64_t keys = 100;

struct seat // of one worker after the other
{
    // Worker, just before it dies: 1 + the index of its place.
    std::atomic<std::uint32_t> place{0};
};
using seats = common::shared_array<seat>;

// Measures how long its owner waits: from its start to `over`.
class wait
{
public:
    explicit wait(square& in) : in_(in) {}
    void over() const
    {
        const auto took = (common::clock::now() - since_).count();
        auto longest = in_.longest.load(std::memory_order_relaxed);
        while (took > longest && // ends: it only grows
               !in_.longest.compare_exchange_weak(longest, took))
            continue;
        in_.operations.fetch_add(1, std::memory_order_relaxed);
    }

private:
    square& in_;
    common::time_point since_ = common::clock::now();
};

// Holds a lock for as long as it takes others to come and fall asleep.
void await_victims(bool linger)
{
    if (!linger)
        return;
    const auto end = common::clock::now() + 300us;
    while (common::clock::now() < end)
        common::relax();
    COMMON_FAULT_POINT("torture.awaited");
}

void change_guarded(square& s, bool linger)
{
    const wait w(s);
    const auto value = s.guarded.lock_for(stuck);
    w.over();
    s.broken += !value->whole();
    await_victims(linger);
    value->change();
}

void write(square& s, bool linger)
{
    const wait w(s);
    const auto value = s.read_or_written.write(common::clock::now() + stuck);
    w.over();
    s.broken += !value->whole();
    await_victims(linger);
    value->change();
}

void read(square& s, bool linger)
{
    const wait w(s);
    const auto value = s.read_or_written.read(common::clock::now() + stuck);
    w.over();
    await_victims(linger);
    s.broken += !value->whole();
}

void update(square& s, bool linger)
{
    const wait w(s);
    s.transactional.update(
        [&](pair& p) {
            w.over();
            s.broken += !p.whole();
            await_victims(linger);
            p.change();
        },
        common::clock::now() + stuck);
}

void acquire(square& s, bool linger)
{
    const wait w(s);
    const auto permit = s.semaphore.acquire(common::clock::now() + stuck);
    w.over();
    await_victims(linger);
}

void change_entries(square& s, entries& all, std::uint64_t dice)
{
    const wait w(s);
    const auto key = dice % keys;
    if (dice >> 32 & 1)
        all.insert_or_assign(key, entry::of(dice));
    else
        all.erase(key);
    w.over();
}

void look(square& s, const entries& all)
{
    s.broken += !s.transactional.read().whole();
    for (std::uint64_t key = 0; key < keys; ++key)
        if (const auto one = all.find(key))
            s.broken += !one->whole();
}

// One thing that may be done to the square.
void act(square& s, entries& all, std::uint64_t dice)
{
    const bool linger = (dice >> 40) % 16 == 0;
    try
    {
        switch (dice >> 48 & 7)
        {
        case 0:
            return change_guarded(s, linger);
        case 1:
            return write(s, linger);
        case 2:
            return read(s, linger);
        case 3:
            return update(s, linger);
        case 4:
            return acquire(s, linger);
        case 5:
            return look(s, all);
        default:
            return change_entries(s, all, dice);
        }
    }
    catch (const common::timed_out&)
    {
        ++s.stuck;
    }
}

// The body of a worker: acts until it is killed, or told to stop.
void live(common::crew_member me, shared_square s, entries all, seats every,
          common::shared<std::atomic<bool>> over)
{
    [[maybe_unused]] auto& mine = every[me.slot() - 1];
    mine.place.store(0);
#ifdef COMMON_FAULT_POINTS
    common::fault::plan::of_this_process().last_words =
        [&mine](std::string_view name) {
            const auto at = std::find_if(
                places.begin(), places.end(),
                [&](const test::place& one) { return one.name == name; });
            mine.place.store(static_cast<unsigned>(at - places.begin()) + 1);
        };
#endif
    me.ready();
    std::mt19937_64 dice(static_cast<std::uint64_t>(::getpid()) ^
                         static_cast<std::uint64_t>(
                             common::clock::now().time_since_epoch().count()));
    while (!*over) // ends with the day
        act(*s, all, dice());
    me.leaving();
}

class ordeal
{
public:
    explicit ordeal(const test::torture_options& wanted)
        : wanted_(wanted)
        , seats_(wanted.workers)
        , crew_(test::tireless(wanted),
                {[this](const common::crew::ended& e) { bury(e); },
                 [this](const std::string& cause) {
                     std::printf("%s\n", cause.c_str());
                     crew_broke_ = true;
                 }},
                &live, square_, entries_, seats_, over_)
    {
    }

    // This thread does as the workers do, and nobody kills it; now and then it
    // kills one of them.
    void run()
    {
        std::mt19937_64 dice(wanted_.seed);
        const auto start = common::clock::now();
        const std::chrono::duration<double> time(wanted_.seconds);
        while (common::clock::now() - start < time &&
               crew_.deaths() < wanted_.kills && !crew_broke_)
        {
            for (int i = 0; i < 20; ++i)
                act(*square_, entries_, dice());
            if (dice() % 16 == 0)
                crew_.kill(static_cast<unsigned>(dice() % crew_.size()) + 1);
            std::this_thread::sleep_for(200us); // or it is never they who hold
        }
        seconds_ =
            std::chrono::duration<double>(common::clock::now() - start).count();
        *over_ = true;
        in_time_ = crew_.stop(common::clock::now() + 2 * stuck);
    }

    /// Says what happened.  Returns whether all was well.
    bool report()
    {
        for (int i = 0; i < 100; ++i)
            look(*square_, entries_);
        const auto holding = std::accumulate(
            deaths_at_.begin(), deaths_at_.end(), std::uint64_t{0});
        const auto& s = *square_;
        std::printf("torture of shared data: seed %llu, %u workers, %llu "
                    "operations, %llu deaths while holding a lock, %llu from "
                    "outside, %.0f deaths/s, broken %llu, stuck %llu, longest "
                    "stall %.1f ms\n",
                    test::ull(wanted_.seed), wanted_.workers,
                    test::ull(s.operations), test::ull(holding),
                    test::ull(from_outside_),
                    static_cast<double>(holding + from_outside_) / seconds_,
                    test::ull(s.broken), test::ull(s.stuck),
                    static_cast<double>(s.longest) * 1e-6);
        for (std::size_t i = 0; i < places.size(); ++i)
        {
            const std::string name(places[i].name);
            std::printf("  %8llu deaths at %s\n", test::ull(deaths_at_[i]),
                        name.c_str());
            verdict_.require(holding < 2000 || deaths_at_[i] > 0,
                             "nobody died at " + name);
        }
        verdict_.require(s.broken == 0, "a value was seen half-written");
        verdict_.require(s.stuck == 0 && in_time_,
                         "somebody waited for the dead");
        verdict_.require(std::chrono::nanoseconds(s.longest) <= longest_stall,
                         "somebody waited longer than 250 ms");
        verdict_.require(strange_ == 0,
                         "a worker ended otherwise than by a kill");
        verdict_.require(!crew_broke_, "the crew gave up");
        return verdict_.good();
    }

private:
    // In the supervising thread.
    void bury(const common::crew::ended& who)
    {
        if (who.left || who.status.signal != SIGKILL)
        {
            strange_ += !who.status.success();
            return;
        }
        const auto at = seats_[who.slot - 1].place.exchange(0);
        ++(at == 0 ? from_outside_ : deaths_at_.at(at - 1));
    }

    test::torture_options wanted_;
    shared_square square_;
    entries entries_{2 * keys};
    seats seats_;
    common::shared<std::atomic<bool>> over_{false};

    // Supervising thread, and the report after it has ended.
    std::array<std::uint64_t, places.size()> deaths_at_{};
    std::uint64_t from_outside_ = 0, strange_ = 0;
    std::atomic<bool> crew_broke_{false};

    double seconds_ = 0;
    bool in_time_ = false;
    test::verdict verdict_;
    common::crew crew_;
};

} // namespace

int main(int argc, char** argv)
{
    return test::torture_main<ordeal>(argc, argv, test::plan_of(places));
}
