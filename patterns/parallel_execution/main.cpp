// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.
//
// Paints the Mandelbrot set, its rows shared out among processes.
//
//   $ parallel_execution --width 1920 --height 1080 --output mandelbrot.png

#include "parallel_execution.hpp"

#include "common/files.hpp"
#include "common/mandelbrot.hpp"
#include "common/options.hpp"

#include <boost/timer/progress_display.hpp>

#include <png.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <iostream>
#include <optional>
#include <stdexcept>
#include <string>

namespace {

struct pixel
{
    std::uint8_t red, green, blue;
};

struct view
{
    unsigned width, height;

    double escape(unsigned column, unsigned row) const
    {
        const double step = 3.2 / width;
        return common::escape_time(-0.7 + (column + 0.5 - width / 2.0) * step,
                                   (row + 0.5 - height / 2.0) * step, 1000);
    }
};

pixel colour(double escape)
{
    if (escape < 0)
        return {0, 0, 0};
    const auto wave = [&](double phase) {
        return static_cast<std::uint8_t>(127.5 *
                                         (1 - std::cos(0.13 * escape + phase)));
    };
    return {wave(0.0), wave(0.5), wave(1.1)};
}

// tag::row[]
void paint_row(std::size_t row, common::shared_array<pixel>& picture,
               const view& what, const common::chaos& chaos)
{
    chaos.before(row, common::attempt());
    for (unsigned column = 0; column < what.width; ++column)
        picture[row * what.width + column] =
            colour(what.escape(column, static_cast<unsigned>(row)));
    chaos.after(row, common::attempt());
}
// end::row[]

void write(const common::shared_array<pixel>& picture, const view& what,
           common::new_file& file, const std::string& name)
{
    png_image image{};
    image.version = PNG_IMAGE_VERSION;
    image.width = what.width;
    image.height = what.height;
    image.format = PNG_FORMAT_RGB;
    std::FILE* const out = ::fdopen(::dup(file.get()), "wb");
    if (out == nullptr)
        common::kernel::fail("cannot write " + name);
    const bool written =
        png_image_write_to_stdio(&image, out, 0, picture.data(), 0, nullptr);
    if (std::fclose(out) != 0 || !written)
        throw std::runtime_error(
            "cannot write " + name + ": " +
            (written ? std::strerror(errno) : image.message));
    file.keep();
}

unsigned side(const char* option, long wanted)
{
    if (wanted < 1 || wanted > 32'767) // libpng takes up to 4 GiB
        throw common::usage_error("--" + std::string(option) +
                                  " must be 1 to 32767, not " +
                                  std::to_string(wanted));
    return static_cast<unsigned>(wanted);
}

} // namespace

int main(int argc, char* argv[])
{
    common::worker_main(argc, argv);

    namespace po = boost::program_options;
    long width = 0, height = 0;
    std::string output;
    common::program_line line("parallel_execution --output F.png",
                              "Paints the Mandelbrot set into a PNG file.");
    line.add("width", po::value(&width)->default_value(1920), "in pixels");
    line.add("height", po::value(&height)->default_value(1080), "in pixels");
    line.add("output", po::value(&output)->required(), "the file to write");

    return line.run(argc, argv, [&](common::run_statistics& statistics) {
        const view what{side("width", width), side("height", height)};
        common::new_file file(output); // first: what cannot be written is told
                                       // before anything is painted
        // tag::team[]
        auto staff = parallel_execution::team::staff(line.workers);
        parallel_execution::options how;
        if (line.chaos.probability > 0) // what dies is wanted to die
        {
            staff.restarts = 1'000'000;
            how.attempts = 200;
        }
        std::optional<boost::timer::progress_display> display;
        if (::isatty(STDERR_FILENO) != 0)
            display.emplace(what.height, std::cerr);
        how.progress = [&](std::size_t done, std::size_t) {
            if (display)
                *display += done - display->count();
        };

        common::shared_array<pixel> picture(std::size_t{what.width} *
                                            what.height);
        parallel_execution::team team(staff);
        team.parallel_for(how, {0, what.height}, paint_row, picture, what,
                          line.chaos);
        // end::team[]
        write(picture, what, file, output);
        const auto counts = team.stats();
        statistics.items = counts.items;
        statistics.bytes = picture.size() * sizeof(pixel);
        statistics.deaths = counts.deaths;
        statistics.retried = counts.retried;
        statistics.poisoned = counts.poisoned;
        return true;
    });
}
