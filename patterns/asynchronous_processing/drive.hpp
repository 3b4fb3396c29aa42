// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.

#pragma once

#include "client.hpp"

#include "common/options.hpp"

#include <boost/asio/awaitable.hpp>

#include <cstddef>
#include <iomanip>
#include <iostream>
#include <stdexcept>
#include <string>
#include <vector>

namespace asynchronous_processing {

/// The first tiles of the map, from the whole of it on.
inline std::vector<std::string> first_tiles(unsigned times)
{
    std::vector<std::string> targets;
    for (unsigned zoom = 0, side = 1; targets.size() < times; ++zoom, side *= 2)
        for (unsigned i = 0; i < side * side && targets.size() < times; ++i)
            targets.push_back("/tile/" + std::to_string(zoom) + "/" +
                              std::to_string(i % side) + "/" +
                              std::to_string(i / side) + ".png");
    return targets;
}

/// Asks for some tiles over the wire, kills one of the workers before every
/// tenth, and prints a checksum of each.  Throws when one does not come.
inline boost::asio::awaitable<int> drive(visitors all, std::string token,
                                         unsigned times, unsigned workers,
                                         common::run_statistics& statistics)
{
    const auto targets = first_tiles(times);
    const auto kill = [&](std::size_t n) -> std::string {
        return n % 10 == 5 ? "/workers/" +
                                 std::to_string(n / 10 % workers + 1) + "/kill"
                           : "";
    };
    const auto replies = co_await all.ask(targets, kill, token);
    for (std::size_t i = 0; i < targets.size(); ++i)
    {
        if (replies[i].status != 200)
            throw std::runtime_error(targets[i] + ": " + replies[i].body);
        std::cout << std::hex << std::setw(16) << std::setfill('0')
                  << replies[i].checksum() << std::dec << "  " << targets[i]
                  << '\n';
        ++statistics.items;
        statistics.bytes += replies[i].body.size();
    }
    co_return 0;
}

} // namespace asynchronous_processing
