// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.
// error: a std::string key comes as a std::string_view

#include "patterns/map_reduce/map_reduce.hpp"

#include <cstdint>
#include <string>

struct shouted
{
    using key = std::string;
    using value = std::uint64_t;

    void map(map_reduce::text_split&, auto& emit) const { emit("word", 1); }
    std::string reduce(const std::string& word, value) const
    {
        return word + "!";
    }
};

int main()
{
    return map_reduce::run(shouted{}, map_reduce::files({"text"}))
        .failures()
        .empty();
}
