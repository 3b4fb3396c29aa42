// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.

#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/string_body.hpp>

#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <string>
#include <utility>
#include <vector>

namespace asynchronous_processing {

/// What a server said.
struct reply
{
    unsigned status = 0;
    std::string body;

    /// FNV-1a, by G. Fowler, L. Noll and K.-P. Vo.
    std::uint64_t checksum() const
    {
        std::uint64_t sum = 0xcbf29ce484222325;
        for (const char c : body)
            sum = (sum ^ static_cast<unsigned char>(c)) * 0x100000001b3;
        return sum;
    }
};

/// Several clients that ask a server for pages, each on its own connection.
/// They run in one thread.
class visitors
{
public:
    using tcp = boost::asio::ip::tcp;

    visitors(const tcp::endpoint& server, unsigned clients)
        : server_(server)
        , clients_(clients)
    {
    }

    /// The replies to GET requests, in the order of the targets.  Before the
    /// n-th, whoever asks for it posts to `first(n)`, unless that is empty.
    /// Throws system_error when the server leaves one unanswered.
    boost::asio::awaitable<std::vector<reply>>
    ask(const std::vector<std::string>& targets,
        const std::function<std::string(std::size_t)>& first,
        const std::string& token)
    {
        std::vector<reply> replies(targets.size());
        const auto where = co_await boost::asio::this_coro::executor;
        boost::asio::steady_timer all(
            where, boost::asio::steady_timer::time_point::max());
        std::size_t next = 0;
        unsigned left = clients_;
        std::exception_ptr error;
        for (unsigned i = 0; i < clients_; ++i)
            boost::asio::co_spawn(where,
                                  visit(targets, first, token, next, replies),
                                  [&](std::exception_ptr e) {
                                      if (e)
                                          error = e;
                                      if (--left == 0)
                                          all.cancel();
                                  });
        boost::system::error_code none;
        co_await all.async_wait(
            boost::asio::redirect_error(boost::asio::use_awaitable, none));
        if (error)
            std::rethrow_exception(error);
        co_return replies;
    }

private:
    boost::asio::awaitable<void>
    visit(const std::vector<std::string>& targets,
          const std::function<std::string(std::size_t)>& first,
          const std::string& token, std::size_t& next,
          std::vector<reply>& replies)
    {
        tcp::socket socket(co_await boost::asio::this_coro::executor);
        co_await socket.async_connect(server_, boost::asio::use_awaitable);
        boost::beast::flat_buffer buffer;
        while (next < targets.size()) // each turn takes one
        {
            const auto mine = next++;
            if (const auto before = first(mine); !before.empty())
                co_await exchange(socket, buffer, "POST", before, token);
            replies[mine] =
                co_await exchange(socket, buffer, "GET", targets[mine], token);
        }
    }

    static boost::asio::awaitable<reply>
    exchange(tcp::socket& socket, boost::beast::flat_buffer& buffer,
             const char* method, const std::string& target,
             const std::string& token)
    {
        const auto asks = method + (" " + target) +
                          " HTTP/1.1\r\nHost: localhost\r\nX-Token: " + token +
                          "\r\nContent-Length: 0\r\n\r\n";
        co_await boost::asio::async_write(socket, boost::asio::buffer(asks),
                                          boost::asio::use_awaitable);
        namespace http = boost::beast::http;
        http::response_parser<http::string_body> parser;
        parser.eager(true);
        while (!parser.is_done()) // ends: each turn reads something, or throws
        {
            buffer.commit(co_await socket.async_read_some(
                buffer.prepare(65536), boost::asio::use_awaitable));
            boost::system::error_code error;
            buffer.consume(parser.put(buffer.data(), error));
            if (error && error != http::error::need_more)
                throw boost::system::system_error(error);
        }
        auto said = parser.release();
        co_return reply{said.result_int(), std::move(said.body())};
    }

    tcp::endpoint server_;
    unsigned clients_;
};

} // namespace asynchronous_processing
