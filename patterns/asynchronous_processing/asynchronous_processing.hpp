// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.

#pragma once

/// Worker processes behind an event loop: calls one by one, results of a task
/// as it emits them, many calls as they come.
#include "group.hpp"
#include "pool.hpp"
#include "stream.hpp"
