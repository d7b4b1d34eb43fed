"""One-time links with which staff register a second factor.

The link alone is not enough: it takes a log-in by certificate of the same person, so that no factor rests on a mailbox
alone. The database has SHA-256 of the link's token.
"""

import secrets
from dataclasses import dataclass

from sqlalchemy import delete, insert, update
from sqlmodel import Session, col, select

from octy_middleware.clock import RandomBytes, utc, uuid7
from octy_middleware.db.models import Staff, StaffEnrolment
from octy_worker.access.factor_rows import newest_order
from octy_worker.access.members import Member, Members, StaffState
from octy_worker.access.row_macs import RowCodes, RowMacs
from octy_worker.access.tokens import hash_of, new_token
from octy_worker.audit import repository as audit
from octy_worker.crypto.ssh_certificates import RefusedSignatureError

LINK_TTL = 24 * 3600.0
"""Seconds in which a link can be used."""
LINK_PATH = "/staff/enroll/"
"""Path of the page, below the URL of the staff API; the token follows."""

USED = "staff.enrolment_used"
"""The action of the audit entry of a used link; its subject is the link's id."""
_SEALED = ("id", "staff_id", "token_hash", "granted_by", "expires_at")
_INVALID = (
    "this link is not valid, was used, or has expired; an admin makes a new one with `octy staff reset HANDLE` (the "
    "first admin's: `octy staff bootstrap`, repeated)"
)


@dataclass(frozen=True, slots=True)
class Enrolment:
    """A link that may be used now, and whose it is. `granted_by`: the order that allows it, or "bootstrap"."""

    id: str
    member: Member
    granted_by: str


class Enrolments:
    """Makes and uses links, in the caller's transaction."""

    def __init__(self, members: Members, macs: RowMacs, random_bytes: RandomBytes = secrets.token_bytes) -> None:
        self._members = members
        self._codes = RowCodes(macs, "staff_enrolment", _SEALED)
        self._random_bytes = random_bytes

    def create(self, session: Session, member: Member, *, granted_by: str, now: float) -> str:
        """Return the token of a new link; older links of this person end."""
        token = new_token(self._random_bytes)
        session.connection().execute(delete(StaffEnrolment).where(col(StaffEnrolment.staff_id) == member.id))
        row = StaffEnrolment(
            id=uuid7(now),
            staff_id=member.id,
            token_hash=hash_of(token),
            granted_by=granted_by,
            expires_at=utc(now + LINK_TTL),
            mac="",
        )
        session.connection().execute(insert(StaffEnrolment), {**row.model_dump(), "mac": self._codes.make(row)})
        return token

    def find(self, session: Session, token: str, now: float) -> Enrolment:
        """Return the link of a token. Raises RefusedSignatureError with one text, whatever is wrong with it."""
        row = session.exec(select(StaffEnrolment).where(StaffEnrolment.token_hash == hash_of(token))).first()
        if row is None or row.used_at is not None or utc(now) >= row.expires_at or not self._is_right(row, session):
            raise RefusedSignatureError(_INVALID)
        handle = session.exec(select(Staff.handle).where(Staff.id == row.staff_id)).one()
        member = self._members.find(session, handle)
        if member is None or member.state is StaffState.DISABLED:
            raise RefusedSignatureError(_INVALID)
        return Enrolment(row.id, member, row.granted_by)

    def use(self, session: Session, enrolment: Enrolment, now: float) -> None:
        """Mark a link as used, by one conditional UPDATE. Raises RefusedSignatureError when it was used before."""
        used = session.connection().execute(
            update(StaffEnrolment)
            .where(col(StaffEnrolment.id) == enrolment.id, col(StaffEnrolment.used_at).is_(None))
            .values(used_at=utc(now), mac="")  # without its code it can't be opened again
        )
        if used.rowcount != 1:
            raise RefusedSignatureError(_INVALID)
        audit.append(session, USED, actor=enrolment.member.handle, subject=enrolment.id, now=now)

    def _is_right(self, row: StaffEnrolment, session: Session) -> bool:
        was_used = newest_order(session, row.id, USED) is not None  # also where somebody has written the row back
        return self._codes.is_right(row) and not was_used
