// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.

#define BOOST_TEST_MODULE asynchronous_processing_http

#include "test/fixture.hpp"
#include "test/run_program.hpp"

#include <boost/test/unit_test.hpp>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <random>
#include <regex>
#include <string>
#include <thread>
#include <vector>

namespace {

using namespace test;

/// The end of a connection to a server on this machine.
class client
{
public:
    explicit client(std::uint16_t port)
        : fd_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0))
    {
        sockaddr_in to{};
        to.sin_family = AF_INET;
        to.sin_port = ::htons(port);
        to.sin_addr.s_addr = ::htonl(INADDR_LOOPBACK);
        BOOST_REQUIRE(::connect(fd_, reinterpret_cast<const sockaddr*>(&to),
                                sizeof to) == 0);
    }
    client(const client&) = delete;
    ~client() { close(); }

    /// False when the server does not listen any more.
    bool send(const std::string& bytes) const
    {
        for (std::size_t done = 0; done < bytes.size();) // grows, or ends
        {
            const auto n = ::send(fd_, bytes.data() + done, bytes.size() - done,
                                  MSG_NOSIGNAL);
            if (n <= 0)
                return false;
            done += static_cast<std::size_t>(n);
        }
        return true;
    }

    /// All that comes until the server closes, or `limit` passes.
    std::string rest(std::chrono::milliseconds limit = 30s)
    {
        const auto deadline = std::chrono::steady_clock::now() + limit;
        while (more(deadline)) // ends with either
            continue;
        return std::move(text_);
    }

    /// One response, with its body.
    std::string response(std::chrono::milliseconds limit = 60s)
    {
        const auto deadline = std::chrono::steady_clock::now() + limit;
        std::size_t size = std::string::npos;
        do
        {
            const auto head = text_.find("\r\n\r\n");
            std::smatch found;
            const auto top = text_.substr(0, head);
            if (head != text_.npos &&
                std::regex_search(top, found,
                                  std::regex("Content-Length: ([0-9]+)")))
                size = head + 4 + std::stoul(found[1]);
        } while (text_.size() < size && more(deadline));
        const auto result = text_.substr(0, size);
        text_.erase(0, size);
        return result;
    }

    void close()
    {
        if (fd_ >= 0)
            ::close(fd_);
        fd_ = -1;
    }

    /// So that closing resets the connection.
    void reset()
    {
        const linger at_once{1, 0};
        ::setsockopt(fd_, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
        close();
    }

private:
    bool more(std::chrono::steady_clock::time_point deadline)
    {
        const auto left = std::chrono::ceil<std::chrono::milliseconds>(
            deadline - std::chrono::steady_clock::now());
        pollfd ready{fd_, POLLIN, 0};
        if (left.count() <= 0 ||
            ::poll(&ready, 1, static_cast<int>(left.count())) <= 0)
            return false;
        char block[4096];
        const auto n = ::recv(fd_, block, sizeof block, 0);
        if (n > 0)
            text_.append(block, static_cast<std::size_t>(n));
        return n > 0;
    }

    int fd_;
    std::string text_;
};

std::string get(const std::string& target, const std::string& more = "")
{
    return "GET " + target + " HTTP/1.1\r\nHost: localhost\r\n" + more + "\r\n";
}

int status(const std::string& response)
{
    return response.rfind("HTTP/1.1 ", 0) == 0 ? std::atoi(&response[9]) : 0;
}

std::string body(const std::string& response)
{
    const auto head = response.find("\r\n\r\n");
    return head == response.npos ? "" : response.substr(head + 4);
}

/// The program, on a port of its own.
class server
{
public:
    explicit server(unsigned workers = 2)
        : program_({{program("asynchronous_processing"), "--port", "0",
                     "--workers", std::to_string(workers)}})
    {
        std::smatch found;
        BOOST_REQUIRE(eventually([&] {
            const auto said = program_.out();
            if (!std::regex_search(said, found, std::regex(":([0-9]+)/\n")))
                return false;
            port_ = static_cast<std::uint16_t>(std::stoi(found[1]));
            return true;
        }));
        BOOST_REQUIRE(
            eventually([&] { return status(ask(get("/healthz"))) == 200; }));
    }

    std::uint16_t port() const { return port_; }
    running& process() { return program_; }
    pid_t pid() const { return program_.pid(); }

    std::string ask(const std::string& request) const
    {
        client one(port_);
        one.send(request);
        return one.response();
    }

    std::string post(const std::string& target, const std::string& token) const
    {
        return ask("POST " + target + " HTTP/1.1\r\nHost: localhost\r\n" +
                   "X-Token: " + token + "\r\nContent-Length: 0\r\n\r\n");
    }

    std::string token() const
    {
        const auto page = ask(get("/"));
        std::smatch found;
        return std::regex_search(page, found,
                                 std::regex("token = '([0-9a-f]+)'"))
                   ? found[1].str()
                   : "";
    }

    /// A figure of /metrics.
    double figure(const std::string& name) const
    {
        const auto all = ask(get("/metrics"));
        std::smatch found;
        return std::regex_search(all, found,
                                 std::regex("\n" + name + " ([0-9.]+)"))
                   ? std::stod(found[1])
                   : -1;
    }

    bool idle() const
    {
        return figure("tasks_running") == 0 && figure("tasks_queued") == 0;
    }

    /// Bytes of memory that are its own.
    std::size_t memory() const
    {
        std::smatch found;
        const auto all = slurp(proc(program_.pid()) / "status");
        return std::regex_search(all, found, std::regex("RssAnon:\\s+([0-9]+)"))
                   ? std::stoul(found[1]) * 1024
                   : 0;
    }

    std::size_t descriptors() const
    {
        std::size_t n = 0;
        for (const auto& one :
             std::filesystem::directory_iterator(proc(program_.pid()) / "fd"))
            n += one.exists() || true;
        return n;
    }

private:
    running program_;
    std::uint16_t port_ = 0;
};

} // namespace

BOOST_FIXTURE_TEST_SUITE(asynchronous_processing_http_laws, test::clean)

BOOST_AUTO_TEST_CASE(every_page_answers)
{
    const server s;
    const auto page = s.ask(get("/"));
    BOOST_TEST(status(page) == 200);
    BOOST_TEST(page.find("Content-Security-Policy: default-src 'none'") !=
               page.npos);
    BOOST_TEST(!std::regex_search(body(page),
                                  std::regex("(src|href)=\"?(https?:)?//")));
    const auto tile = s.ask(get("/tile/3/2/5.png?try=1"));
    BOOST_TEST(status(tile) == 200);
    BOOST_TEST(body(tile).substr(1, 3) == "PNG");
    BOOST_TEST(
        body(s.ask(get("/compute/primes?below=1000"))).find("\"answer\":168") !=
        std::string::npos);
    BOOST_TEST(body(s.ask(get("/compute/sleep?ms=1"))).find("\"answer\":1") !=
               std::string::npos);
    BOOST_TEST(
        body(s.ask(get("/metrics"))).find("# TYPE tiles_total counter") !=
        std::string::npos);
    client events(s.port());
    events.send(get("/events"));
    const auto news = events.rest(1500ms);
    BOOST_TEST(news.find("text/event-stream") != news.npos);
    BOOST_TEST(news.find("data: {\"workers\":[{\"id\":1,\"pid\":") !=
               news.npos);
    client head(s.port());
    head.send("HEAD / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    const auto only = head.rest();
    BOOST_TEST(status(only) == 200);
    BOOST_TEST(body(only) == "");
}

BOOST_AUTO_TEST_CASE(what_is_not_there_and_what_makes_no_sense_is_told_so)
{
    const server s;
    for (const auto* target :
         {"/nothing", "/tile/41/0/0.png", "/tile/1/2/0.png", "/tile/0/0.png",
          "/tile/0/0/0.gif", "/tile/-1/0/0.png", "/tile/a/b/c.png",
          "/tile/99999999999999999999/0/0.png", "/tile/", "/.."})
        BOOST_TEST(status(s.ask(get(target))) == 404, target);
    for (const auto* target :
         {"/compute/primes", "/compute/primes?below=", "/compute/primes?n=3",
          "/compute/primes?below=1e3", "/compute/primes?below=100000001",
          "/compute/sleep?ms=-1", "/compute/sleep?ms=60001"})
        BOOST_TEST(status(s.ask(get(target))) == 400, target);
    BOOST_TEST(status(s.ask("DELETE / HTTP/1.1\r\nHost: x\r\n\r\n")) == 405);
}

BOOST_AUTO_TEST_CASE(requests_that_are_none_get_their_status_and_an_end)
{
    const server s;
    const auto end = [&](const std::string& request) {
        client one(s.port());
        one.send(request);
        return status(one.rest());
    };
    BOOST_TEST(end("garbage\r\n\r\n") == 400);
    BOOST_TEST(end(std::string("\0\1\2\3\r\n\r\n", 8)) == 400);
    BOOST_TEST(end("GET / HTTP/9.9\r\n\r\n") == 400);
    BOOST_TEST(end("POST / HTTP/1.1\r\nContent-Length: x\r\n\r\n") == 400);
    BOOST_TEST(end("POST / HTTP/1.1\r\nContent-Length: 4294967296\r\n\r\n") ==
               413);
    BOOST_TEST(end(get("/" + std::string(20'000, 'x'))) == 431);
    std::string many;
    for (int i = 0; i < 100'000; ++i)
        many += "X-" + std::to_string(i) + ": y\r\n";
    const int all = end(get("/", many)); // or reset, while it still sends
    BOOST_TEST((all == 431 || all == 0));
    BOOST_TEST(status(s.ask(get("/healthz"))) == 200);
    BOOST_TEST(s.memory() < 100u << 20);
}

BOOST_AUTO_TEST_CASE(slow_and_silent_clients_are_dropped_and_cost_nobody)
{
    const server s;
    std::vector<std::unique_ptr<client>> slow;
    for (int i = 0; i < 50; ++i)
    {
        slow.push_back(std::make_unique<client>(s.port()));
        slow.back()->send("GET / HT"); // and nothing more
    }
    BOOST_TEST(status(s.ask(get("/tile/0/0/0.png"))) == 200);
    const auto start = std::chrono::steady_clock::now();
    for (const auto& one : slow)
        BOOST_TEST(status(one->rest(60s)) == 408);
    BOOST_TEST((std::chrono::steady_clock::now() - start < 40s));
    BOOST_TEST(
        eventually([&] { return s.figure("http_connections_open") == 1; }));
}

BOOST_AUTO_TEST_CASE(requests_in_a_row_are_answered_in_that_order)
{
    const server s;
    client one(s.port());
    std::string all;
    for (int n = 10; n <= 1000; n *= 10)
        all += get("/compute/primes?below=" + std::to_string(n));
    one.send(all + get("/nothing"));
    for (const auto* wanted :
         {"\"answer\":4", "\"answer\":25", "\"answer\":168"})
        BOOST_TEST(one.response().find(wanted) != std::string::npos);
    BOOST_TEST(status(one.response()) == 404);
    one.send(get("/healthz") + "garbage\r\n\r\n");
    BOOST_TEST(status(one.response()) == 200);
    BOOST_TEST(status(one.response()) == 400);
}

BOOST_AUTO_TEST_CASE(nobody_computes_for_a_client_that_is_gone)
{
    const server s;
    std::vector<std::unique_ptr<client>> all;
    for (int i = 0; i < 20; ++i)
    {
        all.push_back(std::make_unique<client>(s.port()));
        all.back()->send(get("/compute/sleep?ms=60000"));
    }
    BOOST_TEST(eventually([&] { return s.figure("tasks_running") == 2; }));
    for (std::size_t i = 0; i < all.size(); ++i)
        i % 2 == 0 ? all[i]->close() : all[i]->reset();
    BOOST_TEST(eventually([&] { return s.idle(); }, 10s));
    BOOST_TEST(eventually(
        [&] { return s.figure("http_clients_vanished_total") == 20; }));
}

BOOST_AUTO_TEST_CASE(a_thousand_clients_that_vanish_leave_nothing)
{
    const server s;
    const auto before_them = s.descriptors();
    for (int i = 0; i < 1000; ++i)
    {
        client one(s.port());
        one.send(get("/tile/30/177211932/536870912.png"));
        i % 2 == 0 ? one.close() : one.reset();
    }
    BOOST_TEST(eventually([&] { return s.idle(); }, 20s));
    BOOST_TEST(
        eventually([&] { return s.figure("http_connections_open") == 1; }));
    BOOST_TEST(eventually([&] { return s.descriptors() <= before_them + 2; }));
    BOOST_TEST(s.memory() < 100u << 20);
}

BOOST_AUTO_TEST_CASE(a_request_that_kills_its_worker_gets_the_reason)
{
    const server s;
    client other(s.port());
    other.send(get("/compute/sleep?ms=300"));
    const auto said = s.post("/compute/crash", s.token());
    BOOST_TEST(status(said) == 500);
    BOOST_TEST(body(said).find("the crash killed its worker: process") !=
               std::string::npos);
    BOOST_TEST(body(said).find("signal 9 (Killed)") != std::string::npos);
    BOOST_TEST(status(other.response()) == 200);
    BOOST_TEST(status(s.ask(get("/tile/0/0/0.png"))) == 200);
}

BOOST_AUTO_TEST_CASE(a_worker_that_is_killed_by_its_button_comes_back)
{
    const server s;
    client long_one(s.port());
    long_one.send(get("/compute/sleep?ms=400"));
    BOOST_TEST(eventually([&] { return s.figure("tasks_running") == 1; }));
    const auto token = s.token();
    for (const auto* one : {"1", "2"})
        BOOST_TEST(body(s.post("/workers/" + std::string(one) + "/kill",
                               token)) == "{\"killed\":true}\n");
    BOOST_TEST(status(long_one.response()) == 200); // it ran again
    BOOST_TEST(eventually([&] {
        return s.figure("worker_restarts_total\\{worker=\"1\"\\}") == 1 &&
               s.figure("worker_restarts_total\\{worker=\"2\"\\}") == 1;
    }));
    BOOST_TEST(status(s.post("/workers/1/kill", "guessed")) == 403);
    BOOST_TEST(status(s.ask("POST /workers/1/kill HTTP/1.1\r\nHost: x\r\n"
                            "Content-Length: 0\r\n\r\n")) == 403);
    for (const auto* target : {"/workers/0/kill", "/workers/3/kill",
                               "/workers/x/kill", "/workers//kill"})
        BOOST_TEST(status(s.post(target, token)) == 404, target);
}

BOOST_AUTO_TEST_CASE(a_server_told_to_end_answers_what_it_was_asked)
{
    for (const int signal : {SIGTERM, SIGINT})
    {
        server s;
        client idle(s.port()), busy(s.port()), events(s.port());
        busy.send(get("/compute/sleep?ms=600"));
        events.send(get("/events"));
        BOOST_TEST(eventually([&] { return s.figure("tasks_running") == 1; }));
        s.process().kill(signal);
        BOOST_TEST(idle.rest() == "");
        const auto last = busy.rest();
        BOOST_TEST(status(last) == 200);
        BOOST_TEST(last.find("Connection: close") != last.npos);
        const auto end = s.process().wait();
        BOOST_TEST(end.code == (signal == SIGINT ? 130 : 0));
        BOOST_TEST(end.err == "");
    }
}

BOOST_AUTO_TEST_CASE(a_second_signal_ends_the_server_at_once)
{
    server s;
    client busy(s.port());
    busy.send(get("/compute/sleep?ms=60000"));
    BOOST_TEST(eventually([&] { return s.figure("tasks_running") == 1; }));
    client waits(s.port());
    s.process().kill(SIGTERM);
    waits.rest(); // the first one has been heard
    const auto start = std::chrono::steady_clock::now();
    s.process().kill(SIGTERM);
    BOOST_TEST(s.process().wait().code == 0);
    BOOST_TEST((std::chrono::steady_clock::now() - start < 8s));
}

BOOST_AUTO_TEST_CASE(killed_workers_cost_no_request)
{
    const server s;
    std::atomic<bool> over = false;
    // At most five for each request: ten make it an error, and on a loaded
    // machine a tile takes longer than the time between two kills.
    std::atomic<int> left = 0;
    std::thread killer([&, dice = std::mt19937(3)]() mutable {
        while (!over) // ends below
        {
            const auto workers = workers_of(s.pid());
            if (!workers.empty() && left > 0)
            {
                --left;
                ::kill(workers[dice() % workers.size()], SIGKILL);
            }
            ::poll(nullptr, 0, 50);
        }
    });
    int good = 0;
    for (int i = 0; i < 60; ++i)
    {
        left = 5;
        good +=
            status(s.ask(get("/tile/3/" + std::to_string(i % 8) + "/1.png"))) ==
            200;
    }
    over = true;
    killer.join();
    BOOST_TEST(good == 60);
    BOOST_TEST(s.figure("worker_deaths_total") > 0);
}

BOOST_AUTO_TEST_CASE(the_answer_does_not_depend_on_workers_or_chaos)
{
    const auto answer = [](std::vector<std::string> options) {
        options.insert(options.begin(),
                       {program("asynchronous_processing"), "--drive", "30"});
        const auto end = run_program({options});
        BOOST_TEST(end.code == 0);
        BOOST_TEST(end.err == "");
        return end.out;
    };
    const auto one = answer({"--workers", "1"});
    BOOST_TEST(std::count(one.begin(), one.end(), '\n') == 30);
    BOOST_TEST(answer({"--workers", "3"}) == one);
    BOOST_TEST(answer({"--chaos", "0.2"}) == one);
}

BOOST_AUTO_TEST_CASE(a_command_line_that_makes_no_sense_is_refused)
{
    const auto end = [](std::vector<std::string> options) {
        options.insert(options.begin(), program("asynchronous_processing"));
        return run_program({options}, 20s).code;
    };
    BOOST_TEST(end({"--port", "65536"}) == 2);
    BOOST_TEST(end({"--port", "x"}) == 2);
    BOOST_TEST(end({"--drive", "-1"}) == 2);
    BOOST_TEST(end({"--workers", "0"}) == 2);
    BOOST_TEST(end({"--address", "nowhere"}) == 2);
    BOOST_TEST(end({"--help"}) == 0);
}

BOOST_AUTO_TEST_CASE(what_the_server_cannot_do_it_says_in_one_line)
{
    const server first;
    const auto port = std::to_string(first.port());
    const auto says = [](const std::string& option, const std::string& value) {
        return run_program(
                   {{program("asynchronous_processing"), option, value}}, 20s)
            .err;
    };
    BOOST_TEST(says("--port", port) ==
               "asynchronous_processing: cannot listen on 127.0.0.1:" + port +
                   ": Address already in use\n");
    BOOST_TEST(says("--address", "nonsense") ==
               "asynchronous_processing: --address must be an IP address, not "
               "'nonsense' (see --help)\n");
}

BOOST_AUTO_TEST_SUITE_END()
