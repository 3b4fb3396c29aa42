// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.

#pragma once

#include "common/linux/descriptor.hpp"

#include <signal.h>
#include <time.h>

#include <chrono>

namespace common::kernel {

/// Has the kernel kill this process (SIGKILL) when something takes too long,
/// whatever its threads do: nobody else has to look at it.
class kill_timer
{
public:
    /// Throws std::system_error.
    kill_timer()
    {
        sigevent how{};
        how.sigev_notify = SIGEV_SIGNAL;
        how.sigev_signo = SIGKILL;
        if (::timer_create(CLOCK_MONOTONIC, &how, &timer_) != 0)
            fail("creating a timer");
    }
    kill_timer(const kill_timer&) = delete;
    ~kill_timer() { ::timer_delete(timer_); }

    /// Kills after `time` from now on, of which there is some, unless it is
    /// told otherwise before.
    void kill_after(std::chrono::nanoseconds time) const { set(time); }
    void call_off() const { set({}); }

private:
    void set(std::chrono::nanoseconds time) const
    {
        const auto seconds =
            std::chrono::duration_cast<std::chrono::seconds>(time);
        itimerspec when{};
        when.it_value.tv_sec = seconds.count();
        when.it_value.tv_nsec = (time - seconds).count();
        ::timer_settime(timer_, 0, &when, nullptr);
    }

    timer_t timer_{};
};

} // namespace common::kernel
