"""Waiters: settled from other threads, woken together, ended by one timer a loop."""

import asyncio
import threading
import time
from collections.abc import Callable
from itertools import pairwise
from math import ceil
from typing import Any

import pytest
import trio
import trio.testing
import uvloop

from octy_middleware import ConfigurationError
from octy_middleware.http.decision import AuthDecision
from octy_middleware.http.outcome import Outcome
from octy_middleware.recording.async_waiters import TrioWaiter, make_waiter
from octy_middleware.recording.commit_waiter import TaskWaiter, ThreadWaiter, settle

DECISION = AuthDecision(Outcome.UNKNOWN_KEY)
LOOPS = pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])

NewLoop = Callable[[], asyncio.AbstractEventLoop]


class CountingTimers:
    """Counts the timers that a loop is given while the block runs."""

    def __init__(self, loop: asyncio.AbstractEventLoop, monkeypatch: pytest.MonkeyPatch) -> None:
        self.started = 0
        real = loop.call_at

        def call_at(*given: Any) -> asyncio.TimerHandle:
            self.started += 1
            return real(*given)

        monkeypatch.setattr(loop, "call_at", call_at)


def run(new_loop: NewLoop, work: Callable[[], Any]) -> Any:
    with asyncio.Runner(loop_factory=new_loop) as runner:
        return runner.run(work())


async def waited(waiter: TaskWaiter, seconds: float) -> float:
    """Return how long the wait took, in whole milliseconds, as uvloop counts."""
    begun = time.monotonic()
    await waiter.wait(seconds)
    return ceil((time.monotonic() - begun) * 1e3) / 1e3


@LOOPS
def test_waiters_of_threads_and_event_loops_are_settled_together(new_loop: NewLoop) -> None:
    async def wait() -> list[object]:
        mine, other, late = TaskWaiter(), ThreadWaiter(), TaskWaiter()
        asyncio.get_running_loop().run_in_executor(None, settle, [(mine, DECISION), (other, DECISION)])
        await mine.wait(60)
        await asyncio.to_thread(other.wait, 5)
        assert await waited(late, 0.05) >= 0.05
        return [mine.result, other.result, late.result]

    assert run(new_loop, wait) == [DECISION, DECISION, None]


@LOOPS
def test_waiter_that_is_settled_before_the_wait_does_not_wait(new_loop: NewLoop) -> None:
    async def wait() -> object:
        waiter, other = TaskWaiter(), TaskWaiter()
        settle([(waiter, DECISION), (other, DECISION)])
        await waiter.wait(60)
        await asyncio.sleep(0)  # both have been woken
        await other.wait(60)
        return waiter.result == other.result == DECISION

    assert run(new_loop, wait)


def test_waiter_in_trio_that_is_settled_before_the_wait_does_not_wait() -> None:
    async def wait() -> object:
        waiter = make_waiter()
        assert isinstance(waiter, TrioWaiter)
        settle([(waiter, DECISION)])
        await trio.testing.wait_all_tasks_blocked()  # it has been woken
        await waiter.wait(60)
        return waiter.result

    assert trio.run(wait) == DECISION


def test_server_that_runs_neither_asyncio_nor_trio_is_told_what_to_do() -> None:
    with pytest.raises(ConfigurationError, match="run the app on an asyncio or trio server"):
        make_waiter()


@LOOPS
def test_waits_of_different_lengths_end_in_their_time(new_loop: NewLoop) -> None:
    lengths = (0.3, 0.05, 0.2, 0.1, 60.0)

    async def wait() -> list[float]:
        waiters = [TaskWaiter() for _ in lengths]
        waits = [asyncio.ensure_future(waited(*each)) for each in zip(waiters, lengths, strict=True)]
        took = list(await asyncio.gather(*waits[:-1]))
        assert not waits[-1].done()
        settle([(waiters[-1], DECISION)])
        await waits[-1]
        return took

    assert all(took >= length for took, length in zip(run(new_loop, wait), lengths, strict=False))


def test_thousand_waits_take_one_timer_and_leave_none(monkeypatch: pytest.MonkeyPatch) -> None:
    async def wait() -> int:
        timers = CountingTimers(asyncio.get_running_loop(), monkeypatch)
        for _ in range(10):
            waiters = [TaskWaiter() for _ in range(100)]
            waits = asyncio.gather(*(waited(waiter, 60) for waiter in waiters))
            await asyncio.sleep(0)
            threading.Thread(target=settle, args=[[(waiter, DECISION) for waiter in waiters]]).start()
            await waits
        return timers.started

    assert run(asyncio.new_event_loop, wait) == 1


@LOOPS
def test_closed_loop_and_cancelled_task_do_not_affect_other_waiters(new_loop: NewLoop) -> None:
    async def give_up() -> TaskWaiter:
        waiter = TaskWaiter()
        task = asyncio.create_task(waited(waiter, 60))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        settle([(waiter, DECISION)])
        await asyncio.sleep(0)
        return waiter

    left = run(new_loop, give_up)
    other = ThreadWaiter()
    settle([(left, DECISION), (other, DECISION)])
    other.wait(60)
    assert other.result is not None


@LOOPS
def test_second_loop_of_a_thread_has_a_timer_of_its_own(new_loop: NewLoop) -> None:
    async def wait() -> float:
        left = asyncio.ensure_future(waited(TaskWaiter(), 60))  # waits until the loop ends
        took = await waited(TaskWaiter(), 0.02)
        assert not left.done()
        return took

    assert all(run(new_loop, wait) >= 0.02 for _ in range(3))


@LOOPS
def test_waiters_of_a_batch_are_woken_a_few_at_a_time_so_that_the_loop_serves_others_between(new_loop: NewLoop) -> None:
    async def wait() -> list[int]:
        waiters = [TaskWaiter() for _ in range(100)]
        waits = [asyncio.ensure_future(waited(waiter, 60)) for waiter in waiters]
        await asyncio.sleep(0)
        thread = threading.Thread(target=settle, args=[[(waiter, DECISION) for waiter in waiters]])
        thread.start()
        done = [0]
        while done[-1] < len(waits):
            await asyncio.sleep(0)  # as a request that comes meanwhile
            done.append(sum(each.done() for each in waits))
        thread.join()
        return [after - before for before, after in pairwise(done)]

    assert 0 < max(run(new_loop, wait)) <= 2 * 8
