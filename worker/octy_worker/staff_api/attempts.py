"""Judges what proves a person: counts, records and limits what is refused."""

import logging
from collections.abc import Callable
from typing import TypeVar

from octy_worker.access.browser_logins import RefusedCodeError
from octy_worker.access.logins import LoginStep, record_refusal
from octy_worker.access.signed_text import UncertifiedError
from octy_worker.crypto.ssh_certificates import RefusedSignatureError
from octy_worker.errors import RefusedError
from octy_worker.staff.orders import RefusedProofError
from octy_worker.staff_api.access import StaffOffice
from octy_worker.staff_api.login_limits import TOLD_AFTER

T = TypeVar("T")

UNKNOWN = "(unknown)"
"""In place of a handle where a wrong code names no person. No handle has parentheses."""

_log = logging.getLogger(__name__)


class RefusedLoginError(RefusedError):
    """The log-in is refused. The audit log has it, unless it has no valid signature by certificate."""


def judge_person(
    office: StaffOffice,
    handle: str,
    source: str,
    judge: Callable[[float], T],
    *,
    step: LoginStep = LoginStep.CLI,
    proves_factor: bool = True,
) -> T:
    """Judge what proves a person without a session; `judge` gets the time. `proves_factor`: with a second factor.

    `handle`: UNKNOWN for a code of `octy login --browser`, before it is known who types it. A refused one counts for
    the person whom it was given to; one that was given to no person counts for the source.

    Raises RefusedLoginError, or TooManyLoginsError, which judges and records nothing.
    """
    now = office.clock()
    with office.limits.attempt(handle, source, now):
        try:
            result = judge(now)
        except RefusedSignatureError as error:
            owner = error.handle if isinstance(error, RefusedCodeError) else None
            fail(office, owner or handle, source, error, step=step)
            raise RefusedLoginError(str(error)) from None
        if proves_factor:  # else a stolen key alone would reset the count of guessed codes
            office.limits.succeed(handle, source)
    return result


def fail(office: StaffOffice, handle: str, source: str, error: RefusedSignatureError, *, step: LoginStep) -> None:
    """Count and record a refused log-in, and tell the admins of several in a row."""
    now = office.clock()
    in_a_row = office.limits.fail(handle, source, now)
    _record(office, handle, source, error, now, step=step)
    _tell(office, handle, source, in_a_row)


def judge_proof(office: StaffOffice, handle: str, source: str, receive: Callable[[], T]) -> T:
    """Receive an order with its proof, if it has one. Raises what `receive` does, and TooManyLoginsError.

    Every refusal counts, also one of an old order or a small role: each writes an entry of the audit log, and an order
    is judged so before its proof is. An order that is received forgets no failure: one that was received before needs
    no proof.
    """
    now = office.clock()
    with office.limits.attempt(handle, source, now):
        try:
            return receive()
        except RefusedProofError:
            _tell(office, handle, source, office.limits.fail(handle, source, now))
            raise


def _record(
    office: StaffOffice, handle: str, source: str, error: RefusedSignatureError, now: float, *, step: LoginStep
) -> None:
    if isinstance(error, UncertifiedError) or (handle == UNKNOWN and not office.limits.may_record_unnamed(now)):
        _log.warning("log-in from %s refused: %s", source, error)  # anybody can send it: no exclusive transaction
        return
    with office.database.write_session() as session:
        record_refusal(session, handle, source=source, reason=str(error), now=now, step=step)


def _tell(office: StaffOffice, handle: str, source: str, in_a_row: int) -> None:
    if in_a_row >= TOLD_AFTER:
        office.notices.add(handle, source, in_a_row)
