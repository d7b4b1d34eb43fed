"""Staff and their second factors in SQL. A row counts only with a right code (`row_macs`).

A right row that was replaced later has a right code too. So each grant is an entry of the audit log as well, and a row
counts only if the newest of them is its own: somebody who writes an older row back must forge the log.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

from sqlalchemy import insert, update
from sqlmodel import Session, col, select

from octy_middleware.clock import utc, uuid7
from octy_middleware.db.models import AuditEntry, Staff, StaffFactor
from octy_worker.access import totp
from octy_worker.access.factor_kinds import FactorKind
from octy_worker.access.factor_rows import BOOTSTRAP, FactorRows, order_id_of
from octy_worker.access.roles import Role
from octy_worker.access.row_macs import RowMacs
from octy_worker.audit import repository as audit
from octy_worker.crypto.sealed_box import Sealer
from octy_worker.crypto.ssh_certificates import RefusedSignatureError
from octy_worker.crypto.ssh_signatures import CertifiedSignature

GRANTED = "staff.granted"
"""The action of the audit entry of each grant; its subject is the handle."""
_SEALED = ("id", "handle", "role", "state", "granted_by", "display_name", "mail")


class StaffState(StrEnum):
    """Whether a staff member may act."""

    INVITED = "invited"  # has no second factor yet
    ACTIVE = "active"
    DISABLED = "disabled"


@dataclass(frozen=True, slots=True)
class Member:
    """A staff member whose row has a right code. `granted_by`: the order that gave role and state.

    `mail`: where notices of security go; may be empty.
    """

    id: str
    handle: str
    role: Role
    state: StaffState
    granted_by: str
    display_name: str = ""
    mail: str = ""


class Members:
    """Reads and writes staff in the caller's transaction."""

    def __init__(self, macs: RowMacs, sealer: Sealer) -> None:
        self._macs = macs
        self._sealer = sealer
        self.factors = FactorRows(macs)

    def add(
        self, session: Session, handle: str, role: Role, *, granted_by: str, now: float, display_name: str = "",
        mail: str = "", by: str = "",
    ) -> Member:  # fmt: skip
        """Add a staff member who is invited: without a second factor nothing can be ordered. `by`: who adds."""
        member = Member(uuid7(now), handle, role, StaffState.INVITED, granted_by, display_name, mail)
        times = {"created_at": utc(now), "changed_at": utc(now)}
        values = {**_granted(member), **times, "mac": self._mac_of(member)}
        session.connection().execute(insert(Staff), values)
        self._record(session, member, by=by, now=now)
        return member

    def find(self, session: Session, handle: str) -> Member | None:
        """Return a staff member, or None. Raises RefusedSignatureError for a row that this system did not write."""
        row = session.exec(select(Staff).where(Staff.handle == handle)).first()
        if row is None:
            return None
        if not self._macs.is_right(row.mac, "staff", _granted(row)):
            raise RefusedSignatureError(f"the database's entry of {handle} was not written by this system")
        if _current_grant(session, handle) != row.granted_by:
            raise RefusedSignatureError(f"the database's entry of {handle} is not the one of the audit log")
        return Member(
            row.id, row.handle, Role(row.role), StaffState(row.state), row.granted_by, row.display_name, row.mail
        )

    def find_all(self, session: Session) -> list[tuple[Staff, Member | None]]:
        """Return all rows by handle; beside each its member, None where the row was not written by this system."""
        found = []
        for row in session.exec(select(Staff).order_by(Staff.handle)).all():
            try:
                found.append((row, self.find(session, row.handle)))
            except RefusedSignatureError:
                found.append((row, None))
        return found

    def admin_addresses(self, session: Session) -> list[str]:
        """Return the mail addresses of the active admins that have one, of rows that this system wrote."""
        found = [member for _, member in self.find_all(session) if member is not None]
        return [one.mail for one in found if one.mail and (one.role, one.state) == (Role.ADMIN, StaffState.ACTIVE)]

    def require(self, session: Session, handle: str) -> Member:
        """Return a staff member. Raises RefusedSignatureError for an unknown one, as `find` does."""
        member = self.find(session, handle)
        if member is None:
            raise RefusedSignatureError(f"there is no staff member {handle}")
        return member

    def require_active(self, session: Session, handle: str, role: Role) -> Member:
        """Return a staff member who may act in this role now. Raises RefusedSignatureError."""
        member = self.require(session, handle)
        if member.state is not StaffState.ACTIVE:
            raise RefusedSignatureError(f"{handle} is {member.state}")
        if not member.role.includes(role):
            raise RefusedSignatureError(f"{handle} is {member.role}, and this needs {role}")
        return member

    def change(
        self, session: Session, handle: str, *, granted_by: str, now: float, role: Role | None = None,
        state: StaffState | None = None, by: str = "", display_name: str = "", mail: str = "",
    ) -> Member:  # fmt: skip
        """Set what is given. Raises RefusedSignatureError for an unknown person or a row that is not ours."""
        member = self.require(session, handle)
        changed = replace(
            member,
            role=role or member.role,
            state=state or member.state,
            granted_by=granted_by,
            display_name=display_name or member.display_name,
            mail=mail or member.mail,
        )
        self._write(session, changed, now)
        self._record(session, changed, by=by, now=now)
        return changed

    def disable_forged(self, session: Session, handle: str, *, granted_by: str, by: str, now: float) -> Member:
        """Make a row that is not ours one of a disabled person, about whom nothing in it is believed."""
        row_id = session.exec(select(Staff.id).where(Staff.handle == handle)).one()
        member = Member(row_id, handle, Role.VIEWER, StaffState.DISABLED, granted_by)
        self._write(session, member, now)
        self._record(session, member, by=by, now=now)
        return member

    def activate(self, session: Session, member: Member, now: float) -> Member:
        """Let a person act who has a second factor now. Role and what granted it stay."""
        active = replace(member, state=StaffState.ACTIVE)
        self._write(session, active, now)
        return active

    def add_totp(
        self, session: Session, member: Member, seed: str, *, now: float, label: str = "",
        granted_by: str = BOOTSTRAP, counter: int = 0, detail: Mapping[str, object] | None = None,
    ) -> str:  # fmt: skip
        """Add a one-time password as second factor; return its id. The seed is kept sealed."""
        factor_id = uuid7(now)
        sealed = self._sealer.seal(seed, f"totp:{factor_id}")
        return self.factors.add(
            session, member.id, FactorKind.TOTP, sealed, granted_by=granted_by, actor=member.handle, now=now,
            label=label, counter=counter, factor_id=factor_id, detail=detail,
        )  # fmt: skip

    def use_factor(self, session: Session, member: Member, signed: CertifiedSignature, code: str, now: float) -> str:
        """Return the second factor that comes with a signature: that of a key which verified its user, or a code's.

        Raises RefusedSignatureError.
        """
        if signed.user_verified:
            return FactorKind.HARDWARE_KEY
        if not code:
            raise RefusedSignatureError(
                "a second factor is missing: a one-time password, or a key that verifies its user"
            )
        return self.use_totp(session, member, code, now)

    def use_totp(self, session: Session, member: Member, code: str, now: float) -> str:
        """Accept a code once, by one conditional UPDATE of its counter; return the id of its factor.

        Raises RefusedSignatureError for a wrong or used code, and when there is no such factor.
        """
        factors = self.factors.of(session, member.id, FactorKind.TOTP)
        if not factors:
            raise RefusedSignatureError(f"{member.handle} has no one-time password → `octy staff enroll`")
        refusal = RefusedSignatureError("the code is wrong")
        for factor in factors:
            try:
                seed = self._sealer.open(factor.secret, f"totp:{factor.id}")
                counter = totp.verify_code(seed, code, last_counter=factor.counter, now=now)
            except RefusedSignatureError as error:
                refusal = error
                continue
            used = session.connection().execute(
                update(StaffFactor)
                .where(col(StaffFactor.id) == factor.id, col(StaffFactor.counter) < counter)
                .values(counter=counter)
            )
            if used.rowcount == 1:
                return factor.id
            refusal = RefusedSignatureError("this code was used before; wait for the next one")
        raise refusal

    def _write(self, session: Session, member: Member, now: float) -> None:
        session.connection().execute(
            update(Staff)
            .where(col(Staff.id) == member.id)
            .values(**_granted(member), changed_at=utc(now), mac=self._mac_of(member))
        )

    def _mac_of(self, member: Member) -> str:
        return self._macs.make("staff", _granted(member))

    @staticmethod
    def _record(session: Session, member: Member, *, by: str, now: float) -> None:
        audit.append(
            session, GRANTED, actor=by or member.handle, subject=member.handle, order_id=order_id_of(member.granted_by),
            detail={"role": str(member.role), "state": str(member.state)}, now=now,
        )  # fmt: skip


def _current_grant(session: Session, handle: str) -> str | None:
    """Return what the audit log says granted role and state last; None for nothing, and for a grant that came back.

    An order grants once. One that stands in the log again, after another, was appended by somebody who wrote an older
    row back. Only the bootstrap may be repeated, before any order.
    """
    query = select(AuditEntry.order_id).where(AuditEntry.subject == handle, AuditEntry.action == GRANTED)
    orders = list(session.exec(query.order_by(col(AuditEntry.seq))))
    if not orders:
        return None
    newest = orders.pop()
    while not newest and orders and not orders[-1]:
        orders.pop()
    return None if newest in orders else newest or BOOTSTRAP


def _granted(row: Staff | Member) -> dict[str, str]:
    return {name: str(getattr(row, name)) for name in _SEALED}
