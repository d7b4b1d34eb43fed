"""Waiting for a condition returns its first true value, and fails by the deadline with a text that explains."""

import asyncio
import itertools

import pytest

from support.until import until, until_async


def test_until_returns_the_first_true_value() -> None:
    values = iter([0, "", "ready"])
    assert until(lambda: next(values), interval=0) == "ready"


def test_until_fails_by_the_deadline_and_shows_message_and_last_value() -> None:
    log: list[str] = []
    with pytest.raises(AssertionError, match=r"\['seen'\]: still 0 after 0.02 s"):
        until(lambda: log.append("seen") if not log else 0, 0.02, log)


def test_until_async_awaits_a_coroutine_function() -> None:
    numbers = itertools.count()

    async def third() -> bool:
        return next(numbers) == 2

    assert asyncio.run(until_async(third, interval=0)) is True


def test_until_async_ends_a_condition_that_hangs() -> None:
    async def hangs() -> bool:
        await asyncio.sleep(60)
        return True

    with pytest.raises(AssertionError, match=r"hangs: still .* after 0.02 s"):
        asyncio.run(until_async(hangs, 0.02))


def test_until_async_passes_on_a_timeout_error_of_the_condition() -> None:
    async def fails() -> bool:
        raise TimeoutError("of its own")

    with pytest.raises(TimeoutError, match="of its own"):
        asyncio.run(until_async(fails))
