// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.
// error: a pointer, reference, string_view or span means nothing in another
// error: span<int

#include "common/process.hpp"

#include <span>

int main()
{
    int here[] = {1, 2};
    common::process one([](std::span<int>) {}, std::span(here));
}
