"""A worker that is told to stop in the middle of a mail, and told again, ends with 0 and loses nothing."""

from proofs.load.stops import measure, worker_setup


def test_a_worker_that_is_told_to_stop_ends_with_0_and_its_mails_are_sent_once() -> None:
    with worker_setup() as place:
        assert measure(place, rounds=1, kinds=("twice",), mails=1).faults == []
