// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.

#pragma once

#include "harness.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdio>
#include <fstream>
#include <optional>
#include <ostream>
#include <stdexcept>
#include <string>
#include <vector>

namespace bench {

namespace detail {

inline std::string print(const char* format, double value)
{
    char text[40];
    std::snprintf(text, sizeof text, format, value);
    return text;
}

/// Three digits that count.
inline std::string digits(double value)
{
    return print(value >= 99.95   ? "%.0f"
                 : value >= 9.995 ? "%.1f"
                                  : "%.2f",
                 value);
}

inline std::string duration(double nanoseconds)
{
    const char* unit = " ns";
    for (const char* next : {" us", " ms", " s"})
        if (nanoseconds >= 999.5)
        {
            nanoseconds /= 1000;
            unit = next;
        }
    return digits(nanoseconds) + unit;
}

using cells = std::array<std::string, 7>;

inline cells first_cells(const result& of)
{
    if (!of.missing.empty())
        return {of.name, of.missing, "", "", "", "", ""};
    return {of.name, duration(of.value), "", "", "", "", ""};
}

inline void add_comparison(cells& to, const comparison& with)
{
    const bool limit = with.is == opponent::kind::limit;
    to[2] = with.name;
    to[3] = with.missing.empty() ? duration(with.value) : with.missing;
    if (with.ratio > 0)
        to[4] = digits(with.ratio) + " (" + digits(with.low) + " - " +
                digits(with.high) + ")";
    if (with.bar)
        to[5] = (limit ? "<= " : ">= ") + print("%g", *with.bar);
    if (with.goal)
        to[5] += print(" (goal %g)", *with.goal);
    if (const auto met = with.met())
        to[6] = *met ? "met" : "NOT MET";
}

inline std::string quoted(const std::string& text)
{
    std::string made = "\"";
    for (const char c : text)
        if (c == '"' || c == '\\')
            (made += '\\') += c;
        else
            made += c >= ' ' ? c : ' ';
    return made + '"';
}

inline std::string number(double value)
{
    return print("%.6g", value);
}

inline std::string json(const comparison& one)
{
    const bool limit = one.is == opponent::kind::limit;
    std::string made = "{\"name\": " + quoted(one.name) +
                       ", \"kind\": " + (limit ? "\"limit\"" : "\"peer\"");
    if (!one.missing.empty())
        return made + ", \"missing\": " + quoted(one.missing) + "}";
    made += ", \"value\": " + number(one.value);
    if (one.ratio > 0)
        made += ", \"ratio\": " + number(one.ratio) + ", \"quartiles\": [" +
                number(one.low) + ", " + number(one.high) + "]";
    if (one.bar)
        made += std::string(", \"bar\": ") + (limit ? "\"<= " : "\">= ") +
                number(*one.bar) + '"';
    if (const auto met = one.met())
        made += std::string(", \"met\": ") + (*met ? "true" : "false");
    return made + "}";
}

inline std::string json(const result& one)
{
    std::string made =
        "{\"name\": " + quoted(one.name) + ", \"what\": " + quoted(one.what);
    if (one.missing.empty())
        made += ", \"value\": " + number(one.value) + ", \"quartiles\": [" +
                number(one.low) + ", " + number(one.high) + "]";
    else
        made += ", \"missing\": " + quoted(one.missing);
    made += ", \"unit\": \"ns\", \"blocks\": " + std::to_string(one.blocks) +
            ",\n  \"against\": [";
    const char* separator = "\n    ";
    for (const auto& other : one.against)
    {
        made += separator + json(other);
        separator = ",\n    ";
    }
    return made + "]}";
}

} // namespace detail

/// One aligned table: a line for each opponent of each row.
inline void print_table(std::ostream& to, const std::vector<result>& results)
{
    std::vector<detail::cells> lines{{"operation", "ours", "against", "theirs",
                                      "ratio (quartiles)", "bar", ""}};
    for (const auto& one : results)
    {
        detail::cells line = detail::first_cells(one);
        for (const auto& other : one.against)
        {
            detail::add_comparison(line, other);
            lines.push_back(std::exchange(line, {}));
        }
        if (one.against.empty())
            lines.push_back(line);
    }
    std::array<std::size_t, 7> widths{};
    for (const auto& line : lines)
        for (std::size_t i = 0; i < line.size(); ++i)
            widths[i] = std::max(widths[i], line[i].size());
    for (const auto& line : lines)
    {
        std::string text;
        for (std::size_t i = 0; i < line.size(); ++i)
            text += line[i] + std::string(widths[i] - line[i].size() + 2, ' ');
        to << text.substr(0, text.find_last_not_of(' ') + 1) << '\n';
    }
    to << "Ratios: ours / limit, peer / ours; the median of the blocks.\n";
}

/// The same as an array of rows.  Throws std::runtime_error.
inline void write_json(const std::string& path,
                       const std::vector<result>& results)
{
    std::ofstream file(path);
    const char* separator = "[\n";
    for (const auto& one : results)
    {
        file << separator << detail::json(one);
        separator = ",\n";
    }
    file << (results.empty() ? "[]\n" : "\n]\n");
    if (!file.flush())
        throw std::runtime_error("cannot write " + path);
}

} // namespace bench
