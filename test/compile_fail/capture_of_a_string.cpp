// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.
// error: captures must be trivially copyable to cross to another process

#include "common/process.hpp"

#include <string>

int main()
{
    std::string here = "text";
    common::process one(common::capture([here] { return here.size(); }));
}
