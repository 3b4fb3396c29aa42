// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.
// error: a pointer, reference, string_view or span means nothing in another
// error: reference_wrapper<int>

#include "common/process.hpp"

#include <functional>

int main()
{
    int here = 1;
    common::process one([](int& there) { ++there; }, std::ref(here));
}
