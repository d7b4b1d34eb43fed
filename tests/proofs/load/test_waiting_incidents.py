"""Cases wait on the embedded server, are answered, and go all the way to new keys; a small run of the measurement."""

from proofs.load.stops import SlowMailServer, worker_setup
from proofs.load.waiting_incidents import measure


def test_waiting_cases_are_answered_and_their_histories_are_small() -> None:
    with worker_setup(mail=SlowMailServer(0), OCTY_OVERLAP="0.1") as place:
        report, figures = measure(place, 2)
    assert report.faults == []
    assert max(history["events"] for history in figures["whole_case"].values()) < 100
    assert max(history["bytes"] for history in figures["whole_case"].values()) < 12_000
    assert (figures["alerts"], figures["answer_to_closed_ms"]["n"]) == (2, 1)
