"""Clients of the API, and the books they keep: what each was answered, by public key.

Here: one request and its line in the books. Not here: who asks for what (`customers`).
"""

import http.client
import threading
import time
from base64 import b64encode
from collections import Counter, defaultdict

from octy_worker.dev.customer import Keys
from octy_worker.dev.processes import LOOPBACK

UNANSWERED = 0
WRONG = "sk_canary" + "0123456789" * 4
"""What attackers send as a secret; it must be found nowhere."""
_PATH = "/v1/account/authenticate"
_PATIENCE = 20.0


class Books:
    """What all clients were answered. Safe for threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.wrong: defaultdict[str, Counter[int]] = defaultdict(Counter)
        self.right: defaultdict[str, Counter[int]] = defaultdict(Counter)
        self.refused_right: list[str] = []  # a pair in use that was told anything but yes, or to come again
        self.accepted_wrong: list[str] = []
        self.last_accepted: dict[str, float] = {}  # when the last accepted request of a pair was sent

    def note_wrong(self, public_key: str, status: int) -> None:
        with self._lock:
            self.wrong[public_key][status] += 1
            if status not in (401, 503, UNANSWERED):
                self.accepted_wrong.append(f"{public_key}: a wrong secret was answered {status}")

    def note_right(self, public_key: str, status: int, sent: float, *, in_use: bool) -> None:
        with self._lock:
            self.right[public_key][status] += 1
            if status == 200:
                self.last_accepted[public_key] = max(sent, self.last_accepted.get(public_key, 0.0))
            if in_use and status not in (200, 503, UNANSWERED):
                self.refused_right.append(f"{public_key}: the right secret of a pair in use was answered {status}")

    def seen(self) -> int:
        """Return how many answers there were, for the line of progress."""
        with self._lock:
            return sum(statuses.total() for book in (self.wrong, self.right) for statuses in book.values())


class Caller:
    """One client with a connection to one app, behind a proxy that ends TLS, as the app is told."""

    def __init__(self, port: int, source: str, books: Books) -> None:
        self.port, self.source, self._books = port, source, books
        self._connection: http.client.HTTPConnection | None = None

    def wrong(self, keys: Keys) -> int:
        status = self._ask(keys.public_key, WRONG)
        self._books.note_wrong(keys.public_key, status)
        return status

    def right(self, keys: Keys, *, in_use: bool) -> int:
        """Ask with the right secret. `in_use`: it must be accepted, unless the store is away."""
        sent = time.monotonic()
        status = self._ask(keys.public_key, keys.secret)
        self._books.note_right(keys.public_key, status, sent, in_use=in_use)
        return status

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _ask(self, public_key: str, secret: str) -> int:
        if self._connection is None:
            self._connection = http.client.HTTPConnection(LOOPBACK, self.port, timeout=_PATIENCE)
        headers = {
            "Authorization": "Basic " + b64encode(f"{public_key}:{secret}".encode()).decode(),
            "X-Forwarded-For": self.source,
            "X-Forwarded-Proto": "https",
        }
        try:
            self._connection.request("GET", _PATH, headers=headers)
            answer = self._connection.getresponse()
            answer.read()
        except (OSError, http.client.HTTPException):
            self.close()
            return UNANSWERED
        if answer.will_close:
            self.close()
        return answer.status
