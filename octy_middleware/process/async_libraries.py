"""Detects the async library of a request, asyncio or trio, and runs blocking functions in threads.

trio is never imported here; hosts that run it have imported it.
"""

import asyncio
import sys
from collections.abc import Callable
from concurrent.futures import Executor
from contextlib import suppress
from typing import Any


def is_trio_running() -> bool:
    """Return whether the calling code runs under trio."""
    trio_module = sys.modules.get("trio")
    return trio_module is not None and bool(trio_module.lowlevel.in_trio_run())


async def run_in_executor(executor: Executor, work: Callable[..., object], *arguments: Any) -> None:
    """Run a blocking function in the executor. It runs to its end even if the waiting task is cancelled."""
    running = executor.submit(work, *arguments)
    if not is_trio_running():
        await asyncio.shield(asyncio.wrap_future(running))
        return
    token, done = imported_trio().lowlevel.current_trio_token(), imported_trio().Event()

    def notify(_running: object) -> None:
        with suppress(RuntimeError):  # the trio run is over
            token.run_sync_soon(done.set)

    running.add_done_callback(notify)
    await done.wait()
    running.result()


async def run_in_thread(work: Callable[[], None]) -> None:
    """Run a blocking function in a thread."""
    if is_trio_running():
        await imported_trio().to_thread.run_sync(work)
    else:
        await asyncio.to_thread(work)


def imported_trio() -> Any:
    """Return the module `trio`. Raises KeyError if the host has not imported it."""
    return sys.modules["trio"]
