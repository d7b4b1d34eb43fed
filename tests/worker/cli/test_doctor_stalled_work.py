"""Each problem of stalled work that `octy doctor` reports, provoked once, with the text of docs/doctor.md."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from support.cli_rig import open_incident
from support.doctor_rig import fits
from support.relay_rig import change
from support.world import World

from octy_middleware.errors import DatabaseUnavailableError
from octy_worker.cli.doctor import State, stalled_work
from octy_worker.cli.doctor.problems import PROBLEMS
from octy_worker.cli.doctor.stalled_work import check_stalled_work
from octy_worker.observability.database_probe import DiskSpace
from worker.reports.test_stalled_work import PROVOKED as RESULTS
from worker.reports.test_stalled_work import add_mail, kept_for, sound

__all__ = ["kept_for", "sound"]  # pytest finds them here

_NEEDS_POSTGRESQL = {"clocks-differ"}


def attack(world: World, ago: float = 0.0) -> tuple[str, str]:
    keys, incident_id = open_incident(world, at=time.time() - ago)
    return keys.account_id, incident_id


def hold(world: World) -> None:
    now = int(time.time() * 1e6)
    change(
        world,
        "INSERT INTO alert_hold (id, evidence, accounts, began_at, ends_at, released_by, reason) "
        "VALUES ('a', 'foreign_keys', 20, ?, ?, '', '')",
        *(now, now + 600_000_000),
    )


def withhold(world: World) -> None:
    account_id, incident_id = attack(world)
    add_mail(world, account_id, f"{incident_id}/reminder/1", "skipped", incident_id=incident_id, ago=60)
    change(world, "UPDATE mail SET last_error = 'daily-cap', kind = 'reminder'")


def fail_write(_world: World, patch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> float:
        raise DatabaseUnavailableError("database or disk is full")

    patch.setattr(stalled_work, "write_probe", full)


def give(name: str, value: object) -> Callable[[World, pytest.MonkeyPatch], None]:
    return lambda _world, patch: patch.setattr(stalled_work, name, lambda *_: value)


def move_clock(_world: World, patch: pytest.MonkeyPatch) -> None:
    real = stalled_work.clock_offset
    patch.setattr(stalled_work, "clock_offset", lambda database, clock: real(database, lambda: clock() + 3600))


PROVOKED: dict[str, Callable[[World, pytest.MonkeyPatch], object]] = {
    "alerts-late": lambda world, _: attack(world, 1300),
    "alerts-held": lambda world, _: hold(world),
    "alerts-failed": lambda world, _: RESULTS["alerts_failed"](world),
    "incidents-stalled": lambda world, _: RESULTS["incidents_stalled"](world),
    "incidents-need-staff": lambda world, _: (
        attack(world),
        change(world, "UPDATE incident SET state = 'needs_staff'"),
    ),
    "keys-refused": lambda world, _: RESULTS["keys_refused"](world),
    "keys-uncollected": lambda world, _: RESULTS["keys_uncollected"](world),
    "mails-retrying": lambda world, _: RESULTS["mails_retrying"](world),
    "mails-refused": lambda world, _: RESULTS["mails_refused"](world),
    "mails-withheld": lambda world, _: withhold(world),
    "webhooks-retrying": lambda world, _: RESULTS["webhooks_retrying"](world),
    "webhooks-failed": lambda world, _: RESULTS["webhooks_failed"](world),
    "commits-failing": lambda world, _: RESULTS["apps_failing"](world),
    "releases-differ": lambda world, _: RESULTS["apps_of_other_release"](world),
    "write-failed": fail_write,
    "write-slow": give("write_probe", 1.5),
    "disk-nearly-full": give("disk_space", DiskSpace(100_000_000, 10**12)),
    "clocks-differ": move_clock,
}


def test_doctor_reports_no_stalled_work_of_a_sound_installation(sound: World) -> None:
    assert {check.state for check in check_stalled_work(sound.worker_settings())} == {State.OK}


@pytest.mark.parametrize("code", PROVOKED)
def test_doctor_reports_each_stalled_work_problem_alone_with_its_text(
    sound: World, monkeypatch: pytest.MonkeyPatch, code: str
) -> None:
    PROVOKED[code](sound, monkeypatch)
    found = [check for check in check_stalled_work(sound.worker_settings()) if check.state is not State.OK]
    if sound.database_kind == "sqlite" and code in _NEEDS_POSTGRESQL:
        assert found == []  # there is one clock
        return
    [check] = found
    assert (check.state, check.code) == (State.PROBLEM, code)
    assert fits(PROBLEMS[code], check)


def test_doctor_reports_stalled_work_as_unchecked_without_a_database(tmp_path: Path, world: World) -> None:
    settings = world.worker_settings().model_copy(update={"database_url": f"sqlite:///{tmp_path}/none/none.db"})
    assert {check.state for check in check_stalled_work(settings)} == {State.UNCHECKED}
