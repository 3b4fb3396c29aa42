// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.
// error: the callable does not take these arguments

#include "common/process.hpp"

#include <string>

int main()
{
    common::process one([](std::string) {}, 1);
}
