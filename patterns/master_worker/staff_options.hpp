// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.

#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <filesystem>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <vector>

namespace master_worker {

struct staff_options
{
    std::vector<unsigned> workers{1}; // of each role
    std::size_t payload = 16u << 20;  // bytes of a task, and of a result
    unsigned restarts = 10; // of a worker, with nothing done in between
    std::chrono::milliseconds settled{10'000}; // alive so long: forgiven
    std::chrono::milliseconds backoff{10};     // before the second restart
    std::chrono::milliseconds longest_backoff{2'000};
    unsigned start_failures = 3; // in a row, then it gives up
    std::chrono::milliseconds start_deadline{60'000};
    std::filesystem::path door; // where others may join; empty: nowhere
    std::chrono::microseconds ahead{8'000}; // work that a worker may have
                                            // behind a task; 0: none
};

/// Throws std::invalid_argument for more workers than there can be.
inline void check_workers(std::size_t wanted)
{
    constexpr std::size_t most = 4095;
    if (wanted > most)
        throw std::invalid_argument("a master has at most " +
                                    std::to_string(most) + " workers, not " +
                                    std::to_string(wanted));
}

/// Throws std::invalid_argument for what makes no sense.  What is longer than a
/// year is as good as for ever, and is made one: it can be counted with.
inline staff_options checked(staff_options wanted)
{
    constexpr std::size_t most_payload = std::size_t{1} << 31;
    for (const auto workers : wanted.workers)
        if (workers == 0 && wanted.door.empty())
            throw std::invalid_argument("a role without workers needs a door, "
                                        "by which they join");
    if (wanted.payload == 0 || wanted.payload > most_payload)
        throw std::invalid_argument(
            "a payload has 1 to " + std::to_string(most_payload) +
            " bytes, not " + std::to_string(wanted.payload));
    if (wanted.start_deadline.count() <= 0)
        throw std::invalid_argument(
            "a worker needs some time to start, not " +
            std::to_string(wanted.start_deadline.count()) + " ms");
    const auto bound = [](auto& time) {
        time = std::min<std::remove_reference_t<decltype(time)>>(
            time, std::chrono::years(1));
    };
    bound(wanted.settled);
    bound(wanted.backoff);
    bound(wanted.longest_backoff);
    bound(wanted.start_deadline);
    bound(wanted.ahead);
    return wanted;
}

} // namespace master_worker
