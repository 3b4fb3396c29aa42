// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.
//
// SHA-256 of files, as sha256sum prints it, in the order given.  Paths come
// from the command line, or from standard input as they arrive.
//
//   $ worker_pool patterns/worker_pool | sha256sum -c --quiet

#include "worker_pool.hpp"

#include "common/files.hpp"
#include "common/options.hpp"

#include <fcntl.h>
#include <openssl/evp.h>
#include <unistd.h>

#include <array>
#include <condition_variable>
#include <cstdio>
#include <deque>
#include <iostream>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace {

struct checksum
{
    std::string hex;
    std::uint64_t bytes = 0;
};

// tag::task[]
// Runs in a worker.  Throws std::system_error when the file cannot be read.
checksum sha256(const std::string& path, common::chaos chaos,
                std::uint64_t number)
{
    chaos.before(number, worker_pool::attempt());
    const common::kernel::descriptor file(
        ::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    if (!file)
        common::kernel::fail(path);
    const std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> digest(
        EVP_MD_CTX_new(), &EVP_MD_CTX_free);
    EVP_DigestInit_ex(digest.get(), EVP_sha256(), nullptr);
    static std::vector<unsigned char> block(256 * 1024); // of this worker

    checksum result;
    for (;;) // ends with the file
    {
        const auto size = ::read(file.get(), block.data(), block.size());
        if (size < 0)
            common::kernel::fail(path);
        if (size == 0)
            break;
        EVP_DigestUpdate(digest.get(), block.data(),
                         static_cast<std::size_t>(size));
        result.bytes += static_cast<std::uint64_t>(size);
    }
    std::array<unsigned char, 32> sum;
    EVP_DigestFinal_ex(digest.get(), sum.data(), nullptr);
    for (const unsigned byte : sum)
        for (const unsigned digit : {byte / 16, byte % 16})
            result.hex += "0123456789abcdef"[digit];
    chaos.after(number, worker_pool::attempt());
    return result;
}
// end::task[]

// A name with a newline or backslash is marked and escaped, as sha256sum does.
std::string line(const std::string& sum, const std::string& path)
{
    std::string name;
    for (const char c : path)
        name += c == '\n'   ? "\\n"
                : c == '\r' ? "\\r"
                : c == '\\' ? "\\\\"
                            : std::string(1, c);
    return (name == path ? "" : "\\") + sum + "  " + name + '\n';
}

// One thread hands files to the pool, another prints sums as they come: so a
// name that arrives is answered before the next one is there.
class checksums
{
public:
    checksums(common::program_line& line, worker_pool::pool& pool)
        : line_(line)
        , pool_(pool)
        , feeder_([this] {
            feed();
            end();
        })
    {
    }

    // Prints all; returns whether every file could be read.
    bool print(common::run_statistics& statistics)
    {
        for (;;) // ends when the feeder has ended and all is printed
        {
            std::unique_lock hold(mutex_);
            if (sent_.empty())
                std::cout.flush(); // whoever asked waits for the answer
            change_.wait(hold, [this] { return ended_ || !sent_.empty(); });
            if (sent_.empty())
                return good_;
            auto [path, sum] = std::move(sent_.front());
            sent_.pop_front();
            hold.unlock();
            if (!sum.ready())
                std::cout.flush(); // nothing waits in a buffer for us
            try
            {
                const auto one = sum.get();
                std::cout << line(one.hex, path);
                ++statistics.items;
                statistics.bytes += one.bytes;
            }
            catch (const std::exception& e)
            {
                complain(e.what());
            }
        }
    }

private:
    void feed()
    try
    {
        std::uint64_t number = 0;
        // tag::submit[]
        const auto feed_one = [&](const std::string& path) {
            for (auto& file : common::files_of(
                     path, [this](const std::string& m) { complain(m); }))
            {
                auto sum = pool_.submit(&sha256, file, line_.chaos, ++number);
                const std::lock_guard hold(mutex_);
                sent_.emplace_back(std::move(file), std::move(sum));
                change_.notify_one();
            }
        };
        // end::submit[]
        std::string path;
        for (const auto& given : line_.paths)
            feed_one(given);
        if (line_.paths.empty())
            while (std::getline(std::cin, path))
                feed_one(path);
    }
    catch (const std::exception& e) // no worker is left, or no memory
    {
        complain(e.what());
    }

    void end()
    {
        const std::lock_guard hold(mutex_);
        ended_ = true;
        change_.notify_one();
    }

    void complain(const std::string& message)
    {
        const std::lock_guard hold(mutex_);
        std::cerr << "worker_pool: " + message + "\n";
        good_ = false;
    }

    common::program_line& line_;
    worker_pool::pool& pool_;
    std::mutex mutex_; // of what follows
    std::condition_variable change_;
    std::deque<std::pair<std::string, worker_pool::future<checksum>>> sent_;
    bool ended_ = false, good_ = true;
    std::jthread feeder_; // last: it uses all of the above
};

} // namespace

int main(int argc, char* argv[])
{
    common::worker_main(argc, argv);
    common::program_line line("worker_pool PATH...",
                              "SHA-256 of files, as sha256sum prints it; of "
                              "those named on stdin where none are given");
    return line.run(argc, argv, [&](common::run_statistics& statistics) {
        worker_pool::pool_options options;
        options.workers = line.workers;
        if (line.chaos.probability > 0)
        { // workers will die, and no task gives up
            options.attempts = 200;
            options.restarts = 1'000'000;
            options.restart_backoff = {};
        }
        worker_pool::pool pool(options);
        const bool good = checksums(line, pool).print(statistics);
        const auto stats = pool.stats();
        statistics.deaths = stats.deaths;
        statistics.retried = stats.retried;
        statistics.poisoned = stats.poisoned;
        return good;
    });
}
