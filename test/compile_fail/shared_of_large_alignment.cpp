// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.
// error: begins_in_any_page

#include "common/shared.hpp"

struct alignas(8192) large
{
    int number;
};

int main()
{
    common::shared<large> one;
}
