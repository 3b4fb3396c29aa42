// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.
// error: a pointer, reference, string_view or span means nothing in another
// error: const char

#include "common/process.hpp"

struct job
{
    int number;
    const char* name;
};

int main()
{
    common::process one([](job) {}, job{1, "one"});
}
