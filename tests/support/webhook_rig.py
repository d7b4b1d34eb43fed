"""Accounts with webhooks, and webhook clients that may reach this machine. The server: `support.webhooks`."""

import re
import time
from collections.abc import Callable

from octy_middleware.clock import utc
from octy_middleware.domain import webhook_events
from octy_middleware.domain.accounts import Accounts
from octy_middleware.domain.webhook_events import WebhookEvent
from octy_middleware.keys.keychain import Keychain
from octy_worker.activities.webhooks import WebhookActivities
from octy_worker.settings import WebhookSettings
from octy_worker.webhooks.client import WebhookClient
from octy_worker.webhooks.signing import WebhookMessage
from octy_workflows.messages import WebhookStepInput
from support.paths import DOCS
from support.smtp_servers import Authority
from support.world import World

NOW = 1_770_000_000.0  # 2026-02-02 02:40:00 UTC
KEYS = Keychain.generate()
ACCOUNT = "01890c2e-0000-7000-8000-000000000001"
DOCUMENT = DOCS / "webhooks.md"


def documented_check() -> Callable[..., bool]:
    """Return the function that customers are shown, as the document has it."""
    [code] = re.findall(r"```python\n(.*?)```", DOCUMENT.read_text("utf-8"), re.DOTALL)
    names: dict[str, object] = {}
    exec(compile(code, str(DOCUMENT), "exec"), names)
    return names["is_genuine"]  # type: ignore[return-value]


def settings(authority: Authority | None = None, **values: object) -> WebhookSettings:
    """Return settings that let a test reach its own machine."""
    usual = {"webhook_keys": KEYS, "webhook_allow_private": True, "webhook_timeout": 5.0}
    trust = {"webhook_ca_file": str(authority.file)} if authority else {}
    return WebhookSettings.build(**{**usual, **trust, **values})


def message(url: str, **data: object) -> WebhookMessage:
    return WebhookMessage("w-1", WebhookEvent.TEST, utc(NOW), ACCOUNT, url, {"account_id": ACCOUNT, **data})


def client(
    authority: Authority | None = None, clock: Callable[[], float] = time.time, **values: object
) -> WebhookClient:
    return WebhookClient(settings(authority, **values), clock)


def subscribe(world: World, url: str, reference: str = "acme") -> None:
    Accounts(world.database).change_contact(reference, {"webhook_url": url})


def enqueue_event(world: World, account_id: str, subject: str = "n1") -> WebhookStepInput:
    """Enqueue one event, and return the input of its activity."""
    with world.database.write() as connection:
        assert webhook_events.enqueue_webhook(
            connection, WebhookEvent.CONTACT_CHANGED, account_id, subject, NOW, data={"notice_id": "n1"}
        )
    [(webhook_id,)] = world.rows("SELECT id FROM webhook WHERE key = :key", key=f"{subject}/contact.changed/1")
    return WebhookStepInput(webhook_id, NOW)


def activities(world: World, authority: Authority | None = None, **values: object) -> WebhookActivities:
    return WebhookActivities(world.database, client(authority, **values), time.time)


def status(world: World, order: WebhookStepInput) -> tuple:
    """Return state, attempts and last error of a webhook."""
    [found] = world.rows("SELECT state, delivery_attempts, last_error FROM webhook WHERE id = :id", id=order.webhook_id)
    return found
