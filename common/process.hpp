// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.

#pragma once

#include "common/fault.hpp"
#include "common/linux/launch.hpp"
#include "common/shared.hpp"
#include "common/task.hpp"
#include "common/wait.hpp"

#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

namespace common {

namespace detail {

struct stop_state
{
    std::atomic<std::uint32_t> stop{0}; // owner: once, from 0 to 1
    event_count changed;
};

} // namespace detail

/// Seen by the body of a process, if it takes one as its first argument:
/// whether its owner has asked it to stop.
class stop_token
{
public:
    stop_token() : state_() {}

    bool stop_requested() const { return state_->stop.load() != 0; }

    /// Waits until stop is requested or `deadline` passes.  Returns whether it
    /// is requested.
    bool wait_until(time_point deadline) const
    {
        return state_->changed.wait_until([this] { return stop_requested(); },
                                          deadline);
    }

private:
    friend class process;
    friend struct codec<stop_token>;
    explicit stop_token(shared<detail::stop_state> state)
        : state_(std::move(state))
    {
    }
    void request() const
    {
        state_->stop.exchange(1);
        state_->changed.notify_all();
    }
    shared<detail::stop_state> state_;
};

template <>
struct codec<stop_token>
{
    using state = shared<detail::stop_state>;
    static std::size_t size(const stop_token& t)
    {
        return encoded_size(t.state_);
    }
    static void write(writer& to, const stop_token& t) { encode(to, t.state_); }
    static stop_token read(reader& from)
    {
        return stop_token(decode<state>(from));
    }
};

namespace detail {

/// Whether this program is one that can be started again as a worker.
inline bool& worker_main_called()
{
    static bool called = false;
    return called;
}

/// How many processes of this program stand above this one.
inline unsigned& depth()
{
    static unsigned levels = 0;
    return levels;
}

/// The process that started this one as a worker; 0 in all others.
inline pid_t& parent()
{
    static pid_t pid = 0;
    return pid;
}

/// In a worker: ends it if its parent is gone, and ties it to its parent anew,
/// which a change of user or group has undone.
inline void stay_with_parent()
{
    if (!kernel::die_with_parent(parent()))
        ::_exit(127);
}

/// What a new process finds as descriptor 3, before its arguments.
struct letter_head
{
    static constexpr std::uint64_t expected = 0x31726574'74654c43; // "CLetter1"
    static constexpr std::uint64_t largest = 1u << 30; // of the arguments
    std::uint64_t magic = expected;
    std::uint64_t size = 0;
    entry_id body = 0;
    std::uint32_t descriptors = 0;
};

/// The body of a process, as it runs there; gives the exit code.
using body = int(reader& arguments);

template <class F, class... A>
int run_body(reader& arguments)
{
    F function = callable<F>::read(arguments);
    std::tuple<A...> values{decode<A>(arguments)...};
    if constexpr (std::is_same_v<
                      decltype(std::apply(function, std::move(values))), int>)
        return std::apply(function, std::move(values));
    else
    {
        std::apply(function, std::move(values));
        return 0;
    }
}

} // namespace detail

/// 0 in the program that was started by hand, 1 in its workers, 2 in theirs.
inline unsigned nesting_depth()
{
    return detail::depth();
}

/// What a process of this program is started with: a callable and its
/// arguments.  Holds the shared memory among them; can be used many times.
class letter
{
public:
    /// Throws std::length_error for arguments of more than 1 GiB: that is what
    /// shared memory is for.
    template <class F, class... A>
    explicit letter(const F& body, const A&... arguments)
    {
        using what = task<F, A...>;
        what::check();
        detail::letter_head head;
        head.size = what::size(body, arguments...);
        if (head.size > head.largest)
            throw std::length_error("the arguments of a process take " +
                                    std::to_string(head.size) +
                                    " bytes, more than 1 GiB");
        head.body = detail::id_of(&detail::run_body<F, A...>);
        std::vector<std::byte> text(sizeof head + head.size);
        writer to{std::span(text).subspan(sizeof head), &descriptors_, &kept_};
        // Number 3 is the letter itself, the rest follows.
        descriptors_.push_back(-1);
        what::write(to, body, arguments...);
        head.descriptors = static_cast<std::uint32_t>(descriptors_.size());
        std::memcpy(text.data(), &head, sizeof head);

        memory_ = kernel::memfd("letter", text.size(), text.size());
        if (::pwrite(memory_.get(), text.data(), text.size(), 0) !=
            static_cast<ssize_t>(text.size()))
            kernel::fail("writing a letter");
        descriptors_.front() = memory_.get();
    }

    /// The command that starts this same program with this letter.  `launch`
    /// numbers the processes started by this one.
    kernel::program
    command(const std::string& name,
            const std::vector<std::string>& more_environment = {}) const
    {
        if (!detail::worker_main_called())
            throw std::logic_error(
                "this program cannot start workers: call "
                "common::worker_main(argc, argv) first thing in main");
        static std::atomic<std::uint64_t> launches{0};
        kernel::program result{"/proc/self/exe", {name}, {}, descriptors_};
        for (char** one = environ; *one != nullptr; ++one)
            if (std::string_view(*one).rfind("COMMON_WORKER=", 0) != 0)
                result.environment.emplace_back(*one);
        result.environment.insert(result.environment.end(),
                                  more_environment.begin(),
                                  more_environment.end());
        result.environment.push_back(
            "COMMON_WORKER=" + std::to_string(::getpid()) + " " +
            std::to_string(++launches) + " " +
            std::to_string(spin_budget().count()) + " " +
            std::to_string(nesting_depth() + 1));
        return result;
    }

private:
    kernel::memfd memory_;
    std::vector<int> descriptors_;
    std::vector<std::shared_ptr<const void>> kept_;
};

namespace detail {

/// Runs the letter at descriptor 3.  Gives the exit code.
inline int answer_letter()
{
    letter_head head;
    kernel::descriptor fd(3);
    if (::pread(fd.get(), &head, sizeof head, 0) != sizeof head ||
        head.magic != letter_head::expected || head.size > letter_head::largest)
        throw malformed("started as a worker, but without a letter");
    for (int i = 4; i < 3 + static_cast<int>(head.descriptors); ++i)
        ::fcntl(i, F_SETFD, FD_CLOEXEC);
    std::vector<std::byte> text(head.size);
    if (::pread(fd.get(), text.data(), text.size(), sizeof head) !=
        static_cast<ssize_t>(text.size()))
        throw malformed("the letter of a worker ends early");
    fd = kernel::descriptor(); // the body finds only what it was given
    reader arguments{text};
    return function_at<body>(head.body)(arguments);
}

} // namespace detail

/// Call it first thing in `main`.  In a process that was started as a worker
/// it runs the worker's body and ends the process; everywhere else it returns
/// at once.
///
/// A worker dies with the process that started it, at once and however that
/// ended, unless the body changes its user or group.  An exception that leaves
/// the body ends the worker with code 1 and one line on stderr, as
/// std::terminate would say it.
///
/// Where SIGCHLD is ignored, as a parent may have left it, it has its default
/// again: else the kernel would tell nobody how a process ended.
inline void worker_main(int = 0, char** = nullptr)
{
    detail::worker_main_called() = true;
    kernel::do_not_ignore(SIGCHLD);
    const char* text = std::getenv("COMMON_WORKER");
    if (text == nullptr)
        return;
    int parent = 0;
    unsigned long long launch = 0;
    long long spin = 0;
    if (std::sscanf(text, "%d %llu %lld %u", &parent, &launch, &spin,
                    &detail::depth()) != 4)
    {
        std::fprintf(stderr,
                     "COMMON_WORKER is set to '%s', which no program "
                     "that starts workers has done\n",
                     text);
        ::_exit(127);
    }
    detail::parent() = parent;
    detail::stay_with_parent();
    ::unsetenv("COMMON_WORKER");
    spin_budget(std::chrono::nanoseconds(spin));
#ifdef COMMON_FAULT_POINTS
    fault::plan::of_this_process().arm(launch);
#endif
    int code = 1;
    try
    {
        code = detail::answer_letter();
    }
    catch (...)
    {
        const auto error = error_message::current();
        std::fflush(stdout);
        std::fprintf(stderr, "worker %d: %s: %s\n", static_cast<int>(getpid()),
                     error.type.c_str(), error.what.c_str());
    }
    std::exit(code);
}

/// What std::jthread is for threads, for a process of this same program.
///
/// The body is any callable without captures (or wrapped in
/// common::capture), its arguments are copied, shared objects among them are
/// shared.  If it takes a stop_token first, it is given one.  A body that
/// returns int returns the exit code.
///
/// Globals are not inherited: the new process starts from main.
class process
{
public:
    process() = default;

    /// Starts the process.  Throws std::system_error, std::length_error for
    /// arguments of more than 1 GiB (share them: common::shared_array), or
    /// std::logic_error in a program that does not call worker_main.
    template <class F, class... A>
    requires(!std::is_same_v<std::decay_t<F>, process>) explicit process(
        F&& body, A&&... arguments)
    {
        using function = std::decay_t<F>;
        if constexpr (std::is_invocable_v<function&, stop_token,
                                          std::decay_t<A>...>)
        {
            stop_.emplace();
            start(letter(function(body), *stop_,
                         std::decay_t<A>(std::forward<A>(arguments))...));
        }
        else
            start(letter(function(body),
                         std::decay_t<A>(std::forward<A>(arguments))...));
    }

    process(process&& other) noexcept { *this = std::move(other); }
    process& operator=(process&& other) noexcept
    {
        if (this == &other)
            return *this;
        end();
        child_ = std::move(other.child_);
        pid_ = std::exchange(other.pid_, -1);
        status_ = std::exchange(other.status_, std::nullopt);
        stop_ = std::exchange(other.stop_, std::nullopt);
        return *this;
    }

    /// Asks the body to stop, if it listens, and waits for it to end.
    ~process() { end(); }

    /// Whether there is a process that has not been joined.
    bool joinable() const { return static_cast<bool>(child_); }
    pid_t pid() const { return pid_; }

    /// Readable once the process has ended, to wait for it beside other
    /// things; -1 where there is none.
    int native_handle() const { return child_.get(); }

    /// Asks the body to stop.  Returns false when it takes no stop_token.
    bool request_stop() const
    {
        if (stop_)
            stop_->request();
        return stop_.has_value();
    }

    void terminate() const { child_.kill(SIGTERM); }
    void kill() const { child_.kill(SIGKILL); }

    /// Waits for the end; again and again gives the same answer.
    /// Requires: a process was started.
    exit_status join() { return *join_until(time_point::max()); }

    /// Nothing if the process is still running at `deadline`.
    std::optional<exit_status> join_until(time_point deadline)
    {
        if (joinable())
            status_ = child_.reap(deadline);
        return status_;
    }
    template <class Rep, class Period>
    std::optional<exit_status> join_for(std::chrono::duration<Rep, Period> time)
    {
        return join_until(deadline_after(time));
    }

    /// How it ended; nothing while it runs.
    std::optional<exit_status> status()
    {
        return join_until(time_point::min());
    }

private:
    void start(const letter& what)
    {
        child_ = kernel::launch_thread::launch(what.command("process"));
        pid_ = child_.pid();
    }

    void end()
    {
        if (joinable())
        {
            request_stop();
            join();
        }
    }

    kernel::pidfd child_;
    pid_t pid_ = -1;
    std::optional<exit_status> status_;
    std::optional<stop_token> stop_;
};

} // namespace common
