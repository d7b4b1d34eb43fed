"""Who is heard, and how: what people type into the Web UI or the command line is read with suspicion.

Here: the way from a payload to a `StaffDecision`, refusals, and the guard of signals. Not here: whether a
decision comes too late, which is `question`.
"""

import inspect
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import replace
from functools import wraps
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

from temporalio import workflow
from temporalio.common import RawValue
from temporalio.exceptions import ApplicationError

with workflow.unsafe.imports_passed_through():
    from octy_workflows.board import Board
    from octy_workflows.staff import STAFF_DECISION, StaffDecision, read_decision

HOW_TO_DECIDE = (
    f"To decide, send the update `decide` or the signal `{STAFF_DECISION}` with one JSON object: "
    '{"decision": "regenerate" or "dismiss", "actor": your staff id, "reason": one line, "leaked": true or false}'
)
REFUSED = b"refused/plaintext"
"""The encoding of what came in plaintext where payloads are encrypted; nothing of it is left."""

INVALID = "Invalid"
TOO_EARLY = "TooEarly"
TOO_LATE = "TooLate"


class _HasBoard(Protocol):
    board: Board


_Self = TypeVar("_Self", bound=_HasBoard)
_Content = ParamSpec("_Content")


def refusal(why: str, kind: str) -> ApplicationError:
    """Return the error that refuses what staff asks for; `kind` is INVALID, TOO_EARLY or TOO_LATE."""
    return ApplicationError(why, type=kind, non_retryable=True)


def decision_in(said: object) -> StaffDecision:
    """Return the decision in a JSON value; raise a refusal when there is none."""
    decision = read_decision(said)
    if isinstance(decision, str):
        raise refusal(decision, INVALID)
    return decision


def decision_signalled(name: str, said: Sequence[RawValue]) -> StaffDecision:
    """Return the decision in a signal of any name and content; raise a refusal when there is none."""
    if name != STAFF_DECISION:
        raise refusal(f"no signal has this name; the one of support staff is {STAFF_DECISION}", INVALID)
    if len(said) != 1:
        raise refusal("a decision is one JSON object, no more and no less", INVALID)
    if said[0].payload.metadata.get("encoding") == REFUSED:
        raise refusal("it came in plaintext: send it through the codec server, or use `octy incidents decide`", INVALID)
    try:
        value = workflow.payload_converter().from_payload(said[0].payload)
    except Exception:  # noqa: BLE001  # whatever ails it, it is no decision
        raise refusal("a decision must be readable as JSON", INVALID) from None
    return decision_in(value)


def identified(decision: StaffDecision) -> StaffDecision:
    """Return the decision with an id, so that it can be repeated and audited under it."""
    return decision if decision.decision_id else replace(decision, decision_id=str(workflow.uuid4()))


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
