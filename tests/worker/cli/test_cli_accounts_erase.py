"""`octy accounts erase`: nothing about the customer is left, and the audit log still verifies."""

import json
from collections.abc import Callable

import pytest
from support.cli_rig import Octy, audited, octy_for, open_incident
from support.kept_rows import KeptRows, once_for_each_kind
from support.relay_rig import change
from support.world import Keys, World

from octy_worker.audit import repository as audit
from octy_worker.cli import accounts

pytestmark = pytest.mark.usefixtures("no_system_log")
WHY = ("--reason", "ticket 4711")
AUDIT_KEYS = f"k1:{'31' * 32}"


@pytest.fixture
def octy(world: World) -> Octy:
    return octy_for(world, OCTY_AUDIT_KEYS=AUDIT_KEYS)


@pytest.fixture(scope="module")
def kept_for(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[Keys, KeptRows]]:
    """Return a customer with a past, by the kind of database; by commands, which take longer than a test."""

    def fill(world: World) -> tuple[Keys, KeptRows]:
        return make_past(world, octy_for(world, OCTY_AUDIT_KEYS=AUDIT_KEYS)), KeptRows.of(world)

    return once_for_each_kind(tmp_path_factory.mktemp, fill)


@pytest.fixture
def ended(world: World, kept_for: Callable[[str], tuple[Keys, KeptRows]]) -> Keys:
    keys, rows = kept_for(world.database_kind)
    rows.put(world)
    return keys


def make_past(world: World, octy: Octy) -> Keys:
    """Make an incident with a decision, notes of staff, a changed address; and end all of it."""
    keys, _ = open_incident(world, source="198.51.100.77")
    octy("incidents", "change", world.rows("SELECT id FROM incident")[0][0], "dismiss", "--reason", "told me a story")
    change(world, "UPDATE incident SET closed_at = 1, state = 'closed'")
    octy("accounts", "change", "acme", "--email", "new-address@acme.example", "--reason", "told me a story").must()
    octy("keys", "revoke", keys.public_key, "--reason", "told me a story", "--yes").must()
    change(world, "UPDATE mail SET state = 'sent'")
    change(world, "UPDATE regeneration SET finished_at = 1, state = 'done'")
    return keys


def everything(world: World) -> str:
    """Return all rows as one text."""
    return json.dumps(world.everything(), default=str)


KNOWN = ("security@acme.example", "new-address@acme.example", "198.51.100", "told me a story", '"acme"')


def test_nothing_known_about_the_customer_is_left(world: World, octy: Octy, ended: Keys) -> None:
    before = everything(world)
    assert [text for text in KNOWN if text not in before] == []
    world.register("other", address="other@other.example")
    done = octy("accounts", "erase", "acme", *WHY, "--yes", "--json").must()
    assert list(done.json) == accounts.ERASE_JSON.split(", ")
    assert done.json["details"] > 3
    after = everything(world)
    assert [text for text in KNOWN if text in after] == []
    assert "other@other.example" in after
    [line] = audited(done.stderr)
    assert line.items() >= {"what": "account_erased", "account": ended.account_id, "actor": "ada"}.items()


def test_audit_log_verifies_after_an_erasure_which_is_an_entry_of_it(world: World, octy: Octy, ended: Keys) -> None:
    octy("accounts", "erase", "acme", *WHY, "--yes").must()
    found = octy("audit", "verify", "--json").must().json
    assert found["erased"] > 3
    [entry] = octy("audit", "list", "--action", "account.erased", "--json").must().json["entries"]
    assert (entry["subject"], entry["actor"], entry["detail"]["reason"]) == (ended.account_id, "ada", "ticket 4711")
    assert entry["order_id"]


def test_entries_about_somebody_of_the_same_name_are_kept(world: World, octy: Octy, ended: Keys) -> None:
    """A reference is any text: also the handle of a staff member, whose history must not go with a customer's."""
    with world.database.write_session() as session:
        audit.append(session, "staff.changed", actor="amy", subject="acme", detail={"role": "admin"})
    octy("accounts", "erase", "acme", *WHY, "--yes").must()
    assert world.rows("SELECT COUNT(detail) FROM audit_entry WHERE action = 'staff.changed'") == [(1,)]
    assert octy("audit", "verify", "--json").must().json["ok"] is True


def test_erased_account_can_still_be_listed_and_shown(world: World, octy: Octy, ended: Keys) -> None:
    octy("accounts", "erase", "acme", *WHY, "--yes").must()
    assert f"erased-{ended.account_id}" in octy("accounts", "list").must().stdout
    octy("accounts", "show", ended.account_id).must()
    octy("keys", "show", ended.public_key).must()
    octy("incidents", "show", world.rows("SELECT id FROM incident")[0][0]).must()
    assert "was erased already" in octy("accounts", "erase", ended.account_id, *WHY, "--yes").must(3).stderr


OBSTACLES = {
    "UPDATE key_pair SET state = 'active'": "it has a key pair that is not revoked",
    "UPDATE incident SET closed_at = NULL": "it has an open incident",
    "UPDATE regeneration SET finished_at = NULL": "new keys of it are being delivered",
    "UPDATE mail SET state = 'pending'": "a mail to it is not sent yet",
}


@pytest.mark.parametrize("statement", OBSTACLES)
def test_account_that_is_still_in_use_is_not_erased(world: World, octy: Octy, ended: Keys, statement: str) -> None:
    change(
        world,
        "INSERT INTO mail (key, account_id, kind, message_id, state, delivery_attempts, last_error, created_at) "
        "VALUES ('x/alert/1', ?, 'alert', '<x>', 'sent', 1, '', 1)",
        ended.account_id,
    )
    change(world, statement)
    before = world.rows("SELECT * FROM account")
    assert OBSTACLES[statement] in octy("accounts", "erase", "acme", *WHY, "--yes").must(3).stderr
    assert world.rows("SELECT * FROM account") == before
    assert world.rows("SELECT COUNT(*) FROM audit_entry WHERE detail IS NULL") == [(0,)]


def test_erasure_asks_first_and_names_the_account(octy: Octy, ended: Keys) -> None:
    refused = octy("accounts", "erase", "acme", *WHY, typed="n\n").must(1)
    assert f"Erase everything about acme ({ended.account_id}) for good? [y/N]" in refused.stderr
    assert octy("accounts", "show", "acme").must()
    assert "no account has the reference" in octy("accounts", "erase", "nope", *WHY, "--yes").must(2).stderr


def test_erasure_documents_its_json_with_examples() -> None:
    page = " ".join(Octy()("accounts", "erase", "--help", COLUMNS="300").must().stdout.split())
    assert all(said in page for said in ("--json", "JSON: ", "Examples: octy accounts erase"))
