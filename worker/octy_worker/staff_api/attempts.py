"""Judges what proves a person: counts, records and limits what is refused."""

import logging
from collections.abc import Callable
from typing import TypeVar

from octy_worker.access.logins import UncertifiedError, record_refusal
from octy_worker.crypto.ssh_certificates import RefusedSignatureError
from octy_worker.errors import RefusedError
from octy_worker.staff.orders import RefusedProofError
from octy_worker.staff_api.access import StaffOffice
from octy_worker.staff_api.login_limits import TOLD_AFTER

T = TypeVar("T")

_log = logging.getLogger(__name__)


class TooManyLoginsError(Exception):
    """Too many failed log-ins. `wait`: seconds until the next one is judged."""

    def __init__(self, wait: float) -> None:
        super().__init__(f"too many failed log-ins; wait {wait:.0f} s")
        self.wait = wait


class RefusedLoginError(RefusedError):
    """The log-in is refused. The audit log has it, unless it has no valid signature by certificate."""


def judge_person(
    office: StaffOffice, handle: str, source: str, judge: Callable[[float], T], *, proves_factor: bool = True
) -> T:
    """Judge what proves a person without a session; `judge` gets the time. `proves_factor`: with a second factor.

    Raises RefusedLoginError, or TooManyLoginsError, which judges and records nothing.
    """
    now = office.clock()
    with office.limits.attempt(handle, source, now) as wait:
        if wait:
            raise TooManyLoginsError(wait)
        try:
            result = judge(now)
        except RefusedSignatureError as error:
            in_a_row = office.limits.fail(handle, source, now)
            _record(office, handle, source, error, now)
            _tell(office, handle, source, in_a_row)
            raise RefusedLoginError(str(error)) from None
        if proves_factor:  # else a stolen key alone would reset the count of guessed codes
            office.limits.succeed(handle, source)
    return result


def judge_code(office: StaffOffice, handle: str, source: str, receive: Callable[[], T]) -> T:
    """Receive an order that comes with a one-time code. Raises what `receive` does, and TooManyLoginsError.

    An order that is received forgets no failure: one that was received before needs no code.
    """
    now = office.clock()
    with office.limits.attempt(handle, source, now) as wait:
        if wait:
            raise TooManyLoginsError(wait)
        try:
            return receive()
        except RefusedProofError:
            _tell(office, handle, source, office.limits.fail(handle, source, now))
            raise


def _record(office: StaffOffice, handle: str, source: str, error: RefusedSignatureError, now: float) -> None:
    if isinstance(error, UncertifiedError):  # anybody can send it: no exclusive transaction for what is not signed
        _log.warning("log-in from %s refused: %s", source, error)
        return
    with office.database.write_session() as session:
        record_refusal(session, handle, source=source, reason=str(error), now=now)


def _tell(office: StaffOffice, handle: str, source: str, in_a_row: int) -> None:
    if in_a_row >= TOLD_AFTER:
        office.notices.add(handle, source, in_a_row)
