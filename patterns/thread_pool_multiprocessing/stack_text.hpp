// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.

#pragma once

#include "common/task.hpp"

// Lines of source come from addr2line, which every compiler brings along; one
// of the other backends of Boost.Stacktrace is used where the program asks.
#if !defined(BOOST_STACKTRACE_USE_ADDR2LINE) &&                                \
    !defined(BOOST_STACKTRACE_USE_BACKTRACE) &&                                \
    !defined(BOOST_STACKTRACE_USE_NOOP) && !defined(BOOST_STACKTRACE_LINK)
#define BOOST_STACKTRACE_USE_ADDR2LINE
#endif
#include <boost/stacktrace/frame.hpp>

#include <cstddef>
#include <cstdint>
#include <map>
#include <mutex>
#include <string>
#include <vector>

namespace thread_pool_multiprocessing::detail {

/// A place in this program, as "function at file:line" where it has debug
/// information.
inline std::string place(std::int32_t distance)
{
    // Backends want the address in this process, or, those that look into the
    // file and do not know that programs are moved, the one in the file.
    const auto here = common::detail::program_start() + distance;
    std::string best;
    for (const std::intptr_t at : {std::intptr_t{distance}, here})
    {
        const auto text = boost::stacktrace::to_string(
            boost::stacktrace::frame(reinterpret_cast<const void*>(at)));
        if (text.find(" at ") != text.npos && text.find(" at ?") == text.npos)
            return text;
        best = text;
    }
    return best;
}

/// The same, looked up once: a backend may take a tenth of a second.
inline std::string known_place(std::int32_t distance)
{
    static std::mutex mutex;
    static std::map<std::int32_t, std::string> known;
    const std::lock_guard hold(mutex);
    auto& text = known[distance];
    if (text.empty())
        text = place(distance);
    return text;
}

/// Whether the library has put it between a function and who calls that.
inline bool is_glue(const std::string& place)
{
    for (const char* part : {"std::__invoke", "std::__apply", "std::apply<"})
        if (place.find(part) != place.npos)
            return true;
    return false;
}

/// A line for each of the innermost functions, down to the task itself.
inline std::string stack_text(const std::vector<std::int32_t>& stack)
{
    constexpr std::size_t enough = 8;
    std::string result;
    for (std::size_t i = 0; i < stack.size() && i < enough; ++i)
    {
        const auto text = known_place(stack[i]);
        if (text.find("common::detail::run<") != text.npos)
            break; // what follows is the pool's own
        if (!is_glue(text))
            result += "\n  in " + text;
    }
    return result;
}

} // namespace thread_pool_multiprocessing::detail
