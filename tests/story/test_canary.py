"""No secret in logs, mails, the database, Temporal's histories or its file."""

import asyncio
import re
from collections.abc import Callable, Iterator
from pathlib import Path

from temporalio.client import Client

from octy_middleware.db.models import METADATA
from octy_middleware.keys.keychain import Keychain
from octy_worker.dev.stack import Stack
from octy_worker.webhooks.signing import Signer
from story.api import Api, StoryAccount

SECRET = re.compile(rb"\bsk_[0-9A-Za-z]{49}\b")
WRONG = "sk_canary" + "0123456789" * 4
HOOK = "canary-hook-token"  # many services have the password in the path


def contents(stack: Stack, *patterns: str) -> Iterator[tuple[Path, bytes]]:
    for pattern in patterns:
        for path in stack.folder.glob(pattern):
            yield path, path.read_bytes()


def stored(stack: Stack) -> Iterator[tuple[Path, bytes]]:
    """Return what the database holds: SQLite's files byte by byte, or every row that a server gives out."""
    files = list(contents(stack, "octy.db*"))
    yield from files
    if not files:
        with stack.database.read() as connection:
            for table in METADATA.sorted_tables:
                rows = connection.execute(table.select()).all()
                yield Path(table.name), "\n".join(map(str, rows)).encode()


async def histories(stack: Stack) -> dict[str, str]:
    """Return every history as JSON, and once more as it is: JSON has contents in base64, in which nothing is found."""
    client, found = await Client.connect(stack.temporal_address), {}
    async for workflow in client.list_workflows():
        history = await client.get_workflow_handle(workflow.id).fetch_history()
        raw = b"".join(event.SerializeToString() for event in history.events)
        found[workflow.id] = history.to_json() + raw.decode("latin-1")
    return found


def test_no_secret_and_no_personal_data_in_logs_histories_and_database(
    account: StoryAccount, connect: Callable[[str], Api]
) -> None:
    stack, api = account.stack, connect(account.stack.api)
    old = account.register(webhook_url=f"https://127.0.0.1:9/{HOOK}")
    for _ in range(20):
        assert api.status(old, WRONG) == 401
    account.customer.answer_alert(account.wait_for_mail("alert"), "not_us", leaked=True)
    new = account.customer.collect_keys(account.wait_for_mail("new_keys", 2))
    account.wait_for_state("closed")
    tokens = {
        link.rsplit("/", 1)[1].encode()
        for mail in account.mails()
        for link in mail.links
        if "/keys/" in link or "/alert/" in link
    }
    assert len(tokens) == 3

    settings = stack.env_file.read_text(encoding="utf-8")
    peppers = [
        line.rsplit(":", 1)[1].encode()
        for line in settings.splitlines()
        if ("_KEYS=" in line or "_PEPPERS=" in line) and "_CA_KEYS=" not in line  # those are public
    ]
    assert len(peppers) == 6
    one_time_passwords = (stack.folder / "staff" / "one-time-password").read_bytes().strip()

    [(account_id,)] = account.rows("SELECT id FROM account WHERE reference = :reference", reference=account.reference)
    signer = Signer(Keychain.parse(stack.env["OCTY_WEBHOOK_KEYS"], name="OCTY_WEBHOOK_KEYS"))
    hook_secret = signer.secret(account_id).removeprefix("whsec_").encode()
    canaries = {old.secret.encode(), new.secret.encode(), WRONG.encode(), hook_secret, one_time_passwords, *peppers}
    database_contents = list(stored(stack))
    everything = [*contents(stack, "logs/*", "mail/*", "temporal.db*"), *database_contents]
    assert {path.parent.name for path, _ in everything} >= {"logs", "mail"}
    assert any(old.public_key.encode() in content for _, content in database_contents)
    assert any(path.name.startswith("temporal.db") for path, _ in everything)
    for path, content in everything:
        assert not SECRET.search(content), path
        for canary in canaries:
            assert canary not in content, path
    for path, content in [*contents(stack, "logs/*", "temporal.db*"), *database_contents]:
        for token in tokens:
            assert token not in content, path

    told = asyncio.run(histories(stack))
    assert any("incident" in name for name in told)
    for name, history in told.items():
        for personal in (
            account.reference,
            account.address,
            old.public_key,
            new.public_key,
            *(c.decode() for c in canaries),
        ):
            assert personal not in history, name
    assert any("webhook" in name for name in told)
    for path, content in contents(stack, "temporal.db*", "logs/*", "mail/*"):
        assert HOOK.encode() not in content, path
    for path, content in contents(stack, "temporal.db*", "logs/*"):
        assert account.address.encode() not in content, path
