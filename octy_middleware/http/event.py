"""The record of one request (`AuthEvent`): texts sanitized and bounded in length."""

import re
from random import Random
from typing import NamedTuple

from octy_middleware.clock import uuid7
from octy_middleware.http.client_address import ClientAddress, counted_source, network_of
from octy_middleware.http.outcome import Outcome
from octy_middleware.http.request import Request
from octy_middleware.process.fork import restart_after_fork

_UNPRINTABLE = re.compile(r"[^\x20-\x7e]")
_is_request_id = re.compile(r"[A-Za-z0-9._-]{1,64}").fullmatch
_USER_AGENT_LIMIT, _PATH_LIMIT, _METHOD_LIMIT = 200, 200, 16

OVERFLOW = "*"
"""The source or network that counts all beyond the limit, because attackers choose theirs freely."""


class _IdBytes:
    """Random bytes for ids, by a generator of our own: a host may seed Python's. Seeded again in a forked child."""

    def __init__(self) -> None:
        self.restart()
        restart_after_fork(self)

    def restart(self) -> None:
        """Seed a new generator, so that a forked child gives other ids than its parent."""
        self._random = Random()  # noqa: S311  # an id must be unique, not unguessable

    def __call__(self, count: int) -> bytes:
        return self._random.randbytes(count)


_id_bytes = _IdBytes()


class AuthEvent(NamedTuple):
    """One finished request. `public_key` is empty if none was given or it is unknown; then `key_hash` may be set.

    `pair_id` is set if the secret was right: the request was accepted, or the key pair exposed over plain HTTP.
    """

    outcome: Outcome
    at: float
    source: str
    network: str
    public_key: str = ""
    pair_id: str = ""
    key_hash: str = ""
    user_agent: str = ""
    method: str = ""
    path: str = ""
    request_id: str = ""


def build_event(
    outcome: Outcome,
    request: Request,
    client_address: ClientAddress,
    now: float,
    *,
    public_key: str = "",
    pair_id: str = "",
    key_hash: str = "",
) -> AuthEvent:
    """Return the detailed event of a request: a rejected one, or one with a key pair that will be retired."""
    # Not the system's random bytes: reading them would switch threads for each rejected request.
    return AuthEvent(
        outcome,
        now,
        counted_source(client_address.source),
        network_of(client_address.source),
        public_key=public_key,
        pair_id=pair_id,
        key_hash=key_hash,
        user_agent=_printable(_first(request, b"user-agent"), _USER_AGENT_LIMIT),
        method=_printable(request.method, _METHOD_LIMIT),
        path=_printable(request.path, _PATH_LIMIT),
        request_id=received_request_id(request) or uuid7(now, _id_bytes),
    )


def received_request_id(request: Request) -> str:
    """Return the request id that the client sent, or an empty text."""
    return _request_id(_first(request, b"x-request-id"))


def _first(request: Request, name: bytes) -> str:
    values = request.header(name)
    return values[0].decode("latin-1") if values else ""


def _request_id(text: str) -> str:
    """Return the text if it is a valid id, else an empty one: free text would look like ours in the alert mail."""
    return text if _is_request_id(text) else ""


def _printable(text: str, limit: int) -> str:
    """Replace everything but printable ASCII, so that it is safe in a log, a mail or a terminal (T11)."""
    text = text[:limit]
    return text if text.isascii() and text.isprintable() else _UNPRINTABLE.sub("?", text)
