// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.

#pragma once

#include "common/executor.hpp"

#include <cstddef>
#include <span>
#include <string>
#include <type_traits>

namespace common {

/// A task in a message.
inline std::string name_of(const ticket& t)
{
    return t.name.empty() ? "task " + std::to_string(t.number) : t.name;
}

/// What the task returned, from its encoded output.  Throws what it threw
/// (standard types as themselves, others as remote_error), worker_died,
/// timed_out, cancelled, or exhausted where it was never run.
template <class R>
R take_result(outcome end, const ticket& t, std::span<const std::byte> bytes)
{
    reader from{bytes};
    switch (end)
    {
    case outcome::value:
        if constexpr (std::is_void_v<R>)
            return;
        else
            return decode<R>(from);
    case outcome::error:
        decode<error_message>(from).rethrow();
    case outcome::died:
        throw worker_died(name_of(t), t.deaths);
    case outcome::timed_out:
        throw timed_out(name_of(t) + " ran longer than its deadline");
    case outcome::cancelled:
        throw cancelled(name_of(t) + " was cancelled");
    default:
        throw exhausted(name_of(t) + " was not run: " + t.why);
    }
}

} // namespace common
