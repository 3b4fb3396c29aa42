// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.

// Kills producers and consumers of a queue, as fast as they can be replaced,
// and checks that no item is lost, torn, or finished twice:
//
//     queue [--seconds N] [--kills N] [--seed N] [--workers N]
//
// Prints one line, and one for each place; exit status 1 when a promise was
// broken.

#include "common/crew.hpp"
#include "test/torture/ordeal.hpp"

#include "patterns/producer_consumer/producer_consumer.hpp"

#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <random>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

using namespace std::chrono_literals;

namespace {

// Where a producer or a consumer dies, and how likely each time.
constexpr std::array<test::place, 14> places{{{"producer.written", 0.01},
                                              {"ring.claimed", 0.01},
                                              {"ring.written", 0.01},
                                              {"ring.published", 0.01},
                                              {"ring.growing", 0.01},
                                              {"ring.grown", 0.01},
                                              {"lanes.leased", 0.02},
                                              {"consumer.opened", 0.02},
                                              {"consumer.handed", 0.005},
                                              {"consumer.finishing", 0.005},
                                              {"consumer.finished", 0.005},
                                              {"lanes.acknowledging", 0.02},
                                              {"lanes.acknowledged", 0.02},
                                              {"torture.worked", 0.005}}};
constexpr std::uint64_t most = 4'000'000; // items of one slot of producers
constexpr std::string_view before_mark = "consumer.finishing";
constexpr auto drained = 30s; // for what is left at the end

struct item
{
    std::uint64_t slot = 0, number = 0, check = 0;

    static item of(std::uint64_t slot, std::uint64_t number)
    {
        return {slot, number, test::mix(slot << 32 | number)};
    }
};
using items = producer_consumer::queue<item>;

/// What became of an item.
struct fate
{
    std::atomic<std::uint8_t> begun{0};        // pushes, by its producer
    std::atomic<std::uint8_t> acknowledged{0}; // by its consumers
    std::atomic<std::uint8_t> uncounted{0};    // 1: a consumer may have died
                                               // between that and its count;
                                               // by the supervising thread
};
using fates = common::shared_array<fate>;

struct seat // of one worker after the other, in shared memory
{
    std::atomic<std::uint64_t> pushed{0}; // items, by the producer
    std::atomic<std::uint32_t> place{0};  // where it dies, by who dies
    std::atomic<std::uint64_t> at{0};     // 1 + the index of the fate of what
                                          // it acknowledges, by the consumer
};
using seats = common::shared_array<seat>;

struct findings // written by consumers
{
    std::atomic<std::uint64_t> torn{0}, finished{0}, redelivered{0};
};

/// From now on, this process notes in `mine` where it dies.
void note_death_in(seat& mine)
{
    common::fault::plan::of_this_process().last_words =
        [&mine](std::string_view name) {
            for (std::size_t i = 0; i < places.size(); ++i)
                if (places[i].name == name)
                    mine.place = static_cast<std::uint32_t>(i + 1);
        };
}

/// Runs in a worker: goes on where the one before it was killed.
void produce(common::crew_member me, producer_consumer::producer<item> out,
             seats every, fates all, common::shared<std::atomic<bool>> over)
{
    auto& mine = every[me.slot() - 1];
    note_death_in(mine);
    me.ready();
    const std::uint64_t first = (me.slot() - 1) * most;
    std::vector<item> some;
    while (!*over && mine.pushed < most) // ends with the ordeal
    {
        some.clear();
        const std::uint64_t from = mine.pushed;
        const auto count = std::min(from % 7 + 1, most - from);
        for (auto i = from; i < from + count; ++i)
        {
            ++all[first + i].begun;
            some.push_back(item::of(me.slot(), i));
        }
        out.push_all(some);
        mine.pushed = from + count;
    }
    me.finished();
}

/// Runs in a worker.
void consume(common::crew_member me, producer_consumer::consumer<item> in,
             seats every, fates all, common::shared<findings> seen)
{
    auto& mine = every[me.slot() - 1];
    note_death_in(mine);
    me.ready();
    while (auto one = in.lease()) // ends with the queue
    {
        const item got = *one;
        if (got.slot == 0 || got.slot > every.size() || got.number >= most ||
            got.check != item::of(got.slot, got.number).check)
        {
            ++seen->torn;
            continue;
        }
        const auto at = (got.slot - 1) * most + got.number;
        seen->redelivered += one.redelivered() > 0;
        COMMON_FAULT_POINT("torture.worked");
        mine.at = at + 1;
        if (one.acknowledge())
        {
            ++all[at].acknowledged;
            ++seen->finished;
        }
        mine.at = 0;
    }
    me.finished();
}

class ordeal
{
public:
    explicit ordeal(const test::torture_options& wanted)
        : wanted_(wanted)
        , queue_(plan())
        , fates_(wanted.workers * most)
        , producing_(wanted.workers)
        , consuming_(wanted.workers)
        , producers_(test::tireless(wanted), events(producing_), &produce,
                     queue_.producer(), producing_, fates_, over_)
        , consumers_(test::tireless(wanted), events(consuming_), &consume,
                     queue_.consumer(), consuming_, fates_, seen_)
    {
    }

    /// Kills from outside as well, until the time is over, and lets the
    /// consumers finish what is left.
    void run()
    {
        const auto start = common::clock::now();
        const auto end =
            start + std::chrono::duration_cast<std::chrono::nanoseconds>(
                        std::chrono::duration<double>(wanted_.seconds));
        std::mt19937_64 dice(wanted_.seed);
        while (common::clock::now() < end && kills() < wanted_.kills &&
               !broken_)
        {
            auto& crew = dice() % 2 == 0 ? producers_ : consumers_;
            crew.kill(static_cast<unsigned>(dice() % crew.size()) + 1);
            std::this_thread::sleep_for( // the pace of these kills
                std::chrono::microseconds(dice() % 4000));
        }
        seconds_ =
            std::chrono::duration<double>(common::clock::now() - start).count();
        killed_ = kills();
        *over_ = true;
        const auto stopped = common::clock::now();
        producers_.join();
        queue_.close();
        consumers_.join();
        in_time_ = common::clock::now() - stopped < drained;
    }

    /// Says what happened.  Returns whether all was well.
    bool report()
    {
        std::uint64_t pushed = 0, doubled = 0, lost = 0;
        for (std::size_t slot = 0; slot < producing_.size(); ++slot)
        {
            const std::uint64_t end = producing_[slot].pushed;
            pushed += end;
            for (std::uint64_t i = 0; i < most; ++i)
            {
                const auto& one = fates_[slot * most + i];
                doubled += one.acknowledged > one.begun;
                lost += i < end && one.acknowledged + one.uncounted == 0;
            }
        }
        std::printf(
            "torture of a queue: seed %llu, %u producers and as many "
            "consumers, %llu items, %llu redelivered, %llu killed, %.0f "
            "kills/s, lost %llu, doubled %llu, torn %llu\n",
            test::ull(wanted_.seed), wanted_.workers, test::ull(pushed),
            test::ull(seen_->redelivered), test::ull(killed_),
            static_cast<double>(killed_) / seconds_, test::ull(lost),
            test::ull(doubled), test::ull(seen_->torn));
        for (std::size_t i = 0; i < places.size(); ++i)
        {
            const std::string name(places[i].name);
            std::printf("  %8llu deaths at %s\n", test::ull(deaths_at_[i + 1]),
                        name.c_str());
            verdict_.require(killed_ < 2000 || deaths_at_[i + 1] > 0,
                             "nobody died at " + name);
        }
        std::printf("  %8llu deaths from outside\n", test::ull(deaths_at_[0]));
        verdict_.require(pushed > 0 && seen_->finished > 0, "nothing was done");
        verdict_.require(lost == 0, "an item was lost");
        verdict_.require(doubled == 0, "an item was finished twice");
        verdict_.require(seen_->torn == 0, "an item was torn");
        verdict_.require(queue_.size() == 0 && queue_.dead_letters().empty(),
                         "items are left in the queue");
        verdict_.require(in_time_, "somebody waited for the dead");
        verdict_.require(strange_ == 0,
                         "a worker ended otherwise than by a kill");
        verdict_.require(!broken_, "the crew gave up");
        return verdict_.good();
    }

private:
    static producer_consumer::queue_options plan()
    {
        producer_consumer::queue_options result;
        result.capacity = 256;
        result.bytes = 64 << 10;
        result.attempts = 1000; // here no item is to blame
        return result;
    }

    common::crew::events events(const seats& whose)
    {
        return {[this, whose](const common::crew::ended& who) {
                    bury(who, whose[who.slot - 1]);
                },
                [this](const std::string& cause) {
                    std::printf("%s\n", cause.c_str());
                    broken_ = true;
                }};
    }

    // In the supervising thread of either crew.
    void bury(const common::crew::ended& who, seat& its)
    {
        if (who.left || who.status.signal != SIGKILL)
        {
            strange_ += !who.status.success();
            return;
        }
        const auto place = its.place.exchange(0);
        ++deaths_at_[place];
        const auto at = its.at.exchange(0);
        if (at != 0 && (place == 0 || places[place - 1].name != before_mark))
            fates_[at - 1].uncounted = 1;
    }

    std::uint64_t kills() const
    {
        return producers_.deaths() + consumers_.deaths();
    }

    test::torture_options wanted_;
    items queue_;
    fates fates_;
    seats producing_, consuming_;
    common::shared<findings> seen_;
    common::shared<std::atomic<bool>> over_{false};

    // Supervising threads, and the report after they have ended.
    std::array<std::atomic<std::uint64_t>, places.size() + 1> deaths_at_{};
    std::atomic<std::uint64_t> strange_{0};
    std::atomic<bool> broken_{false};

    double seconds_ = 0;
    std::uint64_t killed_ = 0;
    bool in_time_ = false;
    test::verdict verdict_;
    common::crew producers_, consumers_;
};

} // namespace

int main(int argc, char** argv)
{
    return test::torture_main<ordeal>(argc, argv, test::plan_of(places));
}
