"""Who belongs to the staff: the first admin, and what admins order about others."""

import re
from dataclasses import dataclass

from sqlmodel import Session, col, select

from octy_middleware.clock import utc
from octy_middleware.db.models import AuditEntry
from octy_worker.access.enrolments import LINK_PATH, LINK_TTL
from octy_worker.access.factor_rows import BOOTSTRAP
from octy_worker.access.members import Member, StaffState
from octy_worker.access.roles import Role
from octy_worker.access.staff_settings import StaffAccess
from octy_worker.audit import repository as audit
from octy_worker.crypto.ssh_certificates import RefusedSignatureError
from octy_worker.errors import RefusedError, UsageError
from octy_worker.staff.member_operations import Granted, Invited

BOOTSTRAPPED = "staff.bootstrapped"
"""The action of the audit entry of the first admin."""
_HANDLE = re.compile(r"[a-z_][a-z0-9._-]{0,63}")
_RESERVED = frozenset({"system", "customer", BOOTSTRAP})


@dataclass(frozen=True, slots=True)
class Person:
    """How a new staff member is called and reached."""

    handle: str
    mail: str = ""
    display_name: str = ""


class Membership:
    """Changes staff in the caller's transaction, which must be an exclusive write. `staff_url`: of the staff API.

    Every method raises RefusedError or UsageError, and, but for `disable`, RefusedSignatureError for a row that this
    system did not write; then nothing was changed. `granted_by`: the order; `by`: who ordered it.
    """

    def __init__(self, access: StaffAccess, staff_url: str) -> None:
        self._access = access
        self._members = access.members
        self._staff_url = staff_url

    def bootstrap(self, session: Session, person: Person, *, by: str, now: float) -> Invited:
        """Make the first admin. Repeating it for the same handle gives a new link until the factor is registered."""
        found = self._members.find(session, _checked(person.handle))
        if found is not None and (found.granted_by, found.state) == (BOOTSTRAP, StaffState.INVITED):
            return self._invite(session, found, BOOTSTRAP, now)
        admins = [member.handle for _, member in self._members.find_all(session) if member and _is_admin(member)]
        if admins or _was_bootstrapped(session):
            raise RefusedError(
                f"this installation has had its first admin: {', '.join(admins) or 'none is left'}",
                "an admin adds others with `octy staff add`; with none left, use `octy --break-glass staff add`",
            )
        member = self._members.add(
            session, person.handle, Role.ADMIN, granted_by=BOOTSTRAP, now=now, by=by, mail=person.mail,
            display_name=person.display_name,
        )  # fmt: skip
        audit.append(session, BOOTSTRAPPED, actor=by, subject=person.handle, now=now)
        return self._invite(session, member, BOOTSTRAP, now)

    def add(self, session: Session, person: Person, role: Role, *, granted_by: str, by: str, now: float) -> Invited:
        """Invite somebody; one who was disabled is invited again, with this role and without the old factors."""
        found = self._members.find(session, _checked(person.handle))
        if found is None:
            member = self._members.add(
                session, person.handle, role, granted_by=granted_by, now=now, by=by, mail=person.mail,
                display_name=person.display_name,
            )  # fmt: skip
        elif found.state is StaffState.DISABLED:
            self._members.factors.remove_all(session, found.id, granted_by=granted_by, by=by, now=now)
            member = self._members.change(
                session, found.handle, granted_by=granted_by, now=now, role=role, state=StaffState.INVITED, by=by,
                mail=person.mail, display_name=person.display_name,
            )  # fmt: skip
        else:
            raise RefusedError(f"{found.handle} is staff already: {found.role}, {found.state}", "see `octy staff list`")
        return self._invite(session, member, granted_by, now)

    def change_role(
        self, session: Session, handle: str, role: Role, *, granted_by: str, by: str, now: float
    ) -> Granted:
        """Give another role; sessions of this person end."""
        found = self._require(session, handle)
        if role is not Role.ADMIN:
            self._keep_an_admin(session, found)
        return _granted(self._members.change(session, handle, granted_by=granted_by, now=now, role=role, by=by))

    def disable(self, session: Session, handle: str, *, granted_by: str, by: str, now: float) -> Granted:
        """End all rights of a person; sessions end too. One whose row is not ours can be added again afterwards."""
        try:
            leaving = self._require(session, handle)
        except RefusedSignatureError:
            return _granted(self._members.disable_forged(session, handle, granted_by=granted_by, by=by, now=now))
        self._keep_an_admin(session, leaving)
        changed = self._members.change(
            session, handle, granted_by=granted_by, now=now, state=StaffState.DISABLED, by=by
        )
        return _granted(changed)

    def reset_factors(self, session: Session, handle: str, *, granted_by: str, by: str, now: float) -> Invited:
        """Remove all second factors of another person, who gets a new link; one's own can't be reset."""
        if by == handle:
            raise RefusedError("your own second factor can't be reset by yourself", "ask a second admin")
        found = self._require(session, handle)
        if found.state is StaffState.DISABLED:
            raise RefusedError(f"{handle} is {found.state}", "`octy staff add` invites again")
        self._members.factors.remove_all(session, found.id, granted_by=granted_by, by=by, now=now)
        member = self._members.change(session, handle, granted_by=granted_by, now=now, state=StaffState.INVITED, by=by)
        return self._invite(session, member, granted_by, now)

    def _invite(self, session: Session, member: Member, granted_by: str, now: float) -> Invited:
        token = self._access.enrolments.create(session, member, granted_by=granted_by, now=now)
        link = f"{self._staff_url}{LINK_PATH}{token}" if self._staff_url else ""
        return Invited(member.handle, str(member.role), token, link, utc(now + LINK_TTL))

    def _require(self, session: Session, handle: str) -> Member:
        found = self._members.find(session, handle)
        if found is None:
            raise UsageError(f"there is no staff member {handle}", "`octy staff list` shows all")
        return found

    def _keep_an_admin(self, session: Session, leaving: Member) -> None:
        others = [member for _, member in self._members.find_all(session) if member and member.id != leaving.id]
        if _is_admin(leaving) and not any(_is_admin(other) and other.state is StaffState.ACTIVE for other in others):
            raise RefusedError(f"{leaving.handle} is the only active admin", "add another one first")


def _checked(handle: str) -> str:
    if _HANDLE.fullmatch(handle) is None or handle in _RESERVED:
        raise UsageError(
            f"{handle[:80]!r} can't be a handle",
            "use 1 to 64 of a-z, 0-9, '.', '_', '-', a letter first, as in the principals of certificates",
        )
    return handle


def _granted(member: Member) -> Granted:
    return Granted(member.handle, str(member.role), str(member.state))


def _is_admin(member: Member) -> bool:
    return member.role is Role.ADMIN and member.state is not StaffState.DISABLED


def _was_bootstrapped(session: Session) -> bool:
    query = select(AuditEntry.seq).where(col(AuditEntry.action) == BOOTSTRAPPED).limit(1)
    return session.exec(query).first() is not None
