"""Sessions of staff in SQL: opened by a log-in, found by their token, ended by time, by people, by another role.

The database has SHA-256 of a token, never the token. A row counts only with a right code (`row_macs`), which covers
every field: a session that was ended can't be opened again by SQL. On every use the certificate of the log-in is
verified again, and the staff member's row must be the very one of the log-in: another role ends the session.
"""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from sqlalchemy import insert, update
from sqlmodel import Session, col, select

from octy_middleware.clock import RandomBytes, utc, uuid7
from octy_middleware.db.models import Staff, StaffSession
from octy_worker.access.factor_rows import newest_order
from octy_worker.access.members import Member, Members
from octy_worker.access.roles import Role
from octy_worker.access.row_macs import RowCodes, RowMacs
from octy_worker.access.tokens import hash_of, new_token
from octy_worker.audit import repository as audit
from octy_worker.crypto.ssh_certificates import (
    CertificateAuthorities,
    RefusedSignatureError,
    UserCertificate,
    check_source,
)
from octy_worker.crypto.ssh_wire import wire_of

IDLE_TIMEOUT = 30 * 60.0
"""Seconds without a request after which a session has ended (ASVS 5.0, 7.3.1)."""
MAX_LIFETIME = 12 * 3600.0
"""Seconds after which it has ended in any case; the certificate's end comes first (ASVS 5.0, 7.3.2)."""

OPENED = "login"
"""The action of the audit entry of a session that was opened; its subject is the session's id."""
ENDED = "session.ended"
"""The action of the audit entry of a session that was ended; its subject is the session's id."""
_TOUCH_INTERVAL = 60.0  # seconds between two writes of the last use
_SEALED = (
    "id", "token_hash", "nonce_hash", "staff_id", "staff_mac", "kind", "certificate", "factor", "source",
    "created_at", "expires_at", "last_used_at", "ended_at", "ended_by",
)  # fmt: skip


class SessionKind(StrEnum):
    """Where a session's token is kept."""

    CLI = "cli"  # sent as a bearer token
    BROWSER = "browser"  # sent as a cookie


class SessionEndedError(Exception):
    """There is no such session, or it has ended. The text says why."""


@dataclass(frozen=True, slots=True)
class ActiveSession:
    """A session that may be used now. `is_stale`: `touch` it, so that it isn't taken for idle."""

    id: str
    handle: str
    role: Role
    kind: SessionKind
    factor: str
    source: str  # of the log-in
    certificate_serial: int
    created_at: datetime
    last_used_at: datetime
    expires_at: datetime
    is_stale: bool


class Sessions:
    """Opens, finds and ends sessions, in the caller's transaction."""

    def __init__(
        self,
        authorities: CertificateAuthorities,
        members: Members,
        macs: RowMacs,
        random_bytes: RandomBytes = secrets.token_bytes,
    ) -> None:
        self._authorities = authorities
        self._members = members
        self._codes = RowCodes(macs, "staff_session", _SEALED)
        self._random_bytes = random_bytes

    def open(
        self,
        session: Session,
        member: Member,
        certificate: UserCertificate,
        *,
        factor: str,
        source: str,
        now: float,
        nonce: str,
        kind: SessionKind = SessionKind.CLI,
    ) -> tuple[str, ActiveSession]:
        """Open a session of somebody who has just proven who they are; return its token and what it is.

        `nonce`: of the log-in. Raises RefusedSignatureError when it has opened a session before.
        """
        token = new_token(self._random_bytes)
        expires_at = min(now + MAX_LIFETIME, float(certificate.valid_before))
        nonce_hash = hash_of(nonce)
        if session.exec(select(StaffSession.id).where(StaffSession.nonce_hash == nonce_hash)).first():
            raise RefusedSignatureError("this log-in was used before; log in again")
        row = StaffSession(
            id=uuid7(now),
            token_hash=hash_of(token),
            nonce_hash=nonce_hash,
            staff_id=member.id,
            staff_mac=_staff_mac(session, member.id),
            kind=kind,
            certificate=certificate.text(),
            factor=factor,
            source=source,
            created_at=utc(now),
            expires_at=utc(expires_at),
            last_used_at=utc(now),
            mac="",
        )
        values = {**row.model_dump(), "mac": self._codes.make(row)}
        session.connection().execute(insert(StaffSession), values)
        detail = {"kind": str(kind), "factor": factor, "source": source, "certificate": certificate.serial}
        audit.append(session, OPENED, actor=member.handle, subject=row.id, detail=detail, now=now)
        return token, _describe(row, member, certificate, now)

    def find(self, session: Session, token: str, *, source: str | None, now: float) -> ActiveSession:
        """Return the session of a token if it may be used now, from this address. Raises SessionEndedError."""
        row = session.exec(select(StaffSession).where(StaffSession.token_hash == hash_of(token))).first()
        if row is None:
            raise SessionEndedError("there is no such session")
        return self._check(session, row, source=source, now=now)

    def touch(self, session: Session, session_id: str, now: float) -> None:
        """Record that a session is used, unless that was recorded just now."""
        row = session.get(StaffSession, session_id)
        if row is None or row.ended_at is not None or not _is_stale(row, now) or not self._codes.is_right(row):
            return
        self._change(session, row, last_used_at=utc(now))

    def active(self, session: Session, *, now: float, handle: str | None = None) -> Sequence[ActiveSession]:
        """Return the sessions that may be used now, the newest first; those of one person if one is given."""
        query = (
            select(StaffSession)
            .where(col(StaffSession.ended_at).is_(None), col(StaffSession.expires_at) > utc(now))
            .order_by(col(StaffSession.id).desc())
        )
        if handle is not None:
            query = query.join(Staff, col(Staff.id) == col(StaffSession.staff_id)).where(Staff.handle == handle)
        found = []
        for row in session.exec(query).all():
            try:
                found.append(self._check(session, row, source=None, now=now, checks_source=False))
            except SessionEndedError:
                continue
        return found

    def end(self, session: Session, session_id: str, *, by: str, now: float) -> bool:
        """End a session for good; return whether it was open. `by`: who ended it."""
        row = session.get(StaffSession, session_id)
        if row is None or row.ended_at is not None or not self._codes.is_right(row):
            return False
        self._change(session, row, ended_at=utc(now), ended_by=by)
        audit.append(session, ENDED, actor=by, subject=session_id, now=now)
        return True

    def end_all(self, session: Session, handle: str, *, by: str, now: float) -> int:
        """End all sessions of a person; return how many were open."""
        query = select(StaffSession.id).join(Staff, col(Staff.id) == col(StaffSession.staff_id))
        open_ones = query.where(Staff.handle == handle, col(StaffSession.ended_at).is_(None))
        return sum(self.end(session, session_id, by=by, now=now) for session_id in session.exec(open_ones).all())

    def _check(
        self, session: Session, row: StaffSession, *, source: str | None, now: float, checks_source: bool = True
    ) -> ActiveSession:
        if not self._codes.is_right(row):
            raise SessionEndedError("the database's entry of this session was not written by this system")
        if row.ended_at is not None or newest_order(session, row.id, ENDED) is not None:  # not if it was written back
            raise SessionEndedError("this session was ended")
        if utc(now) >= row.expires_at:
            raise SessionEndedError("this session has reached its end")
        if utc(now) >= row.last_used_at + timedelta(seconds=IDLE_TIMEOUT):
            raise SessionEndedError(f"this session was not used for {IDLE_TIMEOUT / 60:g} minutes")
        if _staff_mac(session, row.staff_id) != row.staff_mac:
            raise SessionEndedError("your role or state has changed since this session was opened")
        try:
            certificate = self._authorities.verify(wire_of(row.certificate), now=now)
            if checks_source:
                check_source(certificate, source)
            handle = session.exec(select(Staff.handle).where(Staff.id == row.staff_id)).one()
            member = self._members.require_active(session, handle, Role.VIEWER)
        except RefusedSignatureError as error:
            raise SessionEndedError(str(error)) from None
        return _describe(row, member, certificate, now)

    def _change(self, session: Session, row: StaffSession, **values: object) -> None:
        session.connection().execute(
            update(StaffSession)
            .where(col(StaffSession.id) == row.id, col(StaffSession.mac) == row.mac)
            .values(**values, mac=self._codes.make_changed(row, values))
        )


def _staff_mac(session: Session, staff_id: str) -> str:
    return session.exec(select(Staff.mac).where(Staff.id == staff_id)).first() or ""


def _is_stale(row: StaffSession, now: float) -> bool:
    return utc(now) >= row.last_used_at + timedelta(seconds=_TOUCH_INTERVAL)


def _describe(row: StaffSession, member: Member, certificate: UserCertificate, now: float) -> ActiveSession:
    return ActiveSession(
        id=row.id,
        handle=member.handle,
        role=member.role,
        kind=SessionKind(row.kind),
        factor=row.factor,
        source=row.source,
        certificate_serial=certificate.serial,
        created_at=row.created_at,
        last_used_at=row.last_used_at,
        expires_at=row.expires_at,
        is_stale=_is_stale(row, now),
    )
