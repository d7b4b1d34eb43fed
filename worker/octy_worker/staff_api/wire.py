"""What client and server of the staff API have in common: paths, bodies, and errors as JSON."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from octy_worker.canonical_json import JsonValue
from octy_worker.errors import CommandError, RefusedError, UnavailableError, UsageError, WaitsForApprovalError
from octy_worker.staff.operations import Submission

PREFIX = "/staff/v1"
"""Before every path."""

SESSION_ENDED = "session_ended"
WAITS = "waits_for_approval"
_FAILED = "failed"
_KINDS: dict[str, type[CommandError]] = {
    "usage": UsageError,
    "refused": RefusedError,
    "unavailable": UnavailableError,
    _FAILED: CommandError,  # last: it is their base
}
_STATUSES = {"usage": 400, "refused": 409, "unavailable": 503, _FAILED: 422}


def query_path(name: str) -> str:
    """Return the path of a query, after the prefix: "incidents.list" is at /incidents/list."""
    return "/" + name.replace(".", "/")


@dataclass(frozen=True, slots=True)
class InstallationInfo:
    """What everybody may know: which installation this is, and the URL that is signed in a log-in."""

    installation: str
    server: str
    release: str


@dataclass(frozen=True, slots=True)
class Nonce:
    """A nonce for one log-in. `expires_in`: seconds."""

    nonce: str
    expires_in: float


@dataclass(frozen=True, slots=True)
class LoginRequest:
    """`text`: the canonical log-in text; `signature`: by `ssh-keygen -Y sign -n octy-login`; `code`: or empty."""

    text: str
    signature: str
    code: str = ""


@dataclass(frozen=True, slots=True)
class EnrolmentRequest:
    """`text`: the canonical enrolment text; `signature`: by `ssh-keygen -Y sign -n octy-enrolment`; `code`: the first.

    `token`: of the one-time link. `seed`: of the authenticator app, 160 bits in Base32. A text about a hardware key has
    neither code nor seed.
    """

    text: str
    signature: str
    token: str
    seed: str = ""
    code: str = ""
    label: str = ""


@dataclass(frozen=True, slots=True)
class Enrolled:
    """Who has a new second factor, and its id."""

    handle: str
    factor: str


@dataclass(frozen=True, slots=True)
class SessionLine:
    """A session, without its token. `current`: the request came by it."""

    id: str
    handle: str
    role: str
    kind: str
    factor: str
    source: str
    certificate_serial: int
    created_at: datetime
    last_used_at: datetime
    expires_at: datetime
    current: bool = False


@dataclass(frozen=True, slots=True)
class LoggedIn:
    """`token`: for the header `Authorization: Bearer …`; it is shown once."""

    token: str
    session: SessionLine


@dataclass(frozen=True, slots=True)
class BrowserCode:
    """A code that is typed into the page at `url`, once, within `expires_in` seconds."""

    code: str
    url: str
    expires_in: float


@dataclass(frozen=True, slots=True)
class Nothing:
    """An empty object."""


@dataclass(frozen=True, slots=True)
class SessionId:
    """Which session is meant."""

    id: str


@dataclass(frozen=True, slots=True)
class SessionList:
    """Sessions, the newest first."""

    sessions: tuple[SessionLine, ...]


@dataclass(frozen=True, slots=True)
class OrderRequest:
    """An order to be received and carried out. `timeout`: seconds to wait for a workflow."""

    submission: Submission
    timeout: float = 20.0


@dataclass(frozen=True, slots=True)
class OrderResult:
    """What an order did: `output` is that of its action."""

    order_id: str
    output: JsonValue


@dataclass(frozen=True, slots=True)
class ReceivedOrder:
    """An order that was received only."""

    order_id: str


@dataclass(frozen=True, slots=True)
class PendingLine:
    """An order that its author can sign until `expires_at`: by passkey on the page at `url`, or on a terminal.

    `private`: salt (hex) and JSON value of each private field.
    """

    order_id: str
    body: str
    private: Mapping[str, tuple[str, JsonValue]]
    expires_at: datetime
    url: str


@dataclass(frozen=True, slots=True)
class PendingList:
    """Orders that wait for a signature, the oldest first."""

    orders: tuple[PendingLine, ...]


@dataclass(frozen=True, slots=True)
class WireError:
    """An error as it travels. `kind` decides the client's exit code; `order_id`: of an order that waits."""

    kind: str
    message: str
    order_id: str = ""

    def body(self) -> Mapping[str, Any]:
        """Return the response's body."""
        fields = {"kind": self.kind, "message": self.message}
        return {"error": {**fields, "order_id": self.order_id} if self.order_id else fields}


def describe_error(error: CommandError) -> tuple[int, WireError]:
    """Return status and body of an expected error. 202: the order was received, and waits."""
    if isinstance(error, WaitsForApprovalError):
        return 202, WireError(WAITS, str(error), error.order_id)
    kind = next(name for name, kind in _KINDS.items() if isinstance(error, kind))
    return _STATUSES[kind], WireError(kind, str(error))


def rebuild_error(error: WireError) -> CommandError:
    """Return the exception that the same command raises on the host."""
    if error.kind == WAITS and error.order_id:
        return WaitsForApprovalError(error.order_id)
    return _KINDS.get(error.kind, CommandError)(error.message)
