"""Killed processes end to end: nothing is lost that a client or customer has seen."""

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import httpx2
import pytest
from support.paths import EXAMPLES
from support.until import until

from octy_worker.dev.customer import Keys
from octy_worker.dev.processes import LOOPBACK, Process, ProcessGroup, free_port, is_listening
from octy_worker.dev.stack import Stack
from story.api import Api, StoryAccount

CLIENTS = 6
FAILED_ALERTS = (
    "SELECT 1 FROM mail m JOIN account a ON a.id = m.account_id "
    "WHERE a.reference = :reference AND m.kind = 'alert' AND m.last_error <> ''"
)


def start_app(group: ProcessGroup, port: int) -> Process:
    command = [
        *(sys.executable, "-m", "uvicorn", "starlette_app:app", "--app-dir", str(EXAMPLES), "--port", str(port)),
        *("--no-access-log", "--no-proxy-headers", "--log-level", "warning"),
    ]
    process = group.start(f"app-{port}", command, {"OCTY_REQUIRE_HTTPS": "0"})
    process.wait_until(lambda: is_listening(port), 30)
    return process


def hammer(url: str, keys: Keys, seen: list[int], go: threading.Event) -> None:
    """Send wrong secrets until the server is gone; count the 401s that were read to the end."""
    with httpx2.Client(base_url=url, trust_env=False, timeout=5) as client:
        go.wait()
        while True:
            try:
                answer = client.get("/v1/account/authenticate", auth=(keys.public_key, "sk_wrong"))
            except httpx2.TransportError:
                return
            seen.append(answer.status_code)


def recorded(account: StoryAccount, keys: Keys) -> int:
    [(count,)] = account.rows(
        "SELECT COALESCE(SUM(count), 0) FROM outcome_minute WHERE public_key = :key AND outcome = 'wrong_secret'",
        key=keys.public_key,
    )
    return int(count)


@contextmanager
def without(stack: Stack, part: str) -> Iterator[None]:
    """Stop a part of the stack for the block, and start it again whatever happens."""
    stack.processes[part].stop(10)
    try:
        yield
    finally:
        {"temporal": stack.start_temporal, "mail": stack.start_mail}[part]()


def test_every_401_that_a_client_saw_survives_a_killed_app(account: StoryAccount) -> None:
    """Kill -9 in the middle of a burst. `proofs.load.kills` does it at many other moments."""
    answers = 150
    keys, port, go = account.register(), free_port(), threading.Event()
    group = ProcessGroup(account.stack.folder / "logs", account.stack.command_environment())
    process = start_app(group, port)
    seen: list[list[int]] = [[] for _ in range(CLIENTS)]
    url = f"http://{LOOPBACK}:{port}"
    clients = [threading.Thread(target=hammer, args=(url, keys, some, go)) for some in seen]
    for client in clients:
        client.start()
    go.set()
    until(lambda: sum(map(len, seen)) >= answers or process.returncode is not None, interval=0.001)
    os.kill(process.pid, signal.SIGKILL)
    for client in clients:
        client.join()
    group.stop()
    statuses = [status for some in seen for status in some]
    assert set(statuses) == {401}
    assert len(statuses) >= answers
    # Each client has at most one request under way whose commit it did not live to see answered.
    assert len(statuses) <= recorded(account, keys) <= len(statuses) + CLIENTS
    assert len(account.incidents()) == 1


def test_temporal_outage_during_failure_and_answer_loses_and_doubles_nothing(
    account: StoryAccount, connect: Callable[[str], Api]
) -> None:
    api, old = connect(account.stack.api), account.register()
    with without(account.stack, "temporal"):
        api.fail(old, 20)
        assert [incident[1] for incident in account.incidents()] == ["opening"]
        assert account.mails("alert") == []
    alert = account.wait_for_mail("alert")
    with without(account.stack, "temporal"):
        account.customer.answer_alert(alert, "not_us", leaked=True)
        assert api.refused_within(old, 1.0)
    new = account.customer.collect_keys(account.wait_for_mail("new_keys", 2))
    assert api.status(new) == 200
    account.wait_for_state("closed")
    assert len(account.mails("alert")) == 1
    assert len(account.mails("new_keys")) == 2
    [(regenerations,)] = account.rows(
        "SELECT COUNT(*) FROM regeneration r JOIN account a ON a.id = r.account_id "
        "WHERE a.reference = :reference AND r.cause = 'incident'",
        reference=account.reference,
    )
    assert regenerations == 1


def test_next_worker_continues_after_a_killed_worker(account: StoryAccount, connect: Callable[[str], Api]) -> None:
    api, old = connect(account.stack.api), account.register()
    os.kill(account.stack.processes["worker"].pid, signal.SIGKILL)
    api.fail(old, 20)
    account.stack.start_worker()
    account.customer.answer_alert(account.wait_for_mail("alert"), "not_us")
    new = account.customer.collect_keys(account.wait_for_mail("new_keys", 2))
    assert (api.status(new), api.status(old)) == (200, 200)
    assert len(account.mails("alert")) == 1


@pytest.mark.parametrize("stack", ["sqlite"], indirect=True, scope="session")
def test_unavailable_mail_server_delays_the_alert_and_loses_nothing(
    account: StoryAccount, connect: Callable[[str], Api]
) -> None:
    api, keys = connect(account.stack.api), account.register()
    with without(account.stack, "mail"):
        api.fail(keys, 20)
        until(lambda: account.rows(FAILED_ALERTS, reference=account.reference))
    account.customer.answer_alert(account.wait_for_mail("alert"), "it_was_us")
    account.wait_for_state("closed")
    assert len(account.mails("alert")) == 1
