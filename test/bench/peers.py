# Copyright 2026 The Authors.
# Distributed under the Boost Software License, Version 1.0.
"""Python's process pools, queue and lock, as peers of the benchmark.

    peers.py NAME [--same] [FILE]   reads counts, one a line, and answers each
                                    with the nanoseconds that so many took
    peers.py all [--same] [FILE]    runs all of them once, and prints JSON:
                                    nanoseconds per operation
    peers.py hello                  serves HTTP on a port of loopback, which it
                                    prints, until its input ends
    peers.py tiles LIBRARY          the same with tiles, which processes paint

Every answer is verified; a wrong one is a line that is no number.
"""

import argparse
import asyncio
import collections
import concurrent.futures
import ctypes
import functools
import json
import multiprocessing
import os
import re
import sys
import time


def square(x):
    return x * x


def place(cpus):
    os.sched_setaffinity(0, cpus)


def verify_sum(total, count):
    if total != (count - 1) * count * (2 * count - 1) // 6:
        raise ValueError("wrong result")


# --- one executor, one worker -----------------------------------------------


def executor(cpus):
    return concurrent.futures.ProcessPoolExecutor(
        1, initializer=place, initargs=(cpus,))


def pool(cpus):
    return multiprocessing.Pool(1, initializer=place, initargs=(cpus,))


def round_trips(submit):
    def run(count):
        return sum(submit(i) for i in range(count))
    return run


def executor_latency(with_executor, _):
    return round_trips(lambda i: with_executor.submit(square, i).result())


def pool_latency(with_pool, _):
    return round_trips(lambda i: with_pool.apply(square, (i,)))


def asyncio_latency(with_executor, _):
    async def trips(count):
        loop, total = asyncio.get_running_loop(), 0
        for i in range(count):
            total += await loop.run_in_executor(with_executor, square, i)
        return total
    return lambda count: asyncio.run(trips(count))


def asyncio_gather(with_executor, _):
    """Ten thousand at a time."""
    async def gather(count):
        loop, total = asyncio.get_running_loop(), 0
        for begin in range(0, count, 10_000):
            total += sum(await asyncio.gather(*(
                loop.run_in_executor(with_executor, square, i)
                for i in range(begin, min(count, begin + 10_000)))))
        return total
    return lambda count: asyncio.run(gather(count))


def executor_submit(with_executor, _):
    window = 256

    def run(count):
        total, futures = 0, collections.deque()
        for i in range(count):
            if len(futures) == window:
                total += futures.popleft().result()
            futures.append(with_executor.submit(square, i))
        return total + sum(future.result() for future in futures)
    return run


def maps(call, chunksize):
    return lambda count: sum(call(square, range(count), chunksize=chunksize))


def executor_map_1(with_executor, _):
    return maps(with_executor.map, 1)


def pool_map_1(with_pool, _):
    return maps(with_pool.imap, 1)


def best(call):
    """Tries chunk sizes for a moment each, and keeps the fastest."""
    def seconds(chunksize):
        start = time.perf_counter()
        maps(call, chunksize)(200_000)
        return time.perf_counter() - start
    return maps(call, min((1_000, 5_000, 20_000), key=seconds))


def executor_map_best(with_executor, _):
    return best(with_executor.map)


def pool_map_best(with_pool, _):
    return best(with_pool.imap)


# --- word count -------------------------------------------------------------

WORD = re.compile(rb"[a-z0-9_]+")
PIECE = 1 << 22


def count_part(task):
    """Counts the lines that begin in a part of the file."""
    path, begin, end = task
    counts = collections.Counter()
    with open(path, "rb") as file:
        if begin > 0:
            file.seek(begin - 1)
            file.readline()
        while file.tell() < end:
            piece = file.read(min(PIECE, end - file.tell()))
            if not piece.endswith(b"\n"):
                piece += file.readline()
            counts.update(WORD.findall(piece.lower()))
    return counts


def word_count(with_pool, path):
    """One part a worker: the counts are pickled once."""
    workers = len(os.sched_getaffinity(0))
    size = os.path.getsize(path)
    parts = [(path, size * i // workers, size * (i + 1) // workers)
             for i in range(workers)]

    def run(count):
        for _ in range(count):
            counts = collections.Counter()
            for part in with_pool.imap_unordered(count_part, parts):
                counts.update(part)
        return sum(counts.values()), len(counts)
    return run


# --- uneven work, the arithmetic in C ---------------------------------------


@functools.lru_cache
def arithmetic(library, name):
    """A function of the library that was built beside the benchmark."""
    function = getattr(ctypes.CDLL(library), "bench_" + name)
    function.argtypes = [ctypes.c_uint64]
    function.restype = ctypes.c_uint64
    return function


def uneven_task(task):
    library, name, number = task
    return arithmetic(library, name)(number)


def uneven(name, tasks):
    """A task at a time for who is free; the sum of the results."""
    def prepare(with_pool, library):
        numbers = [(library, name, i) for i in range(tasks)]

        def run(count):
            for _ in range(count):
                total = sum(with_pool.imap_unordered(uneven_task, numbers))
            return total,
        return run
    return prepare


# --- a queue ----------------------------------------------------------------


def reader(queue, answers, cpus):
    """Takes numbers until None, and answers their sum, again and again."""
    place(cpus)
    while True:
        total = 0
        for number in iter(queue.get, None):
            total += number * number
        answers.put(total)


class Reader:
    """A process at the other end of a queue, ended with this object."""

    def __init__(self, cpus):
        self.queue = multiprocessing.Queue(1024)
        self.answers = multiprocessing.Queue()
        self.process = multiprocessing.Process(
            target=reader, args=(self.queue, self.answers, cpus), daemon=True)
        self.process.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()


def queue_stream(other, _):
    def run(count):
        for number in range(count):
            other.queue.put(number)
        other.queue.put(None)
        return other.answers.get()
    return run


# --- a lock -----------------------------------------------------------------


class Sum:
    """A number in shared memory, and its lock."""

    def __init__(self):
        self.lock = multiprocessing.Lock()
        self.number = multiprocessing.RawValue(ctypes.c_ulonglong)

    def add(self, numbers):
        for i in numbers:
            with self.lock:
                self.number.value += i * i


def adder(total, pipe, cpus):
    """Adds what it is told to, until it is killed."""
    place(cpus)
    while True:
        total.add(range(*pipe.recv()))
        pipe.send(None)


class Adder(Sum):
    """And another process that adds as well, ended with this object."""

    def __init__(self, cpus):
        super().__init__()
        self.pipe, theirs = multiprocessing.Pipe()
        self.process = multiprocessing.Process(
            target=adder, args=(self, theirs, cpus), daemon=True)
        self.process.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()

    def __getstate__(self):
        return {"lock": self.lock, "number": self.number}


def lock(total, _):
    def run(count):
        total.number.value = 0
        total.add(range(count))
        return total.number.value
    return run


def lock_contended(total, _):
    def run(count):
        total.number.value = 0
        total.pipe.send((0, count // 2))
        total.add(range(count // 2, count))
        total.pipe.recv()
        return total.number.value
    return run


# --- web servers ------------------------------------------------------------

TILE = 256 * 256 * 3


def load(library):
    """In a worker."""
    global paint_tile
    paint_tile = ctypes.CDLL(library).paint_tile
    paint_tile.argtypes = [ctypes.c_uint, ctypes.c_uint64, ctypes.c_uint64,
                           ctypes.c_void_p]


def paint(zoom, column, row):
    into = ctypes.create_string_buffer(TILE)
    paint_tile(zoom, column, row, into)
    return into.raw


async def serve(what, library):
    from aiohttp import web
    loop = asyncio.get_running_loop()
    app = web.Application()
    if what == "hello":
        async def hello(_):
            return web.Response(text="hello\n")
        app.router.add_get("/", hello)
    else:
        workers = concurrent.futures.ProcessPoolExecutor(
            2, initializer=load, initargs=(library,))

        async def tile(asked):
            at = (int(asked.match_info[name]) for name in "zxy")
            return web.Response(
                body=await loop.run_in_executor(workers, paint, *at))
        app.router.add_get("/tile/{z}/{x}/{y}.png", tile)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print("port", runner.addresses[0][1], flush=True)
    ended = asyncio.Event()
    loop.add_reader(sys.stdin, ended.set)
    await ended.wait()
    for worker in multiprocessing.active_children():
        worker.kill()
    os._exit(0)


# --- the conversation -------------------------------------------------------

PEERS = {
    "executor_latency": (executor, executor_latency, 1_000),
    "pool_latency": (pool, pool_latency, 1_000),
    "asyncio_latency": (executor, asyncio_latency, 1_000),
    "asyncio_gather": (executor, asyncio_gather, 10_000),
    "executor_submit": (executor, executor_submit, 5_000),
    "executor_map_1": (executor, executor_map_1, 5_000),
    "executor_map_best": (executor, executor_map_best, 1_000_000),
    "pool_map_1": (pool, pool_map_1, 5_000),
    "pool_map_best": (pool, pool_map_best, 1_000_000),
    "queue_stream": (Reader, queue_stream, 20_000),
    "lock": (Adder, lock, 100_000),
    "lock_contended": (Adder, lock_contended, 100_000),
    "word_count": (None, word_count, 1),
    "queens": (None, uneven("queens", 156), 1),
    "mandelbrot": (None, uneven("mandelbrot", 480), 1),
}
WHOLE = {"word_count", "queens", "mandelbrot"}  # results that the caller knows


def start(name, cpus, same):
    """The pool of a peer, its workers placed; and this process."""
    make = PEERS[name][0]
    if make is None:
        place(cpus)
        return multiprocessing.Pool(len(cpus))
    started = make({cpus[0] if same else cpus[-1]})
    place({cpus[0]})
    return started


def measure(name, run, count):
    """The answer to one question."""
    begin = time.perf_counter_ns()
    result = run(count)
    took = time.perf_counter_ns() - begin
    if name in WHOLE:
        return took, *result
    verify_sum(result, count)
    return took,


def converse(name, run):
    print("ready", flush=True)
    for line in sys.stdin:
        try:
            print(*measure(name, run, int(line)), flush=True)
        except Exception as error:
            print(repr(error), flush=True)


def main():
    options = argparse.ArgumentParser()
    options.add_argument("--cpus", default="0,1")
    options.add_argument("--same", action="store_true",
                         help="both processes on the first CPU")
    options.add_argument("name", choices=[*PEERS, "all", "hello", "tiles"])
    options.add_argument("file", nargs="?")
    given = options.parse_args()
    if given.name in ("hello", "tiles"):
        return asyncio.run(serve(given.name, given.file))
    cpus = sorted({int(cpu) for cpu in given.cpus.split(",")})

    if given.name != "all":
        with start(given.name, cpus, given.same) as workers:
            converse(given.name, PEERS[given.name][1](workers, given.file))
        return
    report = {}
    for name, (_, prepare, count) in PEERS.items():
        if name in WHOLE and (name != "word_count" or given.file is None):
            continue
        place(cpus)
        with start(name, cpus, given.same) as workers:
            run = prepare(workers, given.file)
            report[name] = measure(name, run, count)[0] / count
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
