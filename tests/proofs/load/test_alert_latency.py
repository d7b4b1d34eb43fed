"""A small run of the measurement; its limit is generous, for the machine of a test suite is busy."""

from proofs.load.alert_latency import run
from proofs.load.alert_loads import LOADS


def test_alerts_leave_while_a_mail_server_hangs_and_an_import_runs() -> None:
    reports = run(["hanging-mail-server", "import"], 3, database="sqlite", quick=True, limit=30.0)
    assert [fault for report in reports for fault in report.faults] == []
    assert len(LOADS) == 7  # a control, and six loads
