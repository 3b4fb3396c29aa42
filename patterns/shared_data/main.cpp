// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.
//
// Workers move money between accounts, and get killed while they do; an
// auditor looks on.  The balances at the end are always the same.
//
//   $ shared_data --accounts 1000 --transfers 200000 --chaos 0.01

#include "bank.hpp"
#include "shared_data.hpp"

#include "common/crew.hpp"
#include "common/options.hpp"

#include <cstdint>
#include <exception>
#include <future>
#include <iomanip>
#include <iostream>
#include <stdexcept>
#include <string>

namespace {

using namespace std::chrono_literals;

bool closed_within(const bank::branches& b, common::clock::duration time)
{
    return b.notices->changed.wait_until([&] { return b.notices->closed != 0; },
                                         common::clock::now() + time);
}

// Goes round the branches until all is done; then waits for the evening.
void work(const bank::branches& b, unsigned first)
{
    for (std::size_t at = first, idle = 0; idle < b.size(); ++at)
    {
        bool done = false;
        for (int run = 0; run < 32 && !done; ++run) // memory stays warm
            done = b.transfer_one(at % b.size());
        idle = done ? idle + 1 : 0;
    }
    b.notices->changed.notify_all();
    while (!closed_within(b, common::longest_nap)) // or this process ends
        continue;
}

void watch(const bank::branches& b)
{
    do
        for (std::size_t i = 0; i < b.size(); ++i)
            b.audit(i);
    while (!closed_within(b, 200us)); // or this process ends
}

// The body of every process: the last one of the crew audits.
int serve(common::crew_member me, bank::branches b, unsigned workers)
{
    me.ready();
    if (me.slot() <= workers)
        work(b, me.slot());
    else
        watch(b);
    me.leaving();
    return 0;
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

// Until all transfers are done; main audits, too.  Throws what `broken` says
// when there is nobody left to do them.
void await_evening(const bank::branches& b, std::future<void> broken)
{
    for (bool all_done = false; !all_done;) // ends: each transfer gets done
    {
        if (broken.wait_for(0s) == std::future_status::ready)
            broken.get();
        closed_within(b, 5ms);
        all_done = true;
        for (std::size_t i = 0; i < b.size(); ++i)
            all_done &= b.audit(i);
    }
}

// The same for any number of workers and any deaths.
void print(const bank::branches& b)
{
    std::int64_t sum = 0;
    std::uint64_t digest = 0;
    for (std::size_t i = 0; i < b.size(); ++i)
    {
        const auto last = b.look(i);
        sum += last.sum();
        for (const auto balance : last.balance)
            digest = bank::mix(digest ^ static_cast<std::uint64_t>(balance));
    }
    std::cout << "accounts   " << b.plan.accounts << "\ntransfers  "
              << b.plan.transfers << "\nmoney      " << sum << "\ndigest     "
              << std::hex << std::setw(16) << std::setfill('0') << digest
              << std::dec << '\n';
}

} // namespace

int main(int argc, char* argv[])
{
    common::worker_main(argc, argv);
    bank::plan p;
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
        const auto b = bank::open(p);
        auto& notices = *b.notices;
        std::promise<void> broken; // set when workers cannot be kept alive
        const common::crew::events events{
            {}, [&](const std::string& cause) {
                broken.set_exception(
                    std::make_exception_ptr(common::exhausted(cause)));
            }};
        common::crew crew(staff(line), events, &serve, b, line.workers);
        await_evening(b, broken.get_future());
        statistics.deaths = crew.deaths();
        notices.closed = 1;
        notices.changed.notify_all();
        crew.stop(common::clock::now() + 10s);
        print(b);
        statistics.items = p.transfers;
        statistics.retried = notices.repairs;
        std::cerr << "shared_data: " << notices.audits << " audits, "
                  << notices.wrong << " wrong; " << statistics.deaths
                  << " deaths, " << notices.repairs << " repairs\n";
        if (notices.wrong != 0)
            throw std::runtime_error("an audit found money missing");
        return true;
    });
}
