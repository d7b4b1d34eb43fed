"""Who is heard, and how: what people type into the Web UI or the command line is read with suspicion.

Here: the way from a payload to what staff asks for, refusals, and the guard of signals. Not here: whether it comes too
late, which is `question`, `deadlines` and `letters`.
"""

import inspect
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from functools import wraps
from typing import Any, Concatenate, ParamSpec, Protocol, Self, TypeVar

from temporalio import workflow
from temporalio.common import RawValue
from temporalio.exceptions import ApplicationError

with workflow.unsafe.imports_passed_through():
    from octy_workflows.board import Board
    from octy_workflows.staff import (
        STAFF_DECISION,
        STAFF_EXTENSION,
        STAFF_RESEND,
        StaffDecision,
        StaffExtension,
        StaffRequest,
        StaffResend,
        read_decision,
        read_extension,
        read_resend,
    )

HOW_TO_DECIDE = (
    f"To decide, send the update `decide` or the signal `{STAFF_DECISION}` with one JSON object: "
    '{"decision": "regenerate" or "dismiss", "actor": your staff id, "reason": one line, "leaked": true or false}'
)
HOW_TO_WAIT = (
    f"To wait longer, send the update `extend` or the signal `{STAFF_EXTENSION}` with "
    '{"days": a number, "actor": your staff id, "reason": one line}; to send the last mail again, the update `resend` '
    f'or the signal `{STAFF_RESEND}` with {{"actor": your staff id, "reason": one line}}'
)
REFUSED_PLAINTEXT = b"refused/plaintext"
REFUSED_DAMAGED = b"refused/damaged"
REFUSED_FOREIGN = b"refused/of-another-workflow"
REFUSED_NO_KEY = b"refused/unknown-key"
"""Encodings of what could not be taken where payloads are encrypted; nothing of it is left. The last names the key."""
_WHY_REFUSED = {
    REFUSED_PLAINTEXT: "it came in plaintext: what is taken so is an order's id only, from `octy incidents`",
    REFUSED_DAMAGED: "it can't be decrypted: it is damaged, or made up",
    REFUSED_FOREIGN: "it was encrypted for another workflow",
    REFUSED_NO_KEY: "OCTY_TEMPORAL_KEYS lacks the key that it is encrypted with",
}

INVALID = "Invalid"
TOO_EARLY = "TooEarly"
TOO_LATE = "TooLate"


class _HasBoard(Protocol):
    board: Board


class _Request(Protocol):
    @property
    def id(self) -> str: ...

    def with_id(self, number: str) -> Self: ...


_Self = TypeVar("_Self", bound=_HasBoard)
_Content = ParamSpec("_Content")
_Asked = TypeVar("_Asked", bound=_Request)


def refusal(why: str, kind: str) -> ApplicationError:
    """Return the error that refuses what staff asks for; `kind` is INVALID, TOO_EARLY or TOO_LATE."""
    return ApplicationError(why, type=kind, non_retryable=True)


def decision_in(said: object) -> StaffDecision:
    """Return the decision in a JSON value; raise a refusal when there is none."""
    return _taken(read_decision(said))


def extension_in(said: object) -> StaffExtension:
    """Return the extension in a JSON value; raise a refusal when there is none."""
    return _taken(read_extension(said))


def resend_in(said: object) -> StaffResend:
    """Return the order to send again in a JSON value; raise a refusal when there is none."""
    return _taken(read_resend(said))


def _taken(request: _Asked | str) -> _Asked:
    if isinstance(request, str):
        raise refusal(request, INVALID)
    return request


_SIGNALS: dict[str, Callable[[object], StaffRequest]] = {
    STAFF_DECISION: decision_in,
    STAFF_EXTENSION: extension_in,
    STAFF_RESEND: resend_in,
}


def signalled(name: str, said: Sequence[RawValue]) -> StaffRequest:
    """Return what staff asks for by a signal of any name and content; raise a refusal when it is nothing."""
    if name not in _SIGNALS:
        raise refusal(f"no signal has this name; those of support staff are {', '.join(_SIGNALS)}", INVALID)
    if len(said) != 1:
        raise refusal("a signal of support staff is one JSON object, no more and no less", INVALID)
    why_refused = _WHY_REFUSED.get(said[0].payload.metadata.get("encoding", b"").partition(b":")[0])
    if why_refused is not None:
        raise refusal(why_refused, INVALID)
    try:
        value = workflow.payload_converter().from_payload(said[0].payload)
    except Exception:  # noqa: BLE001  # whatever ails it, it asks for nothing
        raise refusal("a signal of support staff must be readable as JSON", INVALID) from None
    return _SIGNALS[name](value)


def identified(said: _Asked) -> _Asked:
    """Return it with an id, so that it can be repeated and audited under it."""
    return said if said.id else said.with_id(str(workflow.uuid4()))


def guarded(
    handler: Callable[Concatenate[_Self, _Content], Awaitable[None]],
) -> Callable[Concatenate[_Self, _Content], Coroutine[Any, Any, None]]:
    """Let a signal with too little or too much content change nothing but the board.

    Somebody sent it by hand. Temporal would call the handler all the same, and retry its TypeError for ever:
    the workflow would be lost.
    """
    expected = inspect.signature(handler)

    @wraps(handler)
    async def heard(self: _Self, /, *said: _Content.args, **named: _Content.kwargs) -> None:
        try:
            expected.bind(self, *said, **named)
        except TypeError:
            self.board.show(signal=f"A signal came with {len(said)} contents; it does nothing.")
        else:
            await handler(self, *said, **named)

    return heard
