// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.

#pragma once

#include "ledger.hpp"
#include "record.hpp"

#include "common/error.hpp"
#include "common/task.hpp"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

namespace master_worker {

template <class R>
class handle;

namespace detail {

template <class T>
struct unwrapped
{
    using type = T;
};
template <class R>
struct unwrapped<handle<R>>
{
    using type = R;
};

/// Lets the parts of this header at the record of a handle.
struct access
{
    template <class R>
    static handle<R> make(record_ptr r)
    {
        return handle<R>(std::move(r));
    }
    /// Throws std::logic_error where it has no task.
    template <class R>
    static const record_ptr& of(const handle<R>& h)
    {
        h.required();
        return h.record_;
    }
};

/// Ends `r` as `f()` does: with its value, its exception, or the end of the
/// handle that it returns.
template <class F>
void conclude_with(const record_ptr& r, F& f)
{
    using result = std::invoke_result_t<F&>;
    auto end = outcome::value;
    try
    {
        if constexpr (!std::is_same_v<typename unwrapped<result>::type, result>)
        {
            const auto inner = access::of(f());
            return ledger::when_over(inner, [r, inner] {
                r->content = inner->content;
                r->failures = inner->failures;
                r->why = inner->why;
                ledger::conclude(r, inner->end);
            });
        }
        else if constexpr (std::is_void_v<result>)
            f();
        else
        {
            const result value = f();
            r->content.resize(common::encoded_size(value));
            common::writer to{r->content};
            common::encode(to, value);
        }
    }
    catch (...)
    {
        const auto error = common::error_message::current();
        r->content.resize(common::encoded_size(error));
        common::writer to{r->content};
        common::encode(to, error);
        end = outcome::error;
    }
    ledger::conclude(r, end);
}

/// The handle of what `f()` returns, once `subscribe`'s argument is called.
template <class F, class Subscribe>
auto follow(const std::shared_ptr<link>& owner, F f, Subscribe subscribe)
{
    const auto r = std::make_shared<record>();
    r->owner = owner;
    subscribe([r, f]() mutable { conclude_with(r, f); });
    return access::make<typename unwrapped<std::invoke_result_t<F&>>::type>(r);
}

} // namespace detail

/// The result of a task, when it comes.  Copies are handles of the same task.
///
/// A master works while one of its members or `get`, `wait` of a handle runs,
/// in that thread; no thread works behind your back.  A handle outlives its
/// master: what was not finished is abandoned.
template <class R>
class handle
{
public:
    using value_type = R;

    handle() = default;

    bool valid() const { return record_ != nullptr; }
    outcome state() const { return required().end; }

    /// Whether the task has come to its end.
    bool ready() const { return state() != outcome::pending; }

    /// Works until the task has come to its end or `deadline` passes.  Returns
    /// whether it has.
    bool wait_until(time_point deadline) const
    {
        if (ready())
            return true;
        auto* master = record_->owner->alive;
        if (master == nullptr) // a callback gave us a task of another master
            throw std::logic_error("the master of this handle has ended");
        return master->work_until([this] { return ready(); }, deadline);
    }
    void wait() const { wait_until(time_point::max()); }

    /// Works until the task has come to its end.  Returns its result, again
    /// and again, or throws what it threw, common::worker_died when it is
    /// poisoned (common::timed_out if its last attempt ran too long),
    /// common::cancelled, or common::exhausted when it was abandoned.
    R get() const
    {
        wait();
        if (record_->end != outcome::value)
            rethrow();
        if constexpr (!std::is_void_v<R>)
        {
            common::reader from{record_->content};
            return common::decode<R>(from);
        }
    }

    /// Takes the task back; one that runs is killed with its worker.  Returns
    /// false when it had come to its end.
    bool cancel() const
    {
        return !ready() && record_->owner->alive != nullptr &&
               record_->owner->alive->cancel(record_);
    }

    /// Calls `f(handle)` once when the task has come to its end, whatever that
    /// was.  What `f` returns, or throws, is the result of the handle returned
    /// here; where it returns a handle, that one's.  Callbacks run in the
    /// thread that works for the master, from `get`, `wait` or `run`.
    template <class F>
    auto then(F f) const
    {
        const auto part = *this;
        return detail::follow(
            required().owner, [part, f]() mutable { return f(part); },
            [part](auto run) { ledger::when_over(part.record_, run); });
    }

    std::uint64_t number() const { return required().number; }
    const std::vector<failure>& failures() const { return required().failures; }

    /// What it has cost, if the master measures.
    const cost& spent() const { return required().spent; }

private:
    friend class master;
    friend struct detail::access;

    explicit handle(record_ptr r) : record_(std::move(r)) {}

    const record& required() const
    {
        if (!record_)
            throw std::logic_error("this handle has no task");
        return *record_;
    }

    std::string name() const
    {
        return "task " + std::to_string(record_->number) +
               (record_->how.key.empty() ? "" : " '" + record_->how.key + "'");
    }

    [[noreturn]] void rethrow() const
    {
        const auto& r = required();
        switch (r.end)
        {
        case outcome::error: {
            common::reader from{r.content};
            common::decode<common::error_message>(from).rethrow();
        }
        case outcome::poisoned:
            if (const auto last = r.failures.back().what;
                last == failure::kind::timed_out ||
                last == failure::kind::stuck)
                throw common::timed_out(name() + ": " + r.failures.back().text);
            throw common::worker_died(name(), deaths());
        case outcome::cancelled:
            throw common::cancelled(name() + " was cancelled");
        default:
            throw common::exhausted(name() + " was not finished: " + r.why);
        }
    }

    std::vector<common::death> deaths() const
    {
        std::vector<common::death> result;
        for (const auto& one : record_->failures)
            if (one.what != failure::kind::threw)
                result.push_back(one.death);
        return result;
    }

    record_ptr record_;
};

namespace detail {

template <class R>
std::shared_ptr<link> owner_of(const std::vector<handle<R>>& parts)
{
    if (parts.empty())
        throw std::invalid_argument("a callback after nothing");
    for (const auto& one : parts)
        access::of(one); // throws
    return access::of(parts.front())->owner;
}

} // namespace detail

/// Calls `f(handles)` once when all of them have come to their ends, whatever
/// those were.  Otherwise as `then`.  Throws std::invalid_argument for none,
/// std::logic_error for one that has no task.
template <class R, class F>
auto when_all(std::vector<handle<R>> parts, F f)
{
    const auto owner = detail::owner_of(parts);
    return detail::follow(
        owner, [parts, f]() mutable { return f(parts); },
        [&](auto run) {
            const auto left = std::make_shared<std::size_t>(parts.size());
            for (const auto& one : parts)
                ledger::when_over(detail::access::of(one),
                                  [left, run]() mutable {
                                      if (--*left == 0)
                                          run();
                                  });
        });
}

/// Calls `f(index, handles)` once when the first of them has come to its end:
/// index says which.  Otherwise as `when_all`.
template <class R, class F>
auto when_any(std::vector<handle<R>> parts, F f)
{
    const auto owner = detail::owner_of(parts);
    const auto first = std::make_shared<std::size_t>(parts.size());
    return detail::follow(
        owner, [parts, first, f]() mutable { return f(*first, parts); },
        [&](auto run) {
            for (std::size_t i = 0; i < parts.size(); ++i)
                ledger::when_over(detail::access::of(parts[i]),
                                  [first, i, n = parts.size(), run]() mutable {
                                      if (*first != n)
                                          return; // not the first
                                      *first = i;
                                      run();
                                  });
        });
}

} // namespace master_worker
