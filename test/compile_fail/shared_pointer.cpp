// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.
// error: without_addresses

#include "common/shared.hpp"

int main()
{
    common::shared<int*> one;
}
