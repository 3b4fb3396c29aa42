// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.

#pragma once

/// Data that several processes read and write, and that survives the death of
/// any of them at any instruction.  Take the one piece that you need.
#include "barrier.hpp"
#include "counter.hpp"
#include "guarded.hpp"
#include "manager.hpp"
#include "map.hpp"
#include "named.hpp"
#include "semaphore.hpp"
#include "shared_mutex.hpp"
#include "snapshot.hpp"
#include "string.hpp"
#include "sync.hpp"
#include "transactional.hpp"
#include "vector.hpp"
