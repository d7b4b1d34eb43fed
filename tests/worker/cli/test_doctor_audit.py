"""When a checkpoint of the audit log is late, and how much of the log the doctor verifies."""

from pathlib import Path

import pytest
from support.relay_rig import change
from support.world import World

from octy_worker.cli.doctor import State, audit
from worker.cli.test_doctor_problems import DoctorRig, append, check_checkpoints, take_checkpoint

DAY = 86_400.0


@pytest.fixture
def rig(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DoctorRig:
    return DoctorRig(world, tmp_path, monkeypatch)


def state(rig: DoctorRig, *, worker_runs: bool = True) -> str:
    [_, found] = check_checkpoints(rig, worker_runs=worker_runs)
    return found.code or str(found.state)


def test_checkpoint_is_late_ten_minutes_after_the_first_entry_without_one(rig: DoctorRig) -> None:
    append(rig, 1, ago=500)
    assert state(rig) == State.OK
    append(rig, 1, ago=0)
    assert state(rig) == State.OK
    change(rig.world, "UPDATE audit_entry SET at = at - 200000000 WHERE seq = 1")
    assert state(rig) == "audit-checkpoint-late"
    assert state(rig, worker_runs=False) == State.OK  # there is no worker to take it
    take_checkpoint(rig, ago=0)
    assert state(rig) == State.OK


@pytest.mark.parametrize(("ago", "code"), [(DAY - 60, State.OK), (DAY + 1200, "audit-checkpoint-late")])
def test_checkpoint_is_late_a_day_after_the_last_one_also_without_entries(
    rig: DoctorRig, ago: float, code: str
) -> None:
    take_checkpoint(rig, ago=ago)
    assert state(rig) == code


def test_last_entries_are_verified_against_the_entry_before_them(rig: DoctorRig) -> None:
    rig.patch.setattr(audit, "CHECKED", 3)
    append(rig, 10)
    [chain, _] = check_checkpoints(rig)
    assert chain.found == "the last 3 of 10 entries are unchanged"
    change(rig.world, "UPDATE audit_entry SET actor = 'eve' WHERE seq = 7")
    assert check_checkpoints(rig)[0].state is State.OK  # `octy audit verify` finds it
    change(rig.world, "UPDATE audit_entry SET actor = 'eve' WHERE seq = 8")
    assert "entry 8: " in check_checkpoints(rig)[0].found


def test_entry_that_is_missing_before_the_last_ones_is_found(rig: DoctorRig) -> None:
    rig.patch.setattr(audit, "CHECKED", 3)
    append(rig, 10)
    change(rig.world, "DELETE FROM audit_entry WHERE seq = 7")
    assert "entry 7: it is missing" in check_checkpoints(rig)[0].found
