"""`--order-id`: every command that places an order takes it; a repeat gets the same answer and changes nothing."""

import ast
import time
from collections.abc import Callable
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from support.cli_rig import CommandResult, open_incident
from support.relay_rig import change, put
from support.staff_cli import StaffCli, code_of
from support.webhook_rig import KEYS, enqueue_event, subscribe
from support.world import World

from octy_middleware.clock import utc, uuid7
from octy_middleware.db.models import AlertHold
from octy_middleware.domain.outbox import MessageKind
from octy_worker import cli
from octy_worker.access.receipts import OrderReceipts
from octy_worker.access.roles import Action
from octy_worker.cli.app import COMMANDS
from octy_worker.cli.lazy_command import LazyCommand
from octy_worker.errors import UnavailableError
from octy_worker.staff.acts import ACTS
from octy_worker.staff.operations import Act
from octy_worker.webhooks.client import WebhookClient

pytestmark = pytest.mark.usefixtures("no_system_log")

# Every command


def test_every_command_that_places_an_order_takes_its_id() -> None:
    ordering = {name for name, (target, _) in COMMANDS.items() if calls_of(*target.split(":"))}
    for name in ordering:
        command = LazyCommand(name.split()[-1], *COMMANDS[name]).load()
        assert "--order-id" in {option for parameter in command.params for option in parameter.opts}, name
        for call in calls_of(*COMMANDS[name][0].split(":")):
            assert [ast.unparse(given) for given in call.args] == ["context", "actor", "order_id"], name
    modules = {COMMANDS[name][0].partition(":")[0] for name in ordering}
    ordered = [one for module in modules for one in vars(import_module(f"{cli.__name__}.{module}")).values()]
    assert {one.action for one in ordered if isinstance(one, Act)} == ACTS.keys(), "an act has no command"


def test_only_the_desk_of_a_command_places_orders() -> None:
    """The type checker sees that a desk without the option can only read: `context.open_desk`."""
    makers = {"LocalDesk", "RemoteDesk", "open_remote_desk"}
    found = {
        path.stem
        for path in Path(str(cli.__path__[0])).rglob("*.py")
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in makers
    }
    assert found == {"context", "remote"}


def calls_of(module: str, function: str) -> list[ast.Call]:
    """Return where a command opens the desk that takes its order."""
    tree = parsed(Path(str(cli.__path__[0]), *f"{module}.py".rpartition(".")[0].split(".")).with_suffix(".py"))
    [found] = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == function]
    calls = [node for node in ast.walk(found) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)]
    return [call for call in calls if call.func.id == "open_order_desk"]  # type: ignore[attr-defined]


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text("utf-8"))


# Repeats


@pytest.fixture
def database_kind() -> str:
    """What SQL there is has its tests elsewhere, on both databases."""
    return "sqlite"


@pytest.fixture
def office(world: World) -> StaffCli:
    """One admin, amy, who may order everything."""
    office = StaffCli.make(world)
    office.bootstrap()
    office.octy.variables["OCTY_WEBHOOK_KEYS"] = KEYS.export()
    return office


def place(office: StaffCli, order_id: str, *words: str, by: str = "amy", **variables: str) -> CommandResult:
    """Place an order with this id. Codes of one window may be used again, for speed."""
    with office.world.database.write() as connection:
        connection.exec_driver_sql("UPDATE staff_factor SET counter = 0")
    proof = {"OCTY_STAFF_KEY_FILE": str(office.keys[by].path), "OCTY_STAFF_CODE": code_of(office.seeds[by])}
    return office.octy(*words, "--order-id", order_id, "--json", **proof, **variables)


def everything(world: World) -> dict[str, list[tuple]]:
    return world.everything("staff_factor")  # `place` sets its counters back


WHY = ("--reason", "ticket 4711")


def added_account(_office: StaffCli) -> tuple[str, ...]:
    return "accounts", "add", "--reference", "acme", "--email", "security@acme.example"


def changed_account(office: StaffCli) -> tuple[str, ...]:
    office.world.register()
    return "accounts", "change", "acme", "--email", "new@acme.example", *WHY


def erased_account(office: StaffCli) -> tuple[str, ...]:
    office.world.register()
    for statement in (
        "UPDATE key_pair SET state = 'retired'",
        "UPDATE regeneration SET finished_at = 1, state = 'done'",
    ):
        with office.world.database.write() as connection:
            connection.exec_driver_sql(statement)
    return "accounts", "erase", "acme", "--yes", *WHY


def amended_incident(office: StaffCli) -> tuple[str, ...]:
    _, incident_id = open_incident(office.world)
    change(office.world, "UPDATE incident SET closed_at = 1, state = 'closed'")
    return "incidents", "change", incident_id, "regenerate", *WHY


def released_alerts(office: StaffCli) -> tuple[str, ...]:
    begin = time.time()
    hold = AlertHold(id="h", evidence="successes_stopped", accounts=7, began_at=utc(begin), ends_at=utc(begin + 900))
    with office.world.database.write_session() as session:
        session.add(hold)
    return "incidents", "release", *WHY


def new_keys(office: StaffCli) -> tuple[str, ...]:
    office.world.register()
    return "keys", "regenerate", "--account", "acme", *WHY


def revoked_keys(office: StaffCli) -> tuple[str, ...]:
    return "keys", "revoke", office.world.register().public_key, "--yes", *WHY


def retried_messages(office: StaffCli) -> tuple[str, ...]:
    put(office.world, MessageKind.INCIDENT_OPENED, "dead")
    change(office.world, "UPDATE outbox SET delivery_attempts = 5, last_error = 'x'")
    return "outbox", "retry", "--all", *WHY


def retried_webhooks(office: StaffCli) -> tuple[str, ...]:
    keys = office.world.register()
    subscribe(office.world, "https://acme.example/hook")
    event = enqueue_event(office.world, keys.account_id)
    change(office.world, "UPDATE webhook SET state = 'failed'")
    return "webhooks", "retry", event.webhook_id, *WHY


def rotated_secret(office: StaffCli) -> tuple[str, ...]:
    office.world.register()
    return "webhooks", "rotate-secret", "acme", *WHY


def webhook_test(office: StaffCli) -> tuple[str, ...]:
    """Its address is refused by the worker's rules: nothing is sent."""
    office.world.register()
    subscribe(office.world, "https://127.0.0.1/hook")
    return "webhooks", "test", "acme"


def changed_role(office: StaffCli) -> tuple[str, ...]:
    office.order("amy", "staff", "add", "ben", "--role", "viewer").must()
    return "staff", "role", "ben", "--role", "responder", *WHY


def disabled_member(office: StaffCli) -> tuple[str, ...]:
    office.order("amy", "staff", "add", "ben", "--role", "viewer").must()
    return "staff", "disable", "ben", *WHY


def acknowledged(office: StaffCli) -> tuple[str, ...]:
    key = office.world.register().public_key
    office.octy("--break-glass", "keys", "revoke", key, "--yes", *WHY, "--actor", "operator").must()
    [(order_id,)] = office.world.rows("SELECT id FROM staff_order WHERE factor = 'break-glass'")
    return "orders", "acknowledge", order_id, *WHY


REPEATED: dict[Action, Callable[[StaffCli], tuple[str, ...]]] = {
    Action.ADD_ACCOUNT: added_account,
    Action.CHANGE_ACCOUNT: changed_account,
    Action.ERASE_ACCOUNT: erased_account,
    Action.AMEND: amended_incident,
    Action.RELEASE_ALERTS: released_alerts,
    Action.REGENERATE: new_keys,
    Action.REVOKE: revoked_keys,
    Action.RETRY_OUTBOX: retried_messages,
    Action.RETRY_WEBHOOKS: retried_webhooks,
    Action.ROTATE_WEBHOOK_SECRET: rotated_secret,
    Action.TEST_WEBHOOK: webhook_test,
    Action.CHANGE_ROLE: changed_role,
    Action.DISABLE_STAFF: disabled_member,
    Action.ACKNOWLEDGE: acknowledged,
}
"""What makes an order of each action possible; returns the command's words."""


def test_each_act_that_keeps_its_output_is_repeated_here() -> None:
    assert REPEATED.keys() == {action for action, act in ACTS.items() if act.keeps_output}


@pytest.mark.parametrize("action", REPEATED)
def test_command_repeated_with_the_id_of_its_order_gets_the_same_answer_and_changes_nothing(
    office: StaffCli, action: Action
) -> None:
    words, order_id = REPEATED[action](office), uuid7(time.time())
    first = place(office, order_id, *words)
    assert office.world.rows("SELECT state, action FROM staff_order WHERE id = :id", id=order_id) == [("used", action)]
    before = everything(office.world)
    again = place(office, order_id, *words)
    assert (again.code, again.stdout) == (first.code, first.stdout)
    assert first.code == (3 if action is Action.TEST_WEBHOOK else 0), first
    assert everything(office.world) == before


def test_repeat_at_the_same_time_gets_the_answer_of_the_call_that_was_first(
    office: StaffCli, monkeypatch: pytest.MonkeyPatch
) -> None:
    words, order_id = new_keys(office), uuid7(time.time())
    first = place(office, order_id, *words).must()
    find, asked = OrderReceipts.find_output, []

    def find_late(*given: Any) -> Any:
        asked.append(given)
        return find(*given) if len(asked) > 1 else ""

    monkeypatch.setattr(OrderReceipts, "find_output", find_late)
    assert place(office, order_id, *words).must().stdout == first.stdout
    assert len(asked) == 2


@pytest.mark.parametrize("make", [new_keys, amended_incident])
def test_output_is_not_kept_for_longer_than_a_day(
    office: StaffCli, make: Callable[[StaffCli], tuple[str, ...]]
) -> None:
    words, order_id = make(office), uuid7(time.time())
    place(office, order_id, *words).must()
    change(office.world, "UPDATE staff_order SET ended_at = ended_at - 86500000000")
    assert office.octy("db", "prune", "--json").must().json["rows"]["outputs"] == 1
    assert office.world.rows("SELECT output FROM staff_order") == [("",)]
    assert "was used already" in place(office, order_id, *words).must(3).stderr
    assert office.octy("db", "prune", "--json").must().json["rows"]["outputs"] == 0


def test_output_changed_by_sql_is_not_shown(office: StaffCli) -> None:
    words, order_id = new_keys(office), uuid7(time.time())
    place(office, order_id, *words).must()
    change(office.world, """UPDATE staff_order SET output = '{"ordered": 1}'""")
    assert "was used already" in place(office, order_id, *words).must(3).stderr


def test_order_that_was_erased_with_its_account_is_not_repeated(office: StaffCli) -> None:
    words, order_id = changed_account(office), uuid7(time.time())
    place(office, order_id, *words).must()
    change(office.world, "UPDATE staff_order SET body = ''")
    refused = place(office, order_id, *words).must(3)
    assert "the order of this id was erased or changed → leave the option out" in refused.stderr


def test_webhook_test_whose_post_did_not_end_was_used_already(
    office: StaffCli, monkeypatch: pytest.MonkeyPatch
) -> None:
    words, order_id = webhook_test(office), uuid7(time.time())

    def end(_client: WebhookClient, _message: Any) -> Any:
        raise UnavailableError("the process ended")

    with monkeypatch.context() as patch:
        patch.setattr(WebhookClient, "post", end)
        place(office, order_id, *words).must(4)
    assert "was used already" in place(office, order_id, *words).must(3).stderr


def test_erasure_repeated_with_another_account_is_refused(office: StaffCli) -> None:
    words, order_id = erased_account(office), uuid7(time.time())
    office.world.register("other", address="other@other.example")
    place(office, order_id, *words).must()
    before = everything(office.world)
    for account in ("other", office.world.rows("SELECT id FROM account WHERE reference = 'other'")[0][0]):
        refused = place(office, order_id, "accounts", "erase", account, "--yes", *WHY).must(3)
        assert f"the id {order_id} belongs to another order" in refused.stderr
    assert everything(office.world) == before


def test_erasure_that_waits_is_not_found_by_the_reference_of_another_account(office: StaffCli) -> None:
    words, order_id = erased_account(office), uuid7(time.time())
    office.octy.variables["OCTY_FOUR_EYES"] = "accounts.erase"
    place(office, order_id, *words).must(5)
    refused = place(office, order_id, "accounts", "erase", "other", "--yes", *WHY).must(2)
    assert "no account has the reference 'other'" in refused.stderr


def test_order_is_listed_shown_and_approved_only_by_a_yes(office: StaffCli) -> None:
    office.order("amy", "staff", "add", "kim", "--role", "admin").must()
    office.enroll("kim", office.order("amy", "staff", "reset", "kim").must().json["token"])
    key, waits = office.world.register().public_key, uuid7(time.time())
    office.octy.variables["OCTY_FOUR_EYES"] = "keys.revoke"
    assert office.octy("orders", "list").must().stdout == "No order waits for a second person.\n"
    place(office, waits, "keys", "revoke", key, "--yes", *WHY).must(5)
    assert waits in office.octy("orders", "list").must().stdout
    proof = {"OCTY_STAFF_KEY_FILE": str(office.keys["kim"].path), "OCTY_STAFF_CODE": code_of(office.seeds["kim"])}
    unknown = office.octy("orders", "approve", "0199", **proof).must(2)
    assert "there is no order of this id → `octy orders list`" in unknown.stderr
    refused = office.octy("orders", "approve", waits, typed="no\n", **proof).must(1)
    assert f"amy orders keys.revoke about {key}: ticket 4711\n  SHA-256: " in refused.stdout
    assert "Approve it? [y/N] octy: cancelled, nothing was changed" in refused.stderr
    approved = office.octy("orders", "approve", waits, typed="yes\n", **proof).must()
    assert f"The order {waits} (keys.revoke) of amy is carried out.\n" in approved.stdout
    assert office.world.rows("SELECT state FROM key_pair") == [("retired",)]


def test_approval_repeated_with_its_id_is_given_once(office: StaffCli) -> None:
    office.order("amy", "staff", "add", "kim", "--role", "admin").must()
    office.enroll("kim", office.order("amy", "staff", "reset", "kim").must().json["token"])
    key, waits, approval = office.world.register().public_key, uuid7(time.time()), uuid7(time.time())
    office.octy.variables["OCTY_FOUR_EYES"] = "keys.revoke"
    revoke = ("keys", "revoke", key, "--yes", *WHY)
    place(office, waits, *revoke).must(5)
    approve = ("orders", "approve", waits, "--yes")
    first = place(office, approval, *approve, by="kim").must()
    before = everything(office.world)
    assert place(office, approval, *approve, by="kim").must().stdout == first.stdout
    revoked = place(office, waits, *revoke).must().json  # its author gets what a colleague had carried out
    assert (revoked["public_key"], revoked["changed"]) == (key, True)
    assert everything(office.world) == before


def test_repeated_bulk_decision_is_about_the_incidents_that_were_open_at_first(office: StaffCli) -> None:
    open_incident(office.world, "first")
    words = ("incidents", "decide-many", "dismiss", "--all-open", "--since", "2000-01-01T00:00Z", "--yes", *WHY)
    order_id = uuid7(time.time())
    first = place(office, order_id, *words).must(4)
    open_incident(office.world, "second")
    assert place(office, order_id, *words).must(4).json == first.json
