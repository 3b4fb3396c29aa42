// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.
//
// Web servers under the load of wrk: 64 connections, kept alive.

#pragma once

#include "harness.hpp"
#include "python.hpp"

#include "common/process.hpp"
#include "common/shared.hpp"

#include <boost/asio/awaitable.hpp>
#include <boost/asio/buffer.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/core/tcp_stream.hpp>
#include <boost/beast/http/read.hpp>
#include <boost/beast/http/string_body.hpp>
#include <boost/beast/http/write.hpp>

#include "patterns/asynchronous_processing/asynchronous_processing.hpp"
#include "patterns/asynchronous_processing/fractal.hpp"
#include "patterns/asynchronous_processing/server.hpp"
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

extern char** environ;

namespace bench {

/// The shared library that paints tiles for Python; set by the command line.
inline std::string& tile_library()
{
    static std::string path;
    return path;
}

namespace detail {

namespace asio = boost::asio;
namespace beast = boost::beast;
using asio::ip::tcp;
using asynchronous_processing::place;

/// A program found on PATH, its output in a pipe; killed with this object.
class program
{
public:
    explicit program(std::vector<std::string> words)
    {
        int from[2];
        if (::pipe2(from, O_CLOEXEC) != 0)
            throw std::system_error(errno, std::generic_category(), "pipe");
        std::vector<char*> arguments;
        for (auto& word : words)
            arguments.push_back(word.data());
        arguments.push_back(nullptr);
        posix_spawn_file_actions_t actions;
        ::posix_spawn_file_actions_init(&actions);
        ::posix_spawn_file_actions_adddup2(&actions, from[1], 1);
        ::posix_spawn_file_actions_adddup2(&actions, from[1], 2);
        const int error = ::posix_spawnp(&pid_, arguments.front(), &actions,
                                         nullptr, arguments.data(), environ);
        ::posix_spawn_file_actions_destroy(&actions);
        ::close(from[1]);
        from_.reset(::fdopen(from[0], "r"));
        if (error != 0)
        {
            pid_ = -1;
            throw std::system_error(error, std::generic_category(),
                                    words.front());
        }
    }
    program(const program&) = delete;
    ~program()
    {
        if (pid_ <= 0)
            return;
        ::kill(pid_, SIGTERM);
        ::waitpid(pid_, nullptr, 0);
    }

    /// All that it still prints.
    std::string rest()
    {
        std::string text;
        for (int c; (c = std::fgetc(from_.get())) != EOF;) // it closes its end
            text += static_cast<char>(c);
        return text;
    }

private:
    struct closes
    {
        void operator()(std::FILE* file) const { std::fclose(file); }
    };
    std::unique_ptr<std::FILE, closes> from_;
    pid_t pid_ = -1;
};

/// The number behind `label` in what wrk has printed.
inline double figure(const std::string& report, const std::string& label)
{
    const auto at = report.find(label);
    return at == report.npos ? 0 : std::atof(&report[at + label.size()]);
}

/// Requests that a server answers in a second.  Throws when one was not
/// answered, or not well.
inline double requests_per_second(unsigned port, const std::string& path,
                                  const std::string& name)
{
    const auto report =
        program({"wrk", "-t1", "-c64", "-d1s", "--timeout=10s",
                 "http://127.0.0.1:" + std::to_string(port) + path})
            .rest();
    const auto rate = figure(report, "Requests/sec:");
    verify(rate > 0 && report.find("Non-2xx") == report.npos &&
               report.find("Socket errors") == report.npos,
           name + ": " + report);
    return rate;
}

/// Waits until the server has done with all that wrk had asked for and did not
/// wait for: else it would go on during the turn of another one.
inline void wait_until_idle(unsigned port, const std::string& path)
{
    const auto asks = "GET " + path +
                      " HTTP/1.1\r\nHost: localhost\r\n"
                      "Connection: close\r\n\r\n";
    asio::io_context io;
    for (int i = 0; i < 2; ++i) // one for each process
    {
        tcp::socket socket(io);
        socket.connect({asio::ip::address_v4::loopback(),
                        static_cast<unsigned short>(port)});
        asio::write(socket, asio::buffer(asks));
        std::string all;
        boost::system::error_code end;
        asio::read(socket, asio::dynamic_buffer(all), end);
    }
}

/// wrk counts requests for a time, not the time for requests: small counts, by
/// which a row only finds its size, are answered from the last measurement.
inline contestant loaded(const std::string& name, unsigned port,
                         const std::string& path, std::shared_ptr<void> server)
{
    return {name,
            [=, last = 0.0](std::size_t count) mutable {
                static_cast<void>(server); // lives as long as this
                const auto took = [&] {
                    return static_cast<double>(count) / last * 1e9;
                };
                if (last == 0.0 || took() > 25e6)
                {
                    last = requests_per_second(port, path, name);
                    wait_until_idle(port, path);
                }
                return took();
            },
            {}};
}

// --- servers ---------------------------------------------------------------

/// A process that serves in its own event loop, and says where.
template <class Serve>
contestant served_by(const std::string& name, const std::string& path,
                     bool there, Serve serve)
{
    struct server
    {
        common::shared<std::atomic<unsigned>> port{0u};
        common::process process;
        ~server()
        {
            process.kill();
            process.join();
        }
    };
    const auto one = std::make_shared<server>();
    if (there)
        pin(0, {cpus().there}); // what it starts stays where it was born
    one->process = common::process(serve, one->port);
    pin(0, {cpus().here, cpus().there});
    while (*one->port == 0) // ended by the server, which has only to start
    {
        verify(!one->process.status(), name + " did not start");
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    return loaded(name, *one->port, path, one);
}

using port_word = common::shared<std::atomic<unsigned>>;
using asynchronous_processing::http_server;

template <class Answer>
void serve_pattern(asio::io_context& io, const port_word& port, Answer answer)
{
    http_server server(io.get_executor(), {asio::ip::address_v4::loopback(), 0},
                       answer);
    asio::co_spawn(io, server.run(), asio::detached);
    *port = server.endpoint().port();
    io.run();
}

inline void serve_hello(port_word port)
{
    asio::io_context io(1);
    serve_pattern(io, port, [](const auto&, auto&) -> http_server::reply {
        return asynchronous_processing::response{.body = "hello\n"};
    });
}

inline asio::awaitable<void> plain_session(beast::tcp_stream stream)
try
{
    namespace http = beast::http;
    beast::flat_buffer buffer;
    for (bool more = true; more;)
    {
        stream.expires_after(std::chrono::seconds(30));
        http::request<http::string_body> asked;
        co_await http::async_read(stream, buffer, asked, asio::use_awaitable);
        http::response<http::string_body> said(http::status::ok,
                                               asked.version());
        said.set(http::field::content_type, "text/plain");
        said.body() = "hello\n";
        said.keep_alive(more = asked.keep_alive());
        said.prepare_payload();
        co_await http::async_write(stream, said, asio::use_awaitable);
    }
}
catch (const boost::system::system_error&)
{
}

/// As Beast's own example has it, with coroutines.
inline void serve_plain_hello(port_word port)
{
    asio::io_context io(1);
    tcp::acceptor acceptor(io, {asio::ip::address_v4::loopback(), 0});
    asio::co_spawn(
        io,
        [&]() -> asio::awaitable<void> {
            for (;;) // until it is killed
            {
                tcp::socket socket =
                    co_await acceptor.async_accept(asio::use_awaitable);
                asio::co_spawn(
                    io, plain_session(beast::tcp_stream(std::move(socket))),
                    asio::detached);
            }
        },
        asio::detached);
    *port = acceptor.local_endpoint().port();
    io.run();
}

/// nginx in a directory of its own, which goes with it.
class nginx
{
public:
    explicit nginx(unsigned port)
    {
        std::string name = "/tmp/bench-nginx.XXXXXX";
        if (::mkdtemp(name.data()) == nullptr)
            throw std::system_error(errno, std::generic_category(), name);
        directory_ = name;
        std::ofstream(directory_ / "conf")
            << "worker_processes 1; daemon off; pid pid; error_log log;\n"
               "events {}\n"
               "http { access_log off; keepalive_requests 1000000000;\n"
               "client_body_temp_path t; proxy_temp_path t;\n"
               "fastcgi_temp_path t; uwsgi_temp_path t; scgi_temp_path t;\n"
               "server { listen 127.0.0.1:"
            << port
            << "; location / { default_type text/plain;\n"
               "return 200 \"hello\\n\"; } } }\n";
        running_.emplace(std::vector<std::string>{"nginx", "-p", name + "/",
                                                  "-c", "conf", "-e", "log"});
    }
    nginx(const nginx&) = delete;
    ~nginx()
    {
        running_.reset();
        std::error_code none;
        std::filesystem::remove_all(directory_, none);
    }

private:
    std::filesystem::path directory_;
    std::optional<program> running_;
};

inline bool listens(unsigned port)
{
    asio::io_context io;
    tcp::socket socket(io);
    boost::system::error_code error;
    socket.connect(
        {asio::ip::address_v4::loopback(), static_cast<unsigned short>(port)},
        error);
    return !error;
}

inline unsigned free_port()
{
    asio::io_context io;
    return tcp::acceptor(io, {asio::ip::address_v4::loopback(), 0})
        .local_endpoint()
        .port();
}

inline contestant nginx_hello()
{
    const std::string name = "nginx, a static body";
    if (std::system("command -v nginx > /dev/null") != 0)
        return {name, {}, "nginx was not found"};
    const auto port = free_port();
    pin(0, {cpus().there});
    const auto one = std::make_shared<nginx>(port);
    pin(0, {cpus().here, cpus().there});
    for (int i = 0; i < 2000 && !listens(port); ++i)
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
    if (!listens(port))
        return {name, {}, "nginx did not start"};
    return loaded(name, port, "/", one);
}

/// aiohttp, of the system's Python; see peers.py.
inline contestant aiohttp(const std::string& name, const std::string& what,
                          const std::string& path, bool there)
{
    try
    {
        if (there)
            pin(0, {cpus().there});
        const auto talk =
            std::make_shared<conversation>(std::vector<std::string>{
                "/usr/bin/python3", peers_py(), what, tile_library()});
        pin(0, {cpus().here, cpus().there});
        const auto said = talk->answer();
        if (said.rfind("port ", 0) != 0)
            return {name, {}, said};
        return loaded(name, static_cast<unsigned>(std::atoi(&said[5])), path,
                      talk);
    }
    catch (const std::exception&)
    {
        pin(0, {cpus().here, cpus().there});
        return {name, {}, "aiohttp was not found"};
    }
}

// --- tiles -----------------------------------------------------------------

inline std::string tile(place at)
{
    const auto colours = asynchronous_processing::pixels(at);
    return {colours.begin(), colours.end()};
}

/// Tiles from two worker processes.
inline void serve_tiles(port_word port)
{
    asio::io_context io(1);
    asynchronous_processing::pool_options how;
    how.workers = 2;
    asynchronous_processing::pool workers(io, how);
    const auto paint = [&workers](place at)
        -> asio::awaitable<std::optional<asynchronous_processing::response>> {
        auto body =
            co_await workers.async_submit(&tile, at, asio::use_awaitable);
        co_return asynchronous_processing::response{.body = std::move(body)};
    };
    serve_pattern(
        io, port, [&](const auto& asked, auto&) -> http_server::reply {
            return paint(*place::named(std::string(asked.target()).substr(6)));
        });
}

inline bool has_wrk()
{
    return std::system("command -v wrk > /dev/null") == 0;
}

inline void tiles(row& row, const std::string& path)
{
    const std::string name = "asynchronous_processing";
    row.pinned = false;
    if (!has_wrk())
    {
        row.ours = {name, {}, "wrk was not found"};
        return;
    }
    const std::string other = "aiohttp, ProcessPoolExecutor, C";
    row.ours = served_by(name, path, false, &serve_tiles);
    row.against = {{opponent::kind::peer,
                    std::filesystem::exists(tile_library())
                        ? aiohttp(other, "tiles", path, false)
                        : contestant{other, {}, "no library that paints"}}};
}

} // namespace detail

inline std::vector<planned> http_rows()
{
    constexpr auto peer = opponent::kind::peer;
    return {{"HTTP hello", "a request and its answer, wrk on the other CPU",
             [](row& row) {
                 const std::string name = "asynchronous_processing";
                 if (!detail::has_wrk())
                 {
                     row.ours = {name, {}, "wrk was not found"};
                     return;
                 }
                 row.ours =
                     detail::served_by(name, "/", true, &detail::serve_hello);
                 row.against = {
                     {peer,
                      detail::served_by("Beast, a plain loop", "/", true,
                                        &detail::serve_plain_hello),
                      0.9},
                     {peer, detail::nginx_hello(), 0.7},
                     {peer,
                      detail::aiohttp("Python aiohttp", "hello", "/", true),
                      10}};
             },
             4},
            {"HTTP tiles", "computed by two processes",
             [](row& row) { detail::tiles(row, "/tile/3/2/3.png"); }, 4},
            {"HTTP light tiles", "a hundredth of it",
             [](row& row) { detail::tiles(row, "/tile/4/12/5.png"); }, 4}};
}

} // namespace bench
