"""Waking the relay: a thread waits for the database's notification and sets an event of the relay's loop."""

import asyncio
import logging
import threading

from octy_middleware.db.backend import Listener

_logger = logging.getLogger(__name__)

_WAIT_TIMEOUT = 0.1  # seconds of one wait, and so the longest time that `stop` takes
RETRY_INTERVAL = 1.0  # seconds; meanwhile the relay polls


class OutboxListener:
    """Sets the event whenever a message was put into the outbox. Errors are logged and retried until `stop`."""

    def __init__(self, notifier: Listener, notified: asyncio.Event, *, poll_interval: float) -> None:
        """Start listening. Needs a running loop. `poll_interval`: seconds, for the log."""
        self._notifier = notifier
        self._notified = notified
        self._poll_interval = poll_interval
        self._loop = asyncio.get_running_loop()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._listen, name="octy-listener", daemon=True)
        self._thread.start()

    async def stop(self) -> None:
        """Stop listening, and wait for the thread, which uses the loop."""
        self._stopping.set()
        await asyncio.to_thread(self._thread.join)

    def _listen(self) -> None:
        failing = False
        while not self._stopping.is_set():
            try:
                if self._notifier.wait(_WAIT_TIMEOUT):
                    self._loop.call_soon_threadsafe(self._notified.set)
                failing = False
            except Exception as error:  # noqa: BLE001  # an outage or a bug of ours: the relay polls meanwhile
                if not failing:
                    _logger.warning(
                        "relay: LISTEN connection lost (%s); polling every %g s until it is back",
                        type(error).__name__,
                        self._poll_interval,
                    )
                failing = True
                self._stopping.wait(RETRY_INTERVAL)
        self._notifier.close()
