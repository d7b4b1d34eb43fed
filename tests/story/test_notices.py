"""Notices end to end: changed contact addresses, keys over plain HTTP, and new keys by link."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from urllib.parse import urlsplit

import pytest
from support.until import TIMEOUT, until

from octy_middleware.domain.installation import installation_id
from octy_worker.dev.customer import CustomerError, Keys
from octy_worker.dev.http_client import http_client
from octy_worker.dev.inbox import ReceivedMail
from octy_workflows.messages import notice_workflow_id
from story.api import Api, StoryAccount
from story.test_canary import contents, histories

Connect = Callable[[str], Api]


def link_in(mail: ReceivedMail) -> str:
    [link] = [link for link in mail.links if urlsplit(link).path.startswith("/notice/")]
    return link


def order_new_keys(account: StoryAccount, mail: ReceivedMail, *, leaked: bool = False) -> str:
    """Press the button on the mail's page; return the page that follows."""
    return account.customer.press(link_in(mail), ("order", "replace"), ["leaked"] if leaked else [])


def mail_to(account: StoryAccount, address: str, kind: str) -> ReceivedMail:
    return account.stack.wait_for_mail(f"{kind} mail", lambda mail: (mail.to, mail.kind) == (address, kind), TIMEOUT)


def set_contact(account: StoryAccount, adapter: str, keys: Keys, address: str) -> int:
    """Set the contact address as Octy's command line does."""
    with http_client(account.stack.tls_context(), base_url=adapter) as client:
        auth, body = (keys.public_key, keys.secret), {"contact_email_address": address}
        return client.post("/v1/configurations/account/set", auth=auth, json=body).status_code


def over_plain_http(api: Api, keys: Keys, secret: str | None = None) -> int:
    """Send a request that a trusted proxy says came over plain HTTP."""
    return api.status(keys, secret, **{"X-Forwarded-Proto": "http", "X-Forwarded-For": "198.51.100.66"})


def notices_of(account: StoryAccount) -> list[tuple]:
    return account.rows(
        "SELECT n.kind, n.regeneration_id IS NOT NULL FROM notice n JOIN account a ON a.id = n.account_id "
        "WHERE a.reference = :reference ORDER BY n.at",
        reference=account.reference,
    )


def test_owner_replaces_the_keys_after_a_thief_changed_the_address(
    account: StoryAccount, connect: Connect, adapter: str
) -> None:
    api, old, thief = connect(adapter), account.register(), f"thief-{account.address}"
    assert set_contact(account, adapter, old, thief) == 200
    warned, named = mail_to(account, account.address, "contact_changed"), mail_to(account, thief, "new_contact")
    assert "If not, someone has your API keys" in " ".join(warned.text.split())
    assert "thief-" in warned.text
    assert "Security mails of the account will come here from" in " ".join(named.text.split())
    assert named.links == ()
    for told_to_the_owner_only in (account.address.partition("@")[0] + "@", link_in(warned), old.public_key):
        assert told_to_the_owner_only not in (named.text + named.html).replace(thief, "")

    page = order_new_keys(account, warned, leaked=True)
    assert "Your new keys are ordered" in page
    assert api.refused_within(old, 1.0)
    new = account.customer.collect_keys(account.wait_for_mail("new_keys", 2))  # in the old inbox
    assert (api.status(new), api.status(old)) == (200, 401)
    assert {mail.kind for mail in account.stack.mails.messages() if mail.to == thief} == {"new_contact"}
    with pytest.raises(CustomerError, match="no form"):
        order_new_keys(account, warned)
    assert notices_of(account) == [("contact_changed", 1)]


def test_repeated_address_changes_send_a_bounded_number_of_mails(account: StoryAccount, adapter: str) -> None:
    keys = account.register()
    addresses = [f"victim-{number}-{account.address}" for number in range(6)]
    answers = [set_contact(account, adapter, keys, address) for address in addresses]
    assert answers == [200] * 5 + [422]
    until(lambda: not account.rows("SELECT 1 FROM outbox WHERE delivered_at IS NULL"))
    account.wait_for_mail("contact_changed")
    time.sleep(1)  # whatever else would come
    sent = Counter(mail.to for mail in account.stack.mails.messages() if mail.to in [*addresses, account.address])
    assert sent[addresses[-1]] == 0
    assert max(sent.values()) <= 1 + 3  # the first keys' mail, and what the daily cap allows
    assert 1 <= len(notices_of(account)) <= 5


def test_key_pair_sent_over_plain_http_gives_one_notice_and_is_replaced(
    account: StoryAccount, connect: Connect, adapter: str
) -> None:
    api, old = connect(adapter), account.register()
    assert over_plain_http(api, old, "sk_wrong") == 403
    assert [over_plain_http(api, old) for _ in range(5)] == [403] * 5
    told = account.wait_for_mail("exposed")
    for fact in (old.public_key, "198.51.100.66", "python-httpx2", "could have read both keys"):
        assert fact in " ".join(told.text.split())
    assert over_plain_http(api, old) == 403
    assert api.status(old) == 200  # nothing is locked
    order_new_keys(account, told)
    new = account.customer.collect_keys(account.wait_for_mail("new_keys", 2))
    assert (api.status(new), api.status(old)) == (200, 200)  # the overlap
    assert len(account.mails("exposed")) == 1
    assert notices_of(account) == [("exposed", 1)]
    assert account.incidents() == []


def test_wrong_secret_over_plain_http_gives_no_notice(account: StoryAccount, connect: Connect, adapter: str) -> None:
    api, keys = connect(adapter), account.register()
    assert [over_plain_http(api, keys, "sk_wrong") for _ in range(3)] == [403] * 3
    assert api.status(keys) == 200  # recorded after the others
    assert notices_of(account) == []


def test_no_address_and_no_link_in_histories_and_logs(account: StoryAccount) -> None:
    keys, thief = account.register(), f"thief-{account.address}"
    assert set_contact(account, account.stack.api, keys, thief) == 200
    link = link_in(mail_to(account, account.address, "contact_changed"))
    mail_to(account, thief, "new_contact")
    notice_id, token = link.split("/")[-2:]
    told = asyncio.run(histories(account.stack))
    history = told[notice_workflow_id(installation_id(account.stack.database), notice_id)]
    assert history.count("EVENT_TYPE_ACTIVITY_TASK_SCHEDULED") == 2
    for private in (account.reference, account.address, keys.public_key, token):
        assert private not in history
    for path, content in contents(account.stack, "logs/*", "temporal.db*"):
        for private in (account.address, token):
            assert private.encode() not in content, path
