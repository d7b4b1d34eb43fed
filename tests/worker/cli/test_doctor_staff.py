"""`octy doctor` about staff: each problem provoked once, and an installation without any."""

from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from sqlalchemy import text
from support.doctor_rig import fits
from support.staff_cli import StaffCli
from support.world import INSTALLATION, World

from octy_middleware.keys.keychain import Keychain
from octy_worker.cli.doctor import Check, State
from octy_worker.cli.doctor.problems import PROBLEMS
from octy_worker.cli.doctor.staff import check_staff
from octy_worker.settings import StaffSettings

Provoke = Callable[[StaffCli], Iterable[Check]]


def look(office: StaffCli, **options: object) -> list[Check]:
    given = StaffSettings.from_environment(office.octy.variables).model_dump() | options
    return list(check_staff(office.world.worker_settings(**given), INSTALLATION))


def given(**options: object) -> Provoke:
    return lambda office: look(office, **options)


def written(statement: str) -> Provoke:
    def provoke(office: StaffCli) -> list[Check]:
        office.bootstrap()
        with office.world.database.write() as connection:
            assert connection.execute(text(statement)).rowcount == 1
        return look(office)

    return provoke


def new_authority_key(office: StaffCli) -> list[Check]:
    office.octy("staff", "ca", "init").must()
    return look(office)


def other_keys(office: StaffCli) -> list[Check]:
    office.bootstrap()
    return look(office, staff_keys=Keychain.generate("other"))


def forgotten_invitation(office: StaffCli) -> list[Check]:
    office.bootstrap()
    office.order("amy", "staff", "add", "ben", "--role", "viewer").must()
    with office.world.database.write() as connection:
        connection.execute(text("UPDATE staff SET changed_at = 0 WHERE handle = 'ben'"))
    return look(office)


def broken_glass(office: StaffCli) -> list[Check]:
    office.octy("--break-glass", "accounts", "add", "--reference", "acme", "--email", "ops@acme.example").must()
    return look(office)


def glass_hidden_by(statement: str) -> Provoke:
    def provoke(office: StaffCli) -> list[Check]:
        broken_glass(office)
        with office.world.database.write() as connection:
            connection.execute(text(statement))
        return look(office)

    return provoke


PROVOKED: dict[str, Provoke] = {
    "staff-settings-refused": given(staff_ca_keys=("ssh-ed25519 AAAA",)),
    "staff-auth-off": given(staff_auth="off", smtp_host="smtp.acme.example"),
    "staff-certificates-long": given(staff_certificate_life=48 * 3600.0),
    "staff-authority-missing": given(staff_ca_keys=()),
    "staff-authority-untrusted": new_authority_key,
    "staff-keys-lost": other_keys,
    "staff-rows-forged": written("UPDATE staff SET state = 'invited'"),
    "staff-admin-missing": look,
    "staff-factor-missing": forgotten_invitation,
    "staff-glass-hidden": glass_hidden_by("DELETE FROM staff_order"),
    "staff-glass-broken": broken_glass,
}
FURTHER: list[tuple[str, Provoke]] = [
    ("staff-settings-refused", given(staff_keys=None)),
    ("staff-settings-refused", given(four_eyes=("eat",))),
    ("staff-settings-refused", given(staff_auth="off", database_url="postgresql://octy@db.example/octy")),
    ("staff-rows-forged", written("UPDATE staff SET mac = 's1$00'")),
    ("staff-factor-missing", written("UPDATE staff_factor SET granted_by = 'x'")),
    ("staff-factor-missing", written("DELETE FROM staff_factor")),
    ("staff-rows-forged", written("UPDATE staff SET mail = 'thief@evil.example'")),
    ("staff-glass-hidden", glass_hidden_by("UPDATE staff_order SET factor = 'hardware-key'")),
]


@pytest.fixture
def office(tmp_path: Path) -> Iterable[StaffCli]:
    world = World(tmp_path)
    yield StaffCli.make(world)
    world.close()


@pytest.mark.parametrize(("code", "provoke"), [*PROVOKED.items(), *FURTHER])
def test_doctor_reports_each_problem_of_staff_with_its_text(office: StaffCli, code: str, provoke: Provoke) -> None:
    found = [check for check in provoke(office) if check.code == code]
    assert found
    for check in found:
        assert check.state is State.PROBLEM
        assert fits(PROBLEMS[code], check)


def test_doctor_finds_no_problem_where_an_admin_can_act(office: StaffCli) -> None:
    office.bootstrap()
    office.order("amy", "staff", "add", "ben", "--role", "viewer").must()
    found = {check.name: (check.state, check.found) for check in look(office)}
    assert found == {
        "staff settings": (State.OK, "acts are signed orders; certificates live at most 16 h"),
        "staff certificates": (State.OK, "1 trusted key; 0 in OCTY_STAFF_REVOKED"),
        "staff": (State.OK, "1 active, 1 invited; each active one has a second factor"),
        "break glass": (State.OK, "no order without a signature, or all were acknowledged"),
    }


def test_doctor_says_that_staff_needs_no_proof_on_one_machine(office: StaffCli) -> None:
    [check] = look(office, staff_auth="off")
    assert (check.state, check.found) == (State.OK, "OCTY_STAFF_AUTH=off: everybody on this machine acts as staff")


def test_doctor_leaves_people_unchecked_without_a_database(office: StaffCli) -> None:
    found = look(office, database_url=f"sqlite:///{office.world.folder}/no/no.db")
    assert [check.state for check in found] == [State.OK, *[State.UNCHECKED] * 3]


def test_erased_account_hides_no_order_by_break_glass(office: StaffCli) -> None:
    """Of the order that has added it, no detail is left either: it holds the reason."""
    broken_glass(office)
    with office.world.database.write() as connection:
        connection.execute(text("UPDATE regeneration SET finished_at = 1, state = 'done'"))
    office.octy("--break-glass", "accounts", "erase", "acme", "--reason", "ticket 4711", "--yes").must()
    assert {check.code for check in look(office)} >= {"staff-glass-broken"}
    assert not [check for check in look(office) if check.code == "staff-glass-hidden"]
    left = "SELECT COUNT(detail) FROM audit_entry WHERE action = 'order.received' AND subject = ''"
    assert office.world.rows(left) == [(0,)]
