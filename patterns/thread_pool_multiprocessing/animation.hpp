// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.

#pragma once

#include <boost/crc.hpp>
#include <boost/endian/conversion.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

/// PNG files of the same size, made one that moves (APNG, part of PNG's third
/// edition, https://www.w3.org/TR/png-3/): the compressed pixels stay as they
/// are, only the chunks around them are new.
class animated_png
{
public:
    explicit animated_png(unsigned frames, std::uint16_t per_second = 15)
        : frames_(frames)
        , per_second_(per_second)
    {
    }

    /// The next frame.  Throws std::runtime_error for what is no PNG file.
    void add(std::span<const std::uint8_t> png)
    {
        if (png.size() < signature.size() ||
            !std::equal(signature.begin(), signature.end(), png.begin(),
                        [](char a, std::uint8_t b) {
                            return static_cast<std::uint8_t>(a) == b;
                        }))
            throw std::runtime_error("a frame is no PNG file");
        bool begun = false;
        for (auto rest = png.subspan(signature.size()); !rest.empty();)
        {
            if (rest.size() < 12 || number(rest) > rest.size() - 12)
                throw std::runtime_error("a frame ends early");
            const auto size = number(rest);
            const std::string_view type(
                reinterpret_cast<const char*>(rest.data()) + 4, 4);
            const auto data = rest.subspan(8, size);
            if (type == "IHDR")
                header(data);
            else if (type == "IDAT")
            {
                if (!std::exchange(begun, true))
                    control();
                pixels(data);
            }
            rest = rest.subspan(12 + size); // each turn takes a chunk off
        }
        ++added_;
    }

    /// The whole file.
    std::vector<std::uint8_t> finish()
    {
        chunk("IEND", {});
        return std::move(file_);
    }

private:
    using bytes = std::vector<std::uint8_t>;
    static constexpr std::string_view signature = "\x89PNG\r\n\x1a\n";

    static std::uint32_t number(std::span<const std::uint8_t> from)
    {
        return boost::endian::load_big_u32(from.data());
    }
    static void put(bytes& to, std::uint32_t n)
    {
        for (const unsigned shift : {24u, 16u, 8u, 0u})
            to.push_back(static_cast<std::uint8_t>(n >> shift));
    }

    void header(std::span<const std::uint8_t> data)
    {
        if (data.size() != 13)
            throw std::runtime_error("a frame has no header of a PNG file");
        if (added_ == 0)
        {
            header_.assign(data.begin(), data.end());
            file_.assign(signature.begin(), signature.end());
            chunk("IHDR", header_);
            bytes all;
            put(all, frames_);
            put(all, 0); // again and again
            chunk("acTL", all);
        }
        else if (!std::equal(data.begin(), data.end(), header_.begin()))
            throw std::runtime_error("frames differ in size or in colours");
    }

    // The frame fills the picture, for its part of a second.
    void control()
    {
        bytes data;
        put(data, sequence_++);
        put(data, number(std::span(header_).first(4)));
        put(data, number(std::span(header_).subspan(4, 4)));
        put(data, 0);
        put(data, 0);
        put(data, 1u << 16 | per_second_);
        data.resize(data.size() + 2); // neither disposed of nor blended
        chunk("fcTL", data);
    }

    void pixels(std::span<const std::uint8_t> data)
    {
        if (added_ == 0)
            return chunk("IDAT", data);
        bytes numbered;
        put(numbered, sequence_++);
        numbered.insert(numbered.end(), data.begin(), data.end());
        chunk("fdAT", numbered);
    }

    void chunk(std::string_view type, std::span<const std::uint8_t> data)
    {
        put(file_, static_cast<std::uint32_t>(data.size()));
        file_.insert(file_.end(), type.begin(), type.end());
        file_.insert(file_.end(), data.begin(), data.end());
        boost::crc_32_type sum;
        sum.process_bytes(type.data(), type.size());
        sum.process_bytes(data.data(), data.size());
        put(file_, sum.checksum());
    }

    std::uint32_t frames_, added_ = 0, sequence_ = 0;
    std::uint16_t per_second_;
    bytes header_, file_;
};
