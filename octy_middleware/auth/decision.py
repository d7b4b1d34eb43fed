"""What the gate tells the doors: a principal, a verdict, or a claim that must be looked into.

Here: these values. Not here: how a verdict is found (`gate`).
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from octy_middleware.http.client_address import Client
from octy_middleware.http.credentials import Credentials
from octy_middleware.http.event import Entry
from octy_middleware.http.outcome import Outcome
from octy_middleware.keys.key_record import KeyRecord

if TYPE_CHECKING:
    from octy_middleware.recording.commit_waiter import Ticket


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


class Stranger:
    """Who sent a request without credentials where none are needed. It serves as Starlette's `request.user`."""

    is_authenticated = False
    display_name = ""
    identity = ""


class Verdict(NamedTuple):
    """How the request ends. No outcome at all: it needs no credentials. `entry`: answer only after its commit.

    `told` is the outcome that the client is told, where that is another one; `retry_after` is in seconds.
    """

    outcome: Outcome | None
    principal: Principal | None = None
    entry: Entry | None = None
    told: Outcome | None = None
    retry_after: int | None = None

    @property
    def passes(self) -> bool:
        """Whether the request goes on to the app."""
        return self.outcome is None or self.outcome is Outcome.ACCEPTED

    def committed(self) -> "Verdict":
        """What is answered after the commit."""
        return self._replace(entry=None)

    def uncommitted(self) -> "Verdict":
        """What is answered when the commit failed: a right key still passes, a refusal is 503, never a guess."""
        return self.committed() if self.passes else Verdict(Outcome.STORE_UNAVAILABLE)


class Claim(NamedTuple):
    """Credentials that memory alone does not accept. `plain`: they came over plain HTTP and can't be accepted.

    `remembered`: the packed record by which the secret was judged wrong; the right secret would have been accepted.
    """

    credentials: Credentials
    client: Client
    plain: bool = False
    remembered: bytes | None = None


class SlowClaim(NamedTuple):
    """A claim whose judgement takes an imported hash, which may last hundreds of milliseconds.

    `right`: None when the hash is the key's own, and will tell. Else the answer is known, and the hash is another
    key's, verified in vain, so that time tells nobody whether this key exists (T7). `ticket`: what is settled when
    the verdict is on record.
    """

    claim: Claim
    record: KeyRecord | None
    stored: str
    right: bool | None
    ticket: "Ticket | None" = None


Answer: TypeAlias = Verdict | SlowClaim

OPEN = Verdict(None)
STRANGER = Stranger()
