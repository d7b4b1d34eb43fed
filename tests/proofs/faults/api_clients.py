"""Clients of the API: single requests, and attacks with wrong secrets on several connections at once."""

import http.client
import threading
import time
from base64 import b64encode

from octy_worker.dev.customer import Keys
from octy_worker.dev.processes import LOOPBACK
from proofs.faults.context import NO_RESPONSE, Responses, RunContext

WRONG_SECRET = "sk_canary" + "0123456789" * 4
"""What attackers send as a secret. It must be found nowhere."""
_TIMEOUT = 20.0
_PAUSE = 0.1  # seconds after a request that was not refused


class ApiClient:
    """One client with a connection to one app, through a proxy that terminates TLS, as its headers say."""

    def __init__(self, port: int, address: str, responses: Responses) -> None:
        self._responses = responses
        self._headers = {"X-Forwarded-For": address, "X-Forwarded-Proto": "https"}
        self._connection = http.client.HTTPConnection(LOOPBACK, port, timeout=_TIMEOUT)

    def send_wrong(self, keys: Keys) -> int:
        status = self._send(keys.public_key, WRONG_SECRET)
        self._responses.record_wrong(keys.public_key, status)
        return status

    def send_right(self, keys: Keys, *, in_use: bool) -> int:
        sent = time.monotonic()
        status = self._send(keys.public_key, keys.secret)
        self._responses.record_right(keys.public_key, status, sent, in_use=in_use)
        return status

    def close(self) -> None:
        self._connection.close()

    def _send(self, public_key: str, secret: str) -> int:
        """Return the status. A connection that was closed is opened again."""
        credentials = b64encode(f"{public_key}:{secret}".encode()).decode()
        try:
            self._connection.request(
                "GET", "/v1/account/authenticate", headers={**self._headers, "Authorization": f"Basic {credentials}"}
            )
            response = self._connection.getresponse()
            response.read()
        except (OSError, http.client.HTTPException):
            self.close()
            return NO_RESPONSE
        return response.status


class Attack:
    """Sends wrong secrets of one key pair. Each connection ends after `refusals` responses 401."""

    def __init__(self, run: RunContext, keys: Keys, address: str, refusals: int) -> None:
        self._run, self._keys, self._address, self._refusals = run, keys, address, refusals
        self._threads: list[threading.Thread] = []

    def connect(self, app: str) -> None:
        """Add a connection to this app. It ends when no client waits any longer."""
        deadline = time.monotonic() + self._run.remaining()
        self._threads.append(threading.Thread(target=self._send, args=(app, deadline), daemon=True))
        self._threads[-1].start()

    def in_progress(self) -> bool:
        return any(thread.is_alive() for thread in self._threads)

    def _send(self, app: str, deadline: float) -> None:
        client = ApiClient(self._run.installation.port_of(app), self._address, self._run.responses)
        active, refused = self._run.installation.attackers[app], 0
        while refused < self._refusals and time.monotonic() < deadline:
            if client.send_wrong(self._keys) == 401:
                refused += 1
                active.add(client)
            else:
                active.discard(client)
                time.sleep(_PAUSE)
        active.discard(client)
        client.close()
