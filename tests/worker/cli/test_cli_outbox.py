"""`octy outbox`: listing undelivered messages, and retrying dead letters."""

import re
from collections.abc import Callable

import pytest
from support.cli_rig import Octy, audited, octy_for
from support.relay_rig import RecordingClient, change, deliver, put, row
from support.world import INSTALLATION, World

from octy_middleware.domain.outbox import MessageKind
from octy_worker.cli import outbox
from octy_worker.outbox.relay import DeliveryCounts

pytestmark = pytest.mark.usefixtures("no_system_log")

WHY = ("--reason", "worker updated")


@pytest.fixture
def octy(world: World) -> Octy:
    """No peppers, no Temporal: a host of support staff."""
    return octy_for(world)


def add_dead_letter(world: World, subject: str) -> int:
    number = put(world, MessageKind.INCIDENT_OPENED, subject)
    change(world, "UPDATE outbox SET delivery_attempts = 5, last_error = 'RPCError DATA_LOSS' WHERE id = ?", number)
    return number


@pytest.fixture
def mixed(world: World) -> dict[str, int]:
    """One message of each state."""
    numbers = {name: put(world, MessageKind.INCIDENT_OPENED, name) for name in ("delivered", "lapsed", "held")}
    far, past = 9_000_000_000_000_000, 1
    change(world, "UPDATE outbox SET delivered_at = 1, delivery_attempts = 1 WHERE id = ?", numbers["delivered"])
    leased = "UPDATE outbox SET leased_by = ?, leased_until = ? WHERE id = ?"
    change(world, leased, "host:1:dead", past, numbers["lapsed"])
    change(world, leased, "host:2:alive", far, numbers["held"])
    return {
        **numbers,
        "dead": add_dead_letter(world, "dead"),
        "waiting": put(world, MessageKind.INCIDENT_GREW, "waiting"),
    }


def names(listed: list[dict]) -> list[str]:
    return [line["subject_id"] for line in listed]


# The list


def test_outbox_list_of_an_empty_outbox_says_so(octy):
    assert octy("outbox", "list").must().stdout == "All messages are delivered.\n"
    assert octy("outbox", "list", "--dead-letters").must().stdout == "There are no dead letters.\n"
    assert octy("outbox", "list", "--json").must().json == {"messages": [], "more": False, "total": 0}


def test_outbox_list_has_pages_and_a_total(octy, mixed):
    pages = [octy("outbox", "list", "--limit", "3", "--page", page, "--json").must().json for page in "12"]
    assert [names(page["messages"]) for page in pages] == [["waiting", "dead", "held"], ["lapsed"]]
    assert [(page["more"], page["total"]) for page in pages] == [(True, 4), (False, 4)]
    assert octy("outbox", "list", "--dead-letters").must().stderr == "1 in total\n"


def test_outbox_list_has_undelivered_messages_newest_first_with_state(octy, mixed):
    listed = octy("outbox", "list", "--json").must().json["messages"]
    assert [(line["id"], line["state"]) for line in listed] == [
        (mixed["waiting"], "waiting"),
        (mixed["dead"], "dead_letter"),
        (mixed["held"], "leased"),
        (mixed["lapsed"], "waiting"),
    ]
    assert {line["subject_id"]: line["leased_by"] for line in listed}["held"] == "host:2:alive"
    [dead] = octy("outbox", "list", "--dead-letters", "--json").must().json["messages"]
    assert (dead["id"], dead["delivery_attempts"], dead["last_error"]) == (mixed["dead"], 5, "RPCError DATA_LOSS")


def test_outbox_list_json_has_the_documented_names(octy, mixed):
    documented = re.findall(r"\w+", outbox.LIST_JSON.partition("[")[2].partition("]")[0])
    assert all(set(line) == set(documented) for line in octy("outbox", "list", "--json").must().json["messages"])


def test_outbox_list_shows_last_error_and_state(octy, mixed):
    page = octy("outbox", "list").must().stdout
    assert re.search(rf"{mixed['dead']} +incident opened +dead +dead letter +5 +RPCError DATA_LOSS +\d{{4}}-", page)
    assert re.search(r"incident opened +held +leased +0 +–", page)
    assert "delivered" not in page


def test_outbox_list_is_limited_and_says_so(octy, mixed):
    short = octy("outbox", "list", "--limit", "2").must()
    assert "--limit 0 shows all" in short.stderr
    assert "held" not in short.stdout
    assert octy("outbox", "list", "--limit", "2", "--json").json["more"] is True


@pytest.mark.parametrize("name", ["list", "retry"])
def test_every_outbox_command_documents_its_json_with_examples(name):
    page = " ".join(Octy()("outbox", name, "--help", COLUMNS="300").must().stdout.split())
    assert all(said in page for said in ("--json", "JSON: ", f"Examples: octy outbox {name}"))


# Trying again


def test_outbox_retry_retries_exactly_the_named_messages(world, octy):
    first, second, third = (add_dead_letter(world, f"i{number}") for number in range(3))
    done = octy("outbox", "retry", str(third), str(first), *WHY, "--json").must()
    assert done.json == {"retried": [first, third], "actor": "ada"}
    assert set(done.json) == set(outbox.RETRY_JSON.split(", "))
    [line] = audited(done.stderr)
    told = {"what": "messages_retried", "actor": "ada", "reason": "worker updated", "messages": f"{first}, {third}"}
    assert {name: line[name] for name in told} == told
    temporal_client = RecordingClient()
    assert deliver(world, temporal_client) == DeliveryCounts(2, 0)
    assert sorted(temporal_client.ids) == [f"octy-{INSTALLATION}-incident-i0", f"octy-{INSTALLATION}-incident-i2"]
    assert row(world, second) == (False, 5, "RPCError DATA_LOSS")


def test_outbox_retry_all_retries_every_dead_letter(octy, mixed):
    done = octy("outbox", "retry", "--all", *WHY).must()
    assert f"Will be retried: {mixed['dead']}.\n" in done.stdout
    states = {line["subject_id"]: line["state"] for line in octy("outbox", "list", "--json").json["messages"]}
    assert states == {"waiting": "waiting", "dead": "waiting", "held": "leased", "lapsed": "waiting"}


def test_outbox_retry_without_dead_letters_does_nothing(octy):
    done = octy("outbox", "retry", "--all", *WHY).must()
    assert done.stdout == "There are no dead letters.\n"
    assert audited(done.stderr) == []
    assert octy("outbox", "retry", "--all", *WHY, "--json").must().json == {"retried": [], "actor": "ada"}


Words = Callable[[dict[str, int]], tuple[str, ...]]

REFUSED: list[tuple[Words, int, str]] = [
    (lambda _: (), 2, "name the messages in one way → give their ids, or --all"),
    (lambda ids: (str(ids["dead"]), "--all"), 2, "name the messages in one way"),
    (lambda ids: (str(ids["dead"]), "4711"), 2, "unknown outbox message 4711"),
    (
        lambda ids: (str(ids["dead"]), str(ids["delivered"])),
        3,
        "not a dead letter, so delivered or still being retried: ",
    ),
    (lambda ids: (str(ids["dead"]), str(ids["waiting"])), 3, "not a dead letter"),
    (lambda _: ("0",), 2, "see `octy outbox retry --help`"),
    (lambda _: (str(2**63),), 2, "see `octy outbox retry --help`"),
    (lambda _: ("first",), 2, "see `octy outbox retry --help`"),
    (lambda _: ("--all", "--reason", "ask ann@customer.example"), 3, ""),
    (lambda _: ("--all", "--actor", "a\nb"), 3, ""),
]


@pytest.mark.parametrize(("words", "code", "said"), REFUSED)
def test_outbox_retry_that_is_not_possible_changes_nothing(world, octy, mixed, *, words, code, said):
    before = world.rows("SELECT id, delivery_attempts, leased_by, delivered_at FROM outbox ORDER BY id")
    given = words(mixed)
    done = octy("outbox", "retry", *given, *(() if "--reason" in given else WHY)).must(code)
    assert said in done.stderr
    assert audited(done.stderr) == []
    assert world.rows("SELECT id, delivery_attempts, leased_by, delivered_at FROM outbox ORDER BY id") == before


def test_outbox_retry_without_a_reason_is_rejected(octy, mixed):
    assert "--reason" in octy("outbox", "retry", "--all").must(2).stderr


def test_outbox_retry_abbreviates_many_unknown_ids(octy):
    done = octy("outbox", "retry", *map(str, range(1, 21)), *WHY).must(2)
    assert "unknown outbox message 1, 2, 3, 4, 5 and 15 more → `octy outbox list`" in done.stderr
