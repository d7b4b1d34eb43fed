"""The load generator: one process of its own with plain sockets, epoll, and kept connections without pipelining.

Two ways to ask. `Closed`: each connection asks again as soon as it was answered, for so many seconds. `Open`: streams
ask at fixed rates whatever the answers do; a request's time begins when it was due, so a server that falls behind
hides nothing (no coordinated omission). Beside the answers' times the job returns what CPU the server's processes
used, by their kernel clocks, read until a moment after the last answer, so that what was left for later is counted.

asyncio, or an HTTP library, would take as much time a request as the servers do. Here: asking. Not here: what is asked
of whom (`over_http`, `refusals`, `flood`).
"""

import heapq
import multiprocessing
import random
import select
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import Connection as Pipe
from typing import Self

from proofs.benchmarks.wire import PATIENCE, Line, LoadError


@dataclass(frozen=True)
class Closed:
    """Ask on so many connections for so many seconds. Each connection has one of the requests for its own."""

    port: int
    requests: tuple[bytes, ...]
    status: int
    connections: int
    seconds: float
    pids: tuple[int, ...] = ()
    settle_seconds: float = 0.0  # after the last answer until the CPU clocks of the processes are read


@dataclass(frozen=True)
class Stream:
    """Requests of one kind at a fixed rate a second, on connections of their own; each status must be this one."""

    requests: tuple[bytes, ...]
    status: int
    rate: float
    connections: int


@dataclass(frozen=True)
class Open:
    """Streams at the same server for so many seconds."""

    port: int
    streams: tuple[Stream, ...]
    seconds: float
    seed: int
    pids: tuple[int, ...] = ()
    settle_seconds: float = 0.0  # after the last answer until the CPU clocks of the processes are read


@dataclass(frozen=True)
class Load:
    """What was answered: seconds a request of each stream, how long all took, and the servers' CPU seconds."""

    times: tuple[list[float], ...]
    seconds: float
    cpu: float


def closed(job: Closed) -> Load:
    """Ask again and again."""
    lines = [Line(job.port, job.requests[n % len(job.requests)], job.status, 0) for n in range(job.connections)]
    times: list[float] = []
    clock = time.perf_counter
    with _watching(lines) as (epoll, by_number):
        before = _cpu(job.pids)
        begun = clock()
        end, waiting = begun + job.seconds, len(lines)
        for line in lines:
            line.ask(clock())
        while waiting:
            for number, _ in _events(epoll):
                line = by_number[number]
                if line.read():
                    now = clock()
                    times.append(now - line.began)
                    if now < end:
                        line.ask(now)
                    else:
                        waiting -= 1
        seconds = clock() - begun
        time.sleep(job.settle_seconds)
        return Load((times,), seconds, _cpu(job.pids) - before)


def paced(job: Open) -> Load:
    """Ask when it is due, on a free connection of the stream, or as soon as there is one."""
    lines = [
        Line(job.port, stream.requests[n % len(stream.requests)], stream.status, place)
        for place, stream in enumerate(job.streams)
        for n in range(stream.connections)
    ]
    free = [deque(line for line in lines if line.stream == place) for place in range(len(job.streams))]
    times: tuple[list[float], ...] = tuple([] for _ in job.streams)
    late: tuple[deque[float], ...] = tuple(deque() for _ in job.streams)
    clock = time.perf_counter
    with _watching(lines) as (epoll, by_number):
        before = _cpu(job.pids)
        begun = clock()
        due = deque((begun + at, place) for at, place in _schedule(job))
        left = len(due)
        while left:
            while due and due[0][0] <= clock():
                at, place = due.popleft()
                if free[place]:
                    free[place].popleft().ask(at)
                else:
                    late[place].append(at)
            # epoll counts in milliseconds, select in microseconds
            wait = max(0.0, due[0][0] - clock()) if due else PATIENCE
            if not select.select([epoll], [], [], wait)[0] and not due:
                raise LoadError(f"{left} requests were not answered within {PATIENCE:g} s")
            for number, _ in epoll.poll(0):
                line = by_number[number]
                if line.read():
                    left -= 1
                    times[line.stream].append(clock() - line.began)
                    if late[line.stream]:
                        line.ask(late[line.stream].popleft())
                    else:
                        free[line.stream].append(line)
        seconds = clock() - begun
        time.sleep(job.settle_seconds)
        return Load(times, seconds, _cpu(job.pids) - before)


def _schedule(job: Open) -> Iterator[tuple[float, int]]:
    """Yield when each request is due: evenly, each somewhere within its slot, so that no two streams march in step."""
    rng = random.Random(job.seed)
    slots = (
        [((number + rng.random()) / stream.rate, place) for number in range(int(stream.rate * job.seconds))]
        for place, stream in enumerate(job.streams)
    )
    return heapq.merge(*slots)


def _events(epoll: select.epoll) -> list[tuple[int, int]]:
    events = epoll.poll(PATIENCE)
    if not events:
        raise LoadError(f"no answer within {PATIENCE:g} s")
    return events


@contextmanager
def _watching(lines: list[Line]) -> Iterator[tuple[select.epoll, dict[int, Line]]]:
    with select.epoll() as epoll:
        for line in lines:
            epoll.register(line.socket, select.EPOLLIN)
        try:
            yield epoll, {line.socket.fileno(): line for line in lines}
        finally:
            for line in lines:
                line.socket.close()


def _cpu(pids: tuple[int, ...]) -> float:
    """Return the CPU seconds of these processes, all threads, to the nanosecond (clock_getcpuclockid(3))."""
    return sum(time.clock_gettime((~pid << 3) | 2) for pid in pids)


@dataclass
class Generator:
    """The process that asks. A context manager; it lives as long as the block."""

    _process: multiprocessing.process.BaseProcess | None = field(default=None, init=False)

    def __enter__(self) -> Self:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs,), daemon=True)
        self._process.start()
        theirs.close()
        return self

    def __exit__(self, *_: object) -> None:
        self._pipe.send(None)
        assert self._process is not None
        self._process.join()
        self._pipe.close()

    def run(self, job: Closed | Open) -> Load:
        """Run one job; raise LoadError when it measured nothing."""
        self._pipe.send(job)
        found = self._pipe.recv()
        if isinstance(found, str):
            raise LoadError(found)
        return found


def _serve(pipe: Pipe) -> None:
    while (job := pipe.recv()) is not None:
        try:
            pipe.send(closed(job) if isinstance(job, Closed) else paced(job))
        except (LoadError, OSError, ValueError) as error:
            pipe.send(f"{type(error).__name__}: {error}")
