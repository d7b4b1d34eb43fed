"""Metrics of staff: counted from the audit log whichever process wrote it, and whether the log is whole."""

import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from sqlalchemy import text
from support.staff_rig import ADDRESS, StaffKeys, StaffRig
from support.world import INSTALLATION, World

from octy_middleware.clock import uuid7
from octy_middleware.db.database import Database
from octy_middleware.keys.keychain import Keychain
from octy_worker.access.logins import LoginStep, record_refusal
from octy_worker.access.orders import Order
from octy_worker.access.proofs import BreakGlass
from octy_worker.access.receipts import OrderReceipts
from octy_worker.access.roles import Action
from octy_worker.audit.checkpoint_writer import CheckpointWriter
from octy_worker.observability.metrics import collector, staff
from octy_worker.observability.metrics.staff import AuditCounter, StaffCollector

NOW = float(int(time.time()))
Read = Callable[[str], float | None]


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> StaffKeys:
    return StaffKeys.make(tmp_path_factory.mktemp("ssh"))


@pytest.fixture
def rig(world: World, keys: StaffKeys, monkeypatch: pytest.MonkeyPatch) -> StaffRig:
    monkeypatch.setattr(collector, "TOTALS_TTL", 0.0)
    return StaffRig(world, keys, NOW)


def receipts_of(rig: StaffRig) -> OrderReceipts:
    return rig.receipts()


def reading(rig: StaffRig) -> Read:
    """Return what reads one series of a worker that has just started; None where there is none."""
    registry = CollectorRegistry()
    registry.register(StaffCollector(rig.world.database, lambda: rig.now, receipts_of(rig).has_right_code))

    def read(series: str) -> float | None:
        lines = generate_latest(registry).decode().splitlines()
        return next((float(line.split()[-1]) for line in lines if line.rpartition(" ")[0] == series), None)

    assert read("octy_audit_log_whole") == 1
    return read


def order_by_break_glass(rig: StaffRig) -> Order:
    order = Order(uuid7(NOW), INSTALLATION, Action.EXTEND, "i1", {"days": 7}, "the CA is down", "root", int(NOW))
    with rig.world.database.write_session() as session:
        receipts_of(rig).receive(session, order.to_bytes(), BreakGlass(), NOW)
    return order


def sql(rig: StaffRig, statement: str) -> None:
    with rig.world.database.write() as connection:
        assert connection.execute(text(statement)).rowcount


def take_checkpoint(rig: StaffRig) -> None:
    CheckpointWriter(rig.world.database, Keychain.generate("a1"), INSTALLATION, lambda: rig.now, write=str).take()


def test_log_ins_and_orders_are_counted_since_the_start_of_the_worker(rig: StaffRig) -> None:
    rig.log_in()
    read, receipts = reading(rig), receipts_of(rig)
    rig.log_in("kim")
    with rig.world.database.write_session() as session:
        for step in (LoginStep.CODE, LoginStep.CODE, LoginStep.FACTOR):
            record_refusal(session, "ada", source=ADDRESS, reason="no", now=NOW, step=step)
    order, other = order_by_break_glass(rig), order_by_break_glass(rig)
    with rig.world.database.write_session() as session:
        receipts.use(session, order.order_id, order.action, order.subject, by="x", now=NOW)
        receipts.refuse(session, other.order_id, "too late", NOW)
    told = {
        'octy_staff_logins_total{kind="cli"}': 1,
        'octy_staff_logins_total{kind="browser"}': 0,
        'octy_staff_logins_refused_total{step="code"}': 2,
        'octy_staff_logins_refused_total{step="factor"}': 1,
        'octy_staff_logins_refused_total{step="enrolment"}': 0,
        'octy_staff_orders_total{result="received"}': 2,
        'octy_staff_orders_total{result="used"}': 1,
        'octy_staff_orders_total{result="refused"}': 1,
        "octy_break_glass_unacknowledged": 2,
    }
    for _ in range(2):  # each entry counts once
        assert {series: read(series) for series in told} == told


@pytest.mark.parametrize("detail", ["[]", "x", "NULL"])
def test_entry_with_an_erased_or_foreign_detail_is_counted_as_unknown(rig: StaffRig, detail: str) -> None:
    read = reading(rig)
    rig.log_in()
    order_by_break_glass(rig)
    value = detail if detail == "NULL" else f"'{detail}'"
    sql(rig, f"UPDATE audit_entry SET detail = {value} WHERE action IN ('login', 'order.received')")
    assert read('octy_staff_logins_total{kind="unknown"}') == 1
    assert read("octy_break_glass_unacknowledged") == 1


def test_counters_of_a_scrape_are_of_one_reading_also_while_another_one_reads(rig: StaffRig) -> None:
    """Another one may add labels, too."""
    scraped = StaffCollector(rig.world.database, lambda: rig.now, receipts_of(rig).has_right_code)
    list(scraped.collect())
    scrape = scraped.collect()
    first = next(scrape)
    rig.log_in()
    sql(rig, "UPDATE audit_entry SET detail = NULL WHERE action = 'login'")
    counted = [
        {sample.labels["kind"]: sample.value for metric in told for sample in metric.samples if "kind" in sample.labels}
        for told in (list(scraped.collect()), [first, *scrape])
    ]
    assert counted == [{"cli": 0, "browser": 0, "unknown": 1}, {"cli": 0, "browser": 0}]


def test_entries_of_a_reading_that_broke_off_are_counted_once(rig: StaffRig, monkeypatch: pytest.MonkeyPatch) -> None:
    counter = AuditCounter()
    with rig.world.database.read_session() as session:
        counter.read(session)
    order_by_break_glass(rig)
    with rig.world.database.read_session() as session, monkeypatch.context() as broken:
        execute = session.exec

        def break_off(query: Any) -> Any:
            return execute(query) if "detail" not in str(query) else rows_until_the_end(execute(query))

        broken.setattr(session, "exec", break_off)
        with pytest.raises(ConnectionError):
            counter.read(session)
    with rig.world.database.read_session() as session:
        counter.read(session)
    assert counter.orders["received"] == 1


def rows_until_the_end(rows: Iterable[object]) -> Iterator[object]:
    yield from rows
    raise ConnectionError


def test_changed_entry_is_found_part_by_part_until_it_is_right_again(
    rig: StaffRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = reading(rig)  # up to the end: the next reading starts at the beginning
    monkeypatch.setattr(staff, "VERIFIED_ENTRIES", 5)
    sql(rig, "UPDATE audit_entry SET actor = 'x' || actor WHERE seq = 7")
    assert [read("octy_audit_log_whole") for _ in range(3)] == [1, 0, 0]
    sql(rig, "UPDATE audit_entry SET actor = substr(actor, 2) WHERE seq = 7")
    assert [read("octy_audit_log_whole") for _ in range(4)] == [1] * 4
    sql(rig, "UPDATE audit_entry SET seq = -1 WHERE seq = 1")
    assert 0 in [read("octy_audit_log_whole") for _ in range(4)]


def test_end_that_was_cut_is_found_by_the_newest_checkpoint(rig: StaffRig) -> None:
    read = reading(rig)
    assert read("octy_audit_checkpoint_timestamp_seconds") is None
    rig.now += 30
    assert read("octy_audit_unsigned_oldest_seconds") == 30
    take_checkpoint(rig)
    assert read("octy_audit_checkpoint_timestamp_seconds") == NOW + 30
    assert read("octy_audit_unsigned_oldest_seconds") == 0
    sql(rig, "DELETE FROM audit_entry WHERE seq = (SELECT MAX(seq) FROM audit_entry)")
    assert read("octy_audit_log_whole") == 0


def test_without_a_database_the_gauges_are_missing_and_the_counters_remain(tmp_path: Path) -> None:
    registry = CollectorRegistry()
    database = Database(f"sqlite:///{tmp_path / 'none' / 'none.db'}")
    registry.register(StaffCollector(database, time.time, lambda _order: True))
    told = generate_latest(registry).decode()
    assert 'octy_staff_logins_total{kind="cli"} 0.0' in told
    assert "octy_audit_log_whole" not in told
