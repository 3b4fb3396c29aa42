// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.
// error: owns_nothing

#include "common/shared.hpp"

#include <string>

int main()
{
    common::shared<std::string> one;
}
