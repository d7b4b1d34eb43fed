"""Staff, second factors, enrolment tokens: what the database grants, and what a row written by SQL does not."""

import os
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from passlib.totp import TOTP
from sqlalchemy import text
from sqlmodel import Session
from support.in_session import in_session
from support.refusals import refusal
from support.world import World

from octy_middleware.keys.keychain import Keychain
from octy_worker.access.authority import BuiltInAuthority
from octy_worker.access.enrolments import LINK_TTL, Enrolments
from octy_worker.access.factor_rows import BOOTSTRAP
from octy_worker.access.members import GRANTED, Member, Members, StaffState
from octy_worker.access.roles import Role
from octy_worker.access.row_macs import RowMacs
from octy_worker.access.totp import new_seed
from octy_worker.audit import repository as audit
from octy_worker.crypto.sealed_box import Sealer

NOW = 1_790_000_000.0
AMY_MAC = "SELECT mac FROM staff WHERE handle = 'amy'"
AMY_SEED = "SELECT f.secret FROM staff_factor f JOIN staff s ON s.id = f.staff_id WHERE s.handle = 'amy'"
ORDER = "01990000-0000-7000-8000-00000000000{}"


@dataclass
class Staff:
    """One admin, amy, and one responder, ada, who was a key admin before; both have a one-time password."""

    world: World
    keys: Keychain = field(default_factory=lambda: Keychain.generate("s1"))

    def __post_init__(self) -> None:
        macs, sealer = RowMacs(self.keys), Sealer(self.keys, os.urandom, setting="OCTY_STAFF_KEYS", what="a seed")
        self.members = Members(macs, sealer)
        self.enrolments = Enrolments(self.members, macs, os.urandom)
        self.authority, self.seed = BuiltInAuthority(macs, sealer), new_seed(lambda count: b"7" * count)
        amy = self.do(self.members.add, "amy", Role.ADMIN, granted_by=BOOTSTRAP, now=NOW)
        ada = self.do(self.members.add, "ada", Role.KEY_ADMIN, granted_by=ORDER.format(1), now=NOW, by="amy")
        for member in (amy, ada):
            self.do(self.members.add_totp, member, self.seed, now=NOW, granted_by=member.granted_by)
            self.do(self.members.activate, member, NOW)
        self.rows_before = self.rows()
        self.do(self.members.change, "ada", granted_by=ORDER.format(2), now=NOW, role=Role.RESPONDER, by="amy")

    def do(self, call: Callable[..., object], *values: object, **options: object) -> object:
        return in_session(self.world.database, call, *values, **options)

    def find(self, handle: str = "ada") -> Member | None:
        return self.do(self.members.find, handle)

    def use_code(self, at: float = NOW, handle: str = "ada") -> str:
        code = str(TOTP(key=self.seed).generate(time=at).token)

        def use(session: Session) -> str:
            return self.members.use_totp(session, self.members.require_active(session, handle, Role.VIEWER), code, at)

        return self.do(use)

    def sql(self, statement: str, **values: object) -> None:
        with self.world.database.write() as connection:
            assert connection.execute(text(statement), values).rowcount >= 1

    def rows(self) -> list[tuple]:
        return self.world.rows("SELECT role, state, granted_by, mac FROM staff WHERE handle = 'ada'")


@pytest.fixture
def staff(world: World) -> Staff:
    return Staff(world)


def test_member_has_the_newest_granted_role(staff: Staff) -> None:
    found = staff.find()
    assert found is not None
    assert (found.role, found.state, found.granted_by) == (Role.RESPONDER, StaffState.ACTIVE, ORDER.format(2))
    assert "is responder, and this needs key_admin" in refusal(
        staff.do, staff.members.require_active, "ada", Role.KEY_ADMIN
    )
    assert "there is no staff member bob" in refusal(staff.do, staff.members.require, "bob")


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE staff SET role = 'admin' WHERE handle = 'ada'",
        "UPDATE staff SET state = 'invited' WHERE handle = 'ada'",
        "UPDATE staff SET granted_by = 'bootstrap' WHERE handle = 'ada'",
        f"UPDATE staff SET role = 'admin', granted_by = 'bootstrap', mac = ({AMY_MAC}) WHERE handle = 'ada'",
    ],
)
def test_staff_row_written_by_sql_grants_nothing(staff: Staff, statement: str) -> None:
    staff.sql(statement)
    assert "was not written by this system" in refusal(staff.find)


def test_inserted_staff_row_grants_nothing(staff: Staff) -> None:
    staff.sql(
        "INSERT INTO staff (id, handle, display_name, mail, role, state, granted_by, created_at, changed_at, mac) "
        "SELECT :id, 'eve', '', '', 'admin', 'active', granted_by, 0, 0, mac FROM staff WHERE handle = 'amy'",
        id=ORDER.format(9),
    )
    assert "was not written by this system" in refusal(staff.find, "eve")
    [eve] = [member for row, member in staff.do(staff.members.find_all) if row.handle == "eve"]
    assert eve is None


def test_older_right_row_that_is_written_back_grants_nothing(staff: Staff) -> None:
    [(role, state, granted_by, mac)] = staff.rows_before
    assert role == "key_admin"
    staff.sql(
        "UPDATE staff SET role = :role, state = :state, granted_by = :granted_by, mac = :mac WHERE handle = 'ada'",
        role=role, state=state, granted_by=granted_by, mac=mac,
    )  # fmt: skip
    assert "is not the one of the audit log" in refusal(staff.find)
    with staff.world.database.write_session() as session:  # with an entry that anybody can compute
        audit.append(session, GRANTED, actor="amy", subject="ada", order_id=granted_by, now=NOW)
    assert "is not the one of the audit log" in refusal(staff.find)


def test_row_without_any_grant_in_the_audit_log_grants_nothing(staff: Staff) -> None:
    staff.sql("DELETE FROM audit_entry WHERE subject = 'ada'")
    assert "is not the one of the audit log" in refusal(staff.find)


def test_code_is_accepted_once_also_by_two_at_the_same_time(staff: Staff) -> None:
    assert staff.use_code()
    assert "was used before" in refusal(staff.use_code)
    assert staff.use_code(NOW + 60)


def test_code_counts_once_also_where_its_counter_was_read_before(staff: Staff) -> None:
    """What is left if two read the counter before one of them writes it."""
    code = str(TOTP(key=staff.seed).generate(time=NOW).token)
    with staff.world.database.write_session() as session:
        member = staff.members.require(session, "ada")
        [factor] = staff.members.factors.of(session, member.id)
        staff.members.use_totp(session, member, code, NOW)
        assert factor.counter == 0, "as it was read"
        assert "was used before" in refusal(staff.members.use_totp, session, member, code, NOW)


@pytest.mark.parametrize(
    "statement",
    [
        f"UPDATE staff_factor SET secret = ({AMY_SEED})",
        "UPDATE staff_factor SET granted_by = 'bootstrap' WHERE granted_by <> 'bootstrap'",
        "UPDATE staff_factor SET mac = ''",
    ],
)
def test_factor_row_written_by_sql_proves_nothing(staff: Staff, statement: str) -> None:
    staff.sql(statement)
    assert "ada has no one-time password" in refusal(staff.use_code)


def test_inserted_factor_row_proves_nothing(staff: Staff) -> None:
    """The attacker knows the seed of amy's factor, and copies its row for ada."""
    ada = staff.find()
    staff.do(staff.members.factors.remove_all, ada.id, granted_by=ORDER.format(3), by="amy", now=NOW)
    staff.sql(
        "INSERT INTO staff_factor (id, staff_id, kind, label, secret, counter, granted_by, created_at, mac) "
        "SELECT :id, (SELECT id FROM staff WHERE handle = 'ada'), kind, label, secret, 0, granted_by, 0, mac "
        "FROM staff_factor WHERE granted_by = 'bootstrap'",
        id=ORDER.format(9),
    )
    assert "ada has no one-time password" in refusal(staff.use_code)


def test_removed_factor_stays_removed_when_its_row_is_written_back(staff: Staff) -> None:
    ada = staff.find()
    query = "SELECT secret, mac FROM staff_factor WHERE staff_id = :id"
    [(secret, mac)] = staff.world.rows(query, id=ada.id)
    assert staff.do(staff.members.factors.remove_all, ada.id, granted_by=ORDER.format(3), by="amy", now=NOW) == 1
    assert staff.world.rows(query, id=ada.id)[0][0] == "", "the seed is erased"
    assert "has no one-time password" in refusal(staff.use_code)
    staff.sql(
        "UPDATE staff_factor SET removed_at = NULL, secret = :secret, mac = :mac WHERE staff_id = :id",
        secret=secret, mac=mac, id=ada.id,
    )  # fmt: skip
    assert "has no one-time password" in refusal(staff.use_code)


# Enrolment links


def enroll(staff: Staff, token: str, at: float = NOW) -> tuple[str, str]:
    """Use a link; return whose it is and what granted it."""

    def use(session: Session) -> tuple[str, str]:
        found = staff.enrolments.find(session, token, at)
        staff.enrolments.use(session, found, at)
        return found.member.handle, found.granted_by

    return staff.do(use)


def test_enrolment_link_is_used_once_within_its_time(staff: Staff) -> None:
    ada = staff.find()
    first = staff.do(staff.enrolments.create, ada, granted_by=ORDER.format(3), now=NOW)
    second = staff.do(staff.enrolments.create, ada, granted_by=ORDER.format(4), now=NOW)
    for token, at in ((first, NOW), (second + "x", NOW), (second, NOW + LINK_TTL)):
        assert "this link is not valid" in refusal(enroll, staff, token, at)
    assert enroll(staff, second, NOW + LINK_TTL - 1) == ("ada", ORDER.format(4))
    assert "was used" in refusal(enroll, staff, second)
    assert second not in str(staff.world.rows("SELECT * FROM staff_enrolment"))


@pytest.mark.parametrize(
    "change",
    [
        "expires_at = expires_at + 86400000000",
        "granted_by = 'bootstrap'",
        "staff_id = (SELECT id FROM staff WHERE handle = 'amy')",
    ],
)
def test_enrolment_link_changed_by_sql_grants_nothing(staff: Staff, change: str) -> None:
    token = staff.do(staff.enrolments.create, staff.find(), granted_by=ORDER.format(3), now=NOW)
    staff.sql(f"UPDATE staff_enrolment SET {change}")
    assert "this link is not valid" in refusal(enroll, staff, token)


def test_used_link_whose_row_is_written_back_grants_nothing(staff: Staff) -> None:
    token = staff.do(staff.enrolments.create, staff.find(), granted_by=ORDER.format(3), now=NOW)
    [(mac,)] = staff.world.rows("SELECT mac FROM staff_enrolment")
    enroll(staff, token)
    staff.sql("UPDATE staff_enrolment SET used_at = NULL, mac = :mac", mac=mac)
    assert "this link is not valid" in refusal(enroll, staff, token)
