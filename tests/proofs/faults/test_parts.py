"""The faults, records and the report do what they say."""

import fcntl
import json
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support.paths import TESTS

from proofs.faults import clock_offset, resource_faults
from proofs.faults.__main__ import report_of
from proofs.faults.checks import check
from proofs.faults.context import Responses
from proofs.faults.evidence import Evidence


def test_clock_offset_applies_to_running_process(tmp_path: Path) -> None:
    clock = tmp_path / "clock"
    clock_offset.write(clock, 0.0)
    code = "import sys, time\nfor _ in sys.stdin:\n    print(time.time(), time.monotonic(), flush=True)\n"
    (tmp_path / "clocks.py").write_text(code)
    process = subprocess.Popen(
        [sys.executable, "-m", "proofs.faults.clock_offset", str(clock), "clocks"],
        env={"PYTHONPATH": f"{TESTS}:{tmp_path}"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        for offset in (0.0, -3600.0):
            clock_offset.write(clock, offset)
            print(file=process.stdin, flush=True)
            wall, monotonic = map(float, process.stdout.readline().split())  # type: ignore[union-attr]
            assert (wall - time.time(), monotonic - time.monotonic()) == pytest.approx((offset, 0), abs=1)


def test_disk_that_is_not_the_runs_own_is_never_filled(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="not filled"), resource_faults.full_disk(tmp_path):
        pass


def test_foreign_write_lock_blocks_writers_and_is_released(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "octy.db", timeout=0) as other:
        other.execute("CREATE TABLE t (n)").close()
        other.commit()
        with resource_faults.foreign_write_lock(tmp_path), pytest.raises(sqlite3.OperationalError, match="locked"):
            other.execute("INSERT INTO t VALUES (1)").close()
        other.execute("INSERT INTO t VALUES (2)").close()
    other.close()


def test_lock_file_is_held_and_released(tmp_path: Path) -> None:
    (tmp_path / "octy.db.lock-file").touch()
    with (tmp_path / "octy.db.lock-file").open("rb") as other:
        with resource_faults.lock_file_held(tmp_path), pytest.raises(BlockingIOError):
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)


@pytest.mark.parametrize(
    ("status", "in_use", "unexpected"), [(200, True, 0), (503, True, 0), (401, True, 1), (401, False, 0)]
)
def test_right_secret_of_key_pair_in_use_is_expected_to_be_accepted(status: int, in_use: bool, unexpected: int) -> None:
    responses = Responses()
    responses.record_right("pk", status, 1.0, in_use=in_use)
    assert len(responses.unexpected) == unexpected


@pytest.mark.parametrize(("status", "unexpected"), [(401, 0), (503, 0), (0, 0), (200, 1), (500, 1)])
def test_wrong_secret_is_expected_to_be_refused(status: int, unexpected: int) -> None:
    responses = Responses()
    responses.record_wrong("pk", status)
    assert len(responses.unexpected) == unexpected
    assert responses.count(status) == {"pk": 1}


def test_report_begins_with_the_main_figures_and_sums_both_databases() -> None:
    evidence = Evidence(kills=2, refused={"pk": 3}, recorded={"pk": 3}, leaks=("leak: a secret key in x.log",))
    result = check(evidence)
    report = json.loads(json.dumps(report_of({"sqlite": result, "postgresql": result}, seed=7, seconds=2.0)))
    assert list(report) == [
        *("kills", "refusals_seen", "refusals_recorded", "incidents_expected", "incidents", "alerts_expected"),
        *("alerts", "duplicate_alerts", "regenerations", "lost", "stuck", "secrets_found", "alerts_withheld"),
        *("forged_accepted", "seconds", "seed", "stores", "requests", "mails_sent_again", "rows_behind_their_mail"),
        *("forgeries", "secrets_never_seen", "longest_use_after_cut", "worker_ended_by_itself", "moments_missed"),
        *("by_kind", "findings"),
    ]
    assert (report["kills"], report["refusals_seen"], report["secrets_found"], report["seed"]) == (4, 6, 2, 7)
    assert report["findings"][1] == "postgresql: leak: a secret key in x.log"
