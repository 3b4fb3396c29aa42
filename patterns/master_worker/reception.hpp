// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.

#pragma once

#include "fingerprint.hpp"
#include "join.hpp"
#include "mailbox.hpp"

#include "common/linux/bell.hpp"
#include "common/linux/door.hpp"
#include "common/linux/pidfd.hpp"

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstring>
#include <exception>
#include <filesystem>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace master_worker {

/// A worker that has come by itself, with the mailbox that it was given.
struct guest
{
    unsigned role = 0;
    mailbox_memory mailbox;
    common::kernel::bell bell;
    common::kernel::pidfd process;
    common::kernel::visitor line; // by its end he learns of ours
};

/// Where processes from other terminals become workers of this master.  They
/// must be of the same user, which the kernel says, and of the same build of
/// the program, which they say.  Never waits for anybody.
class reception
{
public:
    /// Throws what common::kernel::door throws.
    explicit reception(const std::filesystem::path& place) : door_(place) {}

    int get() const { return door_.get(); } // readable when somebody knocks

    /// Those who have come and said who they are.  Who says nothing for a
    /// second is sent away.
    std::vector<guest> admit(time_point now, unsigned roles,
                             std::size_t payload)
    {
        while (auto one = door_.answer()) // ends: each has knocked once
            if (strangers_.size() < 16)
                strangers_.push_back({std::move(one), now});
        std::vector<guest> result;
        std::erase_if(strangers_, [&](stranger& one) {
            const auto said = one.line.receive(false);
            if (said)
                welcome(one.line, said->text, roles, payload, result);
            return said || now > one.since + std::chrono::seconds(1);
        });
        alarm_ = strangers_.empty() ? time_point::max()
                                    : now + std::chrono::milliseconds(5);
        return result;
    }

    /// When to call admit even if nobody knocks.
    time_point alarm() const { return alarm_; }

private:
    struct stranger // who has not said yet what he is
    {
        common::kernel::visitor line;
        time_point since;
    };

    static void welcome(common::kernel::visitor& who,
                        const std::vector<std::byte>& said, unsigned roles,
                        std::size_t payload, std::vector<guest>& result)
    {
        greeting hello;
        if (said.size() != sizeof hello)
            return;
        std::memcpy(&hello, said.data(), sizeof hello);
        invitation answer;
        const auto text = std::as_bytes(std::span(&answer, 1));
        if (const auto reason = objection(hello, roles); !reason.empty())
        {
            reason.copy(answer.refusal, sizeof answer.refusal - 1);
            who.send(text, {});
            return;
        }
        try
        {
            guest one;
            one.role = static_cast<unsigned>(hello.role);
            one.mailbox = mailbox_memory::create(payload);
            // Who has gone meanwhile is not reached by the message: so this
            // is the process that said hello.
            one.process = common::kernel::pidfd(who.pid(), false);
            answer.payload = one.mailbox.payload();
            if (!who.send(text,
                          {one.mailbox.descriptor(), one.bell.get().get()}))
                return;
            one.line = std::move(who);
            result.push_back(std::move(one));
        }
        catch (const std::exception& e) // no memory, no descriptors: not now
        {
            std::string(e.what()).copy(answer.refusal,
                                       sizeof answer.refusal - 1);
            who.send(text, {});
        }
    }

    static std::string objection(const greeting& hello, unsigned roles)
    {
        if (hello.magic != greeting{}.magic ||
            hello.program != fingerprint_of_this_program())
            return "the master runs another build of this program";
        if (hello.role >= roles)
            return "the master has no role " + std::to_string(hello.role);
        return {};
    }

    common::kernel::door door_;
    std::vector<stranger> strangers_;
    time_point alarm_ = time_point::max();
};

} // namespace master_worker
