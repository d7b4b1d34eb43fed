"""Webhooks end to end: a customer's server gets the events that the mails report."""

import json
import ssl
from collections.abc import Callable, Iterator

import pytest
from support.until import until
from support.webhooks import Receiver, receiver

from octy_worker.dev.stack import Stack
from story.api import Api, StoryAccount


def certificate(stack: Stack) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(stack.folder / "tls" / "server.pem", stack.folder / "tls" / "server.key")
    return context


@pytest.fixture
def server(stack: Stack) -> Iterator[Receiver]:
    with receiver(certificate(stack)) as served:
        yield served


def test_webhooks_report_an_incident_from_opening_to_close(
    account: StoryAccount, connect: Callable[[str], Api], server: Receiver
) -> None:
    api, keys = connect(account.stack.api), account.register(webhook_url=server.url)
    api.fail(keys, 20)
    account.customer.answer_alert(account.wait_for_mail("alert"), "it_was_us")
    expected = ["incident.answered", "incident.closed", "incident.opened", "keys.collected", "keys.ready"]
    until(lambda: len(server.heard) >= len(expected))
    account.wait_for_state("closed")
    told = [json.loads(request.body) for request in server.heard]
    assert sorted(event["type"] for event in told) == expected
    assert {event["data"]["public_key"] for event in told} == {keys.public_key}
    assert len(set(server.ids)) == len(expected)
    states = "SELECT w.state FROM webhook w JOIN account a ON a.id = w.account_id WHERE a.reference = :reference"
    until(lambda: account.rows(states, reference=account.reference) == [("sent",)] * len(expected))
    assert keys.secret not in str(told)
    assert account.address not in str(told)
