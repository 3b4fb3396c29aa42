// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.
// error: a message has no handler

#include "patterns/master_worker/master_worker.hpp"

#include <variant>

struct grow
{
    int by;
};
struct shout
{
    int loud;
};

void send(master_worker::master& m)
{
    const master_worker::handlers all{[](grow g) { return g.by; }};
    m.send(all, std::variant<grow, shout>(shout{3}));
}
