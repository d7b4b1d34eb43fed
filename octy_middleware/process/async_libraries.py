"""Which async library runs a request, asyncio or trio, and running in a thread what blocks.

trio is imported by hosts that run it, never here.
"""

import asyncio
import sys
from collections.abc import Callable
from concurrent.futures import Executor
from contextlib import suppress
from typing import Any


def is_trio_running() -> bool:
    """Tell whether the calling code is run by trio."""
    trio_module = sys.modules.get("trio")
    return trio_module is not None and bool(trio_module.lowlevel.in_trio_run())


async def run_in_executor(executor: Executor, work: Callable[..., object], *arguments: Any) -> None:
    """Run what blocks in the executor, to its end, even when the task that waits for it is cancelled."""
    running = executor.submit(work, *arguments)
    if not is_trio_running():
        await asyncio.shield(asyncio.wrap_future(running))
        return
    token, done = imported_trio().lowlevel.current_trio_token(), imported_trio().Event()

    def tell(_running: object) -> None:
        with suppress(RuntimeError):  # the run is over: nobody waits
            token.run_sync_soon(done.set)

    running.add_done_callback(tell)
    await done.wait()
    running.result()


async def run_in_thread(work: Callable[[], None]) -> None:
    """Run what blocks in a thread of its own."""
    if is_trio_running():
        await imported_trio().to_thread.run_sync(work)
    else:
        await asyncio.to_thread(work)


def imported_trio() -> Any:
    """Return the module; raises KeyError where the host has not imported it."""
    return sys.modules["trio"]
