"""Codes of rows: they fit one table, one row and one keychain."""

import os
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.ssh_keys import wire_of
from support.staff_rig import StaffKeys, StaffRig
from support.world import INSTALLATION, World

from octy_middleware.clock import uuid7
from octy_middleware.db.columns import Table
from octy_middleware.keys.keychain import Keychain
from octy_worker.access.authority import BuiltInAuthority
from octy_worker.access.browser_logins import BrowserLogins
from octy_worker.access.enrolments import Enrolments
from octy_worker.access.orders import Order
from octy_worker.access.pending_orders import PendingOrders
from octy_worker.access.proofs import BreakGlass
from octy_worker.access.roles import Action
from octy_worker.access.row_macs import RowMacs
from octy_worker.crypto.sealed_box import Sealer

KEYS = Keychain.generate("k1")
ROW = {"handle": "ada", "role": "admin", "created_at": 1_800_000_000, "disabled": None}


def test_code_fits_its_row_only() -> None:
    macs = RowMacs(KEYS)
    mac = macs.make("staff", ROW)
    assert macs.is_right(mac, "staff", ROW)
    for table, row in [
        ("staff_order", ROW),
        ("staff", {**ROW, "role": "viewer"}),
        ("staff", {**ROW, "created_at": "1800000000"}),
        ("staff", {name: value for name, value in ROW.items() if name != "disabled"}),
        ("staff", {**ROW, "extra": None}),
    ]:
        assert not macs.is_right(mac, table, row)


def test_older_keys_of_the_chain_are_accepted_and_foreign_ones_are_not() -> None:
    mac = RowMacs(KEYS).make("staff", ROW)
    rotated = Keychain({**KEYS, "k2": b"2" * 32})
    assert RowMacs(rotated).is_right(mac, "staff", ROW)
    assert RowMacs(rotated).make("staff", ROW).startswith("k2$")
    assert not RowMacs(Keychain.generate("k1")).is_right(mac, "staff", ROW)
    assert not RowMacs(Keychain.generate("k9")).is_right(mac, "staff", ROW)


@given(mac=st.text(max_size=90))
def test_arbitrary_text_is_no_code(mac: str) -> None:
    assert not RowMacs(KEYS).is_right(mac, "staff", ROW)


NOT_COVERED = {
    "staff": {
        "created_at": "only shown",
        "changed_at": "only dates an invitation that `octy doctor` finds too old",
    },
    "staff_factor": {
        "label": "only shown",
        "counter": "grows by a conditional UPDATE; docs/staff.md says what setting it back gives",
        "created_at": "only shown",
    },
    "staff_authority": {
        "last_serial": "set back, two certificates have one serial number, and are revoked together",
        "created_at": "only shown",
    },
    "staff_order": {
        "private": "the order holds commitments to it, which are checked at the use",
        "state": "the audit log has how an order ended, and an approval proves itself",
        "used_by": "the audit log has it",
        "ended_at": "only shown",
        "refusal": "only shown",
        "output": "only shown where an order is repeated that was used, as the audit log says",
    },
    "staff_session": {},
    "staff_browser_login": {},
    "staff_enrolment": {"used_at": "the audit log has each use"},
    "staff_pending_order": {},
}
"""Columns that the codes of rows leave out, and why somebody who writes them gains nothing by it."""


def test_code_covers_each_column_but_those_that_are_named(
    tmp_path: Path, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    covered: dict[str, set[str]] = {}
    make = RowMacs.make

    def record(macs: RowMacs, table: str, fields: dict[str, object]) -> str:
        assert covered.setdefault(table, set(fields)) == set(fields), table
        return make(macs, table, fields)  # type: ignore[arg-type]

    monkeypatch.setattr(RowMacs, "make", record)
    own_keys = Keychain.generate("s1")  # with keys of another rig, its rows would be copied, and no code made
    write_a_row_of_each_table(StaffRig(world, StaffKeys.make(tmp_path), float(int(time.time())), own_keys))
    with_code = {name: set(table.columns.keys()) for name, table in Table.metadata.tables.items() if "mac" in table.c}
    assert {name: columns - covered[name] - {"mac"} for name, columns in with_code.items()} == {
        name: set(reasons) for name, reasons in NOT_COVERED.items()
    }
    for table, columns in with_code.items():
        assert covered[table] <= columns, table
        assert world.rows(f"SELECT COUNT(*) FROM {table}") != [(0,)]


def write_a_row_of_each_table(rig: StaffRig) -> None:
    authorities, sealer, now = rig.keys.authorities(), Sealer(rig.staff_keys, os.urandom), rig.now
    certificate = authorities.verify(wire_of(rig.keys.keys["ada"].certificate.read_text()), now=now)
    order = Order(uuid7(now), INSTALLATION, Action.RELEASE_ALERTS, "", {}, "phoned", "ada", int(now))
    receipts = rig.receipts()
    rig.log_in()
    with rig.world.database.write_session() as session:
        BuiltInAuthority(rig.macs, sealer).add_key(session, by="root", now=now)
        receipts.receive(session, order.to_bytes(), BreakGlass(), now)
        BrowserLogins(authorities, rig.members, rig.macs).start(session, "ada", certificate, nonce="n", now=now)
        member = rig.members.require(session, "ada")
        Enrolments(rig.members, rig.macs).create(session, member, granted_by="order-1", now=now)
        pending = PendingOrders(INSTALLATION, rig.members, rig.macs, sealer)
        pending.add(session, order.to_bytes(), actor="ada", now=now)
