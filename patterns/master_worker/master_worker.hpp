// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.

#pragma once

#include "engine.hpp"
#include "handle.hpp"
#include "join.hpp"
#include "journal.hpp"
#include "ledger.hpp"
#include "local_engine.hpp"
#include "trace.hpp"
#include "worker.hpp"

#include "common/linux/cpus.hpp"
#include "common/task.hpp"

#include <chrono>
#include <cstddef>
#include <exception>
#include <filesystem>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

namespace master_worker {

/// What workers of a role do with each message of a std::variant.
///
///     using message = std::variant<resize, rotate>;
///     const master_worker::handlers artist{
///         [](resize r) { ... }, [](rotate r) { ... }};
///     auto done = m.send(artist, message(rotate{90}));
template <class... F>
struct handlers : F...
{
    using F::operator()...;
};
template <class... F>
handlers(F...) -> handlers<F...>;

struct master_options
{
    std::vector<unsigned> workers{common::kernel::usable_cpus()}; // by role
    std::size_t payload = 16u << 20; // bytes of a task, and of a result
    journal_options journal{};
    bool measure = false; // what tasks cost: a microsecond for each
    std::function<void(const event&)> on_event{};
    local_engine::options staff{}; // its workers and payload are set from here
    std::chrono::milliseconds linger{60'000}; // how long ~master goes on
};

/// The master of worker processes: it plans and remembers, they work.
///
///     master_worker::master m;
///     auto answer = m.submit([](int x) { return x * x; }, 7);
///     std::cout << answer.get();
///
/// Every task whose submit returned comes to exactly one end (`outcome`).  Its
/// body may run more than once.  The ledger is private memory of this process,
/// out of reach for workers; what they send is checked.  With a journal the
/// results outlive this process, too.
///
/// Like an io_context it works in the thread that calls it: in `run`, and in
/// `get` and `wait` of its handles; workers go on meanwhile with what they
/// have.  One thread at a time may use it.  Callbacks may use all of it.
class master
{
public:
    explicit master(const master_options& options = {}) : master(options, [] {})
    {
    }

    /// Each worker calls `init(arguments...)` before its first task; what it
    /// returns is its `worker_state`; `role()` says which role it is in.
    /// Throws std::invalid_argument for a role that has neither workers nor a
    /// door by which they could join, for more than 4095 workers, or no payload
    /// or one of more than 2 GiB; and what the journal and a launch throw.
    template <class Init, class... A>
    requires std::is_invocable_v<Init, A...>
    master(const master_options& options, Init init, A... arguments)
        : master(options, std::make_unique<local_engine>(translate(options),
                                                         init, arguments...))
    {
    }

    /// With an engine of another kind.
    master(const master_options& options, std::unique_ptr<engine> carrier)
        : options_(options)
        , ledger_(static_cast<unsigned>(options.workers.size()),
                  std::move(carrier), open(options.journal), options.measure,
                  options.on_event)
    {
    }

    master(const master&) = delete;

    /// Finishes what was submitted, for `linger` at most and not when an
    /// exception is on its way through.  What is left then is abandoned; the
    /// callbacks run in any case.
    ~master()
    {
        if (std::uncaught_exceptions() == exceptions_)
            try
            {
                ledger_.finish(common::deadline_after(options_.linger));
            }
            catch (...) // a journal that cannot be written
            {
            }
    }

    /// Submits a call.  Throws std::length_error when the arguments are larger
    /// than the payload, std::invalid_argument for options that make no sense,
    /// common::exhausted when there are no workers any more, common::closed
    /// from a callback of a master that ends, and what encoding an argument
    /// throws.
    template <class F, class... A>
    requires(!std::is_same_v<std::decay_t<F>, task_options>) auto submit(
        F&& function, A&&... arguments)
    {
        return submit(task_options{}, std::forward<F>(function),
                      std::forward<A>(arguments)...);
    }
    template <class F, class... A>
    auto submit(const task_options& how, F&& function, A&&... arguments)
    {
        using what = common::task<std::decay_t<F>, std::decay_t<A>...>;
        const auto encode = [&](const std::decay_t<F>& f,
                                const std::decay_t<A>&... a) {
            auto r = std::make_shared<record>();
            r->how = how;
            r->entry = what::id();
            r->input.resize(checked(what::size(f, a...)));
            common::writer to{r->input, nullptr, &r->kept};
            what::write(to, f, a...);
            return r;
        };
        const auto r = encode(function, arguments...);
        ledger_.enter(r);
        return handle<common::result_of<std::decay_t<F>, std::decay_t<A>...>>(
            r);
    }

    /// Sends a message to a worker that has handlers for all of its kinds.
    template <class... F, class... M>
    auto send(const task_options& how, const handlers<F...>&,
              std::variant<M...> message)
    {
        using all = handlers<F...>;
        static_assert((std::is_invocable_v<const all&, M> && ...),
                      "a message has no handler");
        return submit(
            how,
            [](std::variant<M...> m) {
                return std::visit(all{}, std::move(m));
            },
            std::move(message));
    }
    template <class... F, class... M>
    auto send(const handlers<F...>& h, std::variant<M...> message)
    {
        return send(task_options{}, h, std::move(message));
    }

    /// Works until all tasks have come to their ends and all callbacks have
    /// run; gives up at `deadline`: then false.  Throws journal_error when a
    /// result cannot be written: it is kept, and the next call tries again.
    bool run_until(time_point deadline)
    {
        ledger_.work(time_point::min()); // workers may have come or gone
        return ledger_.work_until([this] { return ledger_.idle(); }, deadline);
    }
    void run() { run_until(time_point::max()); }

    /// Wants so many workers in a role from now on.  With none, its tasks wait
    /// until there are some again, or somebody joins.  Where nobody can join,
    /// who waits for them without a deadline gets a std::logic_error, as soon
    /// as nothing else runs; the tasks are kept.  Throws std::invalid_argument
    /// for a role that is not there, and for more than 4095 workers in all.
    void resize(unsigned workers, unsigned role = 0)
    {
        ledger_.resize(role, workers);
    }

    statistics stats() const { return ledger_.stats(); }

    /// Tasks that lost as many workers as they were allowed, in that order.
    const std::vector<poison>& poisoned() const { return ledger_.poisoned(); }

    /// What carries the tasks, for who knows of which kind it is.
    engine& carrier() { return ledger_.carrier(); }

private:
    static local_engine::options translate(const master_options& options)
    {
        auto result = options.staff;
        result.workers = options.workers;
        result.payload = options.payload;
        return result;
    }

    static std::unique_ptr<journal> open(const journal_options& wanted)
    {
        if (wanted.file.empty())
            return nullptr;
        return std::make_unique<journal>(wanted, name_of_this_program());
    }

    std::size_t checked(std::size_t size) const
    {
        if (size > options_.payload)
            throw std::length_error("the arguments of a task take " +
                                    std::to_string(size) +
                                    " bytes, more than the payload of " +
                                    std::to_string(options_.payload));
        return size;
    }

    master_options options_;
    int exceptions_ = std::uncaught_exceptions();
    ledger ledger_;
};

} // namespace master_worker
