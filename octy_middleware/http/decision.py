"""The decision about a request (`AuthDecision`) and the account that sent it (`Principal`)."""

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
        """Always true: unauthenticated requests have no principal."""
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
    """The outcome of a request. `outcome` None: it needs no credentials. `event`: respond only after its commit.

    `public_outcome`: the outcome to report to the client, where it differs. `retry_after`: seconds.
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
        """Return the decision to respond with after the commit."""
        return AuthDecision(self.outcome, self.principal, None, self.public_outcome, self.retry_after)

    def uncommitted(self) -> "AuthDecision":
        """Return the decision after a failed commit: accepted requests still pass, rejected ones become 503."""
        return self.committed() if self.passes else AuthDecision(Outcome.DATABASE_UNAVAILABLE)


NO_CREDENTIALS_NEEDED = AuthDecision(None)
UNAUTHENTICATED = UnauthenticatedUser()
