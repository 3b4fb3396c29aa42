// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.

#pragma once

#include "error.hpp"

#include "common/codec.hpp"
#include "common/error.hpp"
#include "common/linux/bell.hpp"
#include "common/linux/door.hpp"
#include "common/linux/signals.hpp"
#include "common/process.hpp"
#include "common/robust.hpp"
#include "common/shared.hpp"
#include "common/task.hpp"

#include <boost/core/demangle.hpp>

#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <stop_token>
#include <string>
#include <thread>
#include <tuple>
#include <type_traits>
#include <typeinfo>
#include <utility>
#include <vector>

namespace shared_data {

namespace detail {

using bytes = std::vector<std::byte>;

template <class... T>
bytes encoded(const T&... values)
{
    bytes result((std::size_t{0} + ... + common::encoded_size(values)));
    common::writer to{result};
    (common::encode(to, values), ...);
    return result;
}

/// What two sides must agree on, apart from a method's name.
template <class R, class... A>
std::string signature()
{
    return boost::core::demangle(typeid(R(A...)).name());
}

/// A message of any size: a short one as it is, a long one as memory whose
/// descriptor is sent.  Returns false when the other side is gone.
inline bool send(const common::kernel::visitor& to, const bytes& text)
{
    constexpr std::size_t longest = common::kernel::parcel::largest - 16;
    auto size = std::uint64_t{text.size()};
    if (size <= longest)
    {
        auto whole = encoded(size);
        whole.insert(whole.end(), text.begin(), text.end());
        return to.send(whole, {});
    }
    const common::segment memory("message", text.size(), text.size());
    std::memcpy(memory.data(), text.data(), text.size());
    return to.send(encoded(size), {memory.memory().get()});
}

/// Throws common::malformed for what `send` cannot have sent.
inline bytes unpack(common::kernel::parcel from)
{
    common::reader head{from.text};
    const auto size = common::decode<std::uint64_t>(head);
    if (from.descriptors.empty() && size == head.rest.size())
        return {head.rest.begin(), head.rest.end()};
    if (from.descriptors.size() != 1 || size > std::uint64_t{1} << 32)
        throw common::malformed("a message is not as long as it says");
    const auto memory = common::segment::adopt(
        std::move(from.descriptors.front()), static_cast<std::size_t>(size));
    return {memory.data(), memory.data() + memory.size()};
}

} // namespace detail

/// Owns an object of any type and lends it to others, call by call: for
/// processes that come and go, or that should not share memory.
///
///     shared_data::manager<stock> shop("/run/user/1000/shop/door");
///     shop.expose("take", [](stock& s, std::string what, int n) {...});
///     shop.run(stop);
///
/// Calls are made one after the other, in the thread that runs.  Who calls is a
/// process of the same user: the kernel says so.  A caller that dies costs
/// nothing but its connection; a call whose message arrived is made.
template <class T>
class manager
{
public:
    /// Opens the door at `path`: see common::kernel::door.
    template <class... A>
    explicit manager(const std::filesystem::path& path, A&&... arguments)
        : door_(path)
        , object_(std::forward<A>(arguments)...)
    {
    }

    /// `method(T&, arguments...)`, to be called by that name.
    template <class F>
    requires(!std::is_member_function_pointer_v<F>) void expose(
        const std::string& name, F method)
    {
        add(name, std::function(std::move(method)));
    }
    /// A member function of the object.
    template <class R, class... A>
    void expose(const std::string& name, R (T::*method)(A...))
    {
        add(name, std::function<R(T&, A...)>(method));
    }
    template <class R, class... A>
    void expose(const std::string& name, R (T::*method)(A...) const)
    {
        add(name, std::function<R(T&, A...)>(method));
    }

    /// Answers until it is told to stop.
    void run(const std::stop_token& stop)
    {
        const common::kernel::bell bell;
        const std::stop_callback ring(stop, [&bell] {
            static_cast<void>(common::kernel::bell::ring(bell.get().get()));
        });
        while (!stop.stop_requested())
        {
            std::vector<pollfd> all{{bell.get().get(), POLLIN, 0},
                                    {door_.get(), POLLIN, 0}};
            for (const auto& guest : guests_)
                all.push_back({guest.get(), POLLIN, 0});
            if (::poll(all.data(), all.size(), -1) < 0 && errno != EINTR)
                common::kernel::fail("waiting for callers");
            for (std::size_t i = all.size(); i-- > 2;) // backwards: some leave
                if (all[i].revents != 0 && !answer(guests_[i - 2]))
                    guests_.erase(guests_.begin() +
                                  static_cast<std::ptrdiff_t>(i - 2));
            if (all[1].revents != 0)
                if (auto guest = door_.answer())
                    guests_.push_back(std::move(guest));
        }
        guests_.clear();
    }

    /// In a process: until its owner asks it to stop.
    template <std::same_as<common::stop_token> Stop>
    void run(const Stop& stop)
    {
        std::stop_source end;
        const std::jthread watch([&](const std::stop_token& over) {
            common::kernel::block_signals();
            while (!over.stop_requested()) // ends with `run`, or when told to
                if (stop.wait_until(clock::now() + common::longest_nap))
                    return static_cast<void>(end.request_stop());
        });
        run(end.get_token());
    }

    /// The object itself.  Requires: `run` does not run.
    T& operator*() { return object_; }
    T* operator->() { return &object_; }

private:
    struct exposed
    {
        std::string signature;
        std::function<detail::bytes(T&, common::reader&)> call;
    };

    template <class R, class... A>
    void add(const std::string& name, std::function<R(T&, A...)> f)
    {
        static_assert((common::codable<std::decay_t<A>> && ...),
                      "an argument cannot be sent");
        methods_[name] = {detail::signature<R, std::decay_t<A>...>(),
                          [f = std::move(f)](T& object, common::reader& from) {
                              std::tuple<std::decay_t<A>...> values{
                                  common::decode<std::decay_t<A>>(from)...};
                              return std::apply(
                                  [&](auto&... value) {
                                      if constexpr (std::is_void_v<R>)
                                      {
                                          f(object, value...);
                                          return detail::encoded(true);
                                      }
                                      else
                                          return detail::encoded(
                                              true, f(object, value...));
                                  },
                                  values);
                          }};
    }

    // Returns false when the guest has gone.
    bool answer(const common::kernel::visitor& guest)
    {
        auto parcel = guest.receive(false);
        if (!parcel)
            return errno == EAGAIN || errno == EINTR;
        if (parcel->text.empty())
            return false;
        try
        {
            const auto text = detail::unpack(std::move(*parcel));
            common::reader from{text};
            return detail::send(guest, call(from));
        }
        catch (...) // also where there is no memory for a long result
        {
            return detail::send(
                guest,
                detail::encoded(false, common::error_message::current()));
        }
    }

    detail::bytes call(common::reader& from)
    {
        const auto name = common::decode<std::string>(from);
        const auto signature = common::decode<std::string>(from);
        const auto found = methods_.find(name);
        if (found == methods_.end())
            throw std::invalid_argument("no method '" + name + "' here");
        if (found->second.signature != signature)
            throw std::invalid_argument("method '" + name + "' is a " +
                                        found->second.signature +
                                        ", and was called as a " + signature);
        return found->second.call(object_, from);
    }

    common::kernel::door door_;
    T object_;
    std::map<std::string, exposed> methods_;
    std::vector<common::kernel::visitor> guests_;
};

/// A connection to a manager.  For one thread.
class managed
{
public:
    /// Throws std::system_error when nobody is there, or another user.
    explicit managed(const std::filesystem::path& path)
        : path_(path)
        , server_(common::kernel::knock(path))
    {
    }

    /// Calls a method and waits for what it returns.  `R` and the arguments
    /// are of exactly the types that the method has.  Throws what the method
    /// throws; std::invalid_argument for another method or other types;
    /// common::closed when the manager's process ends, which also ends the
    /// wait (the call was made or not); common::timed_out at the deadline, and
    /// then the connection is of no more use.
    template <class R, class... A>
    R call_until(time_point deadline, const std::string& method,
                 const A&... arguments)
    {
        const auto signature = detail::signature<R, A...>();
        if (!server_ ||
            !detail::send(server_,
                          detail::encoded(method, signature, arguments...)))
            throw common::closed("the manager at " + path_.string() +
                                 " is gone");
        const auto text = receive(deadline);
        common::reader from{text};
        if (!common::decode<bool>(from))
            common::decode<common::error_message>(from).rethrow();
        if constexpr (!std::is_void_v<R>)
            return common::decode<R>(from);
    }
    template <class R = void, class... A>
    R call(const std::string& method, const A&... arguments)
    {
        return call_until<R>(time_point::max(), method, arguments...);
    }

private:
    detail::bytes receive(time_point deadline)
    {
        for (;;) // ends with the answer, the manager, or the deadline
        {
            const auto left = std::clamp<std::chrono::milliseconds>(
                std::chrono::ceil<std::chrono::milliseconds>(
                    std::min(deadline, clock::now() + std::chrono::hours(1)) -
                    clock::now()),
                std::chrono::milliseconds(0), std::chrono::hours(1));
            pollfd answer{server_.get(), POLLIN, 0};
            const int n = ::poll(&answer, 1, static_cast<int>(left.count()));
            if (n == 0 && clock::now() >= deadline)
            {
                server_ = {};
                throw common::timed_out("the manager at " + path_.string() +
                                        " does not answer");
            }
            if (n <= 0)
                continue;
            auto parcel = server_.receive(true);
            if (parcel && !parcel->text.empty())
                return detail::unpack(std::move(*parcel));
            server_ = {};
            throw common::closed("the manager at " + path_.string() +
                                 " is gone");
        }
    }

    std::filesystem::path path_;
    common::kernel::visitor server_;
};

} // namespace shared_data
