// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.
// error: a pointer, reference, string_view or span means nothing in another
// error: basic_string_view<char

#include "common/process.hpp"

#include <string_view>

int main()
{
    common::process one([](std::string_view) {}, std::string_view("text"));
}
