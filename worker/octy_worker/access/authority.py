"""The built-in certificate authority in SQL: its keys, sealed under OCTY_STAFF_KEYS, and the certificates it issues.

Only what OCTY_STAFF_CA_KEYS lists is trusted: a key that somebody writes into the database signs nothing that counts.
"""

import json
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, insert, update
from sqlmodel import Session, col, select

from octy_middleware.clock import utc, uuid7
from octy_middleware.db.models import AuditEntry, StaffAuthority
from octy_worker.access.members import Member, StaffState
from octy_worker.access.row_macs import RowCodes, RowMacs
from octy_worker.audit import repository as audit
from octy_worker.crypto.sealed_box import Sealer
from octy_worker.crypto.ssh_authority import authority_line, issue_certificate, new_authority_key
from octy_worker.crypto.ssh_certificates import fingerprint_of
from octy_worker.crypto.ssh_wire import wire_of
from octy_worker.errors import RefusedError, UsageError

ISSUED = "certificate.issued"
"""The action of the audit entry of a certificate; its subject is the handle."""
_SEALED = ("id", "public_key", "private_key")


@dataclass(frozen=True, slots=True)
class AuthorityKey:
    """A key of the authority. `public_key`: as OCTY_STAFF_CA_KEYS takes it."""

    id: str
    public_key: str
    created_at: datetime

    @property
    def fingerprint(self) -> str:
        """The fingerprint, as `ssh-keygen -l` shows it."""
        return fingerprint_of(wire_of(self.public_key))


@dataclass(frozen=True, slots=True)
class ValidCertificate:
    """A certificate that was issued and has not expired."""

    serial: int
    key_id: str
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class IssuedCertificate:
    """A certificate for a staff member. `line`: the content of a `-cert.pub` file."""

    handle: str
    serial: int
    key_id: str
    line: str
    expires_at: datetime


class BuiltInAuthority:
    """Makes keys and certificates in the caller's transaction, which must be an exclusive write."""

    def __init__(self, macs: RowMacs, sealer: Sealer) -> None:
        self._codes = RowCodes(macs, "staff_authority", _SEALED)
        self._sealer = sealer

    def keys(self, session: Session) -> list[AuthorityKey]:
        """Return the keys that this system made, oldest first."""
        return [AuthorityKey(row.id, row.public_key, row.created_at) for row in self._rows(session)]

    def add_key(self, session: Session, *, by: str, now: float) -> AuthorityKey:
        """Make a key; it signs from now on."""
        private_key, key_id = new_authority_key(), uuid7(now)
        row = StaffAuthority(
            id=key_id,
            public_key=authority_line(private_key),
            private_key=self._sealer.seal(private_key, f"authority:{key_id}"),
            last_serial=self._last_serial(session),
            created_at=utc(now),
            mac="",
        )
        session.connection().execute(insert(StaffAuthority), {**row.model_dump(), "mac": self._codes.make(row)})
        audit.append(
            session, "authority.added", actor=by, subject=key_id, detail={"public_key": row.public_key}, now=now
        )
        return AuthorityKey(key_id, row.public_key, row.created_at)

    def issue(
        self, session: Session, member: Member, public_key: str, *, lifetime: float, by: str, now: float
    ) -> IssuedCertificate:
        """Issue a certificate with the next serial number. Raises RefusedError or UsageError."""
        if member.state is StaffState.DISABLED:
            raise RefusedError(f"{member.handle} is {member.state}", "`octy staff list` shows who is active")
        rows = self._rows(session)
        if not rows:
            raise UsageError("there is no certificate authority", "make one with `octy staff ca init`")
        row, serial = rows[-1], self._last_serial(session) + 1
        private_key = self._sealer.open(row.private_key, f"authority:{row.id}")
        line = issue_certificate(
            private_key, public_key, handle=member.handle, serial=serial, lifetime=lifetime, now=now
        )
        session.connection().execute(
            update(StaffAuthority).where(col(StaffAuthority.id) == row.id).values(last_serial=serial)
        )
        expires_at, key_id = utc(int(now + lifetime)), f"{member.handle}-{serial}"
        audit.append(
            session, ISSUED, actor=by, subject=member.handle,
            detail={"serial": serial, "key_id": key_id, "expires_at": expires_at.isoformat()}, now=now,
        )  # fmt: skip
        return IssuedCertificate(member.handle, serial, key_id, line, expires_at)

    def valid_certificates(self, session: Session, handle: str, at: datetime) -> list[ValidCertificate]:
        """Return the certificates of a person that are valid at this time, from the audit log, newest last."""
        query = select(AuditEntry.detail).where(AuditEntry.subject == handle, AuditEntry.action == ISSUED)
        details = [json.loads(text) for text in session.exec(query.order_by(col(AuditEntry.seq))) if text]
        found = [
            ValidCertificate(detail["serial"], detail["key_id"], datetime.fromisoformat(detail["expires_at"]))
            for detail in details
        ]
        return [each for each in found if each.expires_at > at]

    def _rows(self, session: Session) -> list[StaffAuthority]:
        rows = session.exec(select(StaffAuthority).order_by(StaffAuthority.id)).all()
        return [row for row in rows if self._codes.is_right(row)]

    @staticmethod
    def _last_serial(session: Session) -> int:
        return session.exec(select(func.coalesce(func.max(StaffAuthority.last_serial), 0))).one()
