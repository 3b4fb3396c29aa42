// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.

#pragma once

#include "pool.hpp"
#include "server.hpp"

#include "common/wait.hpp"

#include <boost/json/array.hpp>
#include <boost/json/value.hpp>

#include <chrono>
#include <cstdint>
#include <deque>
#include <string>
#include <utility>

namespace asynchronous_processing {

/// How many of something there were, in all and lately.
class rate
{
public:
    void count() { ++all_; }
    std::uint64_t all() const { return all_; }

    /// A second, over the last two of them.
    double now()
    {
        using namespace std::chrono_literals;
        const auto time = common::clock::now();
        if (past_.empty() || time - past_.back().first > 100ms)
            past_.emplace_back(time, all_);
        while (past_.size() > 1 && time - past_[1].first > 2s)
            past_.pop_front();
        const std::chrono::duration<double> since = time - past_.front().first;
        const auto more = static_cast<double>(all_ - past_.front().second);
        return since.count() > 0 ? more / since.count() : 0;
    }

private:
    std::uint64_t all_ = 0;
    std::deque<std::pair<common::time_point, std::uint64_t>> past_;
};

/// What the page shows of the workers.
inline boost::json::value live_view(const pool::statistics& now, double tiles)
{
    boost::json::array workers;
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
    return {
        {"workers", std::move(workers)}, {"queued", now.queued + now.waiting},
        {"running", now.running},        {"restarts", restarts},
        {"deaths", now.deaths},          {"rate", tiles}};
}

/// The same figures, and the server's, in Prometheus' text format.
inline std::string metrics(const pool::statistics& now,
                           const http_server::counts& http, const rate& tiles)
{
    std::string all;
    const auto add = [&](const std::string& name, const char* type,
                         auto value) {
        all += "# TYPE " + name + " " + type + "\n" + name + " " +
               std::to_string(value) + "\n";
    };
    add("tasks_submitted_total", "counter", now.submitted);
    add("tasks_finished_total", "counter", now.finished);
    add("tasks_retried_total", "counter", now.retried);
    add("tasks_poisoned_total", "counter", now.poisoned);
    add("tasks_running", "gauge", now.running);
    add("tasks_queued", "gauge", now.queued + now.waiting);
    add("worker_deaths_total", "counter", now.deaths);
    add("tiles_total", "counter", tiles.all());
    add("http_requests_total", "counter", http.requests);
    add("http_connections_total", "counter", http.connections);
    add("http_connections_open", "gauge", http.open);
    add("http_refused_total", "counter", http.refused);
    add("http_clients_vanished_total", "counter", http.vanished);
    all += "# TYPE worker_restarts_total counter\n";
    for (const auto& w : now.workers)
        all += "worker_restarts_total{worker=\"" + std::to_string(w.slot) +
               "\"} " + std::to_string(w.restarts) + "\n";
    return all;
}

} // namespace asynchronous_processing
