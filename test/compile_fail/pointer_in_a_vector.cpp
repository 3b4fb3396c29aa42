// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.
// error: a pointer, reference, string_view or span means nothing in another
// error: int*

#include "common/process.hpp"

#include <vector>

int main()
{
    common::process one([](std::vector<int*>) {}, std::vector<int*>());
}
