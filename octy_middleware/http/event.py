"""What is recorded of a request: its words made harmless, its length bounded.

Here: `AuthEvent`, and request → `AuthEvent`. Not here: the outcome (`authenticator`), and how events are written
(`tallies`, `ledger`).
"""

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
"""The source or network under which all go for which there is no room: attackers choose theirs freely."""


class _IdBytes:
    """Random bytes for ids: a generator of our own, since a host may seed Python's, and anew in a forked child."""

    def __init__(self) -> None:
        self.restart()
        restart_after_fork(self)

    def restart(self) -> None:
        """Be unlike the parent."""
        self._random = Random()  # noqa: S311  # an id must be unique, not unguessable

    def __call__(self, count: int) -> bytes:
        return self._random.randbytes(count)


_id_bytes = _IdBytes()


class AuthEvent(NamedTuple):
    """One ended request. `public_key` is empty when none was given, or it is unknown; then `key_hash` may stand.

    `pair_id` stands for a pair that was proven by its secret: accepted, or exposed over plain HTTP.
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


def build_event(  # what is known of the key beside what the request says of itself
    outcome: Outcome,
    request: Request,
    client_address: ClientAddress,
    now: float,
    *,
    public_key: str = "",
    pair_id: str = "",
    key_hash: str = "",
) -> AuthEvent:
    """Return the event of a request in detail: of a refused one, or of one with a pair that will end."""
    # An id must be unique, not unguessable: the system's random bytes would cost a change of threads for each refusal.
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
    """Return the id that the request came with, or nothing: then it gets one of ours."""
    return _request_id(_first(request, b"x-request-id"))


def _first(request: Request, name: bytes) -> str:
    values = request.header(name)
    return values[0].decode("latin-1") if values else ""


def _request_id(text: str) -> str:
    """Return an id that is one; free text would stand in the alert mail as if it were ours."""
    return text if _is_request_id(text) else ""


def _printable(text: str, limit: int) -> str:
    """Keep what can go into a log, a mail or a terminal without doing anything there (T11)."""
    text = text[:limit]
    return text if text.isascii() and text.isprintable() else _UNPRINTABLE.sub("?", text)
