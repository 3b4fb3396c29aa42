// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.

#pragma once

#include "common/linux/robust_list.hpp"

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace shared_data {

/// A number that many add to and few read.
///
/// Each thread adds in a cache line that it hardly shares with others, and
/// `value` adds these up.  An addition is one instruction: a death loses none,
/// and leaves nothing behind.
template <std::size_t Shards = 16>
class counter
{
public:
    void add(std::int64_t amount = 1)
    {
        const auto mine =
            common::kernel::robust_list::of_this_thread().thread() % Shards;
        shards_[mine].part.fetch_add(amount, std::memory_order_relaxed);
    }

    /// All that was added before the call, and some of what is added meanwhile.
    std::int64_t value() const
    {
        std::int64_t result = 0;
        for (const auto& one : shards_)
            result += one.part.load(std::memory_order_relaxed);
        return result;
    }

private:
    struct alignas(64) shard
    {
        std::atomic<std::int64_t> part{0}; // anybody
    };
    shard shards_[Shards];
};

} // namespace shared_data
