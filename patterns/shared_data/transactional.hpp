// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.

#pragma once

#include "error.hpp"
#include "snapshot.hpp"

#include "common/fault.hpp"
#include "common/robust.hpp"

#include <boost/core/demangle.hpp>

#include <string>
#include <type_traits>
#include <typeinfo>
#include <utility>

namespace shared_data {

/// A value that changes as a whole or not at all.
///
///     common::shared<shared_data::transactional<accounts>> all;
///     all->update([](accounts& a) { a.from -= 5; a.to += 5; });
///     const accounts now = all->read();
///
/// `update` works on a copy and publishes it by one store: who is killed at
/// whatever instruction has changed everything or nothing, and there is
/// nothing to repair.  Updates happen one after the other; readers neither wait
/// nor are waited for, and see the state before or after, never between.
///
/// Costs two copies of the value for each update: split what is large.
template <class T>
class transactional
{
public:
    transactional() = default;
    explicit transactional(const T& first) : value_(first) {}

    /// Runs `change(T&)` and returns what it returns.  An exception from it
    /// leaves the value as it was.  Throws still_locked at the deadline.
    template <class F>
    auto update(F change, time_point deadline = time_point::max())
    {
        if (mutex_.lock(deadline) == common::locked::no)
            throw still_locked("transactional<" +
                                   boost::core::demangle(typeid(T).name()) +
                                   ">",
                               mutex_.who());
        const unlocking end{mutex_};
        mutex_.consistent(); // whatever happened: the last version is whole
        T next = value_.read();
        if constexpr (std::is_void_v<decltype(change(next))>)
        {
            change(next);
            value_.publish(next);
            COMMON_FAULT_POINT("transactional.committed");
        }
        else
        {
            auto result = change(next);
            value_.publish(next);
            COMMON_FAULT_POINT("transactional.committed");
            return result;
        }
    }

    /// The value after the last update.
    T read() const { return value_.read(); }

    /// How many updates there have been.
    std::uint64_t version() const { return value_.version(); }

private:
    struct unlocking
    {
        common::robust_mutex& mutex;
        ~unlocking() { mutex.unlock(); }
    };

    common::robust_mutex mutex_;
    snapshot<T> value_; // the holder of the mutex
};

} // namespace shared_data
