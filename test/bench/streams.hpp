// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.
//
// Streams of items from one process to another: the queue, the pipeline, and
// what else carries items.

#pragma once

#include "harness.hpp"
#include "limits.hpp"
#include "python.hpp"
#include "text.hpp"

#include "common/process.hpp"
#include "common/shared.hpp"
#include "common/wait.hpp"

#include <boost/interprocess/ipc/message_queue.hpp>
#include <boost/lockfree/spsc_queue.hpp>

#include "patterns/pipeline/pipeline.hpp"
#include "patterns/producer_consumer/producer_consumer.hpp"

#ifdef BENCH_TBB
#include <tbb/parallel_pipeline.h>
#endif
#ifdef BENCH_ZEROMQ
#include <zmq.h>
#endif

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace bench {

/// What is sent: its number, and bytes to carry.
template <std::size_t Size>
struct item
{
    std::uint64_t number = 0;
    std::array<std::uint64_t, Size / 8 - 1> load{};
};

template <>
struct item<8>
{
    std::uint64_t number = 0;
};

namespace detail {

constexpr std::size_t depth = 1024; // items that a queue holds at least

/// The bound of queues that are compared, ours too: the items in the memory
/// that ours takes by default.  Who may be fewer items ahead stays in the
/// caches of single CPUs, and is slower for it.
template <class Item>
constexpr std::size_t places =
    std::max(depth, producer_consumer::queue_options().bytes / sizeof(Item));

constexpr std::size_t batch = 128;

/// Judges what arrives: all of it, in order, whole.
template <class Item>
class judge
{
public:
    void see(const Item& one)
    {
        right_ = right_ && one.number == expected_;
        if constexpr (sizeof(Item) > 8)
            right_ = right_ && one.load.back() == one.number;
        ++expected_;
    }
    bool right(std::size_t count) const { return right_ && expected_ == count; }

private:
    std::uint64_t expected_ = 0;
    bool right_ = true;
};

/// In place: to make an item anew each time takes longer than to send it.
template <class Item>
void set_number(Item& of, std::uint64_t number)
{
    of.number = number;
    if constexpr (sizeof(Item) > 8)
        of.load.back() = number;
}

/// Items in batches of `most`, put in here and taken out by a forked child.
/// `put` and `get` wait; `get` says how many it got.
template <class Item, class Way>
double through(std::size_t count, std::size_t most, const std::string& name)
{
    struct ends
    {
        line up, done;
    };
    const forked_with<ends> shared;
    const forked_with<Way> way;
    child other([&] {
        way->attach_reader();
        shared->up.word.store(1, std::memory_order_release);
        std::array<Item, batch> some;
        judge<Item> all;
        for (std::size_t had = 0; had < count;)
        {
            const auto got = way->get(some.data(), most);
            for (std::size_t i = 0; i < got; ++i)
                all.see(some[i]);
            had += got;
        }
        shared->done.word.store(all.right(count) ? 1 : 2,
                                std::memory_order_release);
    });
    await(shared->up.word, 1);
    way->attach_writer();
    std::array<Item, batch> some{};
    const stopwatch time;
    for (std::size_t i = 0; i < count;)
    {
        const auto now = std::min(most, count - i);
        for (std::size_t j = 0; j < now; ++j, ++i)
            set_number(some[j], i);
        way->put(some.data(), now);
    }
    while (shared->done.word.load(std::memory_order_acquire) == 0)
        ::sched_yield(); // some ways have a thread here that must run
    const double took = time.read();
    verify(shared->done.word.load() == 1, name);
    other.join();
    way->detach();
    return took;
}

template <class Item, class Way>
contestant by(const std::string& name, std::size_t most)
{
    return {name,
            [name, most](std::size_t count) {
                return through<Item, Way>(count, most, name);
            },
            {}};
}

struct needs_nothing
{
    void attach_reader() {}
    void attach_writer() {}
    void detach() {}
};

/// A ring with two indexes on lines of their own, each side with a copy of the
/// other's; survives nobody's death.
template <class Item>
class raw_ring : public needs_nothing
{
public:
    void put(const Item* from, std::size_t count)
    {
        while (written_ + count - seen_read_ > places<Item>)
        {
            seen_read_ = read_.load(std::memory_order_acquire);
            if (written_ + count - seen_read_ > places<Item>)
                look_again();
        }
        for (std::size_t i = 0; i < count; ++i)
            items_[(written_ + i) % places<Item>] = from[i];
        written_ += count;
        published_.store(written_, std::memory_order_release);
    }
    std::size_t get(Item* to, std::size_t most)
    {
        const auto done = read_.load(std::memory_order_relaxed);
        while (seen_published_ == done)
        {
            seen_published_ = published_.load(std::memory_order_acquire);
            if (seen_published_ == done)
                look_again();
        }
        const auto count = std::min(most, seen_published_ - done);
        for (std::size_t i = 0; i < count; ++i)
            to[i] = items_[(done + i) % places<Item>];
        read_.store(done + count, std::memory_order_release);
        return count;
    }

private:
    alignas(128) std::atomic<std::size_t> published_{0}; // the writer
    alignas(128) std::size_t written_ = 0, seen_read_ = 0;
    alignas(128) std::atomic<std::size_t> read_{0}; // the reader
    alignas(128) std::size_t seen_published_ = 0;
    alignas(128) std::array<Item, places<Item>> items_;
};

template <class Item>
class lockfree : public needs_nothing
{
public:
    void put(const Item* from, std::size_t count)
    {
        for (std::size_t done = 0; done < count;)
        {
            const auto now = count == 1
                                 ? std::size_t{items_.push(*from)}
                                 : items_.push(from + done, count - done);
            done += now;
            if (now == 0)
                look_again();
        }
    }
    std::size_t get(Item* to, std::size_t most)
    {
        for (;;)
        {
            if (const auto got = most == 1 ? std::size_t{items_.pop(*to)}
                                           : items_.pop(to, most))
                return got;
            look_again();
        }
    }

private:
    boost::lockfree::spsc_queue<Item, boost::lockfree::capacity<places<Item>>>
        items_;
};

/// A message for each item: the queue has no way to take several.
template <class Item>
class interprocess_queue : public needs_nothing
{
public:
    interprocess_queue()
    {
        using namespace boost::interprocess;
        name_ = "bench-" + std::to_string(::getpid());
        message_queue::remove(name_.c_str());
        queue_.emplace(create_only, name_.c_str(), places<Item>, sizeof(Item),
                       permissions(0600));
        message_queue::remove(name_.c_str()); // who has it keeps it
    }
    void put(const Item* from, std::size_t count)
    {
        for (std::size_t i = 0; i < count; ++i)
            queue_->send(from + i, sizeof(Item), 0);
    }
    std::size_t get(Item* to, std::size_t)
    {
        boost::interprocess::message_queue::size_type size = 0;
        unsigned priority = 0;
        queue_->receive(to, sizeof(Item), size, priority);
        return 1;
    }
    void detach() { queue_.reset(); }

private:
    std::string name_;
    std::optional<boost::interprocess::message_queue> queue_;
};

template <class Item>
class pipe_of : public needs_nothing
{
public:
    pipe_of()
    {
        if (::pipe(ends_.data()) != 0)
            throw std::system_error(errno, std::generic_category(), "pipe");
    }
    void put(const Item* from, std::size_t count)
    {
        const char* at = reinterpret_cast<const char*>(from);
        for (std::size_t left = count * sizeof(Item); left > 0;)
        {
            const auto n = ::write(ends_[1], at, left);
            if (n <= 0)
                throw std::runtime_error("pipe: cannot write");
            at += n;
            left -= static_cast<std::size_t>(n);
        }
    }
    std::size_t get(Item* to, std::size_t most)
    {
        auto* at = reinterpret_cast<char*>(to);
        std::size_t had = 0;
        do
        {
            const auto n =
                ::read(ends_[0], at + had, most * sizeof(Item) - had);
            if (n <= 0)
                return 0;
            had += static_cast<std::size_t>(n);
        } while (had % sizeof(Item) != 0);
        return had / sizeof(Item);
    }
    void detach()
    {
        ::close(ends_[0]);
        ::close(ends_[1]);
    }

private:
    std::array<int, 2> ends_{};
};

#ifdef BENCH_ZEROMQ

/// A socket of each kind over a Unix socket; a message for each batch.
template <class Item>
class zeromq_sockets
{
public:
    void attach_reader() { reader_.open(ZMQ_PULL, name_); }
    void attach_writer() { writer_.open(ZMQ_PUSH, name_); }
    void detach() { writer_.close(); }
    void put(const Item* from, std::size_t count)
    {
        if (::zmq_send(writer_.socket, from, count * sizeof(Item), 0) < 0)
            throw std::runtime_error("zmq_send");
    }
    std::size_t get(Item* to, std::size_t most)
    {
        const auto n = ::zmq_recv(reader_.socket, to, most * sizeof(Item), 0);
        if (n <= 0)
            throw std::runtime_error("zmq_recv");
        return static_cast<std::size_t>(n) / sizeof(Item);
    }

private:
    struct end // of one process; the other one never looks at it
    {
        void open(int kind, const std::string& name)
        {
            context = ::zmq_ctx_new();
            socket = ::zmq_socket(context, kind);
            const int most = static_cast<int>(depth);
            ::zmq_setsockopt(socket, ZMQ_SNDHWM, &most, sizeof most);
            ::zmq_setsockopt(socket, ZMQ_RCVHWM, &most, sizeof most);
            const auto failed = kind == ZMQ_PULL
                                    ? ::zmq_bind(socket, name.c_str())
                                    : ::zmq_connect(socket, name.c_str());
            if (failed != 0)
                throw std::runtime_error("zmq: " + name);
        }
        void close() const
        {
            ::zmq_close(socket);
            ::zmq_ctx_term(context);
        }
        void* context = nullptr;
        void* socket = nullptr;
    };

    end reader_, writer_;
    // Before the fork: both sides have the same one.  No file: '@' is abstract.
    std::string name_ = "ipc://@bench-" + std::to_string(::getpid());
};

#endif

// --- ours ------------------------------------------------------------------

/// What the processes at a queue tell.
struct progress
{
    struct alignas(128) party
    {
        std::atomic<long long> at{0}; // the party, once; 0: not there yet
        std::atomic<bool> right{true};
        std::atomic<std::uint64_t> sum{0}; // of the numbers that it got
    };
    std::array<party, 4> began, ended;
    std::atomic<unsigned> ready{0};
    std::atomic<bool> go{false};
    common::event_count changed;
};

template <class Item>
void produce(producer_consumer::producer<Item> out,
             common::shared<progress> told, unsigned index, int cpu,
             std::size_t count, std::size_t most)
{
    pin(0, {cpu});
    std::vector<Item> some(most);
    ++told->ready;
    told->changed.notify_all();
    told->changed.wait_until([&] { return told->go.load(); });
    told->began[index].at = now();
    if (most == 1)
        for (std::size_t i = 0; i < count; ++i)
        {
            set_number(some[0], i);
            out.push(some[0]);
        }
    for (std::size_t i = 0; i < count && most > 1;)
    {
        some.resize(std::min(most, count - i));
        for (auto& one : some)
            set_number(one, i++);
        out.push_all(some);
    }
}

template <class Item>
void consume(producer_consumer::consumer<Item> in,
             common::shared<progress> told, unsigned index, int cpu,
             std::size_t most, std::size_t count, bool alone)
{
    pin(0, {cpu});
    ++told->ready;
    told->changed.notify_all();
    judge<Item> all;
    std::uint64_t sum = 0;
    if (most == 1)
        while (const auto one = in.pop())
            all.see(*one), sum += one->number;
    else
        for (auto some = in.pop_all(most); !some.empty();
             some = in.pop_all(most))
            for (const auto& one : some)
                all.see(one), sum += one.number;
    told->ended[index].right = !alone || all.right(count);
    told->ended[index].sum = sum;
    told->ended[index].at = now();
}

/// So many producers on one CPU, as many consumers on the other.
template <class Item>
double through_queue(std::size_t count, unsigned pairs, std::size_t most,
                     std::size_t bound, const std::string& name)
{
    producer_consumer::queue_options how{.capacity = bound};
    how.bytes = std::max(how.bytes, 2 * depth * (sizeof(Item) + 64));
    producer_consumer::queue<Item> queue(how);
    const common::shared<progress> told;
    const auto each = std::max<std::size_t>(1, count / pairs);
    std::vector<common::process> all;
    auto open = queue.producer();
    for (unsigned i = 0; i < pairs; ++i)
    {
        all.emplace_back(&produce<Item>, queue.producer(), told, i, cpus().here,
                         each, most);
        all.emplace_back(&consume<Item>, queue.consumer(), told, i,
                         cpus().there, most, each, pairs == 1);
    }
    open.leave();
    told->changed.wait_until([&] { return told->ready == 2 * pairs; });
    told->go = true;
    told->changed.notify_after_death();
    for (auto& one : all)
        verify(one.join().success(), name);
    long long began = told->began[0].at, ended = 0;
    std::uint64_t sum = 0;
    for (unsigned i = 0; i < pairs; ++i)
    {
        began = std::min<long long>(began, told->began[i].at);
        ended = std::max<long long>(ended, told->ended[i].at);
        verify(told->ended[i].right, name);
        sum += told->ended[i].sum;
    }
    verify(queue.stats().finished == each * pairs &&
               sum == pairs * (std::uint64_t{each} * (each - 1) / 2),
           name);
    return static_cast<double>(ended - began) *
           (static_cast<double>(count) / static_cast<double>(each * pairs));
}

template <class Item>
contestant queue(const std::string& name, unsigned pairs, std::size_t most,
                 std::size_t bound = places<Item>)
{
    return {name,
            [=](std::size_t count) {
                return through_queue<Item>(count, pairs, most, bound, name);
            },
            {}};
}

/// Two queues, an item there and back.
inline contestant queue_round_trip()
{
    using item = item<64>;
    struct pair
    {
        producer_consumer::queue<item> to, from;
        common::process other{
            [](producer_consumer::consumer<bench::item<64>> from_here,
               producer_consumer::producer<bench::item<64>> to_there, int cpu) {
                pin(0, {cpu});
                while (const auto one = from_here.pop())
                    to_there.push(*one);
            },
            to.consumer(), from.producer(), cpus().there};
        // Leave first, which ends the other one.
        producer_consumer::producer<item> out = to.producer();
        producer_consumer::consumer<item> in = from.consumer();
    };
    const std::string name = "producer_consumer, there and back";
    return {name,
            [name, both = std::make_shared<pair>()](std::size_t count) {
                item one;
                const stopwatch time;
                for (std::size_t i = 0; i < count; ++i)
                {
                    set_number(one, i);
                    both->out.push(one);
                    verify(both->in.pop()->number == i, name);
                }
                return time.read();
            },
            {}};
}

/// source | one process | sink; what they do is to count.
inline contestant empty_pipeline()
{
    const std::string name = "pipeline, a process between two threads";
    return {name,
            [name](std::size_t count) {
                double took = 0;
                std::uint64_t sum = 0;
                std::optional<stopwatch> time;
                auto line =
                    pipeline::source([&, i = std::uint64_t{0}]() mutable {
                        if (!time && i == 1) // the first one starts processes
                            time.emplace();
                        return i <= count ? std::optional(i++) : std::nullopt;
                    }) |
                    pipeline::parallel(1, [](std::uint64_t i) { return i; }) |
                    pipeline::sink([&](std::uint64_t i) { sum += i; });
                pipeline::options how;
                how.tokens = depth;
                line.run(how);
                took = time->read();
                verify(sum == std::uint64_t{count} * (count + 1) / 2, name);
                return took;
            },
            {}};
}

} // namespace detail

#ifdef BENCH_TBB

/// serial | parallel | serial over numbers, on two threads.
inline contestant tbb_pipeline()
{
    const std::string name = "tbb::parallel_pipeline, threads";
    return {name,
            [name](std::size_t count) {
                tbb::task_arena two(2);
                std::uint64_t next = 0, sum = 0;
                const stopwatch time;
                two.execute([&] {
                    using tbb::filter_mode;
                    tbb::parallel_pipeline(
                        detail::depth,
                        tbb::make_filter<void, std::uint64_t>(
                            filter_mode::serial_in_order,
                            [&](tbb::flow_control& control) {
                                if (next == count)
                                    control.stop();
                                return next++;
                            }) &
                            tbb::make_filter<std::uint64_t, std::uint64_t>(
                                filter_mode::parallel,
                                [](std::uint64_t i) { return i; }) &
                            tbb::make_filter<std::uint64_t, void>(
                                filter_mode::serial_in_order,
                                [&](std::uint64_t i) { sum += i; }));
                });
                const double took = time.read();
                verify(sum == std::uint64_t{count} * (count - 1) / 2, name);
                return took;
            },
            {}};
}

#else

inline contestant tbb_pipeline()
{
    return {"tbb::parallel_pipeline, threads",
            {},
            "TBB was not there at the build"};
}

#endif

/// A command that compresses `file` to nowhere.
inline contestant compressor(const std::string& name,
                             std::vector<std::string> words)
{
    const auto run = [=](std::size_t count) {
        const stopwatch time;
        for (std::size_t i = 0; i < count; ++i)
        {
            std::string line = "exec";
            for (const auto& word : words)
                line += " '" + word + "'";
            conversation squeezed(
                {"sh", "-c", "(" + line + ") > /dev/null && echo fine"});
            verify(squeezed.answer() == "fine", name);
        }
        return time.read();
    };
    try
    {
        run(1);
    }
    catch (const std::runtime_error&)
    {
        return {name, {}, words.front() + " was not found"};
    }
    return {name, run, {}};
}

template <class Item>
contestant zeromq(std::size_t most)
{
    const std::string name = "ZeroMQ ipc, push and pull";
#ifdef BENCH_ZEROMQ
    return detail::by<Item, detail::zeromq_sockets<Item>>(name, most);
#else
    static_cast<void>(most);
    return {name, {}, "ZeroMQ was not there at the build"};
#endif
}

namespace detail {

template <class Item>
void batches(row& row)
{
    row.pinned = false;
    row.ours = queue<Item>("producer_consumer, one to one", 1, batch);
    row.against = {
        {opponent::kind::limit,
         by<Item, raw_ring<Item>>("raw ring, batches of 128 (L3)", batch)},
        {opponent::kind::peer,
         by<Item, lockfree<Item>>("lockfree::spsc_queue, batches of 128",
                                  batch)}};
}

inline void batches_of_64_bytes(row& row)
{
    using item = item<64>;
    batches<item>(row);
    row.against[0].bar = 1 / 0.8;
    row.against.insert(
        row.against.end(),
        {{opponent::kind::peer,
          by<item, interprocess_queue<item>>("interprocess::message_queue", 1),
          30},
         {opponent::kind::peer, bench::zeromq<item>(1), 30},
         {opponent::kind::peer, by<item, pipe_of<item>>("pipe", batch)},
         {opponent::kind::peer,
          python("Python multiprocessing.Queue", {"queue_stream"}), 1000}});
}

template <class Item>
void one_by_one(row& row)
{
    row.pinned = false;
    row.ours = queue<Item>("producer_consumer, push and pop", 1, 1);
    row.against = {
        {opponent::kind::limit,
         by<Item, raw_ring<Item>>("raw ring, one by one (L3)", 1)},
        {opponent::kind::peer,
         by<Item, lockfree<Item>>("lockfree::spsc_queue", 1), 0.75},
        {opponent::kind::peer,
         by<Item, interprocess_queue<Item>>("interprocess::message_queue", 1)},
        {opponent::kind::peer, by<Item, pipe_of<Item>>("pipe", 1)}};
}

inline void crowd(row& row, unsigned pairs)
{
    using item = item<64>;
    const auto name = std::to_string(pairs);
    row.pinned = false;
    // With the bound that it has by default: here nothing but it is compared.
    row.ours = queue<item>("producer_consumer, " + name + " to " + name, pairs,
                           batch, depth);
    row.against = {{opponent::kind::peer,
                    queue<item>("the same, one to one", 1, batch, depth),
                    0.65}};
}

} // namespace detail

inline std::vector<planned> stream_rows(text& all)
{
    return {
        {"queue, batches, 64 B", "one to one, batches of 128",
         detail::batches_of_64_bytes},
        {"queue, batches, 8 B", "the same with smaller items",
         detail::batches<item<8>>},
        {"queue, batches, 4 KiB", "the same with larger items",
         detail::batches<item<4096>>},
        {"queue, items, 64 B", "one to one, one by one",
         detail::one_by_one<item<64>>},
        {"queue, 2 to 2", "batches of 128, two CPUs",
         [](row& row) { detail::crowd(row, 2); }},
        {"queue, 4 to 4", "the same", [](row& row) { detail::crowd(row, 4); }},
        {"queue, round trip", "an item to another process and back",
         [](row& row) {
             row.ours = detail::queue_round_trip();
             row.against = {{opponent::kind::limit, two_lines(), 1.5}};
         }},
        {"empty pipeline", "three stages that do nothing, 1024 tokens",
         [](row& row) {
             row.pinned = false;
             row.ours = detail::empty_pipeline();
             row.against = {{opponent::kind::peer, tbb_pipeline(), 3}};
         }},
        {"gzip", "all Boost headers as one file, 2 processes",
         [&all](row& row) {
             const std::string file = all.file();
             row.pinned = false;
             row.ours = compressor("bin/pipeline",
                                   {"bin/pipeline", file, "--workers", "2"});
             row.against = {
                 {opponent::kind::peer,
                  compressor("pigz", {"pigz", "-p", "2", "-c", file}), 1},
                 {opponent::kind::peer,
                  compressor("gzip", {"gzip", "-c", file})}};
         },
         3}};
}

} // namespace bench
