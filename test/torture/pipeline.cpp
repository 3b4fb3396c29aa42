// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.

// Kills the processes of a pipeline, as fast as they can be replaced: at each
// place for a while, then at all of them and from outside as well.  Checks at
// the sink that no item is lost, torn or doubled, and that all are in order:
//
//     pipeline [--seconds N] [--seed N] [--workers N]
//
// Prints one line, and one for each place; exit status 1 when a promise was
// broken.

#include "patterns/pipeline/pipeline.hpp"

#include "test/processes.hpp"
#include "test/torture/ordeal.hpp"

#include <unistd.h>

#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <optional>
#include <random>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace {

// Where a process dies, and how likely each time.
constexpr std::array<test::place, 9> places{{{"pipeline.taken", 0.003},
                                             {"pipeline.processed", 0.003},
                                             {"pipeline.committed", 0.003},
                                             {"pipeline.acknowledged", 0.003},
                                             {"lanes.leased", 0.003},
                                             {"lanes.acknowledging", 0.003},
                                             {"lanes.acknowledged", 0.003},
                                             {"ring.written", 0.003},
                                             {"ring.published", 0.003}}};

struct item
{
    std::uint64_t number = 0, part = 0, check = 0;

    static item of(std::uint64_t number, std::uint64_t part)
    {
        return {number, part, test::mix(number << 8 | part)};
    }
    auto operator<=>(const item&) const = default;
};

// --- the stages; each throws for an item that is not as it was made ---------

item looked_at(item one)
{
    if (one != item::of(one.number, one.part))
        throw std::runtime_error("an item is torn");
    return one;
}

/// None, one or two of each, by its number.
pipeline::several<item> spread(item one)
{
    std::vector<item> parts;
    for (std::uint64_t part = 0; part < looked_at(one).number % 3; ++part)
        parts.push_back(item::of(one.number, part));
    return pipeline::several<item>(std::move(parts));
}

constexpr bool is_kept(std::uint64_t number)
{
    return number % 7 != 0;
}

std::optional<item> keep(item one)
{
    return is_kept(looked_at(one).number) ? std::optional(one) : std::nullopt;
}

/// What has to arrive at the sink, one by one.
class expectation
{
public:
    item next() const { return item::of(number_, part_); }
    std::uint64_t number() const { return number_; }

    /// That one was there, or is given up for lost.
    void move_on()
    {
        ++part_;
        settle();
    }

private:
    void settle() // ends: two of three numbers have parts, six of seven stay
    {
        while (part_ >= number_ % 3 || !is_kept(number_))
        {
            ++number_;
            part_ = 0;
        }
    }

    std::uint64_t number_ = 1, part_ = 0; // as the source begins
};

/// Kills workers of this process, one after the other, while it lives.
class outside_killer
{
public:
    explicit outside_killer(std::uint64_t seed)
        : thread_([this, seed] {
            std::mt19937_64 dice(seed);
            while (!over_) // set at the end of this object's life
            {
                const auto all = test::workers_of(::getpid());
                if (!all.empty())
                    ::kill(all[dice() % all.size()], SIGKILL);
                std::this_thread::sleep_for( // the pace of these kills
                    std::chrono::microseconds(dice() % 8000));
            }
        })
    {
    }
    outside_killer(const outside_killer&) = delete;
    ~outside_killer()
    {
        over_ = true;
        thread_.join();
    }

private:
    std::atomic<bool> over_{false};
    std::thread thread_;
};

class ordeal
{
public:
    explicit ordeal(const test::torture_options& wanted) : wanted_(wanted) {}

    /// Half of the time for the places, one after the other; then all.
    void run()
    {
        const auto start = common::clock::now();
        for (std::size_t i = 0; i < places.size(); ++i)
            deaths_at_[i] = flow(test::plan_of(std::array{places[i]}),
                                 wanted_.seconds / 2 / places.size(), false);
        deaths_at_.back() =
            flow(test::plan_of(places), wanted_.seconds / 2, true);
        seconds_ =
            std::chrono::duration<double>(common::clock::now() - start).count();
    }

    /// Says what happened.  Returns whether all was well.
    bool report()
    {
        std::uint64_t killed = 0;
        for (const auto deaths : deaths_at_)
            killed += deaths;
        std::printf("torture of a pipeline: seed %llu, %u processes, %llu "
                    "items, %llu replayed, %llu killed, %.0f kills/s, lost "
                    "%llu, doubled or out of order %llu\n",
                    test::ull(wanted_.seed), wanted_.workers + 3,
                    test::ull(items_), test::ull(replayed_), test::ull(killed),
                    static_cast<double>(killed) / seconds_, test::ull(lost_),
                    test::ull(doubled_));
        for (std::size_t i = 0; i < places.size(); ++i)
        {
            const std::string name(places[i].name);
            std::printf("  %8llu deaths at %s\n", test::ull(deaths_at_[i]),
                        name.c_str());
            verdict_.require(wanted_.seconds < 2 || deaths_at_[i] > 0,
                             "nobody died at " + name);
        }
        std::printf("  %8llu deaths at all of them, and from outside\n",
                    test::ull(deaths_at_.back()));
        verdict_.require(items_ > 0, "nothing was done");
        verdict_.require(lost_ == 0, "an item was lost");
        verdict_.require(doubled_ == 0, "an item came twice, or too late");
        return verdict_.good();
    }

private:
    // Returns how many processes died.
    std::uint64_t flow(const std::string& plan, double seconds, bool outside)
    {
        ::setenv("COMMON_FAULT", plan.c_str(), 1); // no other thread runs yet
        const auto end = common::clock::now() +
                         std::chrono::duration_cast<std::chrono::nanoseconds>(
                             std::chrono::duration<double>(seconds));
        std::uint64_t given = 1; // the source, within run()
        expectation expected;
        const auto generate = [&]() -> std::optional<item> {
            if (common::clock::now() >= end)
                return std::nullopt;
            return item::of(given++, 0);
        };
        const auto check = [&](const item& got) {
            if (got < expected.next())
                return void(++doubled_);
            for (; expected.next() < got; expected.move_on())
                ++lost_; // ends: what arrives has been given
            expected.move_on();
        };
        pipeline::options how;
        how.staff = test::tireless(wanted_);
        how.attempts = 4000; // here no item is to blame
        std::optional<outside_killer> killer;
        if (outside)
            killer.emplace(wanted_.seed);
        const auto did =
            (pipeline::source(generate) | pipeline::stage(looked_at, "first") |
             pipeline::parallel(wanted_.workers, spread, "spread") |
             pipeline::unordered(keep, "keep") |
             pipeline::stage(looked_at, "last") | pipeline::sink(check))
                .run(how);
        killer.reset();
        for (; expected.number() < given; expected.move_on())
            ++lost_; // ends: numbers grow
        items_ += given - 1;
        replayed_ += did.replayed();
        verdict_.require(did.items == given - 1, "the report miscounts");
        return did.deaths();
    }

    test::torture_options wanted_;
    std::array<std::uint64_t, places.size() + 1> deaths_at_{};
    std::uint64_t items_ = 0, replayed_ = 0, lost_ = 0, doubled_ = 0;
    double seconds_ = 0;
    test::verdict verdict_;
};

} // namespace

int main(int argc, char** argv)
{
    return test::torture_main<ordeal>(argc, argv, "");
}
