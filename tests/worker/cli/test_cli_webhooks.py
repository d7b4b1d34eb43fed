"""`octy webhooks`: secrets, test events, lists, and retries."""

import json
import re
from collections.abc import Iterator

import pytest
from support.cli_rig import Octy, audited, octy_for
from support.relay_rig import change
from support.smtp_servers import Authority
from support.webhook_rig import KEYS, documented_check, enqueue_event, status, subscribe
from support.webhooks import Receiver, receiver
from support.world import Keys, World

from octy_worker.cli import webhooks

pytestmark = pytest.mark.usefixtures("no_system_log")

WHY = ("--reason", "their server is back")


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("webhooks"))


@pytest.fixture
def database_kind() -> str:
    """What SQL there is has its tests elsewhere, on both databases."""
    return "sqlite"


@pytest.fixture
def server(authority: Authority) -> Iterator[Receiver]:
    with receiver(authority.serving()) as served:
        yield served


@pytest.fixture
def keys(world: World, server: Receiver) -> Keys:
    keys = world.register()
    subscribe(world, server.url)
    return keys


@pytest.fixture
def octy(world: World, authority: Authority) -> Octy:
    """A host that has the webhooks' keys and no others."""
    return octy_for(
        world,
        OCTY_WEBHOOK_KEYS=KEYS.export(),
        OCTY_WEBHOOK_CA_FILE=str(authority.file),
        OCTY_WEBHOOK_ALLOW_PRIVATE="true",
        OCTY_WEBHOOK_TIMEOUT="5",
    )


def audited_without_login(stderr: str) -> list[dict]:
    return [{name: value for name, value in line.items() if name != "login"} for line in audited(stderr)]


# Secrets and tests


def test_printed_webhook_secret_verifies_the_test_event(octy, server, keys):
    printed = octy("webhooks", "secret", "acme").must()
    assert re.fullmatch(r"whsec_[A-Za-z0-9+/]{43}=\n", printed.stdout)
    assert audited_without_login(printed.stderr) == [
        {"what": "webhook_secret_shown", "actor": "ada", "account": keys.account_id}
    ]
    done = octy("webhooks", "test", "acme").must()
    [heard] = server.heard
    assert documented_check()(printed.stdout.strip(), heard.headers, heard.body)
    assert json.loads(heard.body)["type"] == "webhook.test"
    assert f"Delivered: the server responded 204. The event was webhook.test, its webhook-id {server.ids[0]}." in (
        done.stdout
    )
    told = {"what": "webhook_tested", "actor": "ada", "account": keys.account_id, "ended": "delivered"}
    assert audited_without_login(done.stderr) == [told]


def test_webhook_test_leaves_no_row(world, octy, keys):
    octy("webhooks", "test", "acme").must()
    assert world.rows("SELECT COUNT(*) FROM webhook") == [(0,)]


@pytest.mark.parametrize(
    ("url", "variables", "code", "said"),
    [
        ("", {}, 2, "the account has no webhook_url → the customer can set it"),
        ("http://localhost:9/", {}, 3, "nothing was sent: the webhook_url does not start with https://"),
        ("https://a:b@localhost/", {}, 3, "nothing was sent: the webhook_url contains a user name or password"),
        ("https://localhost/", {"OCTY_WEBHOOK_ALLOW_PRIVATE": ""}, 3, "resolves to a private or special address"),
        ("https://127.0.0.1:9/", {}, 1, "not delivered: the server accepts no connection"),
        (None, {"OCTY_WEBHOOK_CA_FILE": ""}, 1, "not delivered: the server's certificate is not trusted"),
        (
            None,
            {"OCTY_WEBHOOK_KEYS": ""},
            2,
            "OCTY_WEBHOOK_KEYS is not set, so webhooks are off → set it; `octy secrets`",
        ),
        (None, {"OCTY_WEBHOOK_KEYS": "k1:abcd"}, 2, "OCTY_WEBHOOK_KEYS: entry 1 is not"),
        (None, {"OCTY_WEBHOOK_CA_FILE": "/no/such.pem"}, 2, "OCTY_WEBHOOK_CA_FILE can't be used"),
        (None, {"OCTY_WEBHOOK_TIMEOUT": "0"}, 2, "OCTY_WEBHOOK_TIMEOUT"),
    ],
)
def test_webhook_test_that_fails_says_why(  # noqa: PLR0917  # fixtures and a row of the table
    world, octy, server, keys, url, variables, code, said
):
    if url is not None:
        subscribe(world, url)
    done = octy("webhooks", "test", "acme", **variables).must(code)
    assert said in done.stderr
    assert done.stdout == ""
    assert server.heard == []
    assert "abcd" not in done.stderr


def test_webhook_test_reports_the_status_of_the_response(octy, server, keys):
    server.statuses = [500]
    done = octy("webhooks", "test", "acme").must(1)
    assert "not delivered: the server did not respond with 2xx (status 500) → the worker would retry" in done.stderr
    found = octy("webhooks", "test", "acme", "--json").must(1).json
    assert found == {"webhook_id": server.ids[1], "delivered": False, "error": "status-500", "status": 500}
    assert set(found) == set(webhooks.TEST_JSON.split(", "))


def test_webhook_secret_of_one_account_is_rotated_with_a_day_of_overlap(world, octy, server, keys):
    other = world.register("other").account_id
    check = documented_check()
    before, others = (octy("webhooks", "secret", name).must().stdout.strip() for name in ("acme", "other"))
    done = octy("webhooks", "rotate-secret", "acme", "--reason", "it stood in a log").must()
    assert "acme has a new webhook secret. The previous one is used until " in done.stdout
    told = {"what": "webhook_secret_rotated", "actor": "ada", "reason": "it stood in a log", "account": keys.account_id}
    assert audited_without_login(done.stderr) == [told]
    after = octy("webhooks", "secret", "acme").must().stdout.strip()
    assert after != before
    assert octy("webhooks", "secret", other).must().stdout.strip() == others
    octy("webhooks", "test", "acme").must()
    during = server.heard[-1]
    assert all(check(secret, during.headers, during.body) for secret in (before, after))
    assert "less than a day ago" in octy("webhooks", "rotate-secret", "acme", *WHY).must(3).stderr
    change(world, "UPDATE account SET webhook_secret_changed_at = webhook_secret_changed_at - 86400000000")
    octy("webhooks", "test", "acme").must()
    later = server.heard[-1]
    assert [check(secret, later.headers, later.body) for secret in (before, after)] == [False, True]


@pytest.mark.parametrize("name", ["secret", "test"])
def test_webhook_commands_report_an_unknown_account(octy, name):
    assert "no account has the reference 'nobody'" in octy("webhooks", name, "nobody").must(2).stderr


# Lists and orders


def test_webhook_list_and_retry_need_no_keys(world, keys):
    bare = octy_for(world)
    assert bare("webhooks", "list").must().stdout == "There are no webhooks.\n"
    assert bare("webhooks", "list", "--failed").must().stdout == "No webhook has failed.\n"
    order = enqueue_event(world, keys.account_id)
    change(world, "UPDATE webhook SET state = 'failed', delivery_attempts = 84, last_error = 'too-slow'")
    done = bare("webhooks", "retry", order.webhook_id, *WHY, "--json").must()
    assert done.json == {"retried": [order.webhook_id], "actor": "ada"}
    assert audited_without_login(done.stderr) == [
        {"what": "webhooks_retried", "actor": "ada", "reason": WHY[1], "webhooks": order.webhook_id}
    ]
    assert status(world, order)[0] == "pending"


def test_webhook_list_has_pages_and_a_total(world, octy, keys):
    orders = [enqueue_event(world, keys.account_id, subject) for subject in "abc"]
    pages = [octy("webhooks", "list", "--limit", "2", "--page", page, "--json").must().json for page in "12"]
    newest_first = sorted((each.webhook_id for each in orders), reverse=True)
    assert [line["id"] for page in pages for line in page["webhooks"]] == newest_first
    assert [(page["more"], page["total"]) for page in pages] == [(True, 3), (False, 3)]
    assert octy("webhooks", "list", "--failed", "--json").must().json["total"] == 0
    assert octy("find", orders[0].webhook_id, "--json").must().json["accounts"][0]["reference"] == "acme"


def test_webhook_list_is_newest_first_and_filters_failed_ones(world, octy, keys):
    first, second = (enqueue_event(world, keys.account_id, subject) for subject in ("a", "b"))
    change(
        world,
        "UPDATE webhook SET state = 'failed', delivery_attempts = 84, last_error = 'too-slow' WHERE id = ?",
        first.webhook_id,
    )
    found = octy("webhooks", "list", "--json").must().json
    assert sorted(line["state"] for line in found["webhooks"]) == ["failed", "pending"]
    documented = re.findall(r"\w+", webhooks.LIST_JSON.partition("[")[2].partition("]")[0])
    assert all(set(line) == set(documented) for line in found["webhooks"])
    [line] = octy("webhooks", "list", "--failed", "--account", "acme", "--json").must().json["webhooks"]
    assert (line["id"], line["delivery_attempts"], line["last_error"]) == (first.webhook_id, 84, "too-slow")
    page = octy("webhooks", "list").must().stdout
    assert re.search(rf"{first.webhook_id} +acme +contact\.changed +failed +84 +too-slow +20", page)
    assert re.search(rf"{second.webhook_id} +acme +contact\.changed +pending +0 +–", page)
    world.register("other")
    assert octy("webhooks", "list", "--account", "other").must().stdout == "There are no webhooks.\n"


def test_webhook_retry_that_is_not_possible_says_why(world, octy, keys):
    order = enqueue_event(world, keys.account_id)
    assert "delivered or still retried" in octy("webhooks", "retry", order.webhook_id, *WHY).must(3).stderr
    assert "there is no webhook w-1 → `octy webhooks list`" in octy("webhooks", "retry", "w-1", *WHY).must(2).stderr
    assert "--reason" in octy("webhooks", "retry", order.webhook_id).must(2).stderr
    bad = octy("webhooks", "retry", order.webhook_id, "--reason", "ask ann@customer.example").must(3)
    assert audited_without_login(bad.stderr) == []


@pytest.mark.parametrize(
    ("name", "names"),
    [("list", "LIST_JSON"), ("retry", "RETRY_JSON"), ("rotate-secret", "ROTATE_JSON"), ("test", "TEST_JSON")],
)
def test_every_webhook_command_documents_its_json_with_examples(name, names):
    page = " ".join(Octy()("webhooks", name, "--help", COLUMNS="300").must().stdout.split())
    assert all(
        said in page for said in ("--json", f"JSON: {getattr(webhooks, names)}", f"Examples: octy webhooks {name}")
    )
