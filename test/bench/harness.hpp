// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.

#pragma once

#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <functional>
#include <optional>
#include <stdexcept>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

namespace bench {

/// A contestant computed something else than it should have.
struct wrong_result : std::runtime_error
{
    using std::runtime_error::runtime_error;
};

/// Throws wrong_result, naming `who`, unless `right`.
inline void verify(bool right, const std::string& who)
{
    if (!right)
        throw wrong_result(who + ": wrong result");
}

// --- time ------------------------------------------------------------------

/// Now, in nanoseconds; the same clock in every process of this machine.
inline long long now()
{
    return std::chrono::duration_cast<std::chrono::nanoseconds>(
               std::chrono::steady_clock::now().time_since_epoch())
        .count();
}

/// Nanoseconds since it was made.
class stopwatch
{
public:
    double read() const { return static_cast<double>(now() - start_); }

private:
    long long start_ = now();
};

// --- place -----------------------------------------------------------------

/// The two CPUs that everything here runs on.
struct two_cpus
{
    int here = 0;  // the caller: submitter, client, parent
    int there = 0; // the other side: worker, server, child
    bool one() const { return here == there; }
};

/// The first two CPUs of the affinity mask that the program started with; the
/// same one twice when there is only one.
inline const two_cpus& cpus()
{
    static const two_cpus found = [] {
        cpu_set_t mask;
        CPU_ZERO(&mask);
        if (::sched_getaffinity(0, sizeof mask, &mask) != 0)
            throw std::system_error(errno, std::generic_category(),
                                    "reading the affinity mask");
        std::vector<int> usable;
        for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu)
            if (CPU_ISSET(cpu, &mask))
                usable.push_back(cpu);
        return two_cpus{usable.front(), usable[usable.size() > 1 ? 1 : 0]};
    }();
    return found;
}

/// Moves a thread (0: the calling one) to these CPUs.  A thread that has
/// ended meanwhile is no error.
inline void pin(pid_t thread, std::initializer_list<int> to)
{
    cpu_set_t mask;
    CPU_ZERO(&mask);
    for (const int cpu : to)
        CPU_SET(cpu, &mask);
    if (::sched_setaffinity(thread, sizeof mask, &mask) != 0 && errno != ESRCH)
        throw std::system_error(errno, std::generic_category(),
                                "pinning a thread");
}

/// What a spinning wait does between two looks: nothing where the other side
/// has a CPU of its own, else it lets the other side run.
inline void look_again()
{
    if (cpus().one())
        ::sched_yield();
}

// --- the other side --------------------------------------------------------

/// A process that runs `body` on the other CPU and ends.
///
/// A bare fork, which only a benchmark may do: the body works on memory that
/// was mapped before and allocates nothing.  Dies with the parent.  Leaves the
/// caller pinned to its own CPU.
class child
{
public:
    template <class Body>
    explicit child(Body body)
    {
        const pid_t parent = ::getpid();
        pin(0, {cpus().there}); // born there: it need not wait for this CPU
        pid_ = ::fork();
        if (pid_ != 0)
            pin(0, {cpus().here});
        if (pid_ < 0)
            throw std::system_error(errno, std::generic_category(), "fork");
        if (pid_ > 0)
            return;
        if (::prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || ::getppid() != parent)
            ::_exit(1);
        body();
        ::_exit(0);
    }
    child(const child&) = delete;

    /// Kills it, if it has not been joined.
    ~child()
    {
        if (pid_ <= 0)
            return;
        ::kill(pid_, SIGKILL);
        ::waitpid(pid_, nullptr, 0);
    }

    /// Waits for its end.  Throws when that was not a success.
    void join()
    {
        int status = 0;
        ::waitpid(std::exchange(pid_, -1), &status, 0);
        if (status != 0)
            throw std::runtime_error("a forked child failed");
    }

private:
    pid_t pid_ = -1;
};

// --- what is compared ------------------------------------------------------

/// One way to do the operation of a row.
struct contestant
{
    std::string name;
    /// Does the operation so many times, verifies what came out, and returns
    /// the nanoseconds that it took.
    std::function<double(std::size_t)> run;
    std::string missing; // why there is no `run`
};

/// Against whom the candidate runs, and what is asked of it.
struct opponent
{
    enum class kind
    {
        limit, // what the hardware or the kernel needs: ratio = ours / limit
        peer   // who does the same: ratio = peer / ours
    };

    kind is = kind::peer;
    contestant who;
    std::optional<double> bar = {};  // the ratio: at most, or at least
    std::optional<double> goal = {}; // a harder one, for information
};

/// One operation, by the candidate and its opponents.
struct row
{
    std::string name;
    std::string what;
    contestant ours;
    std::vector<opponent> against;
    bool pinned = true; // the calling thread stays on its CPU
};

/// A row that is set up when its turn comes.
struct planned
{
    std::string name;
    std::string what;
    std::function<void(row&)> set_up;
    double patience = 1; // times --seconds
};

/// The figures of one opponent.
struct comparison
{
    std::string name;
    opponent::kind is;
    double value = 0;         // nanoseconds per operation, median of the blocks
    double ratio = 0;         // median of the ratios of the blocks; 0: none
    double low = 0, high = 0; // its quartiles
    std::optional<double> bar, goal;
    std::string missing;

    std::optional<bool> met() const
    {
        if (!bar || ratio <= 0)
            return {};
        return is == opponent::kind::limit ? ratio <= *bar : ratio >= *bar;
    }
};

/// The figures of one row.
struct result
{
    std::string name, what;
    double value = 0; // nanoseconds per operation, median of the blocks
    double low = 0, high = 0;
    std::size_t blocks = 0;
    std::vector<comparison> against;
    std::string missing; // why there are no figures
    bool failed = false; // ... and that is a fault
};

// --- the measurement -------------------------------------------------------

/// The element below which the part `q` of a sorted copy lies.
inline double quantile(std::vector<double> values, double q)
{
    if (values.empty())
        return 0;
    std::sort(values.begin(), values.end());
    const double at = q * static_cast<double>(values.size() - 1);
    return values[static_cast<std::size_t>(at + 0.5)];
}

/// Ends the program when a block does not end: every spinning wait of a
/// benchmark is bounded by this.  Names the contestant on stderr.
class watchdog
{
public:
    explicit watchdog(const std::string& who, unsigned seconds = 120)
    {
        ::strncpy(name(), who.c_str(), name_size - 1);
        ::signal(SIGALRM, [](int) {
            const char text[] = "bench: this never ended: ";
            if (::write(2, text, sizeof text - 1) > 0 &&
                ::write(2, name(), ::strlen(name())) > 0 &&
                ::write(2, "\n", 1) > 0)
                ::_exit(1);
            ::_exit(1);
        });
        ::alarm(seconds);
    }
    watchdog(const watchdog&) = delete;
    ~watchdog() { ::alarm(0); }

private:
    static constexpr std::size_t name_size = 80;
    static char* name()
    {
        static char text[name_size] = {};
        return text;
    }
};

/// Measures one contestant in blocks of a fixed number of operations.
class measured
{
public:
    explicit measured(const contestant& who) : who_(who) {}

    /// Finds the number of operations that take about `nanoseconds`: by the
    /// best of three, because one may meet somebody else on its CPU.
    void calibrate(double nanoseconds)
    {
        const watchdog bounded(who_.name);
        for (;; count_ *= 4) // ends: it grows until a block is long enough
        {
            double took = who_.run(count_);
            for (int i = 0; i < 2 && took < nanoseconds; ++i)
                took = std::min(took, who_.run(count_));
            if (took < nanoseconds / 4)
                continue;
            const double fit = static_cast<double>(count_) * nanoseconds / took;
            count_ = std::max<std::size_t>(1, static_cast<std::size_t>(fit));
            return;
        }
    }

    /// One block.  The first sixteenth is run twice, and not counted once: it
    /// wakes the other side and warms the caches.
    void run_block()
    {
        const watchdog bounded(who_.name);
        if (count_ >= 16)
            who_.run(count_ / 16);
        values_.push_back(who_.run(count_) / static_cast<double>(count_));
    }

    const std::vector<double>& values() const { return values_; }

private:
    const contestant& who_;
    std::size_t count_ = 1;
    std::vector<double> values_;
};

namespace detail {

inline comparison compare(const opponent& other, const measured& theirs,
                          const measured* ours)
{
    comparison made{other.who.name,
                    other.is,
                    quantile(theirs.values(), 0.5),
                    0,
                    0,
                    0,
                    other.bar,
                    other.goal,
                    other.who.missing};
    if (ours == nullptr || theirs.values().empty())
        return made;
    std::vector<double> ratios;
    for (std::size_t i = 0; i < ours->values().size(); ++i)
    {
        const double a = ours->values()[i], b = theirs.values()[i];
        ratios.push_back(other.is == opponent::kind::limit ? a / b : b / a);
    }
    made.ratio = quantile(ratios, 0.5);
    made.low = quantile(ratios, 0.25);
    made.high = quantile(ratios, 0.75);
    return made;
}

} // namespace detail

/// Runs a row for about `seconds`: candidate and opponents take turns in
/// blocks of 50 to 200 ms, at least three rounds, 15 where time allows, so
/// that what else happens on the machine meets all of them alike.
inline result measure(const row& of, double seconds)
{
    std::vector<measured> all; // the candidate first
    all.emplace_back(of.ours);
    for (const auto& other : of.against)
        all.emplace_back(other.who);
    std::vector<measured*> present;
    for (std::size_t i = 0; i < all.size(); ++i)
        if ((i == 0 ? of.ours : of.against[i - 1].who).run)
            present.push_back(&all[i]);

    pin(0, of.pinned ? std::initializer_list<int>{cpus().here}
                     : std::initializer_list<int>{cpus().here, cpus().there});
    const stopwatch row_time;
    const double share =
        seconds * 1e9 / 15 / static_cast<double>(present.size() + 1);
    for (auto* one : present)
        one->calibrate(std::clamp(share, 50e6, 200e6));
    std::size_t rounds = 0;
    for (; rounds < 3 || row_time.read() < seconds * 1e9; ++rounds)
        for (auto* one : present)
            one->run_block();
    pin(0, {cpus().here, cpus().there});

    const measured& ours = all.front();
    result made{of.name,
                of.what,
                quantile(ours.values(), 0.5),
                quantile(ours.values(), 0.25),
                quantile(ours.values(), 0.75),
                rounds,
                {},
                of.ours.missing,
                false};
    for (std::size_t i = 0; i < of.against.size(); ++i)
        made.against.push_back(detail::compare(of.against[i], all[i + 1],
                                               of.ours.run ? &ours : nullptr));
    return made;
}

} // namespace bench
