// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.
//
// Workers move money between accounts, and get killed while they do; an
// auditor looks on.  The balances at the end are always the same.
//
//   $ shared_data --accounts 1000 --transfers 200000 --chaos 0.01

#include "shared_data.hpp"

#include "common/crew.hpp"
#include "common/options.hpp"

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdint>
#include <iomanip>
#include <iostream>
#include <numeric>
#include <stdexcept>
#include <string>

namespace {

using namespace std::chrono_literals;

constexpr std::size_t accounts_of_branch = 32;
constexpr std::int64_t at_first = 1'000; // in each account

// One step of splitmix64, by Sebastiano Vigna.
std::uint64_t mix(std::uint64_t x)
{
    x += 0x9e3779b97f4a7c15;
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9;
    x = (x ^ x >> 27) * 0x94d049bb133111eb;
    return x ^ x >> 31;
}

// Some of the bank's accounts.
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

// The next transfer of a branch follows from how many there have been: so the
// answer does not depend on who does it, or how often it is begun.
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

void put_back(till& t)
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

// What all processes share.
struct bank
{
    common::shared_array<guarded_till> tills;
    common::shared_array<vault> vaults;
    struct attempt // of the next transfer of a branch
    {
        std::atomic<std::uint64_t> number{0}; // the branch's lock holder
        std::atomic<std::uint32_t> tries{0};  // the same
    };
    common::shared_array<attempt> attempts;
    struct hall
    {
        std::atomic<std::uint64_t> audits{0};  // auditor
        std::atomic<std::uint64_t> wrong{0};   // auditor
        std::atomic<std::uint64_t> repairs{0}; // anybody
        std::atomic<std::uint32_t> closed{0};  // main: once
        common::event_count changed;
    };
    common::shared<hall> all;

    std::size_t branches() const { return attempts.size(); }
};

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

// Whether this attempt of a transfer is to be killed, is decided in its midst.
void strike(const bank& b, const plan& p, std::size_t branch,
            std::uint64_t number, bool before)
{
    if (p.chaos.probability <= 0)
        return;
    auto& one = b.attempts[branch];
    if (before)
        one.tries = one.number.exchange(number) == number ? one.tries + 1 : 0;
    const auto task = branch << 40 | number;
    if (before)
        p.chaos.before(task, one.tries);
    else
        p.chaos.after(task, one.tries);
}

// Both return how many transfers the branch has done.
std::uint64_t move_in_till(const bank& b, const plan& p, std::size_t branch)
{
    // tag::guarded[]
    auto t = b.tills[branch / 2].lock(); // puts back if its owner died
    if (t.dead_owner() != 0)
        ++b.all->repairs;
    if (t->done == p.share(p.transfers, branch))
        return t->done;
    const auto one = transfer::next(*t, branch);
    t->note = {false, t->done, one, t->balance[one.from], t->balance[one.to]};
    common::settle();
    t->note.counting = true;
    common::settle();
    t->balance[one.from] -= one.amount;
    strike(b, p, branch, t->done, true); // some money is nowhere now
    t->balance[one.to] += one.amount;
    ++t->done;
    common::settle();
    t->note.counting = false;
    // end::guarded[]
    strike(b, p, branch, t->done - 1, false);
    return t->done;
}

std::uint64_t move_in_vault(const bank& b, const plan& p, std::size_t branch)
{
    // tag::transactional[]
    return b.vaults[branch / 2].update([&](book& v) {
        if (v.done == p.share(p.transfers, branch))
            return v.done;
        const auto one = transfer::next(v, branch);
        v.balance[one.from] -= one.amount;
        strike(b, p, branch, v.done, true);
        v.balance[one.to] += one.amount;
        strike(b, p, branch, v.done, false);
        return ++v.done;
    });
    // end::transactional[]
}

// The body of a worker: goes round the branches until all are done.
int work(common::crew_member me, bank b, plan p)
{
    me.ready();
    for (std::size_t at = me.slot(), idle = 0; idle < b.branches(); ++at)
    {
        const auto branch = at % b.branches();
        const auto wanted = p.share(p.transfers, branch);
        const auto move = branch % 2 == 0 ? &move_in_till : &move_in_vault;
        bool done = false;
        for (int run = 0; run < 32 && !done; ++run) // memory stays warm
            done = move(b, p, branch) == wanted;
        idle = done ? idle + 1 : 0;
    }
    b.all->changed.notify_all();
    while (!b.all->closed) // ends with the day, or with this process
        b.all->changed.wait_until([&] { return b.all->closed != 0; },
                                  common::clock::now() + common::longest_nap);
    me.leaving();
    return 0;
}

book look(const bank& b, std::size_t branch)
{
    if (branch % 2 != 0)
        return b.vaults[branch / 2].read(); // stops nobody
    const auto t = b.tills[branch / 2].lock();
    if (t.dead_owner() != 0)
        ++b.all->repairs;
    return *t;
}

// Looks at a branch as a whole.  Returns how many transfers it has done.
std::uint64_t audit(const bank& b, const plan& p, std::size_t branch)
{
    const auto seen = look(b, branch);
    const auto accounts =
        static_cast<std::int64_t>(p.share(p.accounts, branch));
    ++b.all->audits;
    if (seen.sum() != accounts * at_first)
        ++b.all->wrong;
    return seen.done;
}

int watch(common::crew_member me, bank b, plan p)
{
    me.ready();
    while (!b.all->closed) // ends with the day
    {
        for (std::size_t i = 0; i < b.branches(); ++i)
            audit(b, p, i);
        b.all->changed.wait_until([&] { return b.all->closed != 0; },
                                  common::clock::now() + 200us);
    }
    me.leaving();
    return 0;
}

// The body of every process: the last one of the crew audits.
int serve(common::crew_member me, bank b, plan p, unsigned workers)
{
    return me.slot() <= workers ? work(me, b, p) : watch(me, b, p);
}

bank open_bank(const plan& p)
{
    const auto branches = p.branches();
    bank result{common::shared_array<guarded_till>((branches + 1) / 2),
                common::shared_array<vault>(branches / 2),
                common::shared_array<bank::attempt>(branches),
                common::shared<bank::hall>()};
    for (std::size_t i = 0; i < branches; ++i)
    {
        const auto open = [&](book& b) {
            b.used = p.share(p.accounts, i);
            std::fill_n(b.balance.begin(), b.used, at_first);
        };
        if (i % 2 == 0)
            open(*result.tills[i / 2].lock());
        else
            result.vaults[i / 2].update(open);
    }
    return result;
}

common::crew::options staff(const common::program_line& line)
{
    common::crew::options result;
    result.workers = line.workers + 1; // and the auditor
    result.name = "shared_data";
    result.restarts = 1'000'000'000; // death is what this is about
    result.backoff = 0ms;
    return result;
}

// Until all transfers are done; main audits, too.
void await_evening(const bank& b, const plan& p)
{
    for (bool all_done = false; !all_done;) // ends: each transfer gets done
    {
        b.all->changed.wait_until([] { return false; },
                                  common::clock::now() + 5ms);
        all_done = true;
        for (std::size_t i = 0; i < b.branches(); ++i)
            all_done &= audit(b, p, i) == p.share(p.transfers, i);
    }
}

// The same for any number of workers and any deaths.
void print(const bank& b, const plan& p)
{
    std::int64_t sum = 0;
    std::uint64_t digest = 0;
    for (std::size_t i = 0; i < b.branches(); ++i)
    {
        const auto last = look(b, i);
        sum += last.sum();
        for (const auto balance : last.balance)
            digest = mix(digest ^ static_cast<std::uint64_t>(balance));
    }
    std::cout << "accounts   " << p.accounts << "\ntransfers  " << p.transfers
              << "\nmoney      " << sum << "\ndigest     " << std::hex
              << std::setw(16) << std::setfill('0') << digest << std::dec
              << '\n';
}

} // namespace

int main(int argc, char* argv[])
{
    common::worker_main(argc, argv);
    plan p;
    common::program_line line(
        "shared_data",
        "moves money between accounts in shared memory; workers may die");
    using boost::program_options::value;
    line.add("accounts", value(&p.accounts)->value_name("N"),
             "how many accounts (default 1000)");
    line.add("transfers", value(&p.transfers)->value_name("M"),
             "how many transfers (default 200000)");
    return line.run(argc, argv, [&](common::run_statistics& statistics) {
        if (p.accounts < 2 || p.accounts > 10'000'000)
            throw common::usage_error("--accounts must be 2 to 10000000");
        if (p.transfers > 1'000'000'000'000)
            throw common::usage_error("--transfers must be 0 to 1000000000000");
        p.chaos = line.chaos;
        const auto b = open_bank(p);
        common::crew crew(staff(line), {}, &serve, b, p, line.workers);
        await_evening(b, p);
        statistics.deaths = crew.deaths();
        b.all->closed = 1;
        b.all->changed.notify_all();
        crew.stop(common::clock::now() + 10s);
        print(b, p);
        statistics.items = p.transfers;
        statistics.retried = b.all->repairs;
        std::cerr << "shared_data: " << b.all->audits << " audits, "
                  << b.all->wrong << " wrong; " << statistics.deaths
                  << " deaths, " << b.all->repairs << " repairs\n";
        if (b.all->wrong != 0)
            throw std::runtime_error("an audit found money missing");
        return true;
    });
}
