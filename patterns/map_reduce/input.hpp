// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.

#pragma once

#include "common/linux/descriptor.hpp"
#include "common/worker.hpp"

#include <boost/interprocess/detail/os_file_functions.hpp>
#include <boost/interprocess/exceptions.hpp>
#include <boost/interprocess/mapped_region.hpp>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

namespace map_reduce {

/// What could not be done, and why.  All else was.
struct failure
{
    std::string where; // a path, a split, a partition
    std::string what;
};

/// Says whether a record ends after this byte.
using record_end = bool (*)(char);

inline bool end_of_line(char c)
{
    return c == '\n';
}

/// The records of a file that begin in [first, last).
struct piece
{
    std::string path;
    std::uint64_t file_size = 0; // 0: nobody knows, it is read to its end
    std::uint64_t first = 0, last = 0;
};

/// Opens a file to read it.  Without O_NONBLOCK a pipe that has taken its
/// place would have us wait for its writer.
inline common::kernel::descriptor open_file(const std::string& path)
{
    return common::kernel::descriptor(
        ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
}

/// A part of the input of about the usual size: a piece of a large file, or
/// many small files.  Given to the mapper:
///
///     while (const auto text = split.next())
///         ...
///
/// Files are mapped where they lie, not copied; those that the kernel makes up
/// as they are read (/proc, /sys) are read.  One that cannot be read, or has
/// become shorter than it was, is noted as a failure and left out.  (One that
/// shrinks *while* it is mapped kills the worker; the next attempt finds it
/// shorter.)
class text_split
{
public:
    struct recipe // how it travels
    {
        std::uint64_t index = 0;
        common::packed<record_end> ends{end_of_line};
        std::vector<piece> pieces;
    };

    explicit text_split(recipe what) : what_(std::move(what)) {}

    /// The next piece: whole records, never empty, valid until the next call.
    std::optional<std::string_view> next()
    {
        while (at_ != what_.pieces.size()) // each turn takes one piece
        {
            const piece& one = what_.pieces[at_++];
            try
            {
                const auto text = records_of(one);
                bytes_ += text.size();
                if (!text.empty())
                    return text;
            }
            catch (const std::system_error& e)
            {
                failures_.push_back({one.path, e.code().message()});
            }
            catch (const std::exception& e)
            {
                failures_.push_back({one.path, e.what()});
            }
        }
        return std::nullopt;
    }

    std::uint64_t index() const { return what_.index; }
    std::uint64_t bytes() const { return bytes_; } // read up to now
    const std::vector<failure>& failures() const { return failures_; }

private:
    struct file
    {
        common::kernel::descriptor fd;
        boost::interprocess::mapping_handle_t get_mapping_handle() const
        {
            return boost::interprocess::ipcdetail::
                mapping_handle_from_file_handle(fd.get());
        }
    };

    static file open(const piece& one)
    {
        file result{open_file(one.path)};
        struct stat now
        {
        };
        if (!result.fd || ::fstat(result.fd.get(), &now) != 0)
            common::kernel::fail("opening");
        const auto size = static_cast<std::uint64_t>(now.st_size);
        if (!S_ISREG(now.st_mode) || size < one.file_size)
            throw std::runtime_error(
                "changed while it was read: " + std::to_string(size) +
                " bytes, " + std::to_string(one.file_size) + " before");
        return result;
    }

    std::string_view records_of(const piece& one)
    {
        if (one.file_size == 0)
            return all_of(open(one));
        try
        {
            return mapped(one);
        }
        catch (const boost::interprocess::interprocess_exception& e)
        {
            // It has a size, but not in memory: /sys.
            if (e.get_native_error() != ENODEV || one.first != 0 ||
                one.last != one.file_size)
                throw;
            return all_of(open(one));
        }
    }

    std::string_view all_of(const file& from)
    {
        constexpr std::size_t most = 64u << 20; // some have no end
        text_.clear();
        for (std::size_t done = 0;;) // ends with the file, or at the bound
        {
            text_.resize(done + (64u << 10));
            const auto n =
                ::read(from.fd.get(), text_.data() + done, text_.size() - done);
            if (n < 0 && errno != EINTR)
                common::kernel::fail("reading");
            if (n > 0)
                done += static_cast<std::size_t>(n);
            text_.resize(done);
            if (n == 0)
                return text_;
            if (done > most)
                throw std::runtime_error("has no size, and more than 64 MiB");
        }
    }

    std::string_view mapped(const piece& one)
    {
        // One byte more in front: it tells whether a record begins at `first`.
        const auto base = one.first == 0 ? 0 : one.first - 1;
        const auto size = static_cast<std::size_t>(one.file_size - base);
        region_ = boost::interprocess::mapped_region(
            open(one), boost::interprocess::read_private,
            static_cast<boost::interprocess::offset_t>(base), size);
        const std::string_view text(
            static_cast<const char*>(region_.get_address()), size);
        const auto limit = static_cast<std::size_t>(one.last - base);
        const auto begin =
            one.first == 0 ? 0 : after_record(text.substr(0, limit), 0);
        if (begin >= limit)
            return {}; // one long record that began before
        const auto end =
            one.last == one.file_size ? size : after_record(text, limit - 1);
        return text.substr(begin, end - begin);
    }

    std::size_t after_record(std::string_view text, std::size_t at) const
    {
        while (at != text.size() && !what_.ends.function(text[at]))
            ++at;
        return std::min(at + 1, text.size());
    }

    recipe what_;
    std::size_t at_ = 0;
    std::uint64_t bytes_ = 0;
    std::vector<failure> failures_;
    boost::interprocess::mapped_region region_;
    std::string text_; // of a file that cannot be mapped
};

/// Files as input, in the order given.
///
/// How they are cut into splits depends on their names and sizes only, never
/// on the number of workers.
class files
{
public:
    using split = text_split;
    static constexpr std::uint64_t usual_split = 2u << 20;

    /// Looks at each path; one that is no regular file, or not there, becomes
    /// a failure.  `split_size` 0: the usual, or more for very large input.
    explicit files(const std::vector<std::string>& paths,
                   record_end ends = end_of_line, std::uint64_t split_size = 0)
        : ends_(ends)
        , split_size_(split_size)
    {
        std::uint64_t total = 0;
        for (const auto& path : paths)
        {
            struct stat now
            {
            };
            if (::stat(path.c_str(), &now) != 0)
                failures_.push_back(
                    {path, std::generic_category().message(errno)});
            else if (!S_ISREG(now.st_mode))
                failures_.push_back({path, "not a regular file"});
            else if (now.st_size > 0 || has_text(path))
            {
                const auto size = static_cast<std::uint64_t>(now.st_size);
                files_.push_back({path, size, 0, size});
                total += size;
            }
        }
        if (split_size_ == 0)
            split_size_ = std::max(usual_split, total / 4096);
    }

    std::vector<split::recipe> splits() const
    {
        std::vector<split::recipe> result;
        std::uint64_t room = 0;
        for (const auto& file : files_)
        {
            auto at = file.first;
            do // moves on; once where there is no size
            {
                if (room == 0)
                {
                    result.push_back({result.size(), {ends_}, {}});
                    room = split_size_;
                }
                const auto size = std::min(room, file.last - at);
                result.back().pieces.push_back(
                    {file.path, file.file_size, at, at + size});
                at += size;
                room -= std::min(room, size + open_cost);
            } while (at != file.last);
        }
        return result;
    }

    static std::string name(const split::recipe& one)
    {
        const auto& first = one.pieces.front();
        const auto more = one.pieces.size() - 1;
        return "split " + std::to_string(one.index) + " (" + first.path +
               " from byte " + std::to_string(first.first) +
               (more == 0 ? "" : " and " + std::to_string(more) + " more") +
               ")";
    }

    const std::vector<failure>& failures() const { return failures_; }

private:
    // Without a size: most have none, some are made up as they are read.
    static bool has_text(const std::string& path)
    {
        const auto file = open_file(path);
        char first = 0;
        return !file || ::read(file.get(), &first, 1) != 0;
    }

    static constexpr std::uint64_t open_cost = 4096; // a file's, in bytes read

    record_end ends_;
    std::uint64_t split_size_;
    std::vector<piece> files_;
    std::vector<failure> failures_;
};

/// A part of a range of numbers, given to the mapper.
class index_split
{
public:
    struct recipe // how it travels
    {
        std::uint64_t index = 0, first = 0, last = 0;
    };

    explicit index_split(const recipe& what) : what_(what) {}

    std::uint64_t first() const { return what_.first; }
    std::uint64_t last() const { return what_.last; } // not included

    std::uint64_t index() const { return what_.index; }
    std::uint64_t bytes() const { return 0; }
    std::vector<failure> failures() const { return {}; }

private:
    recipe what_;
};

/// The numbers [first, last) as input, `split_size` in a split.  Throws
/// std::invalid_argument for a range that is none, or of too many splits for
/// any machine.
class indexes
{
public:
    using split = index_split;

    indexes(std::uint64_t first, std::uint64_t last, std::uint64_t split_size)
        : first_(first)
        , last_(last)
        , split_size_(split_size)
    {
        if (split_size == 0 || first > last)
            throw std::invalid_argument("no range: " + std::to_string(first) +
                                        " to " + std::to_string(last) + " by " +
                                        std::to_string(split_size));
        constexpr std::uint64_t most = 1u << 24;
        if ((last - first) / split_size >= most)
            throw std::invalid_argument(
                std::to_string((last - first) / split_size) +
                " splits; there may be " + std::to_string(most) +
                ": make them larger");
    }

    std::vector<split::recipe> splits() const
    {
        std::vector<split::recipe> result;
        for (auto at = first_; at != last_;) // moves on
        {
            const auto end = at + std::min(split_size_, last_ - at);
            result.push_back({result.size(), at, end});
            at = end;
        }
        return result;
    }

    static std::string name(const split::recipe& one)
    {
        return "split " + std::to_string(one.index) + " (" +
               std::to_string(one.first) + " to " + std::to_string(one.last) +
               ")";
    }

    std::vector<failure> failures() const { return {}; }

private:
    std::uint64_t first_, last_, split_size_;
};

} // namespace map_reduce
