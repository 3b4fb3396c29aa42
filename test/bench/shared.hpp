// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.
//
// Data that several processes share: locks, snapshots, maps, counters.

#pragma once

#include "harness.hpp"
#include "limits.hpp"
#include "python.hpp"
#include "redis.hpp"

#include "common/process.hpp"
#include "common/shared.hpp"

#include <boost/interprocess/allocators/allocator.hpp>
#include <boost/interprocess/managed_external_buffer.hpp>
#include <boost/interprocess/sync/file_lock.hpp>
#include <boost/interprocess/sync/interprocess_mutex.hpp>
#include <boost/interprocess/sync/interprocess_sharable_mutex.hpp>
#include <boost/unordered/unordered_flat_map.hpp>
#include <boost/unordered_map.hpp>

#include "patterns/shared_data/shared_data.hpp"
#include <pthread.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <functional>
#include <initializer_list>
#include <memory>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

namespace bench {
namespace detail {

/// Keeps the compiler from knowing what `value` is.
template <class T>
void hide(T& value)
{
    asm volatile("" : : "g"(&value) : "memory");
}

/// One step of splitmix64.
inline std::uint64_t dice(std::uint64_t x)
{
    x += 0x9e3779b97f4a7c15;
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9;
    x = (x ^ x >> 27) * 0x94d049bb133111eb;
    return x ^ x >> 31;
}

/// Two processes do `step(i)` for half of the numbers each, at the same time.
template <class Step>
double together(std::size_t count, Step step)
{
    struct ends
    {
        line up, go, done;
    };
    const forked_with<ends> shared;
    child other([&] {
        shared->up.word.store(1, std::memory_order_release);
        await(shared->go.word, 1);
        for (std::size_t i = 0; i < count / 2; ++i)
            step(i);
        shared->done.word.store(1, std::memory_order_release);
    });
    await(shared->up.word, 1);
    const stopwatch time;
    shared->go.word.store(1, std::memory_order_release);
    for (std::size_t i = count / 2; i < count; ++i)
        step(i);
    await(shared->done.word, 1);
    const double took = time.read();
    other.join();
    return took;
}

template <class Step>
double alone(std::size_t count, Step step)
{
    const stopwatch time;
    for (std::size_t i = 0; i < count; ++i)
        step(i);
    return time.read();
}

// --- numbers behind locks --------------------------------------------------

inline void leave_as_it_is(std::uint64_t&) {}

class guarded_number
{
public:
    void add() { ++*value_.lock(); }
    std::uint64_t value() { return *value_.lock(); }

private:
    shared_data::guarded<std::uint64_t, &leave_as_it_is> value_;
};

template <class Mutex>
class locked_number
{
public:
    void add()
    {
        const std::lock_guard hold(mutex_);
        ++value_;
        hide(value_);
    }
    std::uint64_t value() const { return value_; }

private:
    Mutex mutex_;
    std::uint64_t value_ = 0;
};

template <int Robust>
class pthread_lock
{
public:
    pthread_lock()
    {
        pthread_mutexattr_t how;
        ::pthread_mutexattr_init(&how);
        ::pthread_mutexattr_setpshared(&how, PTHREAD_PROCESS_SHARED);
        ::pthread_mutexattr_setrobust(&how, Robust);
        ::pthread_mutex_init(&mutex_, &how);
    }
    void lock()
    {
        if (::pthread_mutex_lock(&mutex_) != 0)
            throw std::runtime_error("pthread_mutex_lock");
    }
    void unlock() { ::pthread_mutex_unlock(&mutex_); }

private:
    pthread_mutex_t mutex_;
};

/// Of an empty file without a name.
class locked_file
{
public:
    locked_file()
    {
        std::string name = "/tmp/bench-lock.XXXXXX";
        const int fd = ::mkstemp(name.data());
        if (fd < 0)
            throw std::system_error(errno, std::generic_category(), name);
        file_ = boost::interprocess::file_lock(name.c_str());
        ::close(fd);
        ::unlink(name.c_str());
    }
    void lock() { file_.lock(); }
    void unlock() { file_.unlock(); }

private:
    boost::interprocess::file_lock file_;
};

/// Adds to a number, each time with its lock.
template <class Number>
contestant adding(const std::string& name, bool two)
{
    return {name,
            [name, two](std::size_t count) {
                const forked_with<Number> number;
                const auto step = [&](std::size_t) { number->add(); };
                const double took =
                    two ? together(count, step) : alone(count, step);
                verify(number->value() == count, name);
                return took;
            },
            {}};
}

/// How long an addition took at most, while two processes add.
template <class Number>
contestant longest_addition(const std::string& name)
{
    struct all
    {
        Number number;
        std::atomic<long long> longest{0}; // both
    };
    return {name,
            [name](std::size_t count) {
                // Enough to meet what is rare, however short a block is.
                const auto additions = std::max<std::size_t>(count, 1'000'000);
                const forked_with<all> shared;
                together(additions, [&](std::size_t) {
                    const auto start = now();
                    shared->number.add();
                    const auto took = now() - start;
                    auto longest = shared->longest.load();
                    while (
                        took > longest && // ends: it only grows
                        !shared->longest.compare_exchange_weak(longest, took))
                        continue;
                });
                verify(shared->number.value() == additions, name);
                return static_cast<double>(shared->longest) *
                       static_cast<double>(count);
            },
            {}};
}

inline void lock(row& row, bool two)
{
    using namespace boost::interprocess;
    using opponent = bench::opponent;
    constexpr auto peer = opponent::kind::peer;
    row.pinned = true;
    row.ours = adding<guarded_number>("shared_data::guarded", two);
    row.against = {
        {peer,
         adding<locked_number<interprocess_mutex>>("interprocess_mutex", two),
         two ? 2 : 1 / 0.6},
        {peer, adding<locked_number<pthread_lock<PTHREAD_MUTEX_STALLED>>>(
                   "pthread mutex, process-shared", two)},
        {peer, adding<locked_number<pthread_lock<PTHREAD_MUTEX_ROBUST>>>(
                   "pthread mutex, robust", two)},
        {peer, adding<locked_number<interprocess_sharable_mutex>>(
                   "interprocess_sharable_mutex", two)},
        {peer, adding<locked_number<locked_file>>("file lock, fcntl", two)},
        {peer, python("Python multiprocessing.Lock",
                      {two ? "lock_contended" : "lock"})}};
}

inline void longest_wait(row& row)
{
    using boost::interprocess::interprocess_mutex;
    constexpr auto peer = opponent::kind::peer;
    row.ours = longest_addition<guarded_number>("shared_data::guarded");
    row.against = {
        {peer, longest_addition<locked_number<interprocess_mutex>>(
                   "interprocess_mutex")},
        {peer,
         longest_addition<locked_number<pthread_lock<PTHREAD_MUTEX_ROBUST>>>(
             "pthread mutex, robust")}};
}

// --- a value that is read --------------------------------------------------

struct alignas(64) record // of 64 bytes, all equal; never across two lines
{
    std::array<std::uint64_t, 8> word{};

    static record of(std::uint64_t n)
    {
        record made;
        made.word.fill(n);
        return made;
    }
    bool whole() const { return word.front() == word.back(); }
};

struct plain_record
{
    void read(record& into)
    {
        hide(value);
        into = value;
    }
    void publish(const record& next) { value = next; }
    record value;
};

struct private_record : plain_record // whose neighbour writes elsewhere
{
    void publish(const record& next) { elsewhere = next; }
    record elsewhere;
};

struct snapshot_record
{
    void read(record& into) const { value.read(into); }
    void publish(const record& next) { value.publish(next); }
    shared_data::snapshot<record> value;
};

struct sharable_record
{
    void read(record& into)
    {
        mutex.lock_sharable();
        into = value;
        mutex.unlock_sharable();
    }
    void publish(const record& next)
    {
        const std::lock_guard hold(mutex);
        value = next;
    }
    boost::interprocess::interprocess_sharable_mutex mutex;
    record value;
};

/// Whether all that is read is whole.  (Not inlined: where the compiler inlined
/// one and not the other, the loop itself took half the time.)
template <class Record>
[[gnu::noinline]] bool all_whole(Record& value, std::size_t count)
{
    bool right = true;
    record seen;
    for (std::size_t i = 0; i < count; ++i)
    {
        value.read(seen);
        hide(seen); // all of it is wanted
        right = right && seen.whole();
    }
    return right;
}

/// Reads while nobody writes, or while another process does every microsecond.
template <class Record>
contestant reading(const std::string& name, bool written)
{
    return {name,
            [name, written](std::size_t count) {
                const forked_with<Record> value;
                const forked_with<line> over;
                std::optional<child> writer;
                if (written)
                    writer.emplace([&] {
                        auto next = now();
                        for (std::uint64_t n = 1; over->word.load() == 0; ++n)
                        {
                            value->publish(record::of(n));
                            for (next += 1000; now() < next;)
                                common::relax();
                        }
                    });
                const stopwatch time;
                const bool right = all_whole(*value, count);
                const double took = time.read();
                over->word.store(1);
                if (writer)
                    writer->join();
                verify(right, name);
                return took;
            },
            {}};
}

inline void snapshot(row& row, bool written)
{
    row.ours = reading<snapshot_record>("shared_data::snapshot", written);
    row.against = {
        {opponent::kind::limit, reading<plain_record>("a copy", false), 1.5},
        {opponent::kind::peer,
         reading<sharable_record>("interprocess_sharable_mutex", written), 10}};
    if (written) // two CPUs may be one core, which is slower then
        row.against.push_back(
            {opponent::kind::limit,
             reading<private_record>("a copy, its neighbour as busy", true)});
}

// --- maps ------------------------------------------------------------------

constexpr std::uint64_t entries = 100'000;

class flat_map // private
{
public:
    std::uint64_t find(std::uint64_t key) const
    {
        return all_.find(key)->second;
    }
    void assign(std::uint64_t key, std::uint64_t value)
    {
        all_.insert_or_assign(key, value);
    }

private:
    boost::unordered_flat_map<std::uint64_t, std::uint64_t> all_;
};

using pattern_map = shared_data::map<std::uint64_t, std::uint64_t>;
class shared_map
{
public:
    shared_map() : all_(entries) {}
    explicit shared_map(pattern_map all) : all_(std::move(all)) {}
    std::uint64_t find(std::uint64_t key) const { return *all_.find(key); }
    void assign(std::uint64_t key, std::uint64_t value)
    {
        all_.insert_or_assign(key, value);
    }
    const pattern_map& argument() const { return all_; }

private:
    pattern_map all_;
};

/// Boost's map by Boost's allocator in memory that forked children share.
class locked_map
{
    using memory = std::array<std::byte, 64u << 20>;
    using buffer = boost::interprocess::managed_external_buffer;
    using pair = std::pair<const std::uint64_t, std::uint64_t>;
    using allocator =
        boost::interprocess::allocator<pair, buffer::segment_manager>;
    using hash = boost::hash<std::uint64_t>;
    using map = boost::unordered_map<std::uint64_t, std::uint64_t, hash,
                                     std::equal_to<std::uint64_t>, allocator>;
    using mutex = boost::interprocess::interprocess_mutex;

public:
    std::uint64_t find(std::uint64_t key) const
    {
        const std::lock_guard hold(*mutex_);
        return all_->find(key)->second;
    }
    void assign(std::uint64_t key, std::uint64_t value)
    {
        const std::lock_guard hold(*mutex_);
        all_->insert_or_assign(key, value);
    }

private:
    struct place
    {
        alignas(64) memory bytes;
    };
    forked_with<place> place_;
    buffer buffer_{boost::interprocess::create_only, place_->bytes.data(),
                   sizeof(memory)};
    mutex* mutex_ = buffer_.construct<mutex>("mutex")();
    map* all_ = buffer_.construct<map>("map")(
        entries, hash(), std::equal_to<std::uint64_t>(),
        allocator(buffer_.get_segment_manager()));
};

template <class Map>
std::shared_ptr<Map> filled()
{
    auto made = std::make_shared<Map>();
    for (std::uint64_t key = 0; key < entries; ++key)
        made->assign(dice(key), key);
    return made;
}

/// Looks for keys that are there, in a random order.
template <class Map>
contestant finding(const std::string& name)
{
    return {name,
            [name, all = filled<Map>()](std::size_t count) {
                bool right = true;
                const double took = alone(count, [&](std::size_t i) {
                    const auto key = dice(i) % entries;
                    right = right && all->find(dice(key)) == key;
                });
                verify(right, name);
                return took;
            },
            {}};
}

/// Nine times of ten an entry is looked at, else it is replaced.  Returns
/// whether all were there.
template <class Map>
bool mix(Map& all, std::size_t from, std::size_t to)
{
    bool right = true;
    for (std::size_t i = from; i < to; ++i)
    {
        const auto chance = dice(i);
        const auto key = chance % entries;
        if ((chance >> 32) % 10 == 0)
            all.assign(dice(key), key);
        else
            right = right && all.find(dice(key)) == key;
    }
    return right;
}

struct meeting // of two processes
{
    line up, go, done; // the word of done: 1 if it was right
};

/// Two processes mix.  `start(meeting, count)` makes the other one, and
/// returns something that waits for its end.
template <class Map, class Start>
double mix_together(Map& all, std::size_t count, meeting& at, Start start,
                    const std::string& name)
{
    auto other = start(count / 2);
    await(at.up.word, 1);
    const stopwatch time;
    at.go.word.store(1, std::memory_order_release);
    const bool right = mix(all, count / 2, count);
    while (at.done.word.load(std::memory_order_acquire) == 0)
        look_again();
    const double took = time.read();
    verify(right && at.done.word.load() == 1, name);
    return took;
}

template <class Map>
void take_part(Map& all, meeting& at, std::size_t count)
{
    at.up.word.store(1, std::memory_order_release);
    await(at.go.word, 1);
    at.done.word.store(mix(all, 0, count) ? 1 : 2, std::memory_order_release);
}

inline void take_part_there(pattern_map argument, common::shared<meeting> at,
                            int cpu, std::size_t count)
{
    pin(0, {cpu});
    shared_map all(std::move(argument));
    take_part(all, *at, count);
}

inline contestant mixed_shared()
{
    const std::string name = "shared_data::map";
    return {name,
            [name, all = filled<shared_map>()](std::size_t count) {
                const common::shared<meeting> at;
                const auto start = [&](std::size_t half) {
                    return common::process(&take_part_there, all->argument(),
                                           at, cpus().there, half);
                };
                return mix_together(*all, count, *at, start, name);
            },
            {}};
}

inline contestant mixed_locked()
{
    const std::string name = "boost::unordered_map + interprocess_mutex";
    return {name,
            [name, all = filled<locked_map>()](std::size_t count) {
                const forked_with<meeting> at;
                const auto start = [&](std::size_t half) {
                    return child([&, half] { take_part(*all, *at, half); });
                };
                return mix_together(*all, count, *at, start, name);
            },
            {}};
}

/// A server, and a connection to it for each of two processes.
class redis_map
{
public:
    explicit redis_map(std::initializer_list<int> cpus) : server_(cpus)
    {
        for (std::uint64_t key = 0; key < entries; key += batch)
        {
            for (std::uint64_t i = key; i < key + batch; ++i)
                here_.begin_assignment(dice(i), i);
            for (std::uint64_t i = 0; i < batch; ++i)
                here_.end_assignment();
        }
    }
    const redis_client& here() const { return here_; }
    const redis_client& there() const { return there_; }

    static constexpr std::uint64_t batch = 100;
    static_assert(entries % batch == 0);

private:
    redis_server server_;
    redis_client here_{server_.socket()}, there_{server_.socket()};
};

inline double find_in(const redis_map& all, std::size_t count, bool& right)
{
    return alone(count, [&](std::size_t i) {
        const auto key = dice(i) % entries;
        right = right && all.here().find(dice(key)) == key;
    });
}
inline double find_in_batches(const redis_map& all, std::size_t count,
                              bool& right)
{
    const stopwatch time;
    for (std::size_t i = 0; i < count; i += redis_map::batch)
    {
        const auto end = std::min(i + redis_map::batch, count);
        for (auto n = i; n < end; ++n)
            all.here().ask_for(dice(dice(n) % entries));
        for (auto n = i; n < end; ++n)
            right = right && all.here().answer() == dice(n) % entries;
    }
    return time.read();
}
inline double mix_in(const redis_map& all, std::size_t count, bool& right)
{
    const forked_with<meeting> at;
    const auto start = [&](std::size_t half) {
        return child([&, half] { take_part(all.there(), *at, half); });
    };
    right = true; // or this throws
    return mix_together(all.here(), count, *at, start, "Redis");
}

/// `how(map, count, right)`, with a server of its own on these CPUs.
template <class How>
contestant redis(const std::string& name, How how,
                 std::initializer_list<int> cpus)
try
{
    return {name,
            [name, how,
             all = std::make_shared<redis_map>(cpus)](std::size_t count) {
                bool right = true;
                const double took = how(*all, count, right);
                verify(right, name);
                return took;
            },
            {}};
}
catch (const std::runtime_error& error)
{
    return {name, {}, error.what()};
}

inline void map_find(row& row)
{
    const int there = cpus().there;
    row.ours = finding<shared_map>("shared_data::map");
    row.against = {
        {opponent::kind::peer,
         finding<flat_map>("boost::unordered_flat_map, private"), 0.7},
        {opponent::kind::peer,
         finding<locked_map>("boost::unordered_map + interprocess_mutex")},
        {opponent::kind::peer, redis("Redis, Unix socket", &find_in, {there}),
         50},
        {opponent::kind::peer, redis("Redis, Unix socket, 100 at a time",
                                     &find_in_batches, {there})}};
}

inline void map_mixed(row& row)
{
    row.ours = mixed_shared();
    row.against = {
        {opponent::kind::peer, mixed_locked(), 3},
        {opponent::kind::peer,
         redis("Redis, Unix socket", &mix_in, {cpus().here, cpus().there}),
         50}};
}

// --- counters --------------------------------------------------------------

struct sharded
{
    void add() { number.add(); }
    std::uint64_t value() const
    {
        return static_cast<std::uint64_t>(number.value());
    }
    shared_data::counter<> number;
};
struct one_word
{
    void add() { number.fetch_add(1, std::memory_order_relaxed); }
    std::uint64_t value() const { return number; }
    std::atomic<std::uint64_t> number{0};
};

inline void counter(row& row)
{
    row.ours = adding<sharded>("shared_data::counter", true);
    row.against = {{opponent::kind::peer,
                    adding<one_word>("one std::atomic for all", true)},
                   {opponent::kind::peer,
                    adding<guarded_number>("shared_data::guarded", true)}};
}

} // namespace detail

inline std::vector<planned> shared_data_rows()
{
    return {
        {"lock", "lock, add, unlock; nobody else wants it",
         [](row& row) { detail::lock(row, false); }},
        {"lock, contended", "the same by two processes, each addition",
         [](row& row) { detail::lock(row, true); }},
        {"lock, longest wait", "the longest of a million such additions",
         detail::longest_wait},
        {"snapshot", "64 bytes are read, nobody writes",
         [](row& row) { detail::snapshot(row, false); }},
        {"snapshot, written", "the same while a process writes at 1 MHz",
         [](row& row) { detail::snapshot(row, true); }},
        {"map find", "one of 100,000 keys, which is there", detail::map_find},
        {"map, mixed", "two processes; 9 times found, once replaced",
         detail::map_mixed},
        {"counter", "two processes add, each addition", detail::counter}};
}

} // namespace bench
