// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.

#pragma once

#include "pool.hpp"

#include "common/lane_ends.hpp"

#include <boost/asio/awaitable.hpp>
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/bind_executor.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <cstddef>
#include <exception>
#include <memory>
#include <optional>
#include <span>
#include <type_traits>
#include <utility>

namespace asynchronous_processing {

/// The first argument of a task that has many results: call it for each.
///
///     void primes(asynchronous_processing::emitter<int> emit, int below)
template <class T>
class emitter
{
public:
    /// Sends a value; waits as long as the reader is a whole buffer behind.
    /// Throws std::length_error for a value that never fits, and
    /// common::closed when nobody reads any more.
    void operator()(const T& value) const
    {
        const auto size = common::encoded_size(value);
        const auto room =
            writer_->claim_until(common::time_point::max(), size,
                                 [this] { return writer_->closed(); });
        if (!room)
            throw common::closed("nobody reads what this task emits");
        common::writer to{*room};
        common::encode(to, value);
        writer_->commit();
        common::announce();
    }

private:
    friend struct common::codec<emitter>;
    template <class>
    friend class stream;
    common::lanes lanes_;
    std::shared_ptr<common::lane_writer> writer_; // in the worker
};

} // namespace asynchronous_processing

template <class T>
struct common::codec<asynchronous_processing::emitter<T>>
{
    using emitter = asynchronous_processing::emitter<T>;
    static std::size_t size(const emitter& e) { return encoded_size(e.lanes_); }
    static void write(writer& to, const emitter& e) { encode(to, e.lanes_); }
    static emitter read(reader& from)
    {
        emitter result;
        result.lanes_ = decode<lanes>(from);
        result.writer_ = std::make_shared<lane_writer>(result.lanes_, 0);
        return result;
    }
};

namespace asynchronous_processing {

namespace detail {

/// Wakes a coroutine that waits for something to change.  For one thread, or
/// one strand, at a time.
class awakening
{
public:
    explicit awakening(const asio::any_io_executor& where)
        : never_(where, asio::steady_timer::time_point::max())
    {
    }
    void wake() { never_.cancel(); }

    /// Waits until somebody wakes, or the coroutine is cancelled.
    asio::awaitable<void> wait()
    {
        boost::system::error_code none;
        co_await never_.async_wait(
            asio::redirect_error(asio::use_awaitable, none));
    }

private:
    asio::steady_timer never_;
};

} // namespace detail

struct stream_options
{
    std::size_t bytes = 64u << 10; // between the task and its reader
    std::size_t records = 256;     // the same, a power of two
    call_options call{};
};

/// The results of one task, read one by one as it emits them:
///
///     asynchronous_processing::stream<int> some(pool, primes, 1000);
///     while (auto prime = co_await some.next())
///         use(*prime);
///
/// The task runs at most once: when its worker dies, `next` gives what it had
/// emitted, then throws common::worker_died.  A stream that is destroyed kills
/// its task.  For one coroutine, on the pool's executor, which must run one
/// handler at a time: an io_context with one thread, or a strand.
template <class T>
class stream
{
public:
    template <class F, class... A>
    requires(!std::is_same_v<std::decay_t<F>, stream_options>)
        stream(pool& p, F&& task, A&&... arguments)
        : stream(p, stream_options{}, std::forward<F>(task),
                 std::forward<A>(arguments)...)
    {
    }
    template <class F, class... A>
    stream(pool& p, const stream_options& how, F&& task, A&&... arguments)
        : state_(std::make_shared<state>(p.get_executor(), how))
    {
        auto call = how.call;
        call.attempts = 1;
        emitter<T> emit;
        emit.lanes_ = state_->lanes;
        const auto where = p.get_executor();
        p.async_submit_with_news(
            call,
            [weak = std::weak_ptr(state_), where,
             loop = detail::loop::of(
                 boost::asio::query(where, boost::asio::execution::context))] {
                loop->if_alive([&] {
                    boost::asio::post(where, [weak] {
                        if (const auto alive = weak.lock())
                            alive->change.wake();
                    });
                });
            },
            std::forward<F>(task), std::move(emit),
            std::forward<A>(arguments)...,
            boost::asio::bind_cancellation_slot(
                state_->cancel.slot(),
                boost::asio::bind_executor(
                    where, [s = state_](std::exception_ptr error) {
                        s->over = true;
                        s->error = std::move(error);
                        s->change.wake();
                    })));
    }

    stream(stream&&) = default;
    ~stream()
    {
        if (state_)
            state_->end();
    }

    /// The next value; nothing after the last.  Throws what the task threw
    /// after its last value.
    boost::asio::awaitable<std::optional<T>> next()
    {
        const auto s = state_; // the stream may go while we wait
        for (;;) // ends with a record, with the task, or when cancelled
        {
            if (auto one = s->lane.take())
            {
                common::reader from{one->bytes};
                std::optional<T> value(common::decode<T>(from));
                s->lane.acknowledge(*one);
                co_return value;
            }
            if (s->over)
            {
                if (s->error)
                    std::rethrow_exception(s->error);
                co_return std::nullopt;
            }
            co_await s->change.wait();
        }
    }

private:
    struct state
    {
        state(const boost::asio::any_io_executor& where,
              const stream_options& how)
            : change(where)
            , lanes({.lanes = 1,
                     .bytes = how.bytes,
                     .records = how.records,
                     .readers = 1,
                     .attempts = 1})
            , lane(lanes, 1)
        {
        }
        void end()
        {
            lanes.close(); // a task that waits for room throws
            cancel.emit(boost::asio::cancellation_type::terminal);
        }

        detail::awakening change;
        common::lanes lanes;
        common::lane_reader lane;
        boost::asio::cancellation_signal cancel;
        bool over = false;
        std::exception_ptr error;
    };

    std::shared_ptr<state> state_;
};

} // namespace asynchronous_processing
