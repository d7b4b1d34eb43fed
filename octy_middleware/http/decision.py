"""What is decided about a request, and who sent it.

Here: these values. Not here: how a decision is found (`auth.authenticator`).
"""

from dataclasses import dataclass
from typing import NamedTuple

from octy_middleware.http.event import AuthEvent
from octy_middleware.http.outcome import Outcome


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


class UnauthenticatedUser:
    """Who sent a request without credentials where none are needed. It serves as Starlette's `request.user`."""

    is_authenticated = False
    display_name = ""
    identity = ""


class AuthDecision(NamedTuple):
    """How the request ends. No outcome at all: it needs no credentials. `event`: answer only after its commit.

    `public_outcome` is the outcome that the client is told, where that is another one; `retry_after` is in seconds.
    """

    outcome: Outcome | None
    principal: Principal | None = None
    event: AuthEvent | None = None
    public_outcome: Outcome | None = None
    retry_after: int | None = None

    @property
    def passes(self) -> bool:
        """Whether the request goes on to the app."""
        return self.outcome is None or self.outcome is Outcome.ACCEPTED

    def committed(self) -> "AuthDecision":
        """What is answered after the commit."""
        return self._replace(event=None)

    def uncommitted(self) -> "AuthDecision":
        """What is answered when the commit failed: a right key still passes, a refusal is 503, never a guess."""
        return self.committed() if self.passes else AuthDecision(Outcome.DATABASE_UNAVAILABLE)


NO_CREDENTIALS_NEEDED = AuthDecision(None)
UNAUTHENTICATED = UnauthenticatedUser()
