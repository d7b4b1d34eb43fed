"""The outbox's alarm as an event of the relay's loop.

Here: the thread that waits for it. Not here: what rings it (`octy_middleware.domain.outbox`), what is done then (`relay`).
"""

import asyncio
import logging
import threading

from octy_middleware.db.backend import Listener

_logger = logging.getLogger(__name__)

_SLICE = 0.1  # seconds that one wait lasts, and so a stop at most
_PAUSE = 1.0  # seconds after an alarm that failed: whoever waits looks by itself, too


class OutboxListener:
    """Sets the event whenever the alarm goes off. Nothing that befalls the alarm ends it but `stop`."""

    def __init__(self, alarm: Listener, rung: asyncio.Event) -> None:
        """Begin to listen; needs a running loop."""
        self._alarm = alarm
        self._rung = rung
        self._loop = asyncio.get_running_loop()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._listen, name="octy-bell", daemon=True)
        self._thread.start()

    async def stop(self) -> None:
        """Stop listening, and wait for the thread: it uses the loop."""
        self._stopping.set()
        await asyncio.to_thread(self._thread.join)

    def _listen(self) -> None:
        failing = False
        while not self._stopping.is_set():
            try:
                if self._alarm.wait(_SLICE):
                    self._loop.call_soon_threadsafe(self._rung.set)
                failing = False
            except Exception as error:  # noqa: BLE001  # an outage of the store, or a fault of ours: polling goes on
                if not failing:
                    _logger.warning("relay: no wake-up for new messages, looking by itself: %s", type(error).__name__)
                failing = True
                self._stopping.wait(_PAUSE)
        self._alarm.close()
