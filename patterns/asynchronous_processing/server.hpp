// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.

#pragma once

#include "response.hpp"

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/experimental/awaitable_operators.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http/error.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/string_body.hpp>
#include <boost/system/system_error.hpp>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <list>
#include <optional>
#include <sstream>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <variant>

namespace asynchronous_processing {

namespace http = boost::beast::http;

/// What a client may cost at most.  Deadlines are kept within a tenth of a
/// second.
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
    using clock = std::chrono::steady_clock;

public:
    using tcp = boost::asio::ip::tcp;
    using request = http::request<http::string_body>;
    template <class T>
    using awaitable = boost::asio::awaitable<T>;

    /// A client, for handlers that write to it themselves.
    class connection
    {
    public:
        /// Writes within the deadline of a response; throws system_error.
        awaitable<void> write(std::string text)
        {
            parts all{boost::asio::buffer(text), {}};
            if (!write_now(all))
                co_await write_rest(all);
        }

    private:
        friend class http_server;
        using parts = std::array<boost::asio::const_buffer, 2>;

        connection(tcp::socket socket, const http_server& server)
            : socket_(std::move(socket))
            , server_(server)
        {
        }

        void has(clock::duration time) { deadline_ = server_.now_ + time; }
        void has_time() { deadline_ = clock::time_point::max(); }

        // Most responses fit into the socket, and nobody has to wait.  Takes
        // off what it has written; returns whether that was all.
        bool write_now(parts& all)
        {
            boost::system::error_code error;
            auto written = all[1].size() == 0
                               ? socket_.write_some(all[0], error)
                               : socket_.write_some(all, error);
            if (error && error != boost::asio::error::would_block)
                throw boost::system::system_error(error);
            for (auto& part : all)
            {
                const auto off = std::min(written, part.size());
                part += off;
                written -= off;
            }
            return boost::asio::buffer_size(all) == 0;
        }

        awaitable<void> write_rest(parts all)
        {
            has(server_.limits_.write_deadline);
            co_await boost::asio::async_write(socket_, all,
                                              boost::asio::use_awaitable);
            has_time();
        }

        tcp::socket socket_;
        const http_server& server_;
        boost::beast::flat_buffer buffer_; // what it sent, up to a bound
        clock::time_point deadline_ = clock::time_point::max();
        bool idle_ = true;
        bool late_ = false; // its deadline has passed
    };

    /// What a handler answers: at once, or later, when it is nothing if the
    /// handler has written to the connection itself, which is closed then.
    using reply = std::variant<response, awaitable<std::optional<response>>>;

    /// When the client goes away, or when the server stops at once, an answer
    /// that is awaited is cancelled (terminal).  Throws nothing.
    using handler = std::function<reply(const request&, connection&)>;

    struct counts
    {
        std::uint64_t connections = 0, requests = 0, refused = 0, vanished = 0;
        std::size_t open = 0;
    };

    /// Listens.  Throws std::system_error when it cannot.
    http_server(const boost::asio::any_io_executor& where,
                const tcp::endpoint& at, handler answer,
                const server_limits& limits = {})
        : acceptor_(listening(where, at))
        , answer_(std::move(answer))
        , limits_(limits)
        , tick_(where)
        , all_gone_(where, clock::time_point::max())
    {
    }
    http_server(const http_server&) = delete;

    tcp::endpoint endpoint() const { return acceptor_.local_endpoint(); }
    const counts& count() const { return counts_; }
    bool stopping() const { return stopping_; }

    /// Accepts connections until stop().
    awaitable<void> run()
    {
        boost::asio::co_spawn(acceptor_.get_executor(), keep_deadlines(),
                              boost::asio::detached);
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
                one->socket_.cancel(none);
        if (clients_.empty())
            tick_.cancel();
    }

    /// Stops, and closes all connections at once; their handlers are cancelled.
    void abort()
    {
        stop();
        boost::system::error_code none;
        for (auto* one : clients_)
            one->socket_.close(none);
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
    static tcp::acceptor listening(const boost::asio::any_io_executor& where,
                                   const tcp::endpoint& at)
    {
        try
        {
            return tcp::acceptor(where, at);
        }
        catch (const boost::system::system_error& e)
        {
            std::ostringstream what;
            what << "cannot listen on " << at;
            throw std::system_error(e.code(), what.str());
        }
    }

    using parser = http::request_parser<http::string_body>;

    awaitable<void> pause(std::chrono::milliseconds time)
    {
        boost::asio::steady_timer timer(acceptor_.get_executor(), time);
        co_await timer.async_wait(boost::asio::use_awaitable);
    }

    // One timer for all, since hardly ever a deadline passes.
    awaitable<void> keep_deadlines()
    {
        boost::system::error_code none;
        while (!stopping_ || !clients_.empty()) // who leaves last wakes us
        {
            tick_.expires_after(std::chrono::milliseconds(100));
            co_await tick_.async_wait(
                boost::asio::redirect_error(boost::asio::use_awaitable, none));
            now_ = clock::now();
            for (auto* one : clients_)
                if (one->deadline_ < now_)
                {
                    one->late_ = true;
                    one->socket_.cancel(none);
                }
        }
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
            if (--server.counts_.open > 0)
                return;
            server.all_gone_.cancel();
            if (server.stopping_)
                server.tick_.cancel();
        }
        http_server& server;
        std::list<connection*>::iterator place;
    };

    awaitable<void> serve(tcp::socket socket)
    {
        connection client(std::move(socket), *this);
        const presence here(*this, client);
        try
        {
            client.socket_.non_blocking(true);
            client.socket_.set_option(tcp::no_delay(true));
            // Others first: meanwhile the next request may come, and need not
            // be waited for.  Ends by either side.
            while (co_await serve_one(client))
                co_await boost::asio::post(acceptor_.get_executor(),
                                           boost::asio::use_awaitable);
        }
        catch (const std::exception&)
        {
            // The client is gone, or too slow: nobody is left to tell.
        }
    }

    // One request and its response.  False when it was the last one.
    awaitable<bool> serve_one(connection& client)
    {
        parser reads;
        reads.header_limit(limits_.header);
        reads.body_limit(limits_.body);
        reads.eager(true);
        const auto error = co_await read(client, reads);
        if (error)
        {
            if (!client.idle_)
                co_await reject(client, error);
            co_return false;
        }
        ++counts_.requests;
        const auto& asked = reads.get();
        auto said = answer_(asked, client);
        if (auto* const later = std::get_if<1>(&said))
        {
            auto came = co_await wait(client, std::move(*later));
            if (!came)
                co_return false;
            said = std::move(*came);
        }
        const bool more = asked.keep_alive() && !stopping_;
        const auto& answer = std::get<0>(said);
        auto head = answer.head(!more                  ? "close"
                                : asked.version() < 11 ? "keep-alive"
                                                       : "");
        auto all = parts_of(asked, head, answer.body);
        if (!client.write_now(all))
            co_await client.write_rest(all);
        if (!more)
            co_await part(client);
        co_return more;
    }

    static connection::parts parts_of(const request& asked, std::string& head,
                                      std::string_view body)
    {
        if (asked.method() == http::verb::head)
            body = {};
        else if (body.size() < 1024) // one part is written quicker than two
            head += std::exchange(body, {});
        return {boost::asio::buffer(head), boost::asio::buffer(body)};
    }

    // Reads until the parser has all of a request.
    awaitable<boost::system::error_code> read(connection& client, parser& into)
    {
        boost::system::error_code error;
        auto& buffer = client.buffer_;
        client.idle_ = buffer.size() == 0;
        client.has(client.idle_ ? limits_.idle_deadline
                                : limits_.header_deadline);
        bool head = false;
        for (;;) // ends: each turn reads something, and all has its limit
        {
            if (buffer.size() > 0)
            {
                buffer.consume(into.put(buffer.data(), error));
                if (error == http::error::need_more)
                    error = {};
                if (error || into.is_done())
                    break;
                if (into.is_header_done() && !std::exchange(head, true))
                    co_await expect_body(client, into);
            }
            const auto n = co_await client.socket_.async_read_some(
                buffer.prepare(4096),
                boost::asio::redirect_error(boost::asio::use_awaitable, error));
            buffer.commit(n);
            if (error)
                break;
            if (std::exchange(client.idle_, false))
                client.has(limits_.header_deadline);
        }
        client.has_time();
        co_return error;
    }

    awaitable<void> expect_body(connection& client, const parser& head)
    {
        if (head.get()[http::field::expect] == "100-continue")
            co_await client.write("HTTP/1.1 100 Continue\r\n\r\n");
        client.has(limits_.body_deadline);
    }

    // Waits for an answer, as long as the client is there.
    awaitable<std::optional<response>>
    wait(connection& client, awaitable<std::optional<response>> answer)
    {
        using namespace boost::asio::experimental::awaitable_operators;
        auto first = co_await (std::move(answer) || gone(client));
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
            const auto n = co_await client.socket_.async_read_some(
                client.buffer_.prepare(4096),
                boost::asio::redirect_error(boost::asio::use_awaitable, error));
            client.buffer_.commit(n);
            if (error == boost::asio::error::operation_aborted)
                throw boost::system::system_error(error); // we do not know
            if (error)
                co_return;
        }
        boost::asio::steady_timer never(acceptor_.get_executor(),
                                        clock::time_point::max());
        co_await never.async_wait(boost::asio::use_awaitable);
    }

    awaitable<void> reject(connection& client,
                           const boost::system::error_code& error)
    {
        response said{status::bad_request, error.message() + "\n"};
        if (std::exchange(client.late_, false))
            said = {status::request_timeout, "that took too long\n"};
        else if (error == http::error::header_limit)
            said.code = status::request_header_fields_too_large;
        else if (error == http::error::body_limit)
            said.code = status::payload_too_large;
        else if (error.category() !=
                 make_error_code(http::error::bad_method).category())
            co_return; // not the request: the connection is broken
        ++counts_.refused;
        co_await client.write(said.head("close") + said.body);
        co_await part(client);
    }

    // To close with bytes unread would reset the connection, and the client
    // might never see the response: reads some of them first, for a while.
    awaitable<void> part(connection& client)
    {
        boost::system::error_code error;
        client.socket_.shutdown(tcp::socket::shutdown_send, error);
        client.has(std::chrono::seconds(1));
        std::array<char, 4096> waste;
        for (int i = 0; i < 256 && !error; ++i)
            co_await client.socket_.async_read_some(
                boost::asio::buffer(waste),
                boost::asio::redirect_error(boost::asio::use_awaitable, error));
    }

    tcp::acceptor acceptor_;
    handler answer_;
    server_limits limits_;
    counts counts_;
    bool stopping_ = false;
    std::list<connection*> clients_;
    clock::time_point now_ = clock::now(); // at the last tick
    boost::asio::steady_timer tick_, all_gone_;
};

} // namespace asynchronous_processing
