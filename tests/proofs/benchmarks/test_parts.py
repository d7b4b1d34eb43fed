"""What the benches use: the control, rows in bulk, arms, and the command's options."""

import asyncio
import os
import subprocess
import sys
from contextlib import closing

import pytest
from support.world import FakeRequest, World

from octy_middleware import OctyASGIMiddleware, Outcome
from octy_middleware.http.credentials import Secret
from proofs.benchmarks.__main__ import main
from proofs.benchmarks.apps.bare import Bare, Unrecorded, bare_wsgi
from proofs.benchmarks.apps.contenders import without_recording
from proofs.benchmarks.arms import AsgiArm, WsgiArm
from proofs.benchmarks.bulk import authorization, insert_keys, insert_outcomes, keys_of, public_key
from proofs.benchmarks.commands import cpu_seconds
from proofs.benchmarks.machine import on_one_core


def answer(app, authorization):
    scope = {"type": "http", "method": "GET", "path": "/", "scheme": "https", "client": ("203.0.113.9", 1)}
    headers = [(b"accept", b"*/*"), *([(b"authorization", authorization.encode())] if authorization else [])]
    sent = []

    async def send(message):
        sent.append(message)

    asyncio.run(app({**scope, "headers": headers}, None, send))
    return sent


@pytest.mark.parametrize("credentials", ["right", "wrong", "unknown", "garbage", None])
def test_control_answers_as_the_middleware_and_records_nothing(world: World, credentials):
    keys = world.register()
    digest = world.hasher.digest(Secret(keys.secret), b"")
    control = Unrecorded(Bare(), world.settings(), keys.public_key, digest)
    ours = OctyASGIMiddleware(Bare(), settings=world.settings())
    header = {"right": keys.basic(), "wrong": keys.basic("sk_wrong"), "unknown": authorization(1), "garbage": "Basic !"}
    with closing(ours.authenticator):
        assert answer(control, header.get(credentials)) == answer(ours, header.get(credentials))
    assert sum(world.recorded().values()) == 1  # by ours


def test_key_pairs_in_bulk_work_like_others(world: World):
    insert_keys(world, 30)
    with world.authenticator() as authenticator:
        for number in (0, 7, 29):
            accepted = authenticator.decide(FakeRequest(authorization(number)))
            assert (accepted.outcome, accepted.principal.reference) == (Outcome.ACCEPTED, f"customer-{number}")
            assert authenticator.decide(FakeRequest(authorization(number, wrong=True))).outcome is Outcome.WRONG_SECRET
        assert authenticator.decide(FakeRequest(authorization(30))).outcome is Outcome.UNKNOWN_KEY
    assert world.rows("SELECT COUNT(*), COUNT(DISTINCT secret_digest) FROM key_pair") == [(30, 30)]
    assert world.recorded(public_key(7)) == {"accepted": 1, "wrong_secret": 1}


def test_outcomes_in_bulk_are_distributed_as_real_ones(world: World):
    insert_outcomes(world, 4000)
    assert world.rows("SELECT COUNT(*) FROM attempt") == world.rows("SELECT COUNT(*) FROM outcome_minute") == [(2000,)]
    [(keys,)] = world.rows("SELECT COUNT(*) FROM key_pair")
    assert keys == keys_of(4000) == 50
    for table in ("attempt", "outcome_minute"):
        unknown = f"SELECT COUNT(*) FROM {table} WHERE public_key NOT IN (SELECT public_key FROM key_pair)"
        assert world.rows(unknown) == [(0,)]
        [(minutes, sources)] = world.rows(f"SELECT COUNT(DISTINCT minute), COUNT(DISTINCT source) FROM {table}")
        assert minutes >= 90
        assert sources > 200
    assert world.rows("SELECT COUNT(*) FROM attempt WHERE at / 60000000 <> minute") == [(0,)]
    bursts = "SELECT MAX(n) FROM (SELECT COUNT(*) AS n FROM attempt GROUP BY public_key, minute) AS bursts"
    assert world.rows(bursts) == [(20,)]
    later = "SELECT COUNT(*) FROM attempt a JOIN attempt b ON b.id = a.id + 1 WHERE b.minute < a.minute"
    assert world.rows(later) == [(0,)]


@pytest.mark.parametrize("kind", [AsgiArm, WsgiArm])
def test_arm_raises_at_an_unexpected_status(world: World, kind):
    adapter = OctyASGIMiddleware(Bare(), settings=world.settings())
    arm = kind(adapter, authorization(1)) if kind is AsgiArm else kind(refusing_wsgi, "")
    with closing(adapter.authenticator), pytest.raises(RuntimeError, match="the response was 401, not 200"):
        arm.run(1)
    arm.close()


def refusing_wsgi(_environ, start_response):
    start_response("401 Unauthorized", [])
    return []


def test_arm_sends_as_many_requests_as_it_should():
    seen = []

    def counting(environ, start_response):
        seen.append(environ["HTTP_AUTHORIZATION"])
        return bare_wsgi(environ, start_response)

    assert WsgiArm(counting, "Basic x").run(7) > 0
    assert seen == ["Basic x"] * 7


def test_authenticator_without_recording_still_rejects(world: World):
    keys = world.register()
    authenticator = without_recording(world.settings())
    with closing(authenticator):
        for _ in range(3):  # loaded, from the key cache, from the header cache
            assert authenticator.decide(FakeRequest(keys.basic())).outcome is Outcome.ACCEPTED
        assert authenticator.decide(FakeRequest(keys.basic("sk_wrong"))).outcome is Outcome.WRONG_SECRET
    assert world.recorded() == {"wrong_secret": 1}


def test_processes_are_on_one_core_and_others_on_the_rest_during_the_block():
    idle = [sys.executable, "-c", "input()"]
    with (
        subprocess.Popen(idle, stdin=subprocess.PIPE) as server,
        subprocess.Popen(idle, stdin=subprocess.PIPE) as client,
    ):
        before = os.sched_getaffinity(server.pid)
        with on_one_core([server.pid], others=[client.pid]):
            one, rest = os.sched_getaffinity(server.pid), os.sched_getaffinity(client.pid)
        assert os.sched_getaffinity(server.pid) == os.sched_getaffinity(client.pid) == before
        assert (one | rest == before and len(one) == 1 and not one & rest) or len(before) == 1
        server.kill()
        client.kill()


def test_cpu_of_a_command_is_counted_and_a_failure_raises():
    assert cpu_seconds([sys.executable, "-c", "sum(range(1_000_000))"]) > 0
    with pytest.raises(RuntimeError, match="ended with status 3"):
        cpu_seconds([sys.executable, "-c", "raise SystemExit(3)"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--only", "keys,nothing"], "nothing: there are only hot_paths, in_process"),
        (["--databases", "sqlite,oracle"], "oracle: there are only sqlite, postgresql"),
        (["--quick", "--size", "full"], "not allowed with"),
    ],
)
def test_command_lists_the_known_names(arguments, message, capsys):
    with pytest.raises(SystemExit) as exited:
        main(arguments)
    assert exited.value.code == 2
    assert message in capsys.readouterr().err
