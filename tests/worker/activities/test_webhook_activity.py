"""The activity `post_webhook`: attempts, results, kills, and retries ordered by staff."""

import json
import logging
from collections.abc import Iterator

import pytest
from support.in_session import in_session
from support.relay_rig import change
from support.smtp_servers import Authority
from support.webhook_rig import (
    KEYS,
    activities,
    client,
    documented_check,
    enqueue_event,
    status,
    subscribe,
)
from support.webhooks import Receiver, receiver
from support.world import Keys, World
from temporalio.exceptions import ApplicationError

from octy_middleware import InvalidInputError
from octy_middleware.states import WebhookState
from octy_worker.activities.webhooks import TRANSIENT, WebhookActivities
from octy_worker.errors import RefusedError
from octy_worker.webhooks import repository
from octy_worker.webhooks.failures import FailureReason, PostResult
from octy_worker.webhooks.signing import Signer
from octy_workflows.messages import WebhookStepInput, WebhookStepResult


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("webhooks"))


@pytest.fixture
def server(authority: Authority) -> Iterator[Receiver]:
    with receiver(authority.serving()) as served:
        yield served


@pytest.fixture
def keys(world: World, server: Receiver) -> Keys:
    """A customer with the receiver as webhook URL; earlier events have no webhook."""
    keys = world.register()
    subscribe(world, server.url)
    return keys


class FakeWebhookClient:
    """A webhook client that returns the given results."""

    def __init__(self, *ends: PostResult | BaseException) -> None:
        self.ends = list(ends)
        self.parcels: list = []

    def post(self, message: object, *, first_attempt: bool = False) -> PostResult:
        self.parcels.append(message)
        end = self.ends.pop(0)
        if isinstance(end, BaseException):
            raise end
        return end


def over(world: World, *ends: PostResult | BaseException) -> WebhookActivities:
    return WebhookActivities(world.database, FakeWebhookClient(*ends), lambda: 0.0)


def test_repeated_post_webhook_sends_one_event(
    world: World, keys: Keys, server: Receiver, authority: Authority
) -> None:
    order = enqueue_event(world, keys.account_id)
    doing = activities(world, authority)
    assert doing.post_webhook(order) == doing.post_webhook(order) == WebhookStepResult("sent")
    assert server.ids == [order.webhook_id]
    assert status(world, order) == ("sent", 1, "")
    [heard] = server.heard
    assert documented_check()(Signer(KEYS).secret(keys.account_id), heard.headers, heard.body)
    told = json.loads(heard.body)
    assert told["data"] == {"account_id": keys.account_id, "notice_id": "n1"}
    assert (told["type"], told["timestamp"]) == ("contact.changed", "2026-02-02T02:40:00.000Z")


def test_retried_webhook_has_the_same_id(world: World, keys: Keys, server: Receiver, authority: Authority) -> None:
    server.statuses = [500, 302, 204]
    order, doing = enqueue_event(world, keys.account_id), activities(world, authority)
    for number, code in enumerate(("status-500", "redirect-302"), start=1):
        with pytest.raises(ApplicationError, match=code) as raised:
            doing.post_webhook(order)
        assert (raised.value.type, raised.value.non_retryable) == (TRANSIENT, False)
        assert status(world, order) == ("pending", number, code)
    assert doing.post_webhook(order) == WebhookStepResult("sent")
    assert status(world, order) == ("sent", 3, "")
    assert server.ids == [order.webhook_id] * 3
    assert len({request.body for request in server.heard}) == 1


def test_worker_killed_after_the_post_repeats_it_with_the_same_id(
    world: World, keys: Keys, server: Receiver, authority: Authority
) -> None:
    class Killed(BaseException): ...

    class Mortal:
        def post(self, message: object, *, first_attempt: bool = False) -> PostResult:
            client(authority).post(message)  # type: ignore[arg-type]
            raise Killed

    order = enqueue_event(world, keys.account_id)
    with pytest.raises(Killed):
        WebhookActivities(world.database, Mortal(), lambda: 0.0).post_webhook(order)
    assert status(world, order) == ("pending", 1, "")
    activities(world, authority).post_webhook(order)
    assert server.ids == [order.webhook_id] * 2
    assert status(world, order) == ("sent", 2, "")


def test_webhook_status_410_fails_without_retry(
    world: World, keys: Keys, server: Receiver, authority: Authority
) -> None:
    server.statuses = [410]
    order, doing = enqueue_event(world, keys.account_id), activities(world, authority)
    assert doing.post_webhook(order) == doing.post_webhook(order) == WebhookStepResult("failed", "gone")
    assert len(server.heard) == 1


@pytest.mark.parametrize(
    ("url", "chain", "code"), [("", KEYS, "no-url"), ("https://localhost:9/", None, "webhooks-off")]
)
def test_webhook_without_a_url_is_skipped(world: World, keys: Keys, url: str, chain: object, code: str) -> None:
    order = enqueue_event(world, keys.account_id)
    subscribe(world, url)
    assert activities(world, webhook_keys=chain).post_webhook(order) == WebhookStepResult("skipped", code)
    assert status(world, order)[0] == "skipped"


def test_corrected_webhook_url_gets_pending_events(
    world: World, keys: Keys, server: Receiver, authority: Authority
) -> None:
    subscribe(world, "https://127.0.0.1:9/")
    order, doing = enqueue_event(world, keys.account_id), activities(world, authority)
    with pytest.raises(ApplicationError, match="no-connection"):
        doing.post_webhook(order)
    subscribe(world, server.url)
    assert doing.post_webhook(order) == WebhookStepResult("sent")


@pytest.mark.parametrize(
    "fault", [fault for fault in FailureReason if fault not in (FailureReason.OFF, FailureReason.GONE)]
)
def test_webhook_errors_are_retried_and_reported_without_the_url(
    world: World, keys: Keys, fault: FailureReason, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    order = enqueue_event(world, keys.account_id)
    with pytest.raises(ApplicationError) as raised:
        over(world, PostResult(fault, 500)).post_webhook(order)
    assert status(world, order)[:2] == ("pending", 1)
    assert "localhost" not in f"{raised.value} {caplog.text} {status(world, order)}"
    assert order.webhook_id in caplog.text


def test_give_up_webhook_fails_a_pending_one_and_keeps_its_last_error(world: World, keys: Keys) -> None:
    order = enqueue_event(world, keys.account_id)
    doing = over(world, PostResult(FailureReason.TOO_SLOW))
    with pytest.raises(ApplicationError):
        doing.post_webhook(order)
    assert doing.give_up_webhook(order) == doing.give_up_webhook(order) == WebhookStepResult("failed", "too-slow")
    assert doing.post_webhook(order) == WebhookStepResult("failed", "too-slow")


def test_give_up_webhook_leaves_a_delivered_one(world: World, keys: Keys) -> None:
    order = enqueue_event(world, keys.account_id)
    doing = over(world, PostResult(None, 200))
    doing.post_webhook(order)
    assert doing.give_up_webhook(order) == WebhookStepResult("sent")


@pytest.mark.parametrize(
    ("first", "then", "stands"),
    [
        (WebhookState.SENT, WebhookState.PENDING, "sent"),
        (WebhookState.SENT, WebhookState.FAILED, "sent"),
        (WebhookState.FAILED, WebhookState.PENDING, "failed"),
        (WebhookState.FAILED, WebhookState.SENT, "sent"),
    ],
)
def test_overlapping_webhook_attempts_keep_the_successful_result(
    world: World, keys: Keys, first: WebhookState, then: WebhookState, stands: str
) -> None:
    order = enqueue_event(world, keys.account_id)
    for state in (first, then):
        with world.database.write_session() as session:
            repository.complete(session, order.webhook_id, state, 1.0, code="x" if state != "sent" else "")
    assert status(world, order)[0] == stands


def test_unknown_webhook_is_retried_because_another_worker_may_have_it(world: World) -> None:
    for do in (over(world).post_webhook, over(world).give_up_webhook):
        with pytest.raises(ApplicationError) as raised:
            do(WebhookStepInput("w-none", 0.0))
        assert not raised.value.non_retryable


# Orders of staff


def test_failed_webhook_is_retried_under_its_old_id(world: World, keys: Keys) -> None:
    order = enqueue_event(world, keys.account_id)
    change(
        world,
        "UPDATE webhook SET state = 'failed', delivery_attempts = 84, last_error = 'too-slow' WHERE id = ?",
        order.webhook_id,
    )
    for number in (2, 3):
        ids = [order.webhook_id, order.webhook_id]
        assert in_session(world.database, repository.retry, ids, actor="ann", reason="they are back", now=1.0) == [
            order.webhook_id
        ]
        assert status(world, order) == ("pending", 0, "too-slow")
        query = "SELECT detail FROM outbox WHERE kind = 'webhook_due' AND subject_id = :id ORDER BY id DESC"
        assert json.loads(world.rows(query, id=order.webhook_id)[0][0]) == {"order": number}
        change(world, "UPDATE webhook SET state = 'skipped'")


@pytest.mark.parametrize("state", ["pending", "sent"])
def test_retry_with_a_pending_webhook_retries_none_of_the_named(world: World, keys: Keys, state: str) -> None:
    orders = [enqueue_event(world, keys.account_id, subject) for subject in ("a", "b")]
    change(world, "UPDATE webhook SET state = ? WHERE id = ?", state, orders[0].webhook_id)
    change(world, "UPDATE webhook SET state = 'failed' WHERE id = ?", orders[1].webhook_id)
    with pytest.raises(RefusedError, match=f"still retried: {orders[0].webhook_id}$"):
        in_session(
            world.database, repository.retry, [each.webhook_id for each in orders], actor="ann", reason="x", now=1.0
        )
    assert status(world, orders[1])[0] == "failed"
    assert world.rows("SELECT COUNT(*) FROM outbox WHERE kind = 'webhook_due'") == [(2,)]


def test_retry_of_an_unknown_webhook_names_it(world: World) -> None:
    with pytest.raises(InvalidInputError, match="no webhook w1, w2, w3, w4, w5 and 2 more"):
        in_session(world.database, repository.retry, [f"w{n}" for n in range(1, 8)], actor="ann", reason="x", now=1.0)
