from proofs.load.stops import measure, worker_setup


def test_worker_stopped_twice_within_a_mail_exits_with_0_and_sends_mails_once() -> None:
    with worker_setup() as setup:
        assert measure(setup, rounds=1, situations=("second signal",), mails=1).faults == []
