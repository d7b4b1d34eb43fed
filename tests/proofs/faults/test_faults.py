"""A short run with real parts and customers: whatever is killed, every incident ends and nothing is lost."""

from pathlib import Path

from proofs.faults.options import RunOptions
from proofs.faults.run import FaultRun

OPTIONS = RunOptions(
    *("sqlite", 3, 3),
    accounts=2,
    interval=0.3,
    kill_point_timeout=2.0,
    end_timeout=60.0,
    overlap=1.0,
    late_share=0.0,
    worker="proofs.faults.fast_retry_worker",
)


def test_every_incident_ends_whatever_is_killed(tmp_path: Path) -> None:
    lines: list[str] = []
    result = FaultRun(OPTIONS, tmp_path, database_folder=tmp_path, small_disk=False, report=lines.append).run()
    assert result.findings == ()
    figures = result.figures
    assert figures["kills"] >= 3
    assert figures["alerts"] == figures["alerts_expected"] == figures["incidents"] >= 2
    assert figures["refusals_recorded"] >= figures["refusals_seen"] >= 40
    assert sum(result.evidence.by_kind.values()) >= 3
    assert lines
