// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.
//
// Builds where OpenMP is.

#include <omp.h>

int main()
{
    return ::omp_get_max_threads() > 0 ? 0 : 1;
}
