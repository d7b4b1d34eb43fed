"""A short run of everything: real parts, real customers, kills at random and at named moments; nothing may be lost."""

from pathlib import Path

from proofs.faults.run import Plan, Siege

PLAN = Plan(
    *("sqlite", 3, 3),
    lives=2,
    pace=0.3,
    moment=2.0,
    calm=60.0,
    overlap=1.0,
    slow=0.0,
    worker="proofs.faults.fast_retry_worker",
)


def test_whoever_is_killed_every_case_comes_to_its_end(tmp_path: Path) -> None:
    lines: list[str] = []
    result = Siege(PLAN, tmp_path, store_folder=tmp_path, small_disk=False, say=lines.append).run()
    assert result.verdict.findings == ()
    figures = result.verdict.figures
    assert figures["kills"] >= 3
    assert figures["alerts"] == figures["alerts_expected"] == figures["incidents"] >= 2
    assert figures["refusals_recorded"] >= figures["refusals_seen"] >= 40
    assert result.trouble.by_kind.total() >= 3
    assert lines
