"""The tools of a run do what they say: clocks, locks, disks, books, the report."""

import fcntl
import json
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from proofs.faults import clock_offset, resource_faults
from proofs.faults.__main__ import removed, report_of
from proofs.faults.api_clients import Books
from proofs.faults.checks import judge
from proofs.faults.diary import Diary
from proofs.faults.evidence import Evidence
from proofs.faults.fault_injector import Trouble
from proofs.faults.run import Result
from proofs.load.servers import TESTS


def test_a_shifted_process_reads_its_clock_from_the_file_while_it_runs(tmp_path: Path) -> None:
    clock, module = tmp_path / "clock", tmp_path / "tell.py"
    clock_offset.make(clock)
    module.write_text("import sys, time\nfor _ in sys.stdin:\n    print(time.time(), time.monotonic(), flush=True)\n")
    told = subprocess.Popen(
        [sys.executable, "-m", "proofs.faults.clock_offset", str(clock), "tell"],
        env={"PYTHONPATH": f"{TESTS}:{tmp_path}"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with told:
        assert told.stdin is not None
        assert told.stdout is not None

        def ask() -> tuple[float, float]:
            told.stdin.write("?\n")  # type: ignore[union-attr]
            told.stdin.flush()  # type: ignore[union-attr]
            wall, monotonic = told.stdout.readline().split()  # type: ignore[union-attr]
            return float(wall) - time.time(), float(monotonic) - time.monotonic()

        assert ask() == pytest.approx((0, 0), abs=1)
        clock_offset.move(clock, -3600.0)
        assert ask() == pytest.approx((-3600, 0), abs=1)


def test_only_a_disk_of_its_own_is_filled(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="not for filling"), resource_faults.full(tmp_path):
        pass


def test_a_stranger_locks_the_file_and_lets_it_go(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "octy.db", timeout=0) as other:
        other.execute("CREATE TABLE t (n)").close()
        other.commit()
        with resource_faults.locked(tmp_path), pytest.raises(sqlite3.OperationalError, match="locked"):
            other.execute("INSERT INTO t VALUES (1)").close()
        other.execute("INSERT INTO t VALUES (2)").close()
    other.close()


def test_the_lock_file_is_held_and_let_go(tmp_path: Path) -> None:
    (tmp_path / "octy.db.lock-file").touch()
    with (tmp_path / "octy.db.lock-file").open("rb") as other:
        with resource_faults.lock_file_held(tmp_path), pytest.raises(BlockingIOError):
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)


@pytest.mark.parametrize(
    ("status", "in_use", "faults"), [(200, True, 0), (503, True, 0), (401, True, 1), (401, False, 0)]
)
def test_a_right_pair_in_use_is_accepted_or_told_to_come_again(status: int, in_use: bool, faults: int) -> None:
    books = Books()
    books.note_right("pk", status, 1.0, in_use=in_use)
    assert len(books.refused_right) == faults


@pytest.mark.parametrize(("status", "faults"), [(401, 0), (503, 0), (0, 0), (200, 1), (500, 1)])
def test_a_wrong_secret_is_refused_or_told_to_come_again(status: int, faults: int) -> None:
    books = Books()
    books.note_wrong("pk", status)
    assert len(books.accepted_wrong) == faults
    assert books.wrong["pk"][status] == 1


def test_the_report_begins_as_the_issue_says_and_sums_both_stores() -> None:
    evidence = Evidence(kills=2, refused={"pk": 3}, recorded={"pk": 3}, leaks=("leak: a secret key stands in x.log",))
    result = Result(judge(evidence), evidence, Trouble(), Diary(), requests=5, worker_ends=(), seconds=1.0)
    report = json.loads(json.dumps(report_of({"sqlite": result, "postgresql": result}, seed=7, seconds=2.0)))
    assert list(report)[:15] == [
        *(
            "kills",
            "refusals_seen",
            "refusals_recorded",
            "incidents_expected",
            "incidents",
            "alerts_expected",
            "alerts",
        ),
        *("duplicate_alerts", "regenerations", "lost", "stuck", "secrets_found"),
        *("alerts_withheld", "forged_accepted", "seconds"),
    ]
    assert (report["kills"], report["refusals_seen"], report["secrets_found"], report["seed"]) == (4, 6, 2, 7)
    assert report["findings"][1] == "postgresql: leak: a secret key stands in x.log"


def test_a_folder_goes_unless_it_is_kept(tmp_path: Path) -> None:
    for name, keep in (("gone", False), ("kept", True)):
        folder = tmp_path / name
        folder.mkdir()
        with removed(folder) as kept:
            kept.extend([folder] * keep)
        assert folder.exists() is keep
