// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.

#pragma once

#include <boost/crc.hpp>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>

namespace master_worker {

namespace detail {

/// CRC-32C, on any machine.
inline std::uint32_t crc32c_by_table(std::string_view text)
{
    boost::crc_optimal<32, 0x1EDC6F41, 0xFFFFFFFF, 0xFFFFFFFF, true, true> crc;
    crc.process_bytes(text.data(), text.size());
    return crc.checksum();
}

#if defined(__x86_64__)

/// The same by the instruction that CPUs have for it: SSE 4.2.
[[gnu::target("sse4.2")]] inline std::uint32_t
crc32c_by_cpu(std::string_view text)
{
    std::uint64_t sum = 0xFFFFFFFF;
    for (; text.size() >= 8; text.remove_prefix(8)) // ends: it gets shorter
    {
        std::uint64_t word = 0;
        std::memcpy(&word, text.data(), 8);
        sum = __builtin_ia32_crc32di(sum, word);
    }
    for (const char one : text)
        sum = __builtin_ia32_crc32qi(static_cast<std::uint32_t>(sum),
                                     static_cast<unsigned char>(one));
    return ~static_cast<std::uint32_t>(sum);
}

#endif

} // namespace detail

/// CRC-32C of a text.
inline std::uint32_t crc32c(std::string_view text)
{
#if defined(__x86_64__)
    static const bool known = __builtin_cpu_supports("sse4.2") != 0;
    if (known)
        return detail::crc32c_by_cpu(text);
#endif
    return detail::crc32c_by_table(text);
}

} // namespace master_worker
