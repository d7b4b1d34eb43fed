"""`octy accounts change`: the contact address, changed by support staff."""

import json
import time
from datetime import UTC, datetime, timedelta

import pytest
from support.cli_rig import Octy, octy_for, open_incident
from support.world import World

from octy_middleware.clock import utc
from octy_middleware.db.bulk_sql import run
from octy_middleware.domain.accounts import change_contact, find_account
from octy_worker.cli import accounts

pytestmark = pytest.mark.usefixtures("no_system_log")

OLD, NEW = "security@acme.example", "ada@acme.example"
CHANGE = ("accounts", "change", "acme", "--email", NEW, "--reason", "mistyped, ticket 4711")


@pytest.fixture
def octy(world: World) -> Octy:
    world.register()
    return octy_for(world)


def test_contact_change_notifies_both_addresses_is_audited_and_delays_links_for_24_hours(world, octy):
    before = datetime.now(UTC)
    done = octy(*CHANGE, "--json").must()
    assert set(done.json) == set(accounts.CHANGE_JSON.split(", "))
    assert (done.json["contact_email_address"], done.json["security_address"]) == (NEW, OLD)
    takes_effect_at = datetime.fromisoformat(done.json["takes_effect_at"])
    assert timedelta(0) <= takes_effect_at - before - timedelta(hours=24) < timedelta(minutes=1)
    [(kind, detail, event)] = world.rows(
        "SELECT n.kind, n.detail, o.kind FROM notice n JOIN outbox o ON o.subject_id = n.id"
    )
    assert (kind, event) == ("contact_changed", "notice_created")
    told = {"old": OLD, "new": NEW, "others": []}
    assert json.loads(detail) == {**told, "actor": "ada", "reason": "mistyped, ticket 4711"}
    [line] = [json.loads(line.removeprefix("octy-audit: ")) for line in done.stderr.splitlines()]
    assert (line["what"], line["actor"], line["reason"]) == ("contact_changed", "ada", "mistyped, ticket 4711")
    assert "@" not in done.stderr


def test_contact_change_says_where_mails_go_and_how_uncollected_keys_are_sent(octy):
    octy("keys", "regenerate", "--account", "acme", "--reason", "asked for").must()
    said = octy(*CHANGE).must().stdout
    assert f"Alerts and links to keys go to {OLD} until 20" in said
    assert "octy keys resend --account acme" in said
    shown = octy("accounts", "show", "acme").must().stdout
    assert "security mails go to it after 24 hours" in shown
    assert set(accounts.SHOW_JSON.partition("notices[")[0].strip(", ").split(", ")) <= set(
        octy("accounts", "show", "acme", "--json").must().json
    )


def test_contact_change_back_to_the_security_address_applies_at_once_without_notice(world, octy):
    octy(*CHANGE).must()
    back = octy("accounts", "change", "acme", "--email", OLD, "--reason", "was right").must().stdout
    assert "Security mails go there already" in back
    assert world.rows("SELECT contact_changed_at, contact_takes_effect_at FROM account") == [(None, None)]


def test_contact_change_is_recorded_in_the_open_incidents_of_the_account_only(world):
    _, own = open_incident(world)
    _, of_another = open_incident(world, "other")
    octy = octy_for(world)
    octy(*CHANGE).must()
    found = octy("incidents", "show", own, "--json").must().json["timeline"]
    [line] = [line for line in found if line["what"] == "contact_changed"]
    follow_at = utc(line["detail"].pop("security_mails_follow_at"))
    assert abs(follow_at - datetime.fromisoformat(line["at"]) - timedelta(hours=24)) < timedelta(seconds=1)
    assert (line["actor"], line["detail"]) == ("ada", {"reason": "mistyped, ticket 4711"})
    assert "contact changed" in octy("incidents", "show", own).must().stdout
    assert "contact_changed" not in octy("incidents", "show", of_another, "--json").must().stdout


def test_contact_change_leaves_the_timeline_of_closed_incidents(world):
    _, incident_id = open_incident(world)
    octy = octy_for(world)
    with world.database.write() as connection:
        run(connection, "UPDATE incident SET closed_at = opened_at, state = 'closed'")
    octy(*CHANGE).must()
    assert "contact_changed" not in octy("incidents", "show", incident_id, "--json").must().stdout


def test_contact_change_by_staff_is_not_rate_limited(world, octy):
    with world.database.write_session() as session:
        account = find_account(session, "acme")
        for number in range(5):
            change_contact(session, account, {"contact_email_address": f"{number}@x.example"}, time.time())
    octy(*CHANGE).must()


@pytest.mark.parametrize(
    ("reference", "email", "reason", "code", "said"),
    [
        ("acme", OLD, "as it is", 3, "has this contact address already"),
        ("acme", "ada", "ticket 4711", 2, "'ada' is not a valid mail address"),
        ("acme", "ada@acme.example\nBcc: x@y.example", "ticket 4711", 2, "is not a valid mail address"),
        ("nobody", NEW, "ticket 4711", 2, "no account has the reference 'nobody'"),
        ("acme", NEW, " ", 3, "a reason is needed"),
        ("acme", NEW, f"to {NEW}", 3, "no mail address"),
    ],
)
def test_rejected_contact_change_changes_nothing(world, octy, *, reference, email, reason, code, said):
    done = octy("accounts", "change", reference, "--email", email, "--reason", reason).must(code)
    assert said in done.stderr
    assert world.rows("SELECT contact_email_address FROM account") == [(OLD,)]
    assert world.rows("SELECT COUNT(*) FROM notice") == [(0,)]
