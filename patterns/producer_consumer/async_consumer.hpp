// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.

#pragma once

#include "consumer.hpp"

#include "common/linux/bell.hpp"
#include "common/linux/signals.hpp"

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/cancellation_state.hpp>
#include <boost/asio/cancellation_type.hpp>
#include <boost/asio/compose.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/execution/context.hpp>
#include <boost/asio/execution_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/post.hpp>
#include <boost/system/error_code.hpp>

#include <atomic>
#include <memory>
#include <optional>
#include <thread>
#include <type_traits>
#include <utility>

namespace producer_consumer {

namespace detail {

/// Tells an event loop when a queue has something for it: a thread that sleeps
/// where consumers sleep, and rings a bell.
template <class T>
class listener
{
public:
    explicit listener(std::shared_ptr<consumer_end<T>> end)
        : end_(std::move(end))
        , thread_([this] { run(); })
    {
    }
    listener(const listener&) = delete;
    ~listener()
    {
        now_.store(over);
        now_.notify_one();
        end_->shared().stream.work().notify_after_death();
        thread_.join();
    }

    /// Readable after `listen`, as soon as there is something.
    const common::kernel::descriptor& bell() const { return bell_.get(); }

    /// From now on the bell rings once for an item, or for the end.
    void listen()
    {
        bell_.silence();
        now_.store(listening);
        now_.notify_one();
    }

private:
    enum phase
    {
        idle,
        listening,
        over
    };

    void run()
    {
        common::kernel::block_signals();
        auto& work = end_->shared().stream.work();
        for (;;) // ends with the object
        {
            now_.wait(idle); // ends when somebody listens, or with the object
            work.wait_until([&] {
                return now_.load() == over || end_->anything() || end_->over();
            });
            int heard = listening;
            now_.compare_exchange_strong(heard, idle);
            if (heard == over)
                return;
            static_cast<void>(common::kernel::bell::ring(bell().get()));
            // To hear of an item is not to take it: the loop may be busy, or
            // not want it any more.  So somebody else hears of it as well.
            work.notify_one();
        }
    }

    std::shared_ptr<consumer_end<T>> end_;
    common::kernel::bell bell_;
    std::atomic<int> now_{idle}; // listening: the loop; idle: the thread
    std::thread thread_;         // last: it uses all of the above
};

} // namespace detail

/// A consumer for a program that waits in an event loop:
///
///     producer_consumer::async_consumer<int> in(io, numbers.consumer());
///     while (auto one = co_await in.async_pop(use_awaitable))
///         use(*one);
///
/// Waiting costs one thread that sleeps, and one descriptor.  For one thread,
/// or one strand, at a time; any number of pops may wait.  When this object
/// goes, they complete with operation_aborted.
template <class T>
class async_consumer
{
public:
    using executor_type = boost::asio::any_io_executor;

    /// Takes the seat of `from`, which is not to be used besides.
    async_consumer(executor_type where, consumer<T> from)
        : state_(std::make_shared<state>(std::move(where), std::move(from)))
    {
    }
    template <class Context>
    requires std::is_convertible_v<Context&, boost::asio::execution_context&>
    async_consumer(Context& where, consumer<T> from)
        : async_consumer(executor_type(where.get_executor()), std::move(from))
    {
    }
    async_consumer(async_consumer&&) = default;
    ~async_consumer()
    {
        if (state_)
            state_->stop();
    }

    executor_type get_executor() const
    {
        return state_->descriptor.get_executor();
    }

    /// As consumer::pop.  Completes with void(error_code, std::optional<T>),
    /// never within this call: an item, nothing when the queue is closed and
    /// empty, operation_aborted when it was cancelled, when it has taken
    /// nothing, or errc::bad_message for an item that cannot be decoded, which
    /// was an attempt.
    template <class Token>
    auto async_pop(Token&& token)
    {
        return start<std::optional<T>>(
            [](consumer<T>& from, std::optional<T>& item) {
                return from.try_pop(item);
            },
            std::forward<Token>(token));
    }

    /// As consumer::lease: void(error_code, leased<T>).
    template <class Token>
    auto async_lease(Token&& token)
    {
        return start<leased<T>>(
            [](consumer<T>& from, leased<T>& item) {
                return from.try_lease(item);
            },
            std::forward<Token>(token));
    }

private:
    struct state
    {
        state(executor_type where, consumer<T> in)
            : from(std::move(in))
            , ear(from.seat())
            , descriptor(std::move(where), ear.bell().duplicate().release())
        {
        }
        void stop()
        {
            stopped = true;
            boost::system::error_code none;
            descriptor.cancel(none);
        }

        consumer<T> from;
        detail::listener<T> ear;
        boost::asio::posix::stream_descriptor descriptor;
        bool stopped = false;
    };

    // One pop on its way.
    template <class R, class Take>
    struct pop
    {
        std::shared_ptr<state> of;
        Take take;
        bool begun = false;

        template <class Self>
        void operator()(Self& self, boost::system::error_code = {})
        {
            using namespace boost::asio;
            if (!std::exchange(begun, true))
            {
                self.reset_cancellation_state(enable_total_cancellation());
                const auto where = of->descriptor.get_executor();
                return post(where, std::move(self));
            }
            R result{};
            if (of->stopped || self.cancelled() != cancellation_type::none)
                return self.complete(error::operation_aborted,
                                     std::move(result));
            boost::system::error_code error;
            auto how = outcome::empty;
            try
            {
                how = take(of->from, result);
            }
            catch (...)
            {
                how = outcome::done;
                result = R();
                error = make_error_code(boost::system::errc::bad_message);
            }
            if (how != outcome::empty)
                return self.complete(error, std::move(result));
            of->ear.listen();
            auto& descriptor = of->descriptor; // `self` takes this object along
            descriptor.async_wait(posix::stream_descriptor::wait_read,
                                  std::move(self));
        }
    };

    template <class R, class Take, class Token>
    auto start(Take take, Token&& token)
    {
        return boost::asio::async_compose<Token,
                                          void(boost::system::error_code, R)>(
            pop<R, Take>{state_, std::move(take)}, token, state_->descriptor);
    }

    std::shared_ptr<state> state_;
};

} // namespace producer_consumer
