"""Staff and their second factors in SQL. A row counts only with a right code (`row_macs`)."""

from dataclasses import dataclass
from enum import StrEnum

from sqlalchemy import insert, update
from sqlmodel import Session, col, select

from octy_middleware.clock import utc, uuid7
from octy_middleware.db.models import Staff, StaffFactor
from octy_worker.access import totp
from octy_worker.access.roles import Role
from octy_worker.access.row_macs import RowMacs
from octy_worker.crypto.sealed_box import Sealer
from octy_worker.crypto.ssh_certificates import RefusedSignatureError

BOOTSTRAP = "bootstrap"
"""What granted the role of the first admin, in place of an order."""


class StaffState(StrEnum):
    """Whether a staff member may act."""

    INVITED = "invited"  # has no second factor yet
    ACTIVE = "active"
    DISABLED = "disabled"


class FactorKind(StrEnum):
    """Kinds of second factors."""

    TOTP = "totp"
    PASSKEY = "passkey"


@dataclass(frozen=True, slots=True)
class Member:
    """A staff member whose row has a right code."""

    id: str
    handle: str
    role: Role
    state: StaffState


class Members:
    """Reads and writes staff in the caller's transaction."""

    def __init__(self, macs: RowMacs, sealer: Sealer) -> None:
        self._macs = macs
        self._sealer = sealer

    def add(
        self, session: Session, handle: str, role: Role, *, granted_by: str, now: float, display_name: str = "",
        mail: str = "",
    ) -> Member:  # fmt: skip
        """Add a staff member who is invited: without a second factor nothing can be ordered."""
        row = {"id": uuid7(now), "handle": handle, "role": str(role), "state": str(StaffState.INVITED)}
        mac = self._macs.make("staff", {**row, "granted_by": granted_by})
        described = {"display_name": display_name, "mail": mail, "granted_by": granted_by}
        times = {"created_at": utc(now), "changed_at": utc(now)}
        session.connection().execute(insert(Staff).values(**row, **described, **times, mac=mac))
        return Member(str(row["id"]), handle, role, StaffState.INVITED)

    def find(self, session: Session, handle: str) -> Member | None:
        """Return a staff member, or None. Raises RefusedSignatureError for a row whose code is wrong."""
        row = session.exec(select(Staff).where(Staff.handle == handle)).first()
        if row is None:
            return None
        if not self._macs.is_right(row.mac, "staff", _granted(row)):
            raise RefusedSignatureError(f"the database's entry of {handle} was not written by this system")
        return Member(row.id, row.handle, Role(row.role), StaffState(row.state))

    def require_active(self, session: Session, handle: str, role: Role) -> Member:
        """Return a staff member who may act in this role now. Raises RefusedSignatureError."""
        member = self.find(session, handle)
        if member is None:
            raise RefusedSignatureError(f"there is no staff member {handle}")
        if member.state is not StaffState.ACTIVE:
            raise RefusedSignatureError(f"{handle} is {member.state}")
        if not member.role.includes(role):
            raise RefusedSignatureError(f"{handle} is {member.role}, and this needs {role}")
        return member

    def change(
        self, session: Session, handle: str, *, granted_by: str, now: float, role: Role | None = None,
        state: StaffState | None = None,
    ) -> Member:  # fmt: skip
        """Set role or state. Raises RefusedSignatureError for an unknown person or a row whose code is wrong."""
        member = self.find(session, handle)
        if member is None:
            raise RefusedSignatureError(f"there is no staff member {handle}")
        changed = Member(member.id, handle, role or member.role, state or member.state)
        granted = {
            "id": changed.id, "handle": handle, "role": str(changed.role), "state": str(changed.state),
            "granted_by": granted_by,
        }  # fmt: skip
        session.connection().execute(
            update(Staff)
            .where(col(Staff.id) == member.id)
            .values(
                role=changed.role,
                state=changed.state,
                granted_by=granted_by,
                changed_at=utc(now),
                mac=self._macs.make("staff", granted),
            )
        )
        return changed

    def add_totp(self, session: Session, member: Member, seed: str, *, now: float, label: str = "") -> str:
        """Add a one-time password as second factor; return its id. The seed is kept sealed."""
        factor_id = uuid7(now)
        sealed = self._sealer.seal(seed, f"totp:{factor_id}")
        row = {"id": factor_id, "staff_id": member.id, "kind": str(FactorKind.TOTP), "secret": sealed}
        mac = self._macs.make("staff_factor", row)
        values = {**row, "label": label, "counter": 0, "created_at": utc(now), "mac": mac}
        session.connection().execute(insert(StaffFactor).values(**values))
        return factor_id

    def use_totp(self, session: Session, member: Member, code: str, now: float) -> str:
        """Accept a code once, by one conditional UPDATE of its counter; return the id of its factor.

        Raises RefusedSignatureError for a wrong or used code, and when there is no such factor.
        """
        query = select(StaffFactor).where(
            StaffFactor.staff_id == member.id,
            StaffFactor.kind == FactorKind.TOTP,
            col(StaffFactor.removed_at).is_(None),
        )
        factors = session.exec(query).all()
        if not factors:
            raise RefusedSignatureError(f"{member.handle} has no one-time password → `octy staff enroll`")
        refusal = RefusedSignatureError("the database's entry of this factor was not written by this system")
        for factor in factors:
            if not self._macs.is_right(factor.mac, "staff_factor", factor_fields(factor)):
                continue
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


def _granted(row: Staff) -> dict[str, str]:
    return {name: getattr(row, name) for name in ("id", "handle", "role", "state", "granted_by")}


def factor_fields(row: StaffFactor) -> dict[str, str]:
    """Return what the code of a factor covers."""
    return {name: getattr(row, name) for name in ("id", "staff_id", "kind", "secret")}
