// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.

#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/experimental/awaitable_operators.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/core/tcp_stream.hpp>
#include <boost/beast/http/error.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/read.hpp>
#include <boost/beast/http/string_body.hpp>
#include <boost/beast/http/write.hpp>

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <list>
#include <memory>
#include <optional>
#include <string>
#include <utility>

namespace asynchronous_processing {

namespace http = boost::beast::http;

/// What a client may cost at most.
struct server_limits
{
    std::size_t connections = 1024;  // more are told 503 and closed
    std::uint32_t header = 8u << 10; // bytes of a request's head
    std::uint64_t body = 64u << 10;  // bytes of its body
    std::chrono::milliseconds header_deadline{5'000}; // all of the head
    std::chrono::milliseconds body_deadline{10'000};
    std::chrono::milliseconds write_deadline{10'000}; // of one response
    std::chrono::milliseconds idle_deadline{30'000};  // between requests
};

/// HTTP/1.1, a coroutine for each connection.  Everything runs on one executor
/// that runs one handler at a time.
class http_server
{
public:
    using tcp = boost::asio::ip::tcp;
    using request = http::request<http::string_body>;
    using response = http::response<http::string_body>;
    template <class T>
    using awaitable = boost::asio::awaitable<T>;

    /// A client, for handlers that write to it themselves.
    class connection
    {
    public:
        /// Writes within the deadline of a response; throws system_error.
        awaitable<void> write(std::string text)
        {
            stream_.expires_after(limits_.write_deadline);
            co_await boost::asio::async_write(
                stream_, boost::asio::buffer(text), boost::asio::use_awaitable);
            stream_.expires_never();
        }

    private:
        friend class http_server;
        connection(tcp::socket socket, const server_limits& limits)
            : stream_(std::move(socket))
            , limits_(limits)
        {
        }
        boost::beast::tcp_stream stream_;
        boost::beast::flat_buffer buffer_;
        const server_limits& limits_;
        bool idle_ = true;
    };

    /// Answers a request; nothing when it has written to the connection
    /// itself, which is closed then.  When the client goes away, or when the
    /// server stops at once, the handler is cancelled (terminal).
    using handler = std::function<awaitable<std::optional<response>>(
        const request&, connection&)>;

    struct counts
    {
        std::uint64_t connections = 0, requests = 0, refused = 0, vanished = 0;
        std::size_t open = 0;
    };

    /// Listens.  Throws system_error when it cannot.
    http_server(const boost::asio::any_io_executor& where,
                const tcp::endpoint& at, handler answer,
                const server_limits& limits = {})
        : acceptor_(where, at)
        , answer_(std::move(answer))
        , limits_(limits)
        , all_gone_(where, boost::asio::steady_timer::time_point::max())
    {
    }
    http_server(const http_server&) = delete;

    tcp::endpoint endpoint() const { return acceptor_.local_endpoint(); }
    const counts& count() const { return counts_; }
    bool stopping() const { return stopping_; }

    /// Accepts connections until stop().
    awaitable<void> run()
    {
        while (!stopping_) // ends with stop, which closes the acceptor
        {
            boost::system::error_code error;
            tcp::socket socket = co_await acceptor_.async_accept(
                boost::asio::redirect_error(boost::asio::use_awaitable, error));
            if (stopping_)
                break;
            if (error) // no descriptor left, say: later there will be one
                co_await pause(std::chrono::milliseconds(20));
            else if (counts_.open >= limits_.connections)
                refuse(std::move(socket));
            else
                boost::asio::co_spawn(acceptor_.get_executor(),
                                      serve(std::move(socket)),
                                      boost::asio::detached);
        }
    }

    /// Accepts nothing more, closes connections that are idle, and others
    /// after the response they wait for.
    void stop()
    {
        stopping_ = true;
        boost::system::error_code none;
        acceptor_.close(none);
        for (auto* one : clients_)
            if (one->idle_)
                one->stream_.cancel();
    }

    /// Stops, and closes all connections at once; their handlers are cancelled.
    void abort()
    {
        stop();
        for (auto* one : clients_)
            one->stream_.close();
    }

    /// Waits until all connections are closed after stop().
    awaitable<void> closed()
    {
        boost::system::error_code none;
        while (counts_.open > 0) // the last one to leave wakes us
            co_await all_gone_.async_wait(
                boost::asio::redirect_error(boost::asio::use_awaitable, none));
    }

private:
    awaitable<void> pause(std::chrono::milliseconds time)
    {
        boost::asio::steady_timer timer(acceptor_.get_executor(), time);
        co_await timer.async_wait(boost::asio::use_awaitable);
    }

    void refuse(tcp::socket socket)
    {
        static constexpr char text[] =
            "HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\n"
            "Content-Length: 0\r\nRetry-After: 1\r\n\r\n";
        ++counts_.refused;
        boost::system::error_code none;
        socket.non_blocking(true, none);
        socket.write_some(boost::asio::buffer(text, sizeof text - 1), none);
        socket.shutdown(tcp::socket::shutdown_send, none);
    }

    // Enters and leaves the list of clients.
    struct presence
    {
        presence(http_server& to, connection& one)
            : server(to)
            , place(to.clients_.insert(to.clients_.end(), &one))
        {
            ++server.counts_.connections;
            ++server.counts_.open;
        }
        presence(const presence&) = delete;
        ~presence()
        {
            server.clients_.erase(place);
            if (--server.counts_.open == 0)
                server.all_gone_.cancel();
        }
        http_server& server;
        std::list<connection*>::iterator place;
    };

    awaitable<void> serve(tcp::socket socket)
    {
        connection client(std::move(socket), limits_);
        boost::system::error_code none;
        client.stream_.socket().set_option(tcp::no_delay(true), none);
        const presence here(*this, client);
        try
        {
            while (co_await serve_one(client)) // ends by either side
                continue;
        }
        catch (const boost::system::system_error&)
        {
            // The client is gone, or too slow: nobody is left to tell.
        }
    }

    // One request and its response.  False when it was the last one.
    awaitable<bool> serve_one(connection& client)
    {
        http::request_parser<http::string_body> parser;
        parser.header_limit(limits_.header);
        parser.body_limit(limits_.body);
        const auto error = co_await read(client, parser);
        if (error == http::error::end_of_stream || (error && client.idle_))
            co_return false;
        if (error)
        {
            co_await reject(client, error);
            co_return false;
        }
        ++counts_.requests;
        const auto asked = parser.release();
        auto said = co_await answer(client, asked);
        if (!said)
            co_return false;
        const bool more = asked.keep_alive() && !stopping_;
        said->version(asked.version());
        said->keep_alive(more);
        const bool bodiless = asked.method() == http::verb::head;
        said->prepare_payload();
        if (bodiless)
            said->body().clear();
        client.stream_.expires_after(limits_.write_deadline);
        http::response_serializer<http::string_body> text(*said);
        text.split(bodiless);
        if (bodiless)
            co_await http::async_write_header(client.stream_, text,
                                              boost::asio::use_awaitable);
        else
            co_await http::async_write(client.stream_, text,
                                       boost::asio::use_awaitable);
        if (!more)
            co_await part(client);
        co_return more;
    }

    template <class Parser>
    awaitable<boost::system::error_code> read(connection& client,
                                              Parser& parser)
    {
        boost::system::error_code error;
        auto token = // Boost 1.81 wants no const
            boost::asio::redirect_error(boost::asio::use_awaitable, error);
        if (client.buffer_.size() == 0)
        {
            client.idle_ = true;
            client.stream_.expires_after(limits_.idle_deadline);
            const auto n = co_await client.stream_.async_read_some(
                client.buffer_.prepare(4096), token);
            client.buffer_.commit(n);
            if (error)
                co_return error;
        }
        client.idle_ = false;
        client.stream_.expires_after(limits_.header_deadline);
        co_await http::async_read_header(client.stream_, client.buffer_, parser,
                                         token);
        if (error || parser.is_done())
            co_return error;
        if (parser.get()[http::field::expect] == "100-continue")
            co_await client.write("HTTP/1.1 100 Continue\r\n\r\n");
        client.stream_.expires_after(limits_.body_deadline);
        co_await http::async_read(client.stream_, client.buffer_, parser,
                                  token);
        co_return error;
    }

    // Runs the handler, as long as the client is there.
    awaitable<std::optional<response>> answer(connection& client,
                                              const request& asked)
    {
        using namespace boost::asio::experimental::awaitable_operators;
        client.stream_.expires_never();
        auto first = co_await (answer_(asked, client) || gone(client));
        if (first.index() == 1)
        {
            ++counts_.vanished;
            co_return std::nullopt;
        }
        co_return std::move(std::get<0>(first));
    }

    // Completes when the client closes its end.  What it sends meanwhile, for
    // later, is kept up to a bound; beyond that it has to wait.
    awaitable<void> gone(connection& client)
    {
        boost::system::error_code error;
        while (client.buffer_.size() < limits_.header) // grows, or ends
        {
            const auto n = co_await client.stream_.socket().async_read_some(
                client.buffer_.prepare(4096),
                boost::asio::redirect_error(boost::asio::use_awaitable, error));
            client.buffer_.commit(n);
            if (error == boost::asio::error::operation_aborted)
                throw boost::system::system_error(error); // we do not know
            if (error)
                co_return;
        }
        boost::asio::steady_timer never(
            acceptor_.get_executor(),
            boost::asio::steady_timer::time_point::max());
        co_await never.async_wait(boost::asio::use_awaitable);
    }

    awaitable<void> reject(connection& client,
                           const boost::system::error_code& error)
    {
        auto status = http::status::bad_request;
        if (error == boost::beast::error::timeout)
            status = http::status::request_timeout;
        else if (error == http::error::header_limit)
            status = http::status::request_header_fields_too_large;
        else if (error == http::error::body_limit)
            status = http::status::payload_too_large;
        else if (error.category() !=
                 make_error_code(http::error::bad_method).category())
            co_return; // not the request: the connection is broken
        ++counts_.refused;
        response said(status, 11);
        said.set(http::field::content_type, "text/plain");
        said.body() = error.message() + "\n";
        said.keep_alive(false);
        said.prepare_payload();
        // A time-out closes the socket: this may fail, and that is all right.
        client.stream_.expires_after(limits_.write_deadline);
        co_await http::async_write(client.stream_, said,
                                   boost::asio::use_awaitable);
        co_await part(client);
    }

    // To close with bytes unread would reset the connection, and the client
    // might never see the response: reads some of them first, for a while.
    awaitable<void> part(connection& client)
    {
        boost::system::error_code error;
        client.stream_.socket().shutdown(tcp::socket::shutdown_send, error);
        client.stream_.expires_after(std::chrono::seconds(1));
        std::array<char, 4096> waste;
        for (int i = 0; i < 256 && !error; ++i)
            co_await client.stream_.async_read_some(
                boost::asio::buffer(waste),
                boost::asio::redirect_error(boost::asio::use_awaitable, error));
    }

    tcp::acceptor acceptor_;
    handler answer_;
    server_limits limits_;
    counts counts_;
    bool stopping_ = false;
    std::list<connection*> clients_;
    boost::asio::steady_timer all_gone_;
};

} // namespace asynchronous_processing
