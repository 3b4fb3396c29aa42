// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.
// error: a value needs operator+, or the job a `static value combine(value

#include "patterns/map_reduce/map_reduce.hpp"

#include <cstdint>
#include <string>
#include <vector>

struct lines_of_words
{
    using key = std::string;
    using value = std::vector<std::uint64_t>;

    void map(map_reduce::text_split&, auto& emit) const { emit("word", {}); }
};

int main()
{
    return map_reduce::run(lines_of_words{}, map_reduce::files({"text"}))
        .failures()
        .empty();
}
