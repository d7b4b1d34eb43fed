"""Staff: settings that judge them, who can act, and rows that this system did not write."""

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

from octy_middleware.clock import utc
from octy_middleware.errors import ConfigurationError, OctyError
from octy_middleware.loopback import is_loopback
from octy_worker.access.break_glass import unacknowledged
from octy_worker.access.enrolments import LINK_TTL
from octy_worker.access.members import StaffState
from octy_worker.access.roles import Role
from octy_worker.access.staff_settings import StaffAccess, check_staff_settings, load_staff_access
from octy_worker.cli.context import now
from octy_worker.cli.doctor.check import Check, opened_database, passed, unchecked
from octy_worker.cli.doctor.problems import problem
from octy_worker.formatting import format_count
from octy_worker.settings import StaffSettings, WorkerSettings

if TYPE_CHECKING:
    from sqlmodel import Session

    from octy_middleware.db.models import Staff
    from octy_worker.access.members import Member

_Rows = list[tuple["Staff", "Member | None"]]
_SETTINGS, _PEOPLE, _AUTHORITY, _GLASS = "staff settings", "staff", "staff certificates", "break glass"
_LONG_LIFE = 24 * 3600.0  # seconds; staff gets certificates for a day's work


def check_staff(settings: WorkerSettings, installation: str) -> Iterator[Check]:
    """Check the settings of staff, then the authorities and the people. `installation`: its id, or empty."""
    try:
        check_staff_settings(settings)
    except ConfigurationError as error:
        found, _, to_do = str(error).partition(" → ")
        yield problem("staff-settings-refused", error=found, to_do=to_do or "correct it; docs/staff.md has examples")
        return
    if settings.staff_auth == "off":
        yield _off(settings)
        return
    yield _life(settings)
    try:
        access = load_staff_access(settings, installation, os.urandom)
        assert access is not None  # the settings were checked
        with opened_database(settings) as database, database.read_session() as session:
            checks = [
                _authorities(session, access, settings),
                _people(session, access, settings),
                _glass(session, access),
            ]
    except OctyError:
        checks = [unchecked(name, "the database is not available") for name in (_AUTHORITY, _PEOPLE, _GLASS)]
    yield from checks


def _off(settings: WorkerSettings) -> Check:
    """Staff that need no proof are a problem where customers get real mail."""
    if is_loopback(settings.smtp_host):
        return passed(_SETTINGS, "OCTY_STAFF_AUTH=off: everybody on this machine acts as staff")
    return problem("staff-auth-off")


def _life(settings: StaffSettings) -> Check:
    hours = settings.staff_certificate_life / 3600
    if settings.staff_certificate_life > _LONG_LIFE:
        return problem("staff-certificates-long", hours=f"{hours:g}")
    return passed(_SETTINGS, f"acts are signed orders; certificates live at most {hours:g} h")


def _authorities(session: "Session", access: StaffAccess, settings: StaffSettings) -> Check:
    trusted = access.authorities.fingerprints
    own = access.built_in_authority.keys(session)
    if not trusted:
        return problem("staff-authority-missing")
    if own and own[-1].fingerprint not in trusted:
        return problem("staff-authority-untrusted", fingerprint=own[-1].fingerprint)
    revoked = f"{len(settings.staff_revoked):,}"
    return passed(_AUTHORITY, f"{format_count(len(trusted), 'trusted key')}; {revoked} in OCTY_STAFF_REVOKED")


def _people(session: "Session", access: StaffAccess, settings: StaffSettings) -> Check:
    rows = access.members.find_all(session)
    lost = _lost_keys(rows, settings)
    if lost:
        return problem("staff-keys-lost", keys=", ".join(lost))
    forged = [row.handle for row, member in rows if member is None]
    if forged:
        return problem("staff-rows-forged", handles=", ".join(forged))
    members = [(row, member) for row, member in rows if member is not None]
    active = [member for _, member in members if member.state is StaffState.ACTIVE]
    if not any(member.role is Role.ADMIN for member in active):
        return problem("staff-admin-missing")
    unable = [member.handle for member in active if not access.members.factors.of(session, member.id)]
    late = utc(now() - LINK_TTL)
    unable += [row.handle for row, member in members if member.state is StaffState.INVITED and row.changed_at < late]
    if unable:
        return problem("staff-factor-missing", handles=", ".join(unable))
    invited = sum(member.state is StaffState.INVITED for _, member in members)
    return passed(_PEOPLE, f"{len(active):,} active, {invited:,} invited; each active one has a second factor")


def _glass(session: "Session", access: StaffAccess) -> Check:
    broken = unacknowledged(session, access.receipts.has_right_code)
    hidden = [one.order_id for one in broken if one.hidden]
    if hidden:
        return problem("staff-glass-hidden", count=format_count(len(hidden), "order"), newest=hidden[-1])
    if broken:
        return problem("staff-glass-broken", count=format_count(len(broken), "order"), newest=broken[-1].order_id)
    return passed(_GLASS, "no order without a signature, or all were acknowledged")


def _lost_keys(rows: _Rows, settings: StaffSettings) -> list[str]:
    """Return the ids of keys under which rows were written and that are not set any more."""
    used = {row.mac.partition("$")[0] for row, _ in rows}
    return sorted(used - set(settings.staff_keys or ()))
