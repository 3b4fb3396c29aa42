// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.
// error: for text there is shared_data::string

#include "patterns/shared_data/shared_data.hpp"

#include <string>

int main()
{
    shared_data::map<std::string, int> all(10);
}
