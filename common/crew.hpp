// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.

#pragma once

#include "common/error.hpp"
#include "common/linux/cpus.hpp"
#include "common/linux/signals.hpp"
#include "common/process.hpp"

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>

#include <signal.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <cstring>
#include <deque>
#include <functional>
#include <future>
#include <memory>
#include <mutex>
#include <random>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace common {

/// What a worker of a crew tells its supervisor; in shared memory.
struct crew_note
{
    enum phase : std::uint32_t
    {
        starting,
        ready,
        leaving,
        finished
    };
    std::atomic<std::uint32_t> now{starting}; // worker; supervisor: starting,
                                              // before it launches
    std::atomic<std::uint32_t> cause_size{0}; // worker, before it gives up
    char cause[240];                          // worker, before cause_size
};

/// Given to the body of a worker: which one it is.
class crew_member
{
public:
    crew_member(unsigned slot, shared_array<crew_note> notes)
        : slot_(slot)
        , notes_(std::move(notes))
    {
    }

    unsigned slot() const { return slot_; } // from 1 on

    /// Start-up is over.  A worker that dies before this has failed to start.
    void ready() const { note().now.store(crew_note::ready); }

    /// This worker ends by itself and is to be replaced at once; that is no
    /// failure and costs nothing of the restart budget.
    void leaving() const { note().now.store(crew_note::leaving); }

    /// This worker ends by itself, and there is nothing left for another one.
    void finished() const { note().now.store(crew_note::finished); }

    /// Says why start-up fails.
    void failed(const std::string& cause) const
    {
        const auto size = std::min(cause.size(), sizeof note().cause);
        std::memcpy(note().cause, cause.data(), size);
        note().cause_size.store(static_cast<std::uint32_t>(size));
    }

private:
    friend struct codec<crew_member>;
    crew_note& note() const { return notes_[slot_ - 1]; }
    unsigned slot_;
    shared_array<crew_note> notes_;
};

template <>
struct codec<crew_member>
{
    using notes = shared_array<crew_note>;
    static std::size_t size(const crew_member& m)
    {
        return sizeof m.slot_ + encoded_size(m.notes_);
    }
    static void write(writer& to, const crew_member& m)
    {
        encode(to, m.slot_);
        encode(to, m.notes_);
    }
    static crew_member read(reader& from)
    {
        const auto slot = decode<unsigned>(from);
        auto all = decode<notes>(from);
        if (slot == 0 || slot > all.size())
            throw malformed("no slot " + std::to_string(slot) + " in a crew");
        return {slot, std::move(all)};
    }
};

/// N processes kept alive.
///
/// One thread supervises them.  It knows a death from the kernel (a pidfd
/// becomes readable), never from silence; it reaps, then calls `on_death`, then
/// starts a replacement.  A slot whose workers die more often than the budget
/// allows waits until it may start again; when all slots wait that have not
/// finished, or when workers fail to start several times in a row, the crew is
/// broken: `on_broken`.
///
/// Workers die with this process at once, however it ends.  What a worker has
/// started in its process group is killed when the worker is reaped; if this
/// process is killed, nobody does that.
class crew
{
public:
    struct options
    {
        unsigned workers = kernel::usable_cpus();
        unsigned restarts = 10;                   // of a slot ...
        std::chrono::milliseconds window{10'000}; // ... in this time
        std::chrono::milliseconds backoff{10};    // before the second restart
        std::chrono::milliseconds longest_backoff{2'000};
        unsigned start_failures = 3; // in a row, then broken; those that
                                     // somebody killed: more than `restarts`
        std::chrono::milliseconds start_deadline{30'000};
        std::string name = "worker";            // argv[0] of the workers
        std::vector<std::string> environment{}; // NAME=VALUE, added to ours
    };

    /// A worker that has ended and been reaped.
    struct ended
    {
        unsigned slot;
        pid_t pid;
        exit_status status;
        bool left; // by itself, as announced
    };

    struct worker_info
    {
        unsigned slot = 0;
        pid_t pid = 0; // 0: none at the moment
        bool ready = false;
        std::uint64_t restarts = 0;
        std::chrono::milliseconds age{0};
    };

    /// `on_death` and `on_broken` run in the supervising thread, and throw
    /// nothing.
    struct events
    {
        std::function<void(const ended&)> on_death;
        std::function<void(const std::string& cause)> on_broken;
    };

    /// Starts the workers; each runs `body(crew_member, arguments...)`.
    /// Throws std::invalid_argument for no workers, and what a launch throws:
    /// then those that were started before have ended.
    template <class F, class... A>
    crew(const options& wanted, events handlers, F body, A... arguments)
        : options_(checked(wanted))
        , handlers_(std::move(handlers))
        , notes_(wanted.workers)
        , slots_(wanted.workers)
    {
        for (unsigned i = 0; i < wanted.workers; ++i)
            slots_[i].orders = std::make_unique<letter>(
                body, crew_member(i + 1, notes_), arguments...);
        start();
    }

    crew(const crew&) = delete;

    /// Kills who is left.
    ~crew()
    {
        stop(clock::now());
        work_.reset();
        boost::asio::post(context_, [this] { context_.stop(); });
        if (thread_.joinable())
            thread_.join();
    }

    unsigned size() const { return static_cast<unsigned>(slots_.size()); }

    /// Runs handlers in the supervising thread.
    boost::asio::io_context& context() { return context_; }

    /// The end of the worker now in `slot`, or the one that `on_death` reports,
    /// is expected: it is replaced at once and costs nothing of the budget.
    void excuse(unsigned slot)
    {
        const std::lock_guard hold(mutex_);
        slots_.at(slot - 1).excused = true;
    }

    /// Sends a signal to the worker in `slot`, if its pid is `pid` (or any,
    /// for 0).  Returns whether there was one.
    bool kill(unsigned slot, pid_t pid = 0, int signal = SIGKILL)
    {
        const std::lock_guard hold(mutex_);
        auto& one = slots_.at(slot - 1);
        if (!one.child || (pid != 0 && one.child.pid() != pid))
            return false;
        one.child.kill(signal);
        return true;
    }

    /// The process that is in `slot` now; 0 where there is none.
    pid_t pid_of(unsigned slot) const
    {
        const std::lock_guard hold(mutex_);
        const auto& one = slots_.at(slot - 1);
        return one.child ? one.child.pid() : 0;
    }

    /// No replacements from now on; waits until all workers have ended.  Those
    /// that have not at `deadline` are killed.  Returns whether all left in
    /// time.  Ends, at the latest, when the kernel has ended them.
    bool stop(time_point deadline)
    {
        std::unique_lock hold(mutex_);
        stopping_ = true;
        boost::asio::post(context_, [this] { dismiss_vacant(); });
        const auto all_gone = [this] { return alive_ == 0; };
        if (deadline == time_point::max())
            gone_.wait(hold, all_gone);
        else if (!gone_.wait_until(hold, deadline, all_gone))
        {
            for (auto& one : slots_)
                one.child.kill(SIGKILL);
            gone_.wait(hold, all_gone);
            return false;
        }
        return true;
    }

    /// Waits until each slot has a worker that finished.  Returns false when
    /// the crew broke, or was stopped, before that.
    bool join()
    {
        std::unique_lock hold(mutex_);
        gone_.wait(hold, [this] { return stopping_ || finished_ == size(); });
        return finished_ == size();
    }

    std::vector<worker_info> workers() const
    {
        const std::lock_guard hold(mutex_);
        std::vector<worker_info> result;
        for (unsigned i = 0; i < size(); ++i)
        {
            const auto& one = slots_[i];
            worker_info info;
            info.slot = i + 1;
            info.restarts = one.launches == 0 ? 0 : one.launches - 1;
            if (one.child)
            {
                info.pid = one.child.pid();
                info.ready = notes_[i].now.load() == crew_note::ready;
                info.age =
                    std::chrono::duration_cast<std::chrono::milliseconds>(
                        clock::now() - one.started);
            }
            result.push_back(info);
        }
        return result;
    }

    /// Workers that ended otherwise than by leaving.
    std::uint64_t deaths() const { return deaths_.load(); }

private:
    struct seat // of one worker after the other
    {
        std::unique_ptr<letter> orders;
        kernel::pidfd child;
        std::unique_ptr<boost::asio::posix::stream_descriptor> watch;
        std::unique_ptr<boost::asio::steady_timer> timer;
        time_point started;
        std::uint64_t launches = 0;
        std::deque<time_point> failures; // within the window
        bool waiting = false;            // for its budget to recover
        bool excused = false;            // its end is expected
        bool late = false;               // killed since it never got ready
    };

    static options checked(options wanted)
    {
        if (wanted.workers == 0 || wanted.workers > 4095)
            throw std::invalid_argument("a crew needs 1 to 4095 workers, not " +
                                        std::to_string(wanted.workers));
        if (wanted.start_deadline.count() <= 0)
            throw std::invalid_argument(
                "a worker needs some time to start, not " +
                std::to_string(wanted.start_deadline.count()) + " ms");
        // A year is as good as for ever, and can be counted with; less than no
        // time is none.
        for (auto* time :
             {&wanted.window, &wanted.backoff, &wanted.longest_backoff})
            *time = std::clamp<std::chrono::milliseconds>(
                *time, std::chrono::milliseconds(0),
                std::chrono::hours(24 * 365));
        return wanted;
    }

    void start()
    {
        try
        {
            // The thread that launches must outlive the workers: the kernel
            // ties their parent-death signal to it.
            std::promise<void> launched;
            auto done = launched.get_future();
            thread_ = std::thread([this, &launched] { supervise(launched); });
            done.get();
        }
        catch (...)
        {
            stop(clock::now());
            work_.reset();
            context_.stop();
            if (thread_.joinable())
                thread_.join();
            throw;
        }
    }

    void supervise(std::promise<void>& launched)
    {
        kernel::block_signals();
        try
        {
            for (unsigned i = 0; i < size(); ++i)
                launch(i);
            launched.set_value();
        }
        catch (...)
        {
            launched.set_exception(std::current_exception());
        }
        context_.run(); // ends when the crew is destroyed
    }

    void launch(unsigned i)
    {
        auto& one = slots_[i];
        notes_[i].cause_size.store(0);
        notes_[i].now.store(crew_note::starting);
        const std::lock_guard hold(mutex_);
        if (stopping_)
            return;
        one.excused = one.late = false;
        one.child = kernel::launch(
            one.orders->command(options_.name, options_.environment));
        try
        {
            kernel::descriptor copy = one.child.duplicate();
            one.watch = std::make_unique<boost::asio::posix::stream_descriptor>(
                context_, copy.get());
            copy.release();
            one.started = clock::now();
            ++one.launches;
            limit_start(i, one.launches);
            watch(i);
        }
        catch (...) // nobody would learn of its death
        {
            one.watch.reset();
            one.timer.reset();
            one.child.kill(SIGKILL);
            one.child.reap();
            throw;
        }
        ++alive_;
    }

    void watch(unsigned i)
    {
        slots_[i].watch->async_wait(
            boost::asio::posix::stream_descriptor::wait_read,
            [this, i](boost::system::error_code error) {
                if (!error)
                    bury(i);
            });
    }

    // A worker that never gets ready is killed, and counts as failed to start.
    void limit_start(unsigned i, std::uint64_t launch_number)
    {
        auto& one = slots_[i];
        one.timer = std::make_unique<boost::asio::steady_timer>(
            context_, deadline_after(options_.start_deadline));
        one.timer->async_wait(
            [this, i, launch_number](boost::system::error_code error) {
                const std::lock_guard hold(mutex_);
                if (!error && slots_[i].launches == launch_number &&
                    notes_[i].now.load() == crew_note::starting)
                {
                    slots_[i].late = true;
                    slots_[i].child.kill(SIGKILL);
                }
            });
    }

    void bury(unsigned i)
    {
        auto& one = slots_[i];
        ended what{i + 1, one.child.pid(), {}, false};
        bool started = false, excused = false, late = false, finished = false;
        {
            const std::lock_guard hold(mutex_);
            if (!one.child.ended())
                return watch(i);
            one.child.kill_group(); // what its tasks started, and left
            const auto status = one.child.try_reap();
            if (!status)
                return watch(i);
            what.status = *status;
            one.watch.reset();
            one.timer.reset();
            const auto phase = notes_[i].now.load();
            const bool calm = what.status.success() || what.status.unknown;
            finished = phase == crew_note::finished && calm;
            what.left = finished || (phase == crew_note::leaving && calm);
            started = phase != crew_note::starting;
            late = one.late;
        }
        if (!what.left)
            deaths_.fetch_add(1);
        if (handlers_.on_death)
            handlers_.on_death(what); // recover first, then replace
        bool stopping = false;
        {
            const std::lock_guard hold(mutex_);
            --alive_;
            finished_ += finished;
            stopping = stopping_ || finished;
            excused = one.excused;
        }
        gone_.notify_all();
        if (stopping)
            return dismiss(i);
        // Who is killed from outside says nothing about the start-up.
        if (started)
            failed_starts_ = killed_starts_ = 0;
        else
            ++(what.status.signal == SIGKILL && !late ? killed_starts_
                                                      : failed_starts_);
        if (failed_starts_ >= options_.start_failures ||
            killed_starts_ > options_.restarts)
            return give_up(
                "worker " + std::to_string(i + 1) + " failed to start " +
                std::to_string(std::max(failed_starts_, killed_starts_)) +
                " times in a row: " + cause(i, what.status));
        replace(i, what.left || excused);
    }

    std::string cause(unsigned i, const exit_status& status) const
    {
        const auto size = std::min<std::size_t>(notes_[i].cause_size.load(),
                                                sizeof notes_[i].cause);
        return size == 0 ? describe(status)
                         : std::string(notes_[i].cause, size);
    }

    void replace(unsigned i, bool wanted)
    {
        auto& one = slots_[i];
        const auto now = clock::now();
        auto delay = std::chrono::milliseconds(0);
        if (!wanted)
        {
            one.failures.push_back(now);
            while (one.failures.front() < now - options_.window)
                one.failures.pop_front(); // the one just added stays
            if (one.failures.size() > options_.restarts)
                return rest(i);
            delay = pause_before(one.failures.size());
        }
        after(i, delay);
    }

    // The budget is spent: the slot starts again when its oldest failure is
    // out of the window.
    void rest(unsigned i)
    {
        slots_[i].waiting = true;
        if (std::all_of(slots_.begin(), slots_.end(), [](const seat& one) {
                return one.waiting || !one.orders; // or finished
            }))
            return give_up("each worker died more than " +
                           std::to_string(options_.restarts) + " times in " +
                           std::to_string(options_.window.count()) + " ms");
        after(i,
              std::chrono::ceil<std::chrono::milliseconds>(
                  slots_[i].failures.front() + options_.window - clock::now()));
    }

    std::chrono::milliseconds pause_before(std::size_t failures)
    {
        if (failures < 2 || options_.backoff.count() == 0)
            return std::chrono::milliseconds(0);
        const auto doubled =
            options_.backoff *
            (std::int64_t{1} << std::min<std::size_t>(failures - 2, 20));
        const double jitter = std::uniform_real_distribution<>(0.8, 1.2)(dice_);
        return std::chrono::milliseconds(static_cast<std::int64_t>(
            static_cast<double>(std::min<std::chrono::milliseconds>(
                                    doubled, options_.longest_backoff)
                                    .count()) *
            jitter));
    }

    void after(unsigned i, std::chrono::milliseconds delay)
    {
        if (delay.count() <= 0)
            return try_launch(i);
        auto& timer = slots_[i].timer;
        timer = std::make_unique<boost::asio::steady_timer>(context_, delay);
        timer->async_wait([this, i](boost::system::error_code error) {
            if (!error)
                try_launch(i);
        });
    }

    void try_launch(unsigned i)
    {
        slots_[i].waiting = false;
        try
        {
            launch(i);
        }
        catch (const std::exception& e) // no process, no descriptor: later
        {
            // One that was started, and killed since nothing could hold it,
            // may have begun something.
            if (handlers_.on_death)
                handlers_.on_death({i + 1, 0, {0, SIGKILL}, false});
            if (++failed_starts_ >= options_.start_failures)
                return give_up(std::string("no replacement: ") + e.what());
            after(i, options_.longest_backoff / 4);
        }
    }

    // There will be no other worker in this seat: what it would have been given
    // is given up, as the ends of a queue that nobody else has.
    void dismiss(unsigned i) { slots_[i].orders.reset(); }
    void dismiss_vacant()
    {
        for (unsigned i = 0; i < size(); ++i)
            if (!slots_[i].child) // else when it is buried
                dismiss(i);
    }

    void give_up(const std::string& why)
    {
        {
            const std::lock_guard hold(mutex_);
            stopping_ = true;
            for (auto& one : slots_)
                one.child.kill(SIGKILL);
        }
        gone_.notify_all();
        dismiss_vacant();
        if (handlers_.on_broken)
            handlers_.on_broken(why);
    }

    options options_;
    events handlers_;
    shared_array<crew_note> notes_;
    boost::asio::io_context context_{1}; // before the seats, that use it
    boost::asio::executor_work_guard<boost::asio::io_context::executor_type>
        work_{context_.get_executor()};
    mutable std::mutex mutex_;
    std::condition_variable gone_;
    std::vector<seat> slots_;
    unsigned alive_ = 0, finished_ = 0;
    unsigned failed_starts_ = 0; // in a row; supervising thread
    unsigned killed_starts_ = 0; // the same, by somebody else
    bool stopping_ = false;
    std::atomic<std::uint64_t> deaths_{0};
    std::minstd_rand dice_{std::random_device{}()};
    std::thread thread_; // last: it uses all of the above
};

} // namespace common
