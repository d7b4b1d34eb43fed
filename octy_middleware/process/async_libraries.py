"""Detects the async library of a request, asyncio or trio, and runs a blocking function in a thread.

trio is never imported here; hosts that run it have imported it.
"""

import asyncio
import sys
from collections.abc import Callable
from typing import Any


def is_trio_running() -> bool:
    """Return whether the calling code runs under trio."""
    trio_module = sys.modules.get("trio")
    return trio_module is not None and bool(trio_module.lowlevel.in_trio_run())


async def run_in_thread(work: Callable[[], None]) -> None:
    """Run a blocking function in a thread."""
    if is_trio_running():
        await imported_trio().to_thread.run_sync(work)
    else:
        await asyncio.to_thread(work)


def imported_trio() -> Any:
    """Return the module `trio`. Raises KeyError if the host has not imported it."""
    return sys.modules["trio"]
