// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.

#pragma once

#include "fingerprint.hpp"
#include "mailbox.hpp"
#include "worker.hpp"

#include "common/linux/door.hpp"

#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <span>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>

namespace master_worker {

/// What a process says that wants to work for a master.
struct greeting
{
    std::uint64_t magic = 0x31746565'7247774d; // "MwGreet1"
    std::uint64_t program = 0; // its fingerprint: tasks are places in it
    std::uint64_t role = 0;
};

/// What the master answers; with it come the mailbox and the bell.
struct invitation
{
    std::uint64_t payload = 0;
    char refusal[120] = {}; // why it does not let him in
};

/// Ends this process at once when its master does, as long as this lives: he
/// says nothing more while he is there.  Its own end tells the master that this
/// worker has left.
class lifeline
{
public:
    explicit lifeline(common::kernel::visitor master)
        : master_(std::move(master))
        , watch_([this] { watch(); })
    {
    }
    ~lifeline()
    {
        cut_ = true;
        ::shutdown(master_.get(), SHUT_RDWR); // ends the watch, too
    }

private:
    void watch() const
    {
        pollfd end{master_.get(), POLLIN, 0};
        while (::poll(&end, 1, -1) <= 0) // ends with the master, or with this
            continue;
        if (!cut_)
            ::_exit(0);
    }

    common::kernel::visitor master_;
    std::atomic<bool> cut_{false};
    std::jthread watch_; // last: it uses both
};

/// Works for the master at `door` (local_engine::options::door), which may
/// have been started from another terminal, by the same user and from the same
/// build of this program.  Calls `init(arguments...)` first, as the master's
/// own workers do with theirs.
///
/// Returns 0 when the master has ended and had no work for this one, or, on
/// SIGTERM, after the task that runs; what this process does then is its own
/// business.  Ends the process at once when the master is gone before that.
/// Throws std::system_error when nobody is at the door, and std::runtime_error
/// when the master does not let it in, or the initializer throws, with the
/// reason.
template <class Init, class... A>
int join(const std::filesystem::path& door, unsigned role, Init init,
         A... arguments)
{
    auto master = common::kernel::knock(door);
    greeting hello;
    hello.program = fingerprint_of_this_program();
    hello.role = role;
    master.send(std::as_bytes(std::span(&hello, 1)), {});
    auto answer = master.receive(true);
    while (!answer && errno == EINTR) // ends when the master has said something
        answer = master.receive(true);
    invitation letter;
    if (!answer || answer->text.size() != sizeof letter)
        throw std::runtime_error(door.string() + ": the master has gone");
    std::memcpy(&letter, answer->text.data(), sizeof letter);
    if (answer->descriptors.size() != 2)
    {
        letter.refusal[sizeof letter.refusal - 1] = '\0';
        throw std::runtime_error(door.string() + ": " + letter.refusal);
    }
    const auto memory = mailbox_memory::adopt(std::move(answer->descriptors[0]),
                                              letter.payload);
    const lifeline until_done(std::move(master));
    const int code = serve<Init, A...>{}(
        memory, common::inherited{answer->descriptors[1].get()}, role,
        common::packed<Init>{std::move(init)}, std::move(arguments)...);
    if (code != 0)
        throw std::runtime_error(door.string() + ": " + memory.cause());
    return code;
}

} // namespace master_worker
