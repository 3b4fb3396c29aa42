// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.
//
// What a program with MPI does, as a peer of the benchmark.
//
//     mpirun -n 2 mpi_peer ping CPU CPU   a message there and back
//     mpirun -n 3 mpi_peer queens         a master and its workers
//     mpirun -n 3 mpi_peer mandelbrot
//
// Rank 0 reads counts, one a line, and answers each with the nanoseconds that
// so many took and the sum of the results.  Nobody spins between two questions.

#include "work.hpp"

#include <mpi.h>
#include <sched.h>
#include <unistd.h>

#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <iostream>
#include <string>

namespace {

constexpr int order = 1, question = 2, answer = 3; // tags
constexpr std::uint64_t nothing = ~std::uint64_t{0};

void send(std::uint64_t value, int to, int tag)
{
    MPI_Send(&value, 1, MPI_UINT64_T, to, tag, MPI_COMM_WORLD);
}

std::uint64_t receive(int from, int tag, int* who = nullptr)
{
    std::uint64_t value = 0;
    MPI_Status status;
    MPI_Recv(&value, 1, MPI_UINT64_T, from, tag, MPI_COMM_WORLD, &status);
    if (who != nullptr)
        *who = status.MPI_SOURCE;
    return value;
}

/// An order, awaited without spinning.
std::uint64_t receive_order()
{
    for (int there = 0; there == 0; ::usleep(500)) // ended by rank 0's order
        MPI_Iprobe(0, order, MPI_COMM_WORLD, &there, MPI_STATUS_IGNORE);
    return receive(0, order);
}

std::uint64_t ping(std::uint64_t count)
{
    std::uint64_t sum = 0;
    for (std::uint64_t i = 0; i < count; ++i)
    {
        send(i, 1, question);
        sum += receive(1, answer);
    }
    return sum;
}

void pong(std::uint64_t count)
{
    for (std::uint64_t i = 0; i < count; ++i)
    {
        const auto x = receive(0, question);
        send(x * x, 0, answer);
    }
}

/// Each worker has one task, and gets the next for its result.
std::uint64_t lead(std::uint64_t tasks, int workers)
{
    std::uint64_t sum = 0, next = 0;
    for (int worker = 1; worker <= workers; ++worker)
        send(next < tasks ? next++ : nothing, worker, question);
    for (std::uint64_t got = 0; got < tasks; ++got)
    {
        int who = 0;
        sum += receive(MPI_ANY_SOURCE, answer, &who);
        send(next < tasks ? next++ : nothing, who, question);
    }
    return sum;
}

void follow(const bench::work::job& job)
{
    for (;;) // ends when there is nothing more
    {
        const auto task = receive(0, question);
        if (task == nothing)
            return;
        send(job.task(task), 0, answer);
    }
}

void pin(int cpu)
{
    cpu_set_t mask;
    CPU_ZERO(&mask);
    CPU_SET(cpu, &mask);
    ::sched_setaffinity(0, sizeof mask, &mask);
}

void measure(const std::string& what, std::uint64_t count, int ranks)
{
    for (int rank = 1; rank < ranks; ++rank)
        send(count, rank, order);
    for (int rank = 1; rank < ranks; ++rank)
        receive(rank, answer); // it is awake
    using clock = std::chrono::steady_clock;
    const auto start = clock::now();
    std::uint64_t sum = 0;
    if (what == "ping")
        sum = ping(count);
    else
        for (std::uint64_t i = 0; i < count; ++i)
            sum += lead(bench::work::by_name(what).tasks, ranks - 1);
    const std::chrono::nanoseconds took = clock::now() - start;
    std::cout << took.count() << ' ' << sum << std::endl;
}

void serve(const std::string& what, std::uint64_t count)
{
    send(0, 0, answer);
    if (what == "ping")
        return pong(count);
    for (std::uint64_t i = 0; i < count; ++i)
        follow(bench::work::by_name(what));
}

} // namespace

int main(int argc, char* argv[])
{
    MPI_Init(&argc, &argv);
    int rank = 0, ranks = 0;
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &ranks);
    const std::string what = argc > 1 ? argv[1] : "ping";
    if (argc > 2 + rank)
        pin(std::atoi(argv[2 + rank]));
    if (rank == 0)
    {
        std::cout << "ready" << std::endl;
        for (std::string line; std::getline(std::cin, line);)
            measure(what, std::strtoull(line.c_str(), nullptr, 10), ranks);
        for (int other = 1; other < ranks; ++other)
            send(nothing, other, order);
    }
    else
        for (std::uint64_t count; (count = receive_order()) != nothing;)
            serve(what, count);
    MPI_Finalize();
}
