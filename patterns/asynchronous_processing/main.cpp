// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.
//
// A web server whose event loop never computes: a fractal to drag and zoom,
// drawn by worker processes that the visitor watches, and may kill.
//
//   $ asynchronous_processing --port 8080
//   listening on http://127.0.0.1:8080/

#include "asynchronous_processing.hpp"
#include "drive.hpp"
#include "fractal.hpp"
#include "server.hpp"
#include "site.hpp"

#include "common/options.hpp"

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/experimental/awaitable_operators.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/json/src.hpp> // instead of a library to link

#include <png.h>
#include <signal.h>

#include <chrono>
#include <exception>
#include <iostream>
#include <stdexcept>
#include <string>

namespace {

using namespace std::chrono_literals;
using namespace asynchronous_processing;
namespace asio = boost::asio;
using asio::awaitable;
using asio::use_awaitable;

// tag::tile[]
// Runs in a worker: a square of the Mandelbrot set as a PNG file.
std::string tile(place at, common::chaos chaos)
{
    chaos.before(at.number(), attempt());
    const auto colours = pixels(at);
    // end::tile[]
    png_image image{};
    image.version = PNG_IMAGE_VERSION;
    image.width = image.height = place::side;
    image.format = PNG_FORMAT_RGB;
    std::string file(PNG_IMAGE_PNG_SIZE_MAX(image), '\0');
    png_alloc_size_t size = file.size();
    if (png_image_write_to_memory(&image, file.data(), &size, 0, colours.data(),
                                  0, nullptr) == 0)
        throw std::runtime_error(image.message);
    file.resize(size);
    chaos.after(at.number(), attempt());
    return file;
}

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

struct settings
{
    http_server::tcp::endpoint where;
    unsigned drive = 0;
};

pool_options options_for(const settings& wanted,
                         const common::program_line& line)
{
    pool_options options;
    options.workers = line.workers;
    options.in_flight = 2 * std::size_t{line.workers}; // the rest waits here
    options.restarts = 1'000'000; // visitors may kill as they like
    options.attempts = line.chaos.probability > 0 ? 200 : 10;
    if (line.chaos.probability > 0 || wanted.drive > 0)
        options.restart_backoff = 0ms;
    return options;
}

void say_where(const http_server::tcp::endpoint& at)
{
    if (!at.address().is_loopback())
        std::cerr << "asynchronous_processing: WARNING: " << at.address()
                  << " can be reached by others, who may use this machine and "
                     "kill its workers\n";
    std::cout << "listening on http://" << at << "/" << std::endl;
}

// Returns the signal that ended it.
int run(const settings& wanted, const common::program_line& line,
        common::run_statistics& statistics)
{
    asio::io_context io{1};
    pool workers(io, options_for(wanted, line));
    site here(workers, &tile, line.chaos);
    http_server server(io.get_executor(), wanted.where,
                       [&](const auto& asked, auto& client) {
                           return here.respond(asked, client);
                       });
    here.is_served_by(server);
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
                 drive({server.endpoint(), 4}, here.token(), wanted.drive,
                       line.workers, statistics),
                 end);
    else
    {
        co_spawn(io, serve_until_told(server), end);
        say_where(server.endpoint());
    }
    io.run();
    const auto stats = workers.stats();
    statistics.deaths = stats.deaths;
    statistics.retried = stats.retried;
    statistics.poisoned = stats.poisoned;
    server.abort(); // who did not leave in time
    workers.stop(common::clock::now());
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
    std::string address;
    settings wanted;
    common::program_line line("asynchronous_processing --port P",
                              "A web server on this machine: a fractal to drag "
                              "and zoom, computed by worker processes that you "
                              "can watch and kill.");
    line.add("port", po::value(&port)->default_value(8080)->value_name("P"),
             "where to listen; 0: any that is free");
    line.add("address",
             po::value(&address)->default_value("127.0.0.1")->value_name("A"),
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
            boost::system::error_code error;
            wanted.where = {asio::ip::make_address(address, error),
                            static_cast<unsigned short>(times > 0 ? 0 : port)};
            if (error)
                throw common::usage_error("--address must be an IP address, "
                                          "not '" +
                                          address + "'");
            signal = run(wanted, line, statistics);
            return true;
        });
    return signal == SIGINT ? 130 : status;
}
