// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.
// error: a callable that captures cannot cross to another process by itself

#include "common/process.hpp"

int main()
{
    int here = 1;
    common::process one([here] { return here; });
}
