"""The record of one request (`AuthEvent`): texts sanitized and bounded in length."""

import logging
import re
from random import Random
from typing import NamedTuple

from octy_middleware.clock import uuid7
from octy_middleware.http.client_address import ClientAddress, counted_source, network_of
from octy_middleware.http.outcome import Outcome
from octy_middleware.http.request import Request
from octy_middleware.process.fork import restart_after_fork

_logger = logging.getLogger(__name__)

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


class Description(NamedTuple):
    """What a request says about itself."""

    user_agent: str = ""
    method: str = ""
    path: str = ""
    request_id: str = ""

    def read(self) -> "Description":
        """Return it; see `UnreadDescription`."""
        return self


UNDESCRIBED = Description()


class UnreadDescription:
    """The description of a request that is read when it is first used: most refusals of a flood are only counted.

    Until then it holds the request. Used by one thread at a time.
    """

    __slots__ = ("_at", "_description", "_request")

    def __init__(self, request: Request, at: float) -> None:
        self._request: Request | None = request
        self._at = at
        self._description = UNDESCRIBED

    def read(self) -> Description:
        """Return the description; the request is not held any longer. Never raises: the attempt counts."""
        request, self._request = self._request, None
        if request is not None:
            try:
                self._description = describe(request, self._at)
            except Exception:  # a host's own request class
                _logger.exception("a request could not be described; it is recorded without its texts")
                self._description = Description(request_id=uuid7(self._at, _id_bytes))
        return self._description


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
    description: Description | UnreadDescription = UNDESCRIBED

    @property
    def user_agent(self) -> str:
        """What the client says it is."""
        return self.description.read().user_agent

    @property
    def method(self) -> str:
        """The HTTP method."""
        return self.description.read().method

    @property
    def path(self) -> str:
        """The path of the request."""
        return self.description.read().path

    @property
    def request_id(self) -> str:
        """The id that the client sent, or one of ours."""
        return self.description.read().request_id


def build_event(
    outcome: Outcome,
    request: Request,
    client_address: ClientAddress,
    now: float,
    *,
    public_key: str = "",
    pair_id: str = "",
    key_hash: str = "",
    described: bool = True,
) -> AuthEvent:
    """Return the detailed event of a request: a rejected one, or one with a key pair that will be retired.

    `described`: now. Else by who uses the description; then see that an event that has to wait is read before.
    """
    source, network = counted_source(client_address.source), network_of(client_address.source)
    description = describe(request, now) if described else UnreadDescription(request, now)
    return AuthEvent(outcome, now, source, network, public_key, pair_id, key_hash, description)


def describe(request: Request, now: float) -> Description:
    """Return what a request says about itself; it is given an id if it has none."""
    # Not the system's random bytes: reading them would switch threads for each rejected request.
    return Description(
        _printable(_first(request, b"user-agent"), _USER_AGENT_LIMIT),
        _printable(request.method, _METHOD_LIMIT),
        _printable(request.path, _PATH_LIMIT),
        received_request_id(request) or uuid7(now, _id_bytes),
    )


def received_request_id(request: Request) -> str:
    """Return the request id that the client sent, or an empty text: free text would look like ours in a mail."""
    text = _first(request, b"x-request-id")
    return text if _is_request_id(text) else ""


def _first(request: Request, name: bytes) -> str:
    values = request.header(name)
    return values[0].decode("latin-1") if values else ""


def _printable(text: str, limit: int) -> str:
    """Replace everything but printable ASCII, so that it is safe in a log, a mail or a terminal (T11)."""
    text = text[:limit]
    return text if text.isascii() and text.isprintable() else _UNPRINTABLE.sub("?", text)
