from proofs.load.stops import SlowMailServer, worker_setup
from proofs.load.waiting_incidents import measure


def test_waiting_incidents_are_answered_and_their_histories_are_small() -> None:
    with worker_setup(mail=SlowMailServer(0), OCTY_OVERLAP="0.1") as setup:
        report, figures = measure(setup, 2)
    assert report.faults == []
    assert max(history["events"] for history in figures["whole_incident"].values()) < 100
    assert max(history["bytes"] for history in figures["whole_incident"].values()) < 12_000
    assert (figures["alerts"], figures["answer_to_closed_ms"]["n"]) == (2, 1)
