// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.

#pragma once

#include "engine.hpp"

#include <cstdint>
#include <deque>
#include <exception>
#include <functional>
#include <string>
#include <string_view>
#include <utility>

namespace master_worker {

/// Something that happened to a task or to a worker.
struct event
{
    enum class kind : std::uint8_t
    {
        received,  // submitted
        started,   // given to a worker
        finished,  // has come to its end: text says to which
        retried,   // an attempt came to nothing, there will be another
        poisoned,  // and there will be none
        joined,    // a worker is there
        left,      // a worker is gone, as it was meant to
        died,      // a worker is gone otherwise
        recovered, // its result was in the journal
    };
    kind what;
    std::uint64_t task = 0; // 0: it is about a worker
    unsigned attempt = 0;
    unsigned worker = 0; // 0: it is about no worker
    time_point when{};
    std::string_view text{};     // during the call only
    const cost* spent = nullptr; // of the attempt that ended, if measured
};

inline const char* name_of(event::kind what)
{
    constexpr const char* names[] = {"received", "started",  "finished",
                                     "retried",  "poisoned", "joined",
                                     "left",     "died",     "recovered"};
    return names[static_cast<unsigned>(what)];
}

/// Events until they are told: not in the middle of what they are about, so
/// that who is told may use the master.
class event_queue
{
public:
    explicit event_queue(std::function<void(const event&)> listener)
        : listener_(std::move(listener))
    {
    }

    /// Whether anybody listens; if not, nothing need be added.
    bool wanted() const { return listener_ != nullptr; }

    void add(event what)
    {
        waiting_.push_back({what, std::string(what.text),
                            what.spent != nullptr ? *what.spent : cost()});
    }

    /// Tells what there is, in order.  Returns what the listener threw last.
    std::exception_ptr tell()
    {
        std::exception_ptr trouble;
        while (!waiting_.empty()) // ends when the listener causes no more
        {
            auto one = std::move(waiting_.front());
            waiting_.pop_front();
            one.what.text = one.text;
            if (one.what.spent != nullptr)
                one.what.spent = &one.spent;
            try
            {
                listener_(one.what);
            }
            catch (...) // the rest has to be told all the same
            {
                trouble = std::current_exception();
            }
        }
        return trouble;
    }

private:
    struct entry
    {
        event what;
        std::string text;
        cost spent;
    };
    std::function<void(const event&)> listener_;
    std::deque<entry> waiting_;
};

} // namespace master_worker
