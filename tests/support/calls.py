"""Counts the calls that a piece of code makes, as a figure that no load of the machine changes. No tests here."""

import sys
from collections import Counter
from collections.abc import Callable
from types import FrameType
from typing import Any


def count_calls(run: Callable[[], object]) -> Counter[str]:
    """Return how often each function was called by this thread while `run` ran, those written in C included.

    By `sys.setprofile`: a step into a coroutine or generator is a call too, a call of a class counts by its `__init__`.
    """
    calls: Counter[str] = Counter()

    def note(frame: FrameType, event: str, argument: Any) -> None:
        if event == "call":
            calls[f"{frame.f_globals.get('__name__')}.{frame.f_code.co_qualname}"] += 1
        elif event == "c_call":
            calls[getattr(argument, "__qualname__", repr(argument))] += 1

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        run()
    finally:
        sys.setprofile(before)
    del calls["setprofile"]  # the call above
    return calls


def calls_per_request(run: Callable[[int], object]) -> Counter[str]:
    """Return the calls of one request, where `run(n)` sends n: those of two requests less those of one."""
    one, two = count_calls(lambda: run(1)), count_calls(lambda: run(2))
    two.subtract(one)
    return +two
