"""Hosts that freeze processes or have no threads: rejected, or no lock is held while they are frozen."""

import os
import signal
import sys
import threading
import time
from multiprocessing.connection import Connection as Pipe
from types import SimpleNamespace

import pytest
from support.database_choice import on_one_database
from support.fresh_processes import FRESH
from support.served import Served, served
from support.until import until
from support.world import FakeRequest, World

from octy_middleware import Authenticator, ConfigurationError, Database, DatabaseUnavailableError
from octy_middleware.db.backend import WriteMode
from octy_middleware.db.bulk_sql import run
from octy_middleware.http.outcome import Outcome
from octy_middleware.process.hosts import freezes_between_requests


@on_one_database  # refused before a statement is sent
@pytest.mark.parametrize(
    ("version", "options", "runs"),
    [
        (b"2.0.26", {}, False),
        (b"2.0.26", {"enable-threads": True}, True),
        (b"2.0.26", {"enable-threads": b"false"}, False),
        (b"2.0.26", {"threads": b"2"}, True),
        (b"2.0.26-debian", {"master": True}, False),
        (b"2.0.27", {}, True),
        (b"2.1", {}, True),
    ],
)
def test_uwsgi_without_threads_is_refused_with_what_to_do(
    world: World, monkeypatch: pytest.MonkeyPatch, version: bytes, options: dict[str, object], runs: bool
) -> None:
    monkeypatch.setitem(sys.modules, "uwsgi", SimpleNamespace(version=version, opt=options))
    if runs:
        Authenticator(world.settings()).close()
        return
    with pytest.raises(ConfigurationError, match="enable-threads = true"):
        Authenticator(world.settings())


@pytest.mark.parametrize("name", ["AWS_LAMBDA_RUNTIME_API", "K_SERVICE", "FUNCTIONS_WORKER_RUNTIME"])
def test_hosts_that_freeze_processes_are_recognized_by_their_variables(name: str) -> None:
    assert freezes_between_requests({name: "x"})
    assert not freezes_between_requests({"PATH": "/bin"})


def test_outcome_is_committed_before_the_response_on_a_freezing_host(world: World) -> None:
    keys = world.register()
    with world.authenticator(commit_before_response=True, batch_delay=1.0) as authenticator:
        for asked in range(1, 4):
            assert authenticator.decide(FakeRequest(keys.basic())).outcome is Outcome.ACCEPTED
            assert world.recorded() == {"accepted": asked}
        assert authenticator.decide(FakeRequest("Basic ???")).outcome is Outcome.MALFORMED
        assert world.recorded() == {"accepted": 3, "malformed": 1}


FREEZES = int(os.environ.get("OCTY_TEST_FREEZES", "10"))


def test_process_frozen_between_requests_holds_no_lock(world: World) -> None:
    """Stopped after each answer, as Lambda does. What lingers would be written in the middle of the next request."""
    keys = world.register()
    other = Database(world.url, busy_timeout=0.5)
    with served(world, commit_before_response=1, batch_delay=0.05) as app:
        for _ in range(FREEZES):
            ask_and_freeze(app, keys.basic())
            with other.write() as connection:
                run(connection, "UPDATE account SET contact_name = 'x'")
            app.go_on()
    other.close()
    assert world.recorded()["accepted"] == 3 * FREEZES


def ask_and_freeze(app: Served, authorization: str) -> None:
    for _ in range(3):
        assert app.ask(authorization) == 200
    app.stop()


def _hold(url: str, mode: WriteMode, pipe: Pipe) -> None:
    database = Database(url)
    try:
        with database.write(mode=mode) as connection:
            run(connection, "INSERT INTO key_change (public_key, at) VALUES ('pk_held', 1)")
            pipe.send("inside")
            pipe.recv()
            run(connection, "INSERT INTO key_change (public_key, at) VALUES ('pk_held', 2)")
    except DatabaseUnavailableError:
        pipe.send("lost")
    else:
        pipe.send("committed")


@pytest.mark.parametrize("database_kind", ["postgresql"])
@pytest.mark.parametrize(("mode", "seconds"), [(WriteMode.RECORDER, 2.4), (WriteMode.EXCLUSIVE, 5.6)])
def test_process_stopped_inside_a_transaction_loses_its_locks(world: World, mode: WriteMode, seconds: float) -> None:
    here, there = FRESH.Pipe()
    holder = FRESH.Process(target=_hold, args=(world.url, mode, there))
    holder.start()
    assert here.recv() == "inside"
    assert holder.pid is not None
    os.kill(holder.pid, signal.SIGSTOP)
    begun = time.monotonic()
    with world.database.write(timeout=30) as connection:
        waited = time.monotonic() - begun
        run(connection, "INSERT INTO key_change (public_key, at) VALUES ('pk_other', 1)")
    os.kill(holder.pid, signal.SIGCONT)
    here.send("go on")
    assert here.recv() == "lost"
    holder.join(30)
    assert waited < seconds
    assert world.rows("SELECT public_key FROM key_change WHERE public_key IN ('pk_held', 'pk_other')") == [
        ("pk_other",)
    ]


@pytest.mark.sqlite
def test_stopped_process_with_a_transaction_blocks_refusals_and_not_accepted_requests(world: World) -> None:
    """A stopped process keeps its lock on the file: unrecorded is 503 until that goes on or ends."""
    keys = world.register()
    here, there = FRESH.Pipe()
    holder = FRESH.Process(target=_hold, args=(world.url, WriteMode.EXCLUSIVE, there))
    with world.authenticator(commit_timeout=1.0) as authenticator:
        assert authenticator.decide(FakeRequest(keys.basic())).passes
        holder.start()
        assert here.recv() == "inside"
        assert holder.pid is not None
        os.kill(holder.pid, signal.SIGSTOP)
        answers = [
            authenticator.decide(FakeRequest(keys.basic(secret))).outcome for secret in ("sk_wrong", None, "sk_wrong")
        ]
        assert answers == [Outcome.DATABASE_UNAVAILABLE, Outcome.ACCEPTED, Outcome.DATABASE_UNAVAILABLE]
        threading.Timer(0.2, holder.kill).start()  # its end ends its lock, as SIGCONT would
        wrong = FakeRequest(keys.basic("sk_wrong"))
        until(lambda: authenticator.decide(wrong).outcome is Outcome.WRONG_SECRET, interval=0.1)
    holder.join(60)
    assert world.recorded(keys.public_key)["wrong_secret"] >= 3
