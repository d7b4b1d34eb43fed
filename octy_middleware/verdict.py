"""What doors and gate tell each other: a request, a principal, a verdict.

Here: these values. Not here: how a verdict is found (`gate`).
"""

from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Protocol

from octy_middleware.credentials import Credentials
from octy_middleware.network import Client
from octy_middleware.outcome import Outcome


class Request(Protocol):
    """What a door must be able to say of a request."""

    @property
    def method(self) -> str:
        """The HTTP method."""

    @property
    def path(self) -> str:
        """The path below the place where the app is mounted, without the query."""

    @property
    def peer(self) -> str | None:
        """The address of the connection's other end, as the server knows it."""

    @property
    def scheme(self) -> str:
        """`http` or `https`, or a WebSocket's own names for them."""

    def header(self, name: bytes) -> Sequence[bytes]:
        """All raw values of a header, given in lower case."""


@dataclass(frozen=True, slots=True)
class Principal:
    """Who sent an accepted request. It serves as Starlette's `request.user`."""

    reference: str
    account_id: str
    public_key: str

    @property
    def is_authenticated(self) -> bool:
        """Always true: strangers have no principal."""
        return True

    @property
    def display_name(self) -> str:
        """The host's own reference of the account."""
        return self.reference

    @property
    def identity(self) -> str:
        """The host's own reference of the account."""
        return self.reference


@dataclass(frozen=True, slots=True)
class Verdict:
    """How the request ends. No outcome at all: its path is exempt. `committed`: answer only after it."""

    outcome: Outcome | None
    principal: Principal | None = None
    committed: "Future[None] | None" = None

    @property
    def passes(self) -> bool:
        """Whether the request goes on to the app."""
        return self.outcome is None or self.outcome is Outcome.ACCEPTED

    def uncommitted(self) -> "Verdict":
        """What is answered when the commit failed: a right key still passes, a refusal is 503, never a guess."""
        return self if self.passes else Verdict(Outcome.STORE_UNAVAILABLE)


@dataclass(frozen=True, slots=True)
class Claim:
    """Credentials that memory alone can't judge."""

    credentials: Credentials
    client: Client


EXEMPT = Verdict(None)
