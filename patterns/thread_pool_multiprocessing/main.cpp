// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.
//
// A zoom into the Mandelbrot set: PNG frames, and all of them as one animation.
//
//   $ thread_pool_multiprocessing --frames 50 --size 640x480 --output frames

#include "animation.hpp"
#include "thread_pool_multiprocessing.hpp"

#include "common/files.hpp"
#include "common/mandelbrot.hpp"
#include "common/options.hpp"

#include <png.h>

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <limits>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

namespace {

namespace fs = std::filesystem;
namespace pattern = thread_pool_multiprocessing;
using bytes = std::vector<std::uint8_t>;

struct view
{
    unsigned width, height, frames;
};

std::uint8_t shade(double escape, double phase)
{
    return escape < 0 ? std::uint8_t{0}
                      : static_cast<std::uint8_t>(
                            127.5 * (1 - std::cos(0.13 * escape + phase)));
}

bytes png_of(const bytes& pixels, const view& what)
{
    png_image image{};
    image.version = PNG_IMAGE_VERSION;
    image.width = what.width;
    image.height = what.height;
    image.format = PNG_FORMAT_RGB;
    png_alloc_size_t size = 0; // asked for first
    bytes file;
    for (int turn = 0; turn < 2; ++turn)
    {
        if (!png_image_write_to_memory(&image,
                                       turn == 0 ? nullptr : file.data(), &size,
                                       0, pixels.data(), 0, nullptr))
            throw std::runtime_error(std::string("PNG: ") + image.message);
        file.resize(size);
    }
    return file;
}

// tag::frame[]
// Runs in a thread of one of the processes.
bytes frame(unsigned number, const view& what, const common::chaos& chaos)
{
    chaos.before(number, pattern::attempt());
    const double step = 3.2 / what.width * std::pow(0.93, number);
    auto& pixels = pattern::thread_state<bytes>(); // of this thread
    pixels.clear();
    for (unsigned row = 0; row < what.height; ++row)
        for (unsigned column = 0; column < what.width; ++column)
        {
            const double e = common::escape_time(
                -0.743643887037151 + (column + 0.5 - what.width / 2.0) * step,
                0.13182590420533 + (row + 0.5 - what.height / 2.0) * step, 400);
            for (const double phase : {0.0, 0.5, 1.1})
                pixels.push_back(shade(e, phase));
        }
    auto file = png_of(pixels, what);
    chaos.after(number, pattern::attempt());
    return file;
}
// end::frame[]

void write(common::new_file& file, const bytes& content)
{
    file.write(std::as_bytes(std::span(content)));
    file.keep();
}

constexpr long unsaid = std::numeric_limits<long>::min(); // an option

unsigned checked(const char* option, long wanted, long least, long most)
{
    if (wanted < least || wanted > most)
        throw common::usage_error(
            "--" + std::string(option) + " must be " + std::to_string(least) +
            " to " + std::to_string(most) + ", not " + std::to_string(wanted));
    return static_cast<unsigned>(wanted);
}

view view_of(const std::string& size, long frames)
{
    long width = 0, height = 0;
    char more = 0;
    if (std::sscanf(size.c_str(), "%ldx%ld%c", &width, &height, &more) != 2)
        throw common::usage_error("--size must be WIDTHxHEIGHT, not '" + size +
                                  "'");
    return {checked("size", width, 1, 4096), checked("size", height, 1, 4096),
            checked("frames", frames, 1, 9999)};
}

// What is not said follows from the number of workers.
pattern::shape shape_of(unsigned workers, long processes, long threads)
{
    auto result = pattern::shape::of(workers);
    if (processes != unsaid)
        result = {checked("processes", processes, 1, 4095),
                  std::max(1u, workers / static_cast<unsigned>(processes))};
    if (threads != unsaid)
    {
        result.threads = checked("threads", threads, 1, 4095);
        if (processes == unsaid)
            result.processes = std::max(1u, workers / result.threads);
    }
    checked("processes times --threads",
            long{result.processes} * result.threads, 1, 4095);
    return result;
}

} // namespace

int main(int argc, char* argv[])
{
    common::worker_main(argc, argv);

    namespace po = boost::program_options;
    long frames = 0, processes = unsaid, threads = unsaid;
    std::string size, output, animation;
    common::program_line line(
        "thread_pool_multiprocessing --output DIR --animation F.png",
        "Paints a zoom into the Mandelbrot set: a PNG file for each frame, "
        "or all in one that moves.");
    line.add("frames", po::value(&frames)->default_value(50), "how many");
    line.add("size", po::value(&size)->default_value("640x480"), "in pixels");
    line.add("processes", po::value(&processes), "how many processes");
    line.add("threads", po::value(&threads), "how many threads in each");
    line.add("output", po::value(&output), "the directory for frames");
    line.add("animation", po::value(&animation), "the file for all in one");

    return line.run(argc, argv, [&](common::run_statistics& statistics) {
        const view what = view_of(size, frames);
        if (output.empty() && animation.empty())
            throw common::usage_error("--output or --animation must be given");
        if (!output.empty())
            fs::create_directories(output);
        std::optional<common::new_file> moving; // what cannot be written is
        if (!animation.empty())                 // told before it is painted
            moving.emplace(animation);
        // tag::pool[]
        pattern::pool_options options;
        options.shape = shape_of(line.workers, processes, threads);
        options.payload = std::size_t{what.width} * what.height * 4 + 65'536;
        options.attempts = 200;       // only kills from outside take any,
        options.restarts = 1'000'000; // and are no reason to give up
        options.restart_backoff = {};
        pattern::pool pool(
            options, [] {}, [] { return bytes(); });
        line.workers = pool.size();
        std::vector<pattern::future<bytes>> painted;
        for (unsigned i = 0; i < what.frames; ++i)
            painted.push_back(pool.submit(&frame, i, what, line.chaos));
        // end::pool[]

        animated_png all(what.frames);
        for (unsigned i = 0; i < what.frames; ++i)
        {
            const bytes file = painted[i].get();
            char name[32];
            std::snprintf(name, sizeof name, "frame-%04u.png", i);
            if (!output.empty())
            {
                common::new_file out(fs::path(output) / name);
                write(out, file);
            }
            if (!animation.empty())
                all.add(file);
            ++statistics.items;
            statistics.bytes += file.size();
        }
        if (!animation.empty())
            write(*moving, all.finish());
        const auto counts = pool.stats();
        statistics.deaths = counts.deaths;
        statistics.retried = counts.retried + counts.moved;
        statistics.poisoned = counts.poisoned;
        return true;
    });
}
