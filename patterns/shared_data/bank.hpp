// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.

#pragma once

#include "guarded.hpp"
#include "transactional.hpp"

#include "common/options.hpp"
#include "common/robust.hpp"
#include "common/shared.hpp"
#include "common/wait.hpp"

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <numeric>

/// What the program's processes share: accounts, in branches that hold some of
/// them each.  Every other branch keeps its money in a till, the rest in
/// vaults.
namespace bank {

inline constexpr std::size_t accounts_of_branch = 32;
inline constexpr std::int64_t at_first = 1'000; // in each account

/// One step of splitmix64, by Sebastiano Vigna.
inline std::uint64_t mix(std::uint64_t x)
{
    x += 0x9e3779b97f4a7c15;
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9;
    x = (x ^ x >> 27) * 0x94d049bb133111eb;
    return x ^ x >> 31;
}

/// The accounts of a branch.
struct book
{
    std::uint64_t done = 0; // transfers so far
    std::uint64_t used = 0; // accounts
    std::array<std::int64_t, accounts_of_branch> balance{};

    std::int64_t sum() const
    {
        return std::accumulate(balance.begin(), balance.end(), std::int64_t{0});
    }
};

/// The next transfer of a branch follows from how many there have been: so the
/// answer does not depend on who does it, or how often it is begun.
struct transfer
{
    std::size_t from = 0, to = 0;
    std::int64_t amount = 0;

    static transfer next(const book& b, std::size_t branch)
    {
        const auto dice = mix(mix(branch) + b.done);
        transfer result;
        result.from = dice % b.used;
        result.to = (result.from + 1 + (dice >> 16) % (b.used - 1)) % b.used;
        const auto wish = static_cast<std::int64_t>((dice >> 32) % 100);
        result.amount = std::min(wish, b.balance[result.from]);
        return result;
    }
};

// tag::till[]
// Money in a till is counted in place.  Who is killed meanwhile leaves a note
// of how it was before.
struct till : book
{
    struct
    {
        bool counting = false;
        std::uint64_t done = 0;
        transfer what;
        std::int64_t from = 0, to = 0;
    } note;
};

inline void put_back(till& t)
{
    if (!t.note.counting)
        return;
    t.done = t.note.done;
    t.balance[t.note.what.from] = t.note.from;
    t.balance[t.note.what.to] = t.note.to;
    common::settle(); // may be killed and run again: the note goes last
    t.note.counting = false;
}

using guarded_till = shared_data::guarded<till, &put_back>;
// end::till[]
using vault = shared_data::transactional<book>;

/// How much is to be done, and how many are to die meanwhile.
struct plan
{
    std::uint64_t accounts = 1'000, transfers = 200'000;
    common::chaos chaos;

    std::uint64_t branches() const
    {
        return (accounts + accounts_of_branch - 1) / accounts_of_branch;
    }
    // How many of `all` the branch gets: the last ones a little less.
    std::uint64_t share(std::uint64_t all, std::size_t branch) const
    {
        return all / branches() + (branch < all % branches() ? 1 : 0);
    }
};

/// What everybody may read.
struct board
{
    std::atomic<std::uint64_t> audits{0};  // who audits
    std::atomic<std::uint64_t> wrong{0};   // who audits
    std::atomic<std::uint64_t> repairs{0}; // anybody
    std::atomic<std::uint32_t> closed{0};  // main: once
    common::event_count changed;
};

struct attempt // at the next transfer of a branch
{
    std::atomic<std::uint64_t> number{0}; // the branch's lock holder
    std::atomic<std::uint32_t> tries{0};  // the same
};

/// All of them: an argument of every process.
struct branches
{
    bank::plan plan;
    common::shared_array<guarded_till> tills;
    common::shared_array<vault> vaults;
    common::shared_array<attempt> attempts;
    common::shared<board> notices;

    std::size_t size() const { return attempts.size(); }

    /// Does the next transfer of a branch, if there is one left.  Returns
    /// whether all are done.
    bool transfer_one(std::size_t branch) const
    {
        const auto wanted = plan.share(plan.transfers, branch);
        return wanted == (branch % 2 == 0 ? move_in_till(branch, wanted)
                                          : move_in_vault(branch, wanted));
    }

    /// A branch as a whole.
    book look(std::size_t branch) const
    {
        if (branch % 2 != 0)
            return vaults[branch / 2].read(); // stops nobody
        const auto t = tills[branch / 2].lock();
        if (t.dead_owner() != 0)
            ++notices->repairs;
        return *t;
    }

    /// Looks whether its money is there.  Returns whether all its transfers
    /// are done.
    bool audit(std::size_t branch) const
    {
        const auto seen = look(branch);
        const auto accounts = plan.share(plan.accounts, branch);
        ++notices->audits;
        if (seen.sum() != static_cast<std::int64_t>(accounts) * at_first)
            ++notices->wrong;
        return seen.done == plan.share(plan.transfers, branch);
    }

private:
    // Both return how many transfers the branch has done.
    std::uint64_t move_in_till(std::size_t branch, std::uint64_t wanted) const
    {
        // tag::guarded[]
        auto t = tills[branch / 2].lock(); // puts back if its owner died
        if (t.dead_owner() != 0)
            ++notices->repairs;
        if (t->done == wanted)
            return wanted;
        const auto one = transfer::next(*t, branch);
        t->note = {false, t->done, one, t->balance[one.from],
                   t->balance[one.to]};
        common::settle();
        t->note.counting = true;
        common::settle();
        t->balance[one.from] -= one.amount;
        strike(branch, t->done, true); // some money is nowhere now
        t->balance[one.to] += one.amount;
        ++t->done;
        common::settle();
        t->note.counting = false;
        // end::guarded[]
        strike(branch, t->done - 1, false);
        return t->done;
    }

    std::uint64_t move_in_vault(std::size_t branch, std::uint64_t wanted) const
    {
        // tag::transactional[]
        return vaults[branch / 2].update([&](book& v) {
            if (v.done == wanted)
                return wanted;
            const auto one = transfer::next(v, branch);
            v.balance[one.from] -= one.amount;
            strike(branch, v.done, true);
            v.balance[one.to] += one.amount;
            strike(branch, v.done, false);
            return ++v.done;
        });
        // end::transactional[]
    }

    // Whether this attempt of a transfer is to be killed, is decided in its
    // midst.
    void strike(std::size_t branch, std::uint64_t number, bool before) const
    {
        if (plan.chaos.probability <= 0)
            return;
        auto& one = attempts[branch];
        if (before)
            one.tries =
                one.number.exchange(number) == number ? one.tries + 1 : 0;
        const auto task = branch << 40 | number;
        if (before)
            plan.chaos.before(task, one.tries);
        else
            plan.chaos.after(task, one.tries);
    }
};

/// With all accounts open.
inline branches open(const plan& p)
{
    const auto count = p.branches();
    branches result{p, common::shared_array<guarded_till>((count + 1) / 2),
                    common::shared_array<vault>(count / 2),
                    common::shared_array<attempt>(count),
                    common::shared<board>()};
    for (std::size_t i = 0; i < count; ++i)
    {
        const auto fill = [&](book& b) {
            b.used = p.share(p.accounts, i);
            std::fill_n(b.balance.begin(), b.used, at_first);
        };
        if (i % 2 == 0)
            fill(*result.tills[i / 2].lock());
        else
            result.vaults[i / 2].update(fill);
    }
    return result;
}

} // namespace bank
