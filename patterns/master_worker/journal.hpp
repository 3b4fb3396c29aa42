// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.

#pragma once

#include "checksum.hpp"

#include "common/fault.hpp"
#include "common/linux/descriptor.hpp"
#include "common/linux/memfd.hpp"
#include "common/wait.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <future>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

namespace master_worker {

/// When the bytes of a journal go to the disk itself.  Without, they survive
/// the death of every process, but not a power failure.
enum class sync_policy
{
    each,     // before the result is given to anybody
    interval, // some time after, `journal_options::interval` at the latest
    off       // when the system likes to
};

struct journal_options
{
    std::filesystem::path file; // empty: no journal
    std::string tasks; // names the set of tasks: another set is foreign;
                       // empty: the name of the program
    sync_policy sync = sync_policy::interval;
    std::chrono::milliseconds interval{1000};
};

/// A journal that cannot be used.  The file is as it was.
struct journal_error : std::runtime_error
{
    using std::runtime_error::runtime_error;
};

/// The results of finished tasks by their keys, in a file that only grows.
///
///     header   "MWJOURN1", size of what follows, CRC-32C of it;
///              program and task set, each with its size
///     record   size of what follows, CRC-32C of it;
///              size of the key, key, result
///
/// Numbers have 32 bits, little-endian.  A record is written by one system
/// call; the one at which a master died may be torn: reading ends before it,
/// and writing goes on there.  One process at a time has the file, by a lock
/// that the kernel releases when it dies.
class journal
{
public:
    /// Opens or creates the file and reads what it holds.  Throws
    /// journal_error when it belongs to another task set, is no journal, is in
    /// use, or cannot be read or written.
    explicit journal(journal_options wanted, const std::string& program)
        : options_(std::move(wanted))
        , file_(
              ::open(options_.file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666))
    {
        if (options_.tasks.empty())
            options_.tasks = program;
        if (!file_)
            fail("cannot open it");
        if (::flock(file_.get(), LOCK_EX | LOCK_NB) != 0)
            errno == EWOULDBLOCK ? refuse("another process uses it")
                                 : fail("cannot lock it");
        const auto text = read_all();
        const auto head = header(program);
        if (text.size() < head.size() && head.starts_with(text))
        {
            append_now(head.substr(text.size())); // torn, or there is nothing
            settle_name();
        }
        else
            good_ = read_header(text);
        scan(text);
        if (good_ != size_ && ::ftruncate(file_.get(), offset(good_)) != 0)
            fail("cannot cut off its torn end");
        size_ = good_;
    }

    journal(const journal&) = delete;
    ~journal()
    {
        if (syncing_.valid())
            syncing_.wait();
        if (options_.sync != sync_policy::off && dirty_)
            ::fdatasync(file_.get());
    }

    /// The result of the task with this key; null when it is not there.
    const std::string* find(const std::string& key) const
    {
        const auto found = results_.find(key);
        return found == results_.end() ? nullptr : &found->second;
    }
    std::size_t size() const { return results_.size(); }

    /// Notes a result, to be written by the next flush.
    void append(std::string_view key, std::span<const std::byte> result)
    {
        const auto at = pending_.size();
        const auto size = 4 + key.size() + result.size();
        pending_.resize(at + frame); // filled below
        put_number(pending_, key.size());
        pending_ += key;
        pending_.append(reinterpret_cast<const char*>(result.data()),
                        result.size());
        set_number(pending_, at, size);
        set_number(pending_, at + 4,
                   crc32c(std::string_view(pending_).substr(at + frame)));
    }

    /// Writes what was appended.  Throws journal_error when that fails, as on
    /// a full disk: then the file is as it was before, and what was appended
    /// waits for the next flush.
    void flush()
    {
        if (!pending_.empty())
        {
            append_now(pending_);
            pending_.clear();
            if (!std::exchange(dirty_, true))
                due_ = common::clock::now() + options_.interval;
        }
        if (options_.sync == sync_policy::each)
            sync();
        else if (options_.sync == sync_policy::interval && dirty_ &&
                 common::clock::now() >= due_)
            sync_meanwhile();
    }

    /// When flush should be called again, even if nothing is appended.
    common::time_point due() const
    {
        return dirty_ && options_.sync == sync_policy::interval
                   ? due_
                   : common::time_point::max();
    }

private:
    static constexpr std::string_view magic = "MWJOURN1";
    static constexpr std::size_t frame = 8; // size and checksum

    [[noreturn]] void fail(const std::string& what) const
    {
        throw journal_error(options_.file.string() + ": " + what + ": " +
                            std::strerror(errno));
    }
    [[noreturn]] void refuse(const std::string& what) const
    {
        throw journal_error(options_.file.string() + ": " + what);
    }

    // Whether files of this process may grow to some size only (ulimit -f).  To
    // look out for the signal costs half as much as a write.
    static bool is_limited()
    {
        rlimit size{};
        return ::getrlimit(RLIMIT_FSIZE, &size) == 0 &&
               size.rlim_cur != RLIM_INFINITY;
    }

    static off_t offset(std::size_t n) { return static_cast<off_t>(n); }

    // Requires: four bytes at `at`.
    static void set_number(std::string& text, std::size_t at, std::size_t n)
    {
        for (std::size_t i = 0; i < 4; ++i)
            text[at + i] = static_cast<char>(n >> 8 * i & 0xff);
    }
    static void put_number(std::string& text, std::size_t n)
    {
        text.resize(text.size() + 4);
        set_number(text, text.size() - 4, n);
    }
    static std::string number(std::size_t n)
    {
        std::string result;
        put_number(result, n);
        return result;
    }
    // Requires: four bytes at `at`.
    static std::size_t number_at(std::string_view text, std::size_t at)
    {
        std::size_t result = 0;
        for (std::size_t i = 4; i-- != 0;)
            result = result << 8 | static_cast<unsigned char>(text[at + i]);
        return result;
    }
    static std::string framed(const std::string& body)
    {
        return number(body.size()) + number(crc32c(body)) + body;
    }
    // What stands in the frame at `at`; nothing with a null pointer when there
    // is no whole and sound one.  `behind` is set where one could end.
    static std::string_view unframe(std::string_view text, std::size_t at,
                                    std::size_t& behind)
    {
        behind = text.size();
        if (text.size() - at < frame)
            return {};
        const auto size = number_at(text, at);
        if (size > text.size() - at - frame)
            return {};
        behind = at + frame + size;
        const auto body = text.substr(at + frame, size);
        return crc32c(body) == number_at(text, at + 4) ? body
                                                       : std::string_view();
    }

    std::string header(const std::string& program) const
    {
        return std::string(magic) +
               framed(number(program.size()) + program +
                      number(options_.tasks.size()) + options_.tasks);
    }

    // Returns where it ends.
    std::size_t read_header(std::string_view text) const
    {
        if (!text.starts_with(magic))
            refuse("not a journal of a master");
        std::size_t behind = 0;
        const auto body = unframe(text, magic.size(), behind);
        if (body.size() < 8)
            refuse("the header of the journal is damaged");
        const auto program_size = number_at(body, 0);
        if (program_size > body.size() - 8 ||
            number_at(body, 4 + program_size) != body.size() - 8 - program_size)
            refuse("the header of the journal is damaged");
        const auto program = body.substr(4, program_size);
        const auto tasks = body.substr(8 + program_size);
        if (tasks != options_.tasks)
            refuse("a journal of other tasks: '" + std::string(tasks) +
                   "' of " + std::string(program) + ", not '" + options_.tasks +
                   "'");
        return behind;
    }

    // Ends with the text.  A record that is whole but not sound, in the middle
    // of others, costs itself only.
    void scan(std::string_view text)
    {
        for (std::size_t at = good_, behind = 0; at < text.size(); at = behind)
        {
            const auto body = unframe(text, at, behind);
            if (body.size() < 4 || number_at(body, 0) > body.size() - 4)
                continue;
            const auto key_size = number_at(body, 0);
            results_[std::string(body.substr(4, key_size))] =
                body.substr(4 + key_size);
            good_ = behind;
        }
    }

    std::string read_all()
    {
        struct stat info
        {
        };
        if (::fstat(file_.get(), &info) != 0)
            fail("cannot look at it");
        if (!S_ISREG(info.st_mode))
            refuse("not a regular file");
        std::string text(static_cast<std::size_t>(info.st_size), '\0');
        while (size_ < text.size()) // grows, or the file has become shorter
        {
            const auto n = ::pread(file_.get(), text.data() + size_,
                                   text.size() - size_, offset(size_));
            if (n < 0 && errno != EINTR)
                fail("cannot read it");
            if (n == 0)
                break;
            size_ += static_cast<std::size_t>(std::max<ssize_t>(n, 0));
        }
        text.resize(size_);
        return text;
    }

    // All or nothing.
    void append_now(std::string_view text)
    {
        std::optional<common::kernel::no_size_signal> guard;
        if (limited_)
            guard.emplace();
        std::size_t done = 0;
        while (done < text.size()) // grows, or throws
        {
            COMMON_FAULT_POINT("journal.writing");
            const auto n = ::pwrite(file_.get(), text.data() + done,
                                    text.size() - done, offset(size_ + done));
            if (n < 0 && errno == EINTR)
                continue;
            if (n <= 0)
            {
                const int why = n == 0 ? ENOSPC : errno;
                // Should that fail as well: the next open cuts it off.
                static_cast<void>(::ftruncate(file_.get(), offset(size_)) == 0);
                errno = why;
                fail("cannot write; the " + std::to_string(results_.size()) +
                     " results that it had, and all written since, are safe");
            }
            done += static_cast<std::size_t>(n);
        }
        size_ += done;
        good_ = std::max(good_, size_);
    }

    void sync()
    {
        if (dirty_ && ::fdatasync(file_.get()) != 0)
            fail("cannot reach the disk");
        dirty_ = false;
    }

    // A disk may take its time, and the master has other things to do.
    void sync_meanwhile()
    {
        if (syncing_.valid() && syncing_.wait_for(std::chrono::seconds(0)) !=
                                    std::future_status::ready)
        {
            due_ = common::clock::now() + std::chrono::milliseconds(10);
            return;
        }
        const int error = syncing_.valid() ? syncing_.get() : 0;
        dirty_ = error != 0;
        if (error == 0)
            syncing_ = std::async(std::launch::async, [fd = file_.get()] {
                return ::fdatasync(fd) == 0 ? 0 : errno;
            });
        errno = error;
        if (error != 0)
            fail("cannot reach the disk");
    }

    // A new file survives a power failure only with its directory.
    void settle_name() const
    {
        if (options_.sync == sync_policy::off)
            return;
        const auto directory = options_.file.has_parent_path()
                                   ? options_.file.parent_path()
                                   : std::filesystem::path(".");
        const common::kernel::descriptor fd(
            ::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
        if (fd)
            ::fsync(fd.get());
    }

    journal_options options_;
    common::kernel::descriptor file_;
    const bool limited_ = is_limited();
    std::size_t size_ = 0; // of the file
    std::size_t good_ = 0; // of it, up to the last sound record
    std::unordered_map<std::string, std::string> results_;
    std::string pending_;
    bool dirty_ = false;
    common::time_point due_{};
    std::future<int> syncing_; // 0, or errno
};

} // namespace master_worker
