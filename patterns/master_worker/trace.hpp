// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.

#pragma once

#include "event.hpp"

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>

namespace master_worker {

/// Writes what happens as a Chrome trace (JSON): chrome://tracing and Perfetto
/// show a row for each worker, a bar for each attempt, and marks for the rest.
///
///     master_worker::trace trace("run.json");
///     options.on_event = std::ref(trace);
///     options.measure = true;
///
/// Whole when it is finished or destroyed; readable by both even if the program
/// was killed before.
class trace
{
public:
    /// Throws std::runtime_error when the file cannot be written.
    explicit trace(const std::filesystem::path& file)
        : name_(file.string())
        , out_(file, std::ios::trunc)
    {
        out_ << "[" << std::flush;
        check();
    }
    trace(const trace&) = delete;
    ~trace() { end(); }

    /// Writes what is left, for who wants to know whether that was possible:
    /// throws std::runtime_error when it was not.  The last call.
    void finish()
    {
        end();
        check();
    }

    void operator()(const event& e)
    {
        if (e.spent != nullptr && e.spent->began != time_point())
            bar(e);
        if (e.what != event::kind::started && e.what != event::kind::received)
            mark(e);
        check();
    }

private:
    void check() const
    {
        if (!out_)
            throw std::runtime_error(name_ + ": cannot be written");
    }

    void end()
    {
        if (!std::exchange(ended_, true))
            out_ << "\n]\n" << std::flush;
    }

    void bar(const event& e)
    {
        begin() << R"("ph":"X","name":"task )" << e.task << R"(","ts":)"
                << microseconds(e.spent->began - start_) << R"(,"dur":)"
                << microseconds(e.spent->ran) << R"(,"pid":1,"tid":)"
                << e.worker << R"(,"args":{"attempt":)" << e.attempt
                << R"(,"end":")" << name_of(e.what) << R"(","cpu_us":)"
                << microseconds(e.spent->cpu) << R"(,"waited_us":)"
                << microseconds(e.spent->waited) << R"(,"peak_bytes":)"
                << e.spent->peak_memory << "}}";
    }

    void mark(const event& e)
    {
        begin() << R"("ph":"i","s":"t","name":")" << name_of(e.what)
                << R"(","ts":)" << microseconds(e.when - start_)
                << R"(,"pid":1,"tid":)" << e.worker << R"(,"args":{"task":)"
                << e.task << R"(,"attempt":)" << e.attempt << R"(,"text":")"
                << escaped(e.text) << "\"}}";
    }

    std::ostream& begin()
    {
        out_ << (first_ ? "\n{" : ",\n{");
        first_ = false;
        return out_;
    }

    static std::string microseconds(std::chrono::nanoseconds time)
    {
        const auto n = std::max<std::int64_t>(time.count(), 0);
        const auto rest = std::to_string(1000 + n % 1000);
        return std::to_string(n / 1000) + "." + rest.substr(1);
    }

    static std::string escaped(std::string_view text)
    {
        constexpr char hex[] = "0123456789abcdef";
        std::string result;
        for (const char c : text)
            if (const auto u = static_cast<unsigned char>(c);
                c == '"' || c == '\\' || u < 0x20 || u > 0x7e)
                result += {'\\', 'u', '0', '0', hex[u / 16], hex[u % 16]};
            else
                result += c;
        return result;
    }

    std::string name_;
    std::ofstream out_;
    time_point start_ = clock::now();
    bool first_ = true, ended_ = false;
};

} // namespace master_worker
