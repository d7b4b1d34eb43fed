"""The load generator: a process of its own, with plain sockets and epoll.

A closed loop sends again on each connection as soon as it has a response: that gives throughput. At a fixed rate,
requests are sent when they are due, whatever the responses do, and their time runs from then, so a server that falls
behind hides nothing (no coordinated omission). CPU is that of the server's processes by their kernel clocks, until a
moment after the last response, so that deferred work is counted.

asyncio or an HTTP library would take as much time a request as the servers do; wrk has no fixed rate, so both kinds
stand on one connection class.
"""

import heapq
import multiprocessing
import random
import select
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection as Pipe
from typing import Self

from proofs.benchmarks.wire import RESPONSE_TIMEOUT, Line, LoadError


@dataclass(frozen=True)
class ClosedLoop:
    """Send on so many connections for so many seconds. Each connection has one of the requests for its own."""

    port: int
    requests: tuple[bytes, ...]
    status: int
    connections: int
    seconds: float
    pids: tuple[int, ...] = ()
    settle_seconds: float = 0.0  # after the last response until the CPU clocks of the processes are read


@dataclass(frozen=True)
class Stream:
    """Requests of one kind at a fixed rate a second, on connections of their own; each must have this status."""

    requests: tuple[bytes, ...]
    status: int
    rate: float
    connections: int


@dataclass(frozen=True)
class FixedRate:
    """Streams to one server for so many seconds."""

    port: int
    streams: tuple[Stream, ...]
    seconds: float
    seed: int
    pids: tuple[int, ...] = ()
    settle_seconds: float = 0.0


@dataclass(frozen=True)
class Load:
    """Seconds of each request by stream, seconds of the whole run, and the servers' CPU seconds."""

    times: tuple[list[float], ...]
    seconds: float
    cpu: float


def run_closed_loop(job: ClosedLoop) -> Load:
    lines = [Line(job.port, job.requests[n % len(job.requests)], job.status, 0) for n in range(job.connections)]
    times: list[float] = []
    clock = time.perf_counter
    with _watching(lines) as (epoll, by_number):
        before, begun = _cpu(job.pids), clock()
        end, waiting = begun + job.seconds, len(lines)
        for line in lines:
            line.send(clock())
        while waiting:
            events = epoll.poll(RESPONSE_TIMEOUT)
            if not events:
                raise LoadError(f"no response within {RESPONSE_TIMEOUT:g} s")
            for number, _ in events:
                line = by_number[number]
                if line.read():
                    now = clock()
                    times.append(now - line.begun)
                    if now < end:
                        line.send(now)
                    else:
                        waiting -= 1
        return _load((times,), clock() - begun, job, before)


def run_fixed_rate(job: FixedRate) -> Load:
    """Send each request when it is due, on a free connection of its stream, or as soon as there is one."""
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
        before, begun = _cpu(job.pids), clock()
        due = deque((begun + at, place) for at, place in _schedule(job))
        left = len(due)
        while left:
            while due and due[0][0] <= clock():
                at, place = due.popleft()
                if free[place]:
                    free[place].popleft().send(at)
                else:
                    late[place].append(at)
            # epoll counts in milliseconds, select in microseconds
            wait = max(0.0, due[0][0] - clock()) if due else RESPONSE_TIMEOUT
            if not select.select([epoll], [], [], wait)[0] and not due:
                raise LoadError(f"{left} requests had no response within {RESPONSE_TIMEOUT:g} s")
            for number, _ in epoll.poll(0):
                line = by_number[number]
                if line.read():
                    left -= 1
                    times[line.stream].append(clock() - line.begun)
                    if late[line.stream]:
                        line.send(late[line.stream].popleft())
                    else:
                        free[line.stream].append(line)
        return _load(times, clock() - begun, job, before)


def _load(times: tuple[list[float], ...], seconds: float, job: ClosedLoop | FixedRate, cpu_before: float) -> Load:
    time.sleep(job.settle_seconds)
    return Load(times, seconds, _cpu(job.pids) - cpu_before)


def _schedule(job: FixedRate) -> Iterator[tuple[float, int]]:
    """Yield when each request is due: evenly, each at random within its slot, so that streams are not in step."""
    rng = random.Random(job.seed)
    slots = (
        [((number + rng.random()) / stream.rate, place) for number in range(int(stream.rate * job.seconds))]
        for place, stream in enumerate(job.streams)
    )
    return heapq.merge(*slots)


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


class Generator:
    """The process that sends the requests; it lives as long as the block."""

    def __enter__(self) -> Self:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs,), daemon=True)
        self._process.start()
        theirs.close()
        return self

    def __exit__(self, *_: object) -> None:
        self._pipe.send(None)
        self._process.join()
        self._pipe.close()

    @property
    def pid(self) -> int:
        return int(self._process.pid or 0)

    def run(self, job: ClosedLoop | FixedRate) -> Load:
        """Run one job; raise LoadError when it measured nothing."""
        self._pipe.send(job)
        found = self._pipe.recv()
        if isinstance(found, str):
            raise LoadError(found)
        return found


def _serve(pipe: Pipe) -> None:
    while (job := pipe.recv()) is not None:
        try:
            pipe.send(run_closed_loop(job) if isinstance(job, ClosedLoop) else run_fixed_rate(job))
        except (LoadError, OSError, ValueError) as error:
            pipe.send(f"{type(error).__name__}: {error}")
