// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.

#pragma once

#include <boost/beast/core/error.hpp> // status.hpp of 1.81 lacks <ostream>
#include <boost/beast/http/status.hpp>

#include <string>
#include <string_view>
#include <utility>

namespace asynchronous_processing {

using status = boost::beast::http::status;

/// What a client gets to read.
struct response
{
    status code = status::ok;
    std::string body{};
    std::string type = "text/plain";
    std::string cached = "no-store";
    std::string more{}; // fields, each with its end of line

    /// All that comes before the body.  `connection`: what that field says, if
    /// anything.
    std::string head(const std::string& connection) const
    {
        const auto number = static_cast<unsigned>(code);
        const std::string_view reason =
            boost::beast::http::obsolete_reason(code);
        std::string text;
        text.reserve(256 + more.size());
        text.append("HTTP/1.1 ").append(std::to_string(number)).append(" ");
        text.append(reason).append("\r\nContent-Type: ").append(type);
        text.append("\r\nContent-Length: ")
            .append(std::to_string(body.size()))
            .append("\r\nCache-Control: ")
            .append(cached)
            .append("\r\nX-Content-Type-Options: nosniff\r\n")
            .append(more);
        if (!connection.empty())
            text.append("Connection: ").append(connection).append("\r\n");
        return text.append("\r\n");
    }
};

inline response text(status code, std::string body)
{
    return {code, std::move(body)};
}

} // namespace asynchronous_processing
