// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.

#define BOOST_TEST_MODULE words

#include "test/fixture.hpp"

#include <boost/test/unit_test.hpp>

#include "patterns/map_reduce/words.hpp"
#include <sys/mman.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <random>
#include <string>
#include <string_view>
#include <vector>

namespace {

using words = std::vector<std::string>;

words found(std::string_view text)
{
    words result;
    map_reduce::for_each_word(
        text, [&](std::string_view word) { result.emplace_back(word); });
    return result;
}

/// One character at a time.
words plainly(std::string_view text)
{
    constexpr std::string_view upper = "ABCDEFGHIJKLMNOPQRSTUVWXYZ",
                               lower = "abcdefghijklmnopqrstuvwxyz",
                               other = "0123456789_";
    words result;
    bool inside = false;
    for (const char c : text)
    {
        char as = c;
        if (const auto at = upper.find(c); at != upper.npos)
            as = lower[at];
        if ((lower.find(as) == lower.npos && other.find(as) == other.npos))
            inside = false;
        else
        {
            if (!inside)
                result.emplace_back();
            result.back() += as;
            inside = true;
        }
    }
    return result;
}

/// Bytes of any value, most of them part of a word when `dense`.
std::string random_text(std::mt19937_64& draw, std::size_t size, bool dense)
{
    constexpr std::string_view usual = "aZ09_bcdefGHIJKLMNOPQ/ .";
    std::string text(size, ' ');
    for (char& c : text)
        c = dense && draw() % 16 != 0 ? usual[draw() % usual.size()]
                                      : static_cast<char>(draw());
    return text;
}

/// Two pages of memory with nothing readable before and after.
class guarded
{
public:
    guarded()
        : page_(static_cast<std::size_t>(::sysconf(_SC_PAGESIZE)))
        , memory_(
              static_cast<char*>(::mmap(nullptr, 4 * page_, PROT_NONE,
                                        MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)))
    {
        BOOST_REQUIRE(memory_ != MAP_FAILED);
        BOOST_REQUIRE(::mprotect(begin(), size(), PROT_READ | PROT_WRITE) == 0);
    }
    guarded(const guarded&) = delete;
    ~guarded() { ::munmap(memory_, 4 * page_); }

    char* begin() const { return memory_ + page_; }
    std::size_t size() const { return 2 * page_; }

private:
    std::size_t page_;
    char* memory_;
};

} // namespace

BOOST_FIXTURE_TEST_SUITE(words_laws, test::clean)

BOOST_AUTO_TEST_CASE(a_word_is_a_run_of_letters_digits_and_underscores)
{
    BOOST_TEST(found("To be, or not to_be: 2B!") ==
                   (words{"to", "be", "or", "not", "to_be", "2b"}),
               boost::test_tools::per_element());
    BOOST_TEST(found("").empty());
    BOOST_TEST(found(" \n\t").empty());
    BOOST_TEST(found("caf\xc3\xa9s") == (words{"caf", "s"}),
               boost::test_tools::per_element());
}

BOOST_AUTO_TEST_CASE(every_byte_value_is_told_apart)
{
    std::string text;
    for (int c = 0; c < 256; ++c)
    {
        text += static_cast<char>(c);
        const std::string one(1, static_cast<char>(c));
        BOOST_TEST(map_reduce::is_word(one[0]) == !plainly(one).empty());
        BOOST_TEST((found(one) == plainly(one)), "byte " << c);
    }
    BOOST_TEST((found(text) == plainly(text)));
}

BOOST_AUTO_TEST_CASE(any_text_gives_the_words_that_plain_scanning_gives)
{
    const char* given = std::getenv("TEST_SEED");
    const auto seed = given ? std::strtoull(given, nullptr, 10) : 1;
    BOOST_TEST_MESSAGE("TEST_SEED=" << seed);
    std::mt19937_64 draw(seed);
    for (std::size_t n = 0; n < 400; ++n)
    {
        // Each size up to some groups of 64, then some blocks.
        const auto size = n < 260 ? n : draw() % 100'000;
        const auto text = random_text(draw, size, n % 2 == 0);
        BOOST_TEST((found(text) == plainly(text)), size << " bytes");
    }
}

/// A sanitizer sees it when the 16 bytes are not there.
BOOST_AUTO_TEST_CASE(a_word_can_be_read_beyond_its_end)
{
    for (std::size_t size = 1; size <= 200; ++size)
    {
        std::size_t read = 0;
        map_reduce::for_each_word(std::string(size, 'x'),
                                  [&](const map_reduce::padded_view& word) {
                                      char copy[16];
                                      std::memcpy(copy, word.data(), 16);
                                      read += copy[0] == 'x';
                                  });
        BOOST_TEST(read == 1);
    }
}

BOOST_AUTO_TEST_CASE(a_word_is_never_cut)
{
    for (const auto size : {63u, 64u, 65u, 32'767u, 32'768u, 32'769u, 200'000u})
        for (const auto blanks : {0u, 1u, 63u, 64u, 32'700u, 32'767u, 32'768u})
        {
            const auto text =
                std::string(blanks, ' ') + std::string(size, 'W') + " end";
            BOOST_TEST((found(text) == words{std::string(size, 'w'), "end"}),
                       size << " letters after " << blanks << " blanks");
        }
}

BOOST_AUTO_TEST_CASE(nothing_is_read_before_or_after_the_text)
{
    const guarded memory;
    std::memset(memory.begin(), 'x', memory.size());
    const char* end = memory.begin() + memory.size();
    for (std::size_t size = 0; size <= 200; ++size)
    {
        const words expected(size == 0 ? 0 : 1, std::string(size, 'x'));
        BOOST_TEST((found({memory.begin(), size}) == expected));
        BOOST_TEST((found({end - size, size}) == expected));
    }
    BOOST_TEST(found({memory.begin(), memory.size()}).size() == 1);
}

BOOST_AUTO_TEST_SUITE_END()
