// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.
//
// Builds where ZeroMQ is.

#include <zmq.h>

int main()
{
    return ::zmq_ctx_term(::zmq_ctx_new());
}
