// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.

#pragma once

#include "bundle.hpp"
#include "channel.hpp"

#include "common/error.hpp"
#include "common/linux/descriptor.hpp"
#include "common/linux/pidfd.hpp"
#include "common/linux/signals.hpp"

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>

#include <fcntl.h>
#include <unistd.h>

#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

namespace producer_consumer::detail {

/// Knows who is at the queue, in the process that made it.
///
/// Each process that is given an end inherits a pipe with it.  It says its pid
/// there when it comes; from then on a pidfd tells of its death.  If it dies
/// before, its end of the pipe is closed.  Both come from the kernel: nobody
/// is declared dead because of silence.
class supervisor
{
public:
    supervisor(channel what, std::chrono::milliseconds visibility)
        : channel_(std::move(what))
        , producers_(channel_.producers.size())
        , consumers_(channel_.consumers.size())
        , visibility_(std::min<std::chrono::milliseconds>(
              visibility, std::chrono::hours(24 * 365))) // can be counted with
        , thread_([this] { run(); })
    {
    }
    supervisor(const supervisor&) = delete;
    ~supervisor()
    {
        work_.reset();
        context_.stop();
        thread_.join();
    }

    const channel& shared() const { return channel_; }

    /// A handle that may give ends away keeps its side of the queue open.
    void open_handle(side which)
    {
        const std::lock_guard hold(mutex_);
        ++side_of(which).handles;
        side_of(which).ever = true;
        look();
    }
    void close_handle(side which)
    {
        const std::lock_guard hold(mutex_);
        --side_of(which).handles;
        look();
    }

    /// An end for this process itself.  Throws std::length_error when all
    /// seats are taken.
    unsigned sit_down(side which)
    {
        const std::lock_guard hold(mutex_);
        const auto number = find(which);
        forget_predecessor(which, number);
        auto& one = seat_of(channel_, which, number);
        one.holder.store(::getpid());
        one.now.store(seat::joined);
        look();
        return number;
    }
    void stand_up(side which, unsigned number)
    {
        const std::lock_guard hold(mutex_);
        seat_of(channel_, which, number).now.store(seat::vacant);
        collect(); // first: they are finished, and who joins need not wait
        look();
        release();
    }

    /// An end for a process that is about to start: a seat, and the pipe that
    /// it inherits.
    std::pair<unsigned, common::kernel::descriptor> hand_out(side which)
    {
        int ends[2];
        if (::pipe2(ends, O_CLOEXEC | O_NONBLOCK) != 0)
            common::kernel::fail("creating a pipe");
        common::kernel::descriptor mine(ends[0]), theirs(ends[1]);
        const std::lock_guard hold(mutex_);
        const auto number = find(which);
        seat_of(channel_, which, number).now.store(seat::given);
        forget_predecessor(which, number);
        auto& one = post_of(which, number);
        one.line = std::make_unique<stream>(context_, mine.get());
        mine.release();
        listen(which, number);
        look();
        return {number, std::move(theirs)};
    }

    void close()
    {
        const std::lock_guard hold(mutex_);
        channel_.stream.close();
    }

    /// Items that nobody could finish: copies of their bundles.
    struct dead_bundle
    {
        std::vector<std::byte> bytes;
        unsigned parts;
    };
    std::vector<dead_bundle> take_dead()
    {
        const std::lock_guard hold(mutex_);
        collect();
        return std::exchange(dead_, {});
    }
    void collect_soon()
    {
        boost::asio::post(context_, [this] {
            const std::lock_guard hold(mutex_);
            collect();
        });
    }

private:
    using stream = boost::asio::posix::stream_descriptor;

    struct post // what is known of who has a seat
    {
        std::unique_ptr<stream> line; // its pipe; none when that has ended
        std::unique_ptr<stream> life; // its pidfd
        std::uint64_t term = 0;       // of this holder: what is told of an
                                      // earlier one comes too late
        pid_t next = 0;               // waits for the seat
        pid_t word = 0;               // being read
    };
    struct one_side
    {
        explicit one_side(std::size_t seats) : posts(seats) {}
        std::vector<post> posts;
        unsigned handles = 0;
        bool ever = false;
    };

    one_side& side_of(side which)
    {
        return which == side::producer ? producers_ : consumers_;
    }
    post& post_of(side which, unsigned number)
    {
        return side_of(which)
            .posts[which == side::producer ? number : number - 1];
    }

    void run()
    {
        common::kernel::block_signals();
        if (visibility_.count() > 0)
            watch_leases();
        context_.run(); // ends when this object does
    }

    unsigned find(side which)
    {
        const unsigned first = which == side::producer ? 0 : 1;
        const auto seats = side_of(which).posts.size();
        for (unsigned i = first; i < first + seats; ++i)
            if (seat_of(channel_, which, i).now.load() == seat::vacant)
                return i;
        throw std::length_error(
            "all " + std::to_string(seats) + " seats of " +
            (which == side::producer ? "producers" : "consumers") +
            " are taken (queue_options says how many there are)");
    }

    // Who has left the seat may live on: his death is nothing to who has it
    // now.
    void forget_predecessor(side which, unsigned number)
    {
        auto& one = post_of(which, number);
        one.life.reset();
        one.next = 0;
        ++one.term;
    }

    void listen(side which, unsigned number)
    {
        auto& one = post_of(which, number);
        one.line->async_wait(
            stream::wait_read,
            [this, which, number](boost::system::error_code error) {
                if (error)
                    return;
                const std::lock_guard hold(mutex_);
                hear(which, number);
            });
    }

    // A pid: its owner wants the seat.  Zero: there are dead letters.
    void hear(side which, unsigned number)
    {
        auto& one = post_of(which, number);
        pid_t word = 0;
        const auto size = ::read(one.line->native_handle(), &word, sizeof word);
        if (size < 0)
            return listen(which, number);
        if (size != sizeof word) // nobody has the other end any more
        {
            one.line.reset();
            one.next = 0;
            collect(); // its word may have found the pipe full
            return settle(which, number);
        }
        listen(which, number);
        if (word == 0)
            return collect();
        one.next = word;
        if (!one.life)
            admit(which, number);
    }

    void admit(side which, unsigned number)
    {
        auto& one = post_of(which, number);
        const auto pid = std::exchange(one.next, 0);
        try
        {
            const common::kernel::pidfd process(pid, false);
            auto copy = process.duplicate();
            one.life = std::make_unique<stream>(context_, copy.get());
            copy.release();
        }
        catch (const std::system_error& e)
        {
            if (e.code() == std::errc::no_such_process) // it has died already
                return settle(which, number);
            one.next = pid; // no descriptor is left
            return admit_later();
        }
        one.life->async_wait(
            stream::wait_read, [this, which, number, term = ++one.term](
                                   boost::system::error_code error) {
                const std::lock_guard hold(mutex_);
                if (!error && post_of(which, number).term == term)
                    bury(which, number);
            });
        auto& place = seat_of(channel_, which, number);
        place.holder.store(pid);
        place.now.exchange(seat::joined);
        place.admitted.notify_all();
    }

    // Those who came when there was no descriptor to hold them by.  They wait
    // to be let in, and nothing else will remind us of them.
    void admit_later()
    {
        late_.expires_after(std::chrono::milliseconds(20));
        late_.async_wait([this](boost::system::error_code error) {
            if (error)
                return;
            const std::lock_guard hold(mutex_);
            for (unsigned i = 0; i < producers_.posts.size(); ++i)
                admit_if_late(side::producer, i);
            for (unsigned i = 1; i <= consumers_.posts.size(); ++i)
                admit_if_late(side::consumer, i);
        });
    }
    void admit_if_late(side which, unsigned number)
    {
        const auto& one = post_of(which, number);
        if (one.next != 0 && !one.life)
            admit(which, number);
    }

    void bury(side which, unsigned number)
    {
        auto& one = post_of(which, number);
        auto& place = seat_of(channel_, which, number);
        one.life.reset();
        if (which == side::consumer)
            channel_.stream.recover(number);
        else // it may have died before it woke who waits
            channel_.stream.work().notify_after_death();
        collect();
        if (place.now.load() == seat::joined)
            place.now.store(seat::given); // to who comes after it, if anybody
        if (one.next != 0)
            admit(which, number);
        else
            settle(which, number);
    }

    // Nobody can come any more where the pipe has ended.
    void settle(side which, unsigned number)
    {
        const auto& one = post_of(which, number);
        auto& place = seat_of(channel_, which, number);
        if (!one.line && (!one.life || place.now.load() == seat::left))
            place.now.store(seat::vacant);
        look();
        release();
    }

    bool anybody(side which)
    {
        const auto& all = side_of(which);
        if (all.handles != 0)
            return true;
        const unsigned first = which == side::producer ? 0 : 1;
        for (unsigned i = first; i < first + all.posts.size(); ++i)
            if (const auto now = seat_of(channel_, which, i).now.load();
                now == seat::given || now == seat::joined)
                return true;
        return false;
    }

    // The queue closes with its last producer; producers that wait for room
    // must know when nobody will ever make any.
    void look()
    {
        if (producers_.ever && !anybody(side::producer) &&
            !channel_.stream.closed())
            channel_.stream.close();
        const bool unread = consumers_.ever && !anybody(side::consumer);
        if (unread != (channel_.notes->unread.load() != 0))
        {
            channel_.notes->unread.exchange(unread);
            for (unsigned i = 0; i < channel_.stream.size(); ++i)
                channel_.stream.lane(i).room.notify_after_death();
        }
    }

    // Lanes that nobody writes, and whose items are finished, cost no memory.
    void release()
    {
        for (unsigned i = 0; i < channel_.stream.used(); ++i)
            if (channel_.producers[i].now.load() == seat::vacant)
                channel_.stream.release(i);
    }

    void collect()
    {
        channel_.stream.take_dead(
            [this](std::span<const std::byte> bytes, common::slot_control c) {
                dead_.push_back({{bytes.begin(), bytes.end()}, c.parts});
            });
    }

    // A lease that has not changed for so long goes back.
    void watch_leases()
    {
        timer_.expires_after(visibility_ / 4);
        timer_.async_wait([this](boost::system::error_code error) {
            if (error)
                return;
            {
                const std::lock_guard hold(mutex_);
                take_back();
            }
            watch_leases();
        });
    }

    void take_back()
    {
        const auto now = common::clock::now();
        std::map<std::pair<unsigned, std::uint64_t>, sighting> still;
        const auto& items = channel_.stream;
        for (unsigned i = 0; i < items.size(); ++i)
            items.for_each(i, [&](std::uint64_t at, common::slot_control c) {
                if (c.is != common::slot_control::state::leased)
                    return;
                sighting one{c.word(),
                             bundle(items.memory_of(i).glimpse(at).value_or(
                                        std::span<std::byte>{}))
                                 .finished(),
                             now};
                const auto old = seen_.find({i, at});
                if (old != seen_.end() && old->second.word == one.word &&
                    old->second.finished == one.finished)
                    one.since = old->second.since;
                if (now - one.since >= visibility_)
                    items.give_back(i, at, c);
                else
                    still[{i, at}] = one;
            });
        seen_ = std::move(still);
    }

    struct sighting
    {
        std::uint64_t word;
        unsigned finished;
        common::time_point since;
    };

    channel channel_;
    boost::asio::io_context context_{1}; // before the posts, that use it
    boost::asio::executor_work_guard<boost::asio::io_context::executor_type>
        work_{context_.get_executor()};
    std::mutex mutex_; // of what follows
    one_side producers_, consumers_;
    std::vector<dead_bundle> dead_;
    std::chrono::milliseconds visibility_;
    std::map<std::pair<unsigned, std::uint64_t>, sighting> seen_; // its thread
    boost::asio::steady_timer timer_{context_}, late_{context_};
    std::thread thread_; // last: it uses all of the above
};

/// This process's seat at a queue.
class membership
{
public:
    /// In the process that made the queue.
    membership(std::shared_ptr<supervisor> owner, side which)
        : owner_(std::move(owner))
        , channel_(owner_->shared())
        , side_(which)
        , number_(owner_->sit_down(which))
    {
    }

    /// In another: tells that it is there and waits to be let in; that ends,
    /// at the latest, with the process that made the queue.
    membership(channel what, side which, unsigned number,
               common::kernel::descriptor line)
        : channel_(std::move(what))
        , side_(which)
        , number_(number)
        , line_(std::move(line))
    {
        const pid_t self = ::getpid();
        if (::write(line_.get(), &self, sizeof self) != sizeof self)
            common::kernel::fail("joining a queue");
        here().admitted.wait_until([this, self] {
            return here().now.load() == seat::joined &&
                   here().holder.load() == self;
        });
    }
    membership(const membership&) = delete;

    ~membership()
    {
        if (owner_)
            owner_->stand_up(side_, number_);
        else
            here().now.store(seat::left); // then the pipe ends
    }

    const channel& shared() const { return channel_; }
    unsigned number() const { return number_; }
    seat& here() const { return seat_of(channel_, side_, number_); }

    void tell_of_dead_letters() const
    {
        const pid_t none = 0;
        if (owner_)
            owner_->collect_soon();
        else if (::write(line_.get(), &none, sizeof none) < 0)
            return; // the pipe is full of such news
    }

private:
    std::shared_ptr<supervisor> owner_;
    channel channel_;
    side side_;
    unsigned number_;
    common::kernel::descriptor line_;
};

/// What a handle in the process that made the queue keeps open.
class claim
{
public:
    claim(std::shared_ptr<supervisor> owner, side which)
        : owner_(std::move(owner))
        , side_(which)
    {
        owner_->open_handle(which);
    }
    claim(const claim&) = delete;
    ~claim() { owner_->close_handle(side_); }
    const std::shared_ptr<supervisor>& owner() const { return owner_; }

private:
    std::shared_ptr<supervisor> owner_;
    side side_;
};

} // namespace producer_consumer::detail
