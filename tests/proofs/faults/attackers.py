"""Attackers of one pair: wrong secrets from one address, on as many connections as they like.

Here: sending them through every outage, and telling who is being asked right now. Not here: why and when
(`customers`), how each is answered (`callers`).
"""

import threading
import time

from octy_worker.dev.customer import Keys
from proofs.faults.api_clients import Books, Caller
from proofs.faults.installation import Place

_PAUSE = 0.1  # seconds after a request that was not refused


class Attack:
    """Several connections at work; each ends after so many refusals that it has read."""

    def __init__(self, place: Place, books: Books, keys: Keys, source: str, refusals: int) -> None:
        self._place, self._books = place, books
        self._keys, self._source, self._refusals = keys, source, refusals
        self._threads: list[threading.Thread] = []

    def begin(self, app: str, *, until: float) -> None:
        """Add a connection to this app, which gives up at the monotonic time `until`."""
        self._threads.append(threading.Thread(target=self._send, args=(app, until), daemon=True))
        self._threads[-1].start()

    def goes_on(self) -> bool:
        return any(thread.is_alive() for thread in self._threads)

    def _send(self, app: str, until: float) -> None:
        caller = Caller(self._place.port_of(app), self._source, self._books)
        at_work, me, refused = self._place.attackers[app], object(), 0
        while refused < self._refusals and time.monotonic() < until:
            if caller.wrong(self._keys) == 401:
                refused += 1
                at_work.add(me)
            else:
                at_work.discard(me)
                time.sleep(_PAUSE)
        at_work.discard(me)
        caller.close()
