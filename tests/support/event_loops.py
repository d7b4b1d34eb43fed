"""An event loop for code that takes the thread's own and never closes it, as Mangum does."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def own_event_loop() -> Iterator[None]:
    """Give this thread an event loop, and close it afterwards."""
    made = asyncio.new_event_loop()
    asyncio.set_event_loop(made)
    try:
        yield
    finally:
        asyncio.set_event_loop(None)
        made.close()
