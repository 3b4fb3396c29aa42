// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.

#pragma once

#include "fractal.hpp"
#include "live.hpp"
#include "page.hpp"
#include "pool.hpp"
#include "server.hpp"

#include "common/error.hpp"
#include "common/options.hpp"

#include <boost/asio/awaitable.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/json/serialize.hpp>
#include <boost/json/value.hpp>

#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <exception>
#include <optional>
#include <random>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace asynchronous_processing {

// --- what workers do, besides tiles -----------------------------------------

struct answer
{
    std::uint64_t value = 0;
    pid_t worker = 0;
};

inline answer count_primes(std::uint64_t below)
{
    std::vector<bool> composite(below);
    answer result{0, ::getpid()};
    for (std::uint64_t n = 2; n < below; ++n)
    {
        if (composite[n])
            continue;
        ++result.value;
        for (std::uint64_t m = n * n; m < below; m += n)
            composite[m] = true;
    }
    return result;
}

inline answer sleep_for(std::uint64_t milliseconds)
{
    ::poll(nullptr, 0, static_cast<int>(milliseconds));
    return {milliseconds, ::getpid()};
}

inline answer crash()
{
    ::raise(SIGKILL);
    return {};
}

// --- what the server answers ------------------------------------------------

/// The pages of the program: the map, its tiles, the live view, and the rest.
class site
{
public:
    using tile_task = std::string (*)(place, common::chaos);

    /// `tile` runs in a worker, and gives a PNG file.
    site(pool& workers, tile_task tile, common::chaos chaos)
        : pool_(workers)
        , tile_(tile)
        , chaos_(chaos)
    {
        std::random_device dice;
        for (int i = 0; i < 32; ++i)
            token_ += "0123456789abcdef"[dice() % 16];
    }

    /// What a request that changes something must bring along.
    const std::string& token() const { return token_; }
    void is_served_by(const http_server& server) { server_ = &server; }

    // tag::respond[]
    http_server::reply respond(const http_server::request& asked,
                               http_server::connection& client)
    {
        const std::string_view target(asked.target().data(),
                                      asked.target().size());
        auto path = target.substr(0, target.find('?'));
        if (asked.method() == http::verb::post)
            return act(path, asked["X-Token"] == token_);
        if (asked.method() != http::verb::get &&
            asked.method() != http::verb::head)
            return text(status::method_not_allowed, "GET, HEAD or POST\n");
        if (path == "/")
            return front_page();
        if (path == "/healthz")
            return health();
        if (path == "/metrics")
            return figures();
        if (path == "/events")
            return events(client);
        if (skip(path, "/tile/"))
            return paint(place::named(path));
        if (path == "/compute/primes")
            return compute(target, "below", 100'000'000, &count_primes);
        if (path == "/compute/sleep")
            return compute(target, "ms", 60'000, &sleep_for);
        return text(status::not_found, "there is no such page\n");
    }
    // end::respond[]

private:
    using later = boost::asio::awaitable<std::optional<response>>;

    // Whether `path` starts with `prefix`, which is taken off then.
    static bool skip(std::string_view& path, std::string_view prefix)
    {
        const bool there = path.substr(0, prefix.size()) == prefix;
        if (there)
            path.remove_prefix(prefix.size());
        return there;
    }

    static response json(const boost::json::value& value)
    {
        return {status::ok, boost::json::serialize(value) + "\n",
                "application/json"};
    }

    http_server::reply act(std::string_view path, bool allowed)
    {
        if (!allowed)
            return text(status::forbidden,
                        "only the page that this server sent may do that\n");
        if (path == "/compute/crash")
            return fall();
        if (skip(path, "/workers/") && path.size() > 5 &&
            path.substr(path.size() - 5) == "/kill")
        {
            const auto slot = number(path.substr(0, path.size() - 5));
            if (slot && *slot > 0 && *slot <= pool_.size())
                return json(
                    {{"killed", pool_.kill(static_cast<unsigned>(*slot))}});
        }
        return text(status::not_found, "there is no such worker\n");
    }

    // tag::paint[]
    later paint(std::optional<place> at)
    try
    {
        if (!at)
            co_return text(status::not_found, "there is no such tile\n");
        call_options how;
        how.name = "tile " + at->name();
        how.hard_deadline = std::chrono::seconds(30);
        std::string file = co_await pool_.async_submit(
            how, tile_, *at, chaos_, boost::asio::use_awaitable);
        tiles_.count();
        co_return response{status::ok, std::move(file), "image/png",
                           "max-age=3600"};
    }
    catch (...)
    {
        co_return failure();
    }
    // end::paint[]

    later compute(std::string_view target, std::string_view name,
                  std::uint64_t most, answer (*function)(std::uint64_t))
    try
    {
        const auto query = target.find('?');
        auto given = query == target.npos ? "" : target.substr(query + 1);
        std::optional<std::uint64_t> value;
        if (skip(given, name) && skip(given, "="))
            value = number(given);
        if (!value || *value > most)
            co_return text(status::bad_request,
                           "?" + std::string(name) + "=N with N up to " +
                               std::to_string(most) + "\n");
        call_options how;
        how.name = std::string(target.substr(1));
        how.hard_deadline = std::chrono::seconds(90);
        const auto found = co_await pool_.async_submit(
            how, function, *value, boost::asio::use_awaitable);
        co_return found_json(name, *value, found);
    }
    catch (...)
    {
        co_return failure();
    }

    static response found_json(std::string_view name, std::uint64_t value,
                               const answer& found)
    {
        return json(
            {{name, value}, {"answer", found.value}, {"worker", found.worker}});
    }

    later fall()
    try
    {
        call_options how;
        how.name = "the crash";
        how.attempts = 1;
        co_await pool_.async_submit(how, &crash, boost::asio::use_awaitable);
        co_return text(status::ok, "it survived\n");
    }
    catch (...)
    {
        co_return failure();
    }

    later events(http_server::connection& client)
    {
        co_await client.write("HTTP/1.1 200 OK\r\n"
                              "Content-Type: text/event-stream\r\n"
                              "Cache-Control: no-store\r\n"
                              "Connection: close\r\n\r\n");
        boost::asio::steady_timer pause(
            co_await boost::asio::this_coro::executor);
        while (!server_->stopping()) // or until the client goes
        {
            co_await client.write(
                "data: " +
                boost::json::serialize(live_view(pool_.stats(), tiles_.now())) +
                "\n\n");
            pause.expires_after(std::chrono::milliseconds(500));
            co_await pause.async_wait(boost::asio::use_awaitable);
        }
        co_return std::nullopt;
    }

    response front_page() const
    {
        response said{status::ok, std::string(page),
                      "text/html; charset=utf-8"};
        said.body.replace(said.body.find("TOKEN"), 5, token_);
        said.more = "Content-Security-Policy: default-src 'none'; "
                    "img-src 'self' data:; connect-src 'self'; "
                    "style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
                    "frame-ancestors 'none'\r\n";
        return said;
    }

    response health() const
    {
        const auto now = pool_.stats();
        const bool good = std::any_of(now.workers.begin(), now.workers.end(),
                                      [](const auto& w) { return w.ready; });
        return text(good ? status::ok : status::service_unavailable,
                    good ? "ok\n" : "no worker is ready\n");
    }

    response figures() const
    {
        return {status::ok, metrics(pool_.stats(), server_->count(), tiles_),
                "text/plain; version=0.0.4"};
    }

    // In the handler of an exception.  Says why, as far as it is no secret.
    static response failure()
    {
        const auto said = [](status code, const std::exception& e) {
            return text(code, std::string(e.what()) + "\n");
        };
        try
        {
            throw;
        }
        catch (const common::timed_out& e)
        {
            return said(status::gateway_timeout, e);
        }
        catch (const common::closed& e)
        {
            return said(status::service_unavailable, e);
        }
        catch (const common::exhausted& e)
        {
            return said(status::service_unavailable, e);
        }
        catch (const std::exception& e) // common::worker_died among them
        {
            return said(status::internal_server_error, e);
        }
    }

    pool& pool_;
    tile_task tile_;
    common::chaos chaos_;
    const http_server* server_ = nullptr;
    std::string token_;
    rate tiles_;
};

} // namespace asynchronous_processing
