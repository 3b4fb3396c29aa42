// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.
//
// Compresses a file as gzip does, block by block on all CPUs.
//
//   $ pipeline --output headers.gz headers.tar
//   $ gzip -t headers.gz

#include "pipeline.hpp"

#include "common/files.hpp"
#include "common/options.hpp"

#include <boost/program_options/value_semantic.hpp>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include <algorithm>
#include <climits>
#include <cstddef>
#include <cstdint>
#include <iostream>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace {

using bytes = std::vector<unsigned char>;
using in_place = common::large<unsigned char>; // read where it lies
namespace kernel = common::kernel;

constexpr std::size_t window = 32 * 1024; // how far back a match can reach

struct block
{
    in_place text;          // behind the end of the last block, its dictionary
    std::size_t before = 0; // size of that
};

struct squeezed
{
    in_place text;
    std::uint32_t check = 0; // of what it was before
    std::uint64_t size = 0;
};

// tag::stage[]
// Runs in a process of the stage.  Ends on a whole byte, without an end mark:
// so blocks can simply follow each other.
squeezed squeeze(const block& one, int level)
{
    static z_stream stream{}; // of this process
    if (stream.state == nullptr && deflateInit2(&stream, level, Z_DEFLATED, -15,
                                                8, Z_DEFAULT_STRATEGY) != Z_OK)
        throw std::runtime_error("zlib cannot start");
    deflateReset(&stream);
    const auto text = one.text.elements().subspan(one.before);
    const auto size = static_cast<uInt>(text.size());
    deflateSetDictionary(&stream, one.text.data(),
                         static_cast<uInt>(one.before));

    static bytes out; // until the next block
    out.resize(std::max(out.size(), deflateBound(&stream, size) + 16));
    stream.next_in = const_cast<unsigned char*>(text.data()); // only read
    stream.avail_in = size;
    stream.next_out = out.data();
    stream.avail_out = static_cast<uInt>(out.size());
    if (deflate(&stream, Z_SYNC_FLUSH) != Z_OK || stream.avail_in != 0 ||
        stream.avail_out == 0)
        throw std::runtime_error("zlib did not compress a block");
    return {in_place(std::span(out).first(out.size() - stream.avail_out)),
            static_cast<std::uint32_t>(
                crc32(crc32(0, nullptr, 0), text.data(), size)),
            size};
}
// end::stage[]

// Blocks of a file, each behind the end of the one before; until the next one.
class blocks
{
public:
    blocks(int file, std::string name, std::size_t size)
        : file_(file)
        , name_(std::move(name))
        , buffer_(window + size)
    {
    }

    std::optional<block> operator()()
    {
        const auto end = buffer_.begin() + static_cast<std::ptrdiff_t>(used_);
        const auto before = std::min(window, used_);
        std::copy(end - static_cast<std::ptrdiff_t>(before), end,
                  buffer_.begin());
        const auto all = std::span(buffer_).first(before + size());
        for (used_ = before; used_ < all.size();) // ends: full, or no more
        {
            const auto n =
                ::read(file_, all.data() + used_, all.size() - used_);
            if (n < 0 && errno == EINTR)
                continue;
            if (n < 0)
                kernel::fail(name_);
            if (n == 0)
                break;
            used_ += static_cast<std::size_t>(n);
        }
        if (used_ == before)
            return std::nullopt;
        return block{in_place(all.first(used_)), before};
    }

private:
    std::size_t size() const { return buffer_.size() - window; }

    int file_;
    std::string name_;
    bytes buffer_;         // the end of the last block, and this one
    std::size_t used_ = 0; // bytes of it
};

// One gzip stream (RFC 1952), piece by piece.
class gzip_file
{
public:
    gzip_file(common::new_file& file, int level) : file_(file)
    {
        const unsigned char speed = level == 9 ? 2 : level == 1 ? 4 : 0;
        write(bytes{0x1f, 0x8b, 8, 0, 0, 0, 0, 0, speed, 3});
    }

    void add(const squeezed& one)
    {
        write(one.text.elements());
        check_ =
            crc32_combine(check_, one.check, static_cast<z_off_t>(one.size));
        size_ += one.size;
    }

    // An empty last block, the checksum and the size.
    void finish()
    {
        bytes end{3, 0};
        for (const std::uint64_t word : {std::uint64_t{check_}, size_})
            for (unsigned shift = 0; shift < 32; shift += 8)
                end.push_back(static_cast<unsigned char>(word >> shift));
        write(end);
    }

    std::uint64_t size() const { return size_; }

private:
    void write(std::span<const unsigned char> text)
    {
        file_.write(std::as_bytes(std::span(text)));
    }

    common::new_file& file_;
    uLong check_ = crc32(0, nullptr, 0);
    std::uint64_t size_ = 0;
};

struct settings
{
    int level = 6;
    std::size_t block = 128 * 1024;
    std::string output;
    bool report = false;
};

void compress(const common::program_line& line, const settings& how, int in,
              common::new_file& out, common::run_statistics& statistics)
{
    pipeline::options options;
    // One for each worker, and as many that wait: with fewer, a worker starves
    // whenever the source has to wait for a CPU.
    const std::size_t at_once = 2 * line.workers + 4;
    options.edge_bytes =
        std::min(at_once * (how.block + window), std::size_t{1} << 30) +
        (64 << 10);
    options.attempts = 200; // what kills a process here comes from outside
    options.staff.restarts = UINT_MAX;
    options.staff.backoff = {};
    gzip_file file(out, how.level);
    // tag::run[]
    auto line_up =
        pipeline::source(blocks(in, line.paths.front(), how.block)) |
        pipeline::parallel(
            line.workers,
            common::capture([chaos = line.chaos, level = how.level](block b) {
                const auto& item = pipeline::current();
                chaos.before(item.number, item.attempt);
                auto result = squeeze(b, level);
                chaos.after(item.number, item.attempt);
                return result;
            }),
            "deflate") |
        pipeline::sink([&](const squeezed& one) { file.add(one); });
    const auto report = line_up.run(options);
    // end::run[]
    file.finish();
    out.keep();
    statistics = {report.items, file.size(), report.deaths(), report.replayed(),
                  report.poisoned};
    if (how.report)
        std::cerr << report.text();
}

kernel::descriptor input(const std::vector<std::string>& paths)
{
    if (paths.empty())
        return kernel::descriptor(::dup(0));
    kernel::descriptor file(
        ::open(paths.front().c_str(), O_RDONLY | O_CLOEXEC));
    if (!file)
        kernel::fail(paths.front());
    return file;
}

void refuse_both(const std::string& out, int in)
{
    struct stat from = {}, to = {};
    if (::fstat(in, &from) == 0 && ::stat(out.c_str(), &to) == 0 &&
        S_ISREG(to.st_mode) && from.st_dev == to.st_dev &&
        from.st_ino == to.st_ino)
        throw std::runtime_error(out + ": is input and output at once");
}

} // namespace

int main(int argc, char* argv[])
{
    common::worker_main(argc, argv);
    namespace po = boost::program_options;
    settings how;
    common::program_line line("pipeline [FILE]",
                              "Compresses a file, or stdin, as gzip does.");
    line.add("level", po::value(&how.level)->value_name("1-9"),
             "1 is fastest, 9 smallest (default: 6)");
    line.add("block", po::value(&how.block)->value_name("BYTES"),
             "compressed at once (default: 131072)");
    line.add("output", po::value(&how.output)->value_name("F.gz"),
             "the file to write (default: stdout)");
    line.add("report", po::bool_switch(&how.report),
             "at the end, what each stage did, on stderr");
    return line.run(argc, argv, [&](common::run_statistics& statistics) {
        if (how.level < 1 || how.level > 9)
            throw common::usage_error("--level must be 1 to 9, not " +
                                      std::to_string(how.level));
        if (how.block < window || how.block > (std::size_t{1} << 28))
            throw common::usage_error("--block must be 32768 to 268435456, "
                                      "not " +
                                      std::to_string(how.block));
        if (line.paths.size() > 1)
            throw common::usage_error("one file, not " +
                                      std::to_string(line.paths.size()));
        const auto in = input(line.paths);
        if (line.paths.empty())
            line.paths.emplace_back("standard input");
        if (how.output.empty())
        {
            common::new_file out(kernel::descriptor(::dup(1)),
                                 "standard output");
            compress(line, how, in.get(), out, statistics);
            return true;
        }
        refuse_both(how.output, in.get());
        common::new_file out(how.output);
        compress(line, how, in.get(), out, statistics);
        return true;
    });
}
