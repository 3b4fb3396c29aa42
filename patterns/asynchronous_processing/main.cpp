// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.
//
// A web server whose event loop never computes: a fractal to drag and zoom,
// drawn by worker processes that the visitor watches, and may kill.
//
//   $ asynchronous_processing --port 8080
//   listening on http://127.0.0.1:8080/

#include "asynchronous_processing.hpp"
#include "client.hpp"
#include "page.hpp"
#include "server.hpp"

#include "common/options.hpp"

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/experimental/awaitable_operators.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/json/src.hpp> // instead of a library to link

#include <png.h>
#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include <array>
#include <charconv>
#include <cmath>
#include <complex>
#include <deque>
#include <iostream>
#include <optional>
#include <random>
#include <string>
#include <string_view>
#include <vector>

namespace {

using namespace std::chrono_literals;
using asynchronous_processing::call_options;
using asynchronous_processing::http_server;
namespace asio = boost::asio;
namespace http = asynchronous_processing::http;
namespace json = boost::json;
using asio::awaitable;
using asio::use_awaitable;
using response = http_server::response;

// --- what workers compute ---------------------------------------------------

struct place // of a tile: column and row among 2^zoom
{
    unsigned zoom = 0;
    std::uint64_t column = 0, row = 0;
    static constexpr unsigned side = 256, deepest = 40;

    std::uint64_t number() const
    {
        return (std::uint64_t{zoom} << 56) ^ (column << 20) ^ row;
    }
};

// Smooth escape time, after F. Garcia et al. (2009); negative inside.
double escape(double x, double y, unsigned limit)
{
    const double q = (x - 0.25) * (x - 0.25) + y * y;
    if (q * (q + x - 0.25) <= y * y / 4 || (x + 1) * (x + 1) + y * y <= 1. / 16)
        return -1; // the two largest parts
    double re = 0, im = 0;
    for (unsigned n = 0; n < limit; ++n)
    {
        const double re2 = re * re, im2 = im * im;
        if (re2 + im2 > 256)
            return n + 1 - std::log2(std::log2(re2 + im2) / 2);
        im = 2 * re * im + y;
        re = re2 - im2 + x;
    }
    return -1;
}

std::array<std::uint8_t, 3> colour(double escaped)
{
    if (escaped < 0)
        return {6, 7, 14};
    const double t = std::sqrt(std::max(0.0, escaped)) * 0.13;
    const auto wave = [t](double phase) {
        return static_cast<std::uint8_t>(
            127.5 * (1 - std::cos(6.283185 * (t + phase))));
    };
    return {wave(0.02), wave(0.10), wave(0.25)};
}

// tag::tile[]
// Runs in a worker: a square of the Mandelbrot set as a PNG file.
std::string tile(place at, common::chaos chaos)
{
    chaos.before(at.number(), asynchronous_processing::attempt());
    std::vector<std::uint8_t> pixels;
    pixels.reserve(std::size_t{place::side} * place::side * 3);
    const double step = 3.0 * std::ldexp(1.0, -static_cast<int>(at.zoom));
    const double pixel = step / place::side;
    for (unsigned row = 0; row < place::side; ++row)
        for (unsigned column = 0; column < place::side; ++column)
            for (const auto part :
                 colour(escape(-2.25 + step * static_cast<double>(at.column) +
                                   pixel * (column + 0.5),
                               1.5 - step * static_cast<double>(at.row) -
                                   pixel * (row + 0.5),
                               256 + 48 * at.zoom)))
                pixels.push_back(part);
    // end::tile[]
    png_image image{};
    image.version = PNG_IMAGE_VERSION;
    image.width = image.height = place::side;
    image.format = PNG_FORMAT_RGB;
    std::string file(PNG_IMAGE_PNG_SIZE_MAX(image), '\0');
    png_alloc_size_t size = file.size();
    if (png_image_write_to_memory(&image, file.data(), &size, 0, pixels.data(),
                                  0, nullptr) == 0)
        throw std::runtime_error(image.message);
    file.resize(size);
    chaos.after(at.number(), asynchronous_processing::attempt());
    return file;
}

struct answer
{
    std::uint64_t value = 0;
    pid_t worker = 0;
};

answer count_primes(std::uint64_t below)
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

answer sleep_for(std::uint64_t milliseconds)
{
    ::poll(nullptr, 0, static_cast<int>(milliseconds));
    return {milliseconds, ::getpid()};
}

answer crash()
{
    ::raise(SIGKILL);
    return {};
}

// --- what the server answers ------------------------------------------------

response text(http::status status, std::string body,
              const char* type = "text/plain")
{
    response said(status, 11);
    said.set(http::field::content_type, type);
    said.set(http::field::cache_control, "no-store");
    said.set("X-Content-Type-Options", "nosniff");
    said.body() = std::move(body);
    return said;
}

response text(const json::value& value)
{
    return text(http::status::ok, json::serialize(value) + "\n",
                "application/json");
}

std::optional<std::uint64_t> number(std::string_view digits)
{
    std::uint64_t value = 0;
    const auto end = digits.data() + digits.size();
    const auto [at, error] = std::from_chars(digits.data(), end, value);
    if (error != std::errc() || at != end)
        return std::nullopt;
    return value;
}

// Whether `path` starts with `prefix`, which is taken off then.
bool skip(std::string_view& path, std::string_view prefix)
{
    const bool there = path.substr(0, prefix.size()) == prefix;
    if (there)
        path.remove_prefix(prefix.size());
    return there;
}

std::optional<place> tile_named(std::string_view path) // "Z/X/Y.png"
{
    std::array<std::uint64_t, 3> parts{};
    for (const auto end : {'/', '/', '.'})
    {
        const auto length = path.find(end);
        const auto part = number(path.substr(0, length));
        if (length == path.npos || !part)
            return std::nullopt;
        std::rotate(parts.begin(), parts.begin() + 1, parts.end());
        parts[2] = *part;
        path.remove_prefix(length + 1);
    }
    if (path != "png" || parts[0] > place::deepest ||
        parts[1] >> parts[0] != 0 || parts[2] >> parts[0] != 0)
        return std::nullopt;
    return place{static_cast<unsigned>(parts[0]), parts[1], parts[2]};
}

class site
{
public:
    site(asynchronous_processing::pool& pool, common::chaos chaos)
        : pool_(pool)
        , chaos_(chaos)
    {
        std::random_device dice;
        for (int i = 0; i < 32; ++i)
            token_ += "0123456789abcdef"[dice() % 16];
    }

    const std::string& token() const { return token_; }
    void is_served_by(const http_server& server) { server_ = &server; }

    // tag::respond[]
    awaitable<std::optional<response>>
    respond(const http_server::request& asked, http_server::connection& client)
    {
        const std::string_view target(asked.target().data(),
                                      asked.target().size());
        const auto path = target.substr(0, target.find('?'));
        const bool reads = asked.method() == http::verb::get ||
                           asked.method() == http::verb::head;
        try
        {
            if (asked.method() == http::verb::post)
                co_return co_await act(asked, path);
            if (!reads)
                co_return text(http::status::method_not_allowed,
                               "GET, HEAD or POST\n");
            if (path == "/events")
                co_return co_await events(client);
            co_return co_await look(target, path);
        }
        catch (...)
        {
            co_return failure();
        }
    }
    // end::respond[]

private:
    awaitable<response> look(std::string_view target, std::string_view path)
    {
        if (path == "/")
            co_return front_page();
        if (path == "/healthz")
            co_return health();
        if (path == "/metrics")
            co_return text(http::status::ok, metrics(),
                           "text/plain; version=0.0.4");
        if (skip(path, "/tile/"))
            co_return co_await paint(tile_named(path));
        if (path == "/compute/primes")
            co_return co_await compute(target, "below", 100'000'000,
                                       &count_primes);
        if (path == "/compute/sleep")
            co_return co_await compute(target, "ms", 60'000, &sleep_for);
        co_return text(http::status::not_found, "there is no such page\n");
    }

    awaitable<response> act(const http_server::request& asked,
                            std::string_view path)
    {
        if (asked["X-Token"] != token_)
            co_return text(http::status::forbidden,
                           "only the page that this server sent may do that\n");
        if (path == "/compute/crash")
        {
            call_options how;
            how.name = "the crash";
            how.attempts = 1;
            co_await pool_.async_submit(how, &crash, use_awaitable);
            co_return text(http::status::ok, "it survived\n");
        }
        if (skip(path, "/workers/") && path.size() > 5 &&
            path.substr(path.size() - 5) == "/kill")
        {
            const auto slot = number(path.substr(0, path.size() - 5));
            if (slot && *slot > 0 && *slot <= pool_.size())
            {
                co_return kill(static_cast<unsigned>(*slot));
            }
        }
        co_return text(http::status::not_found, "there is no such worker\n");
    }

    // tag::paint[]
    awaitable<response> paint(std::optional<place> at)
    {
        if (!at)
            co_return text(http::status::not_found, "there is no such tile\n");
        call_options how;
        how.name = "tile " + std::to_string(at->zoom) + "/" +
                   std::to_string(at->column) + "/" + std::to_string(at->row);
        how.hard_deadline = 30s;
        std::string file =
            co_await pool_.async_submit(how, &tile, *at, chaos_, use_awaitable);
        auto said = text(http::status::ok, std::move(file), "image/png");
        said.set(http::field::cache_control, "max-age=3600");
        ++tiles_;
        co_return said;
    }
    // end::paint[]

    awaitable<response> compute(std::string_view target, std::string_view name,
                                std::uint64_t most,
                                answer (*function)(std::uint64_t))
    {
        const auto query = target.find('?');
        auto given = query == target.npos ? "" : target.substr(query + 1);
        std::optional<std::uint64_t> value;
        if (skip(given, name) && skip(given, "="))
            value = number(given);
        if (!value || *value > most)
            co_return text(http::status::bad_request,
                           "?" + std::string(name) + "=N with N up to " +
                               std::to_string(most) + "\n");
        call_options how;
        how.name = std::string(target.substr(1));
        how.hard_deadline = 90s;
        const auto found =
            co_await pool_.async_submit(how, function, *value, use_awaitable);
        co_return found_text(name, *value, found);
    }

    response kill(unsigned slot)
    {
        return text(json::value{{"killed", pool_.kill(slot)}});
    }

    static response found_text(std::string_view name, std::uint64_t value,
                               const answer& found)
    {
        return text(json::value{
            {name, value}, {"answer", found.value}, {"worker", found.worker}});
    }

    response front_page() const
    {
        std::string body(asynchronous_processing::page);
        body.replace(body.find("TOKEN"), 5, token_);
        auto said =
            text(http::status::ok, std::move(body), "text/html; charset=utf-8");
        said.set("Content-Security-Policy",
                 "default-src 'none'; img-src 'self' data:; connect-src "
                 "'self'; style-src 'unsafe-inline'; script-src "
                 "'unsafe-inline'; frame-ancestors 'none'");
        return said;
    }

    response health() const
    {
        const auto now = pool_.stats();
        const bool good = std::any_of(now.workers.begin(), now.workers.end(),
                                      [](const auto& w) { return w.ready; });
        return text(good ? http::status::ok : http::status::service_unavailable,
                    good ? "ok\n" : "no worker is ready\n");
    }

    // In the handler of an exception.  Says why, as far as it is no secret.
    static response failure()
    {
        try
        {
            throw;
        }
        catch (const common::timed_out& e)
        {
            return text(http::status::gateway_timeout, e.what() + lf);
        }
        catch (const common::worker_died& e)
        {
            return text(http::status::internal_server_error, e.what() + lf);
        }
        catch (const common::closed& e)
        {
            return text(http::status::service_unavailable, e.what() + lf);
        }
        catch (const common::exhausted& e)
        {
            return text(http::status::service_unavailable, e.what() + lf);
        }
        catch (const std::exception& e)
        {
            return text(http::status::internal_server_error, e.what() + lf);
        }
    }

    static inline const std::string lf = "\n";

    awaitable<std::optional<response>> events(http_server::connection& client)
    {
        co_await client.write("HTTP/1.1 200 OK\r\n"
                              "Content-Type: text/event-stream\r\n"
                              "Cache-Control: no-store\r\n"
                              "Connection: close\r\n\r\n");
        asio::steady_timer pause(co_await asio::this_coro::executor);
        while (!server_->stopping()) // or until the client goes
        {
            co_await client.write("data: " + json::serialize(state()) + "\n\n");
            pause.expires_after(500ms);
            co_await pause.async_wait(use_awaitable);
        }
        co_return std::nullopt;
    }

    json::value state()
    {
        const auto now = pool_.stats();
        json::array workers;
        std::uint64_t restarts = 0;
        for (const auto& w : now.workers)
        {
            restarts += w.restarts;
            workers.push_back({{"id", w.slot},
                               {"pid", w.pid},
                               {"state", !w.ready      ? "gone"
                                         : w.task != 0 ? "running"
                                                       : "idle"},
                               {"task", w.name},
                               {"running", w.running.count()},
                               {"age", w.age.count()},
                               {"done", w.finished},
                               {"restarts", w.restarts}});
        }
        return {{"workers", std::move(workers)},
                {"queued", now.queued + now.waiting},
                {"running", now.running},
                {"restarts", restarts},
                {"deaths", now.deaths},
                {"rate", rate()}};
    }

    // Tiles per second, over the last two.
    double rate()
    {
        const auto now = common::clock::now();
        if (past_.empty() || now - past_.back().first > 100ms)
            past_.emplace_back(now, tiles_);
        while (past_.size() > 1 && now - past_[1].first > 2s)
            past_.pop_front();
        const std::chrono::duration<double> time = now - past_.front().first;
        const auto tiles = static_cast<double>(tiles_ - past_.front().second);
        return time.count() > 0 ? tiles / time.count() : 0;
    }

    std::string metrics() const
    {
        const auto now = pool_.stats();
        std::string all;
        const auto add = [&](const char* name, const char* type, auto value) {
            all += "# TYPE " + std::string(name) + " " + type + "\n" + name +
                   " " + std::to_string(value) + "\n";
        };
        add("tasks_submitted_total", "counter", now.submitted);
        add("tasks_finished_total", "counter", now.finished);
        add("tasks_retried_total", "counter", now.retried);
        add("tasks_poisoned_total", "counter", now.poisoned);
        add("tasks_running", "gauge", now.running);
        add("tasks_queued", "gauge", now.queued + now.waiting);
        add("worker_deaths_total", "counter", now.deaths);
        add("tiles_total", "counter", tiles_);
        add("http_requests_total", "counter", server_->count().requests);
        add("http_connections_total", "counter", server_->count().connections);
        add("http_connections_open", "gauge", server_->count().open);
        add("http_refused_total", "counter", server_->count().refused);
        add("http_clients_vanished_total", "counter",
            server_->count().vanished);
        all += "# TYPE worker_restarts_total counter\n";
        for (const auto& w : now.workers)
            all += "worker_restarts_total{worker=\"" + std::to_string(w.slot) +
                   "\"} " + std::to_string(w.restarts) + "\n";
        return all;
    }

    asynchronous_processing::pool& pool_;
    common::chaos chaos_;
    const http_server* server_ = nullptr;
    std::string token_;
    std::uint64_t tiles_ = 0;
    std::deque<std::pair<common::time_point, std::uint64_t>> past_;
};

// --- the program ------------------------------------------------------------

// tag::drain[]
// Completes after SIGINT or SIGTERM, when all that had been asked for has been
// answered, or after ten seconds, or at once at a second signal.
awaitable<int> serve_until_told(http_server& server)
{
    using namespace asio::experimental::awaitable_operators;
    asio::signal_set signals(co_await asio::this_coro::executor, SIGINT,
                             SIGTERM);
    const int first = co_await signals.async_wait(use_awaitable);
    server.stop();
    asio::steady_timer limit(co_await asio::this_coro::executor, 10s);
    co_await (server.closed() || limit.async_wait(use_awaitable) ||
              signals.async_wait(use_awaitable));
    co_return first;
}
// end::drain[]

// Asks for some tiles over the wire, killing workers, and prints what came.
awaitable<int> drive(const http_server& server, const site& here,
                     unsigned times, unsigned workers,
                     common::run_statistics& statistics)
{
    asynchronous_processing::visitors all(server.endpoint(), 4);
    std::vector<std::string> targets;
    for (unsigned zoom = 0, side = 1; targets.size() < times; ++zoom, side *= 2)
        for (unsigned i = 0; i < side * side && targets.size() < times; ++i)
            targets.push_back("/tile/" + std::to_string(zoom) + "/" +
                              std::to_string(i % side) + "/" +
                              std::to_string(i / side) + ".png");
    const auto kill = [&](std::size_t n) -> std::string {
        return n % 10 == 5 ? "/workers/" +
                                 std::to_string(n / 10 % workers + 1) + "/kill"
                           : "";
    };
    const auto replies = co_await all.ask(targets, kill, here.token());
    for (std::size_t i = 0; i < targets.size(); ++i)
    {
        if (replies[i].status != 200)
            throw std::runtime_error(targets[i] + ": " + replies[i].body);
        std::cout << std::hex << std::setw(16) << std::setfill('0')
                  << replies[i].checksum() << std::dec << "  " << targets[i]
                  << '\n';
        ++statistics.items;
        statistics.bytes += replies[i].body.size();
    }
    co_return 0;
}

struct settings
{
    std::string address = "127.0.0.1";
    unsigned short port = 8080;
    unsigned drive = 0;
};

int run(const settings& wanted, const common::program_line& line,
        common::run_statistics& statistics)
{
    asynchronous_processing::pool_options options;
    options.workers = line.workers;
    options.in_flight = 2 * std::size_t{line.workers}; // the rest waits here
    options.restarts = 1'000'000; // visitors may kill as they like
    options.attempts = line.chaos.probability > 0 ? 200 : 10;
    if (line.chaos.probability > 0 || wanted.drive > 0)
        options.restart_backoff = 0ms;

    asio::io_context io{1};
    asynchronous_processing::pool pool(io, options);
    site here(pool, line.chaos);
    const auto address = asio::ip::make_address(wanted.address);
    http_server server(io.get_executor(), {address, wanted.port},
                       [&](const auto& asked, auto& client) {
                           return here.respond(asked, client);
                       });
    here.is_served_by(server);
    if (!address.is_loopback())
        std::cerr << "asynchronous_processing: WARNING: " << wanted.address
                  << " can be reached by others, who may use this machine and "
                     "kill its workers\n";
    int signal = 0;
    std::exception_ptr error;
    const auto end = [&](std::exception_ptr e, int how) {
        error = e;
        signal = how;
        io.stop();
    };
    co_spawn(io, server.run(), asio::detached);
    if (wanted.drive > 0)
        co_spawn(io,
                 drive(server, here, wanted.drive, line.workers, statistics),
                 end);
    else
    {
        co_spawn(io, serve_until_told(server), end);
        std::cout << "listening on http://" << server.endpoint() << "/"
                  << std::endl;
    }
    io.run();
    const auto stats = pool.stats();
    statistics.deaths = stats.deaths;
    statistics.retried = stats.retried;
    statistics.poisoned = stats.poisoned;
    server.abort(); // who did not leave in time
    pool.stop(common::clock::now());
    io.restart();
    io.run_for(2s);
    if (error)
        std::rethrow_exception(error);
    return signal;
}

} // namespace

int main(int argc, char* argv[])
{
    common::worker_main(argc, argv);
    namespace po = boost::program_options;
    long port = 8080, times = 0;
    settings wanted;
    common::program_line line("asynchronous_processing --port P",
                              "A web server on this machine: a fractal to drag "
                              "and zoom, computed by worker processes that you "
                              "can watch and kill.");
    line.add("port", po::value(&port)->default_value(8080)->value_name("P"),
             "where to listen; 0: any that is free");
    line.add(
        "address",
        po::value(&wanted.address)->default_value("127.0.0.1")->value_name("A"),
        "the same; other than loopback, others can reach it");
    line.add("drive", po::value(&times)->value_name("N"),
             "ask for N tiles over the wire, killing workers, print their "
             "checksums, and end");
    int signal = 0;
    const int status =
        line.run(argc, argv, [&](common::run_statistics& statistics) {
            if (port < 0 || port > 65535)
                throw common::usage_error("--port must be 0 to 65535, not " +
                                          std::to_string(port));
            if (times < 0 || times > 100'000)
                throw common::usage_error("--drive must be 1 to 100000, not " +
                                          std::to_string(times));
            wanted.drive = static_cast<unsigned>(times);
            wanted.port = times > 0 ? 0 : static_cast<unsigned short>(port);
            signal = run(wanted, line, statistics);
            return true;
        });
    return signal == SIGINT ? 130 : status;
}
