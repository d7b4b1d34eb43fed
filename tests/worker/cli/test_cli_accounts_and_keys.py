"""`octy accounts add`, `octy keys regenerate` and `octy keys revoke`: rows, refusals and audit lines."""

import json
import re
import socket
import time
from pathlib import Path

import pytest
from support.cli_rig import Octy, audited, octy_for, open_incident
from support.database_choice import on_one_database
from support.world import FakeRequest, World

from octy_middleware.states import KeyPairState
from octy_worker import system_log
from octy_worker.cli import accounts, keys
from octy_worker.domain import regenerations

pytestmark = pytest.mark.usefixtures("no_system_log")

WHY = ("--reason", "ticket 4711")


@pytest.fixture
def octy(world: World) -> Octy:
    return octy_for(world)


def states(world: World) -> dict[str, str]:
    return dict(world.rows("SELECT public_key, state FROM key_pair"))


# Accounts


def test_accounts_add_creates_an_account_and_orders_its_first_key_pair(world, octy):
    contact = ("--name", "Ada", "--surname", "Byron", "--webhook", "https://hooks.example/x", "--id-key", "id-1")
    done = octy("accounts", "add", "--reference", "acme", "--email", "ada@acme.example", *contact, "--json").must()
    assert set(done.json) == set(accounts.ADD_JSON.split(", "))
    row = world.rows(
        "SELECT reference, contact_email_address, security_email, contact_name, contact_surname, webhook_url, "
        "authenticated_id_key FROM account"
    )
    assert row == [("acme", "ada@acme.example", "ada@acme.example", "Ada", "Byron", "https://hooks.example/x", "id-1")]
    assert world.rows("SELECT kind, subject_id FROM outbox") == [("regeneration_opened", done.json["regeneration_id"])]
    assert world.rows("SELECT cause, actor FROM regeneration") == [("first", "ada")]
    [line] = audited(done.stderr)
    assert (line["what"], line["actor"], line["account"]) == ("account_added", "ada", done.json["account_id"])
    assert "acme.example" not in done.stderr


def test_accounts_add_says_what_happens_next(octy):
    said = octy("accounts", "add", "--reference", "acme", "--email", "ada@acme.example").must().stdout
    assert "The worker mails the public key" in said
    assert "once, to ada@acme.example" in said


def test_rejected_accounts_add_changes_nothing(world, octy):
    octy("accounts", "add", "--reference", "taken", "--email", "first@acme.example").must()
    before = world.rows("SELECT COUNT(*) FROM account, outbox, regeneration")
    for reference, email, more, said in (
        ("taken", "ada@acme.example", (), "exists already"),
        ("", "ada@acme.example", (), "1 to 200 printable characters"),
        ("a\x1b[2Jb", "ada@acme.example", (), "printable"),
        ("acme", "ada", (), "is not a valid mail address"),
        ("acme", "ada@acme.example\nBcc: x@y.example", (), "is not a valid mail address"),
        ("acme", "ädä@acme.example", (), "is not a valid mail address"),
        ("acme", "ada@acme.example", ("--webhook", "ftp://x"), "webhook_url must begin with"),
        ("acme", "ada@acme.example", ("--name", "x" * 501), "contact_name must be"),
    ):
        done = octy("accounts", "add", "--reference", reference, "--email", email, *more).must(2)
        assert said in done.stderr
        assert "\x1b" not in done.stderr
        assert world.rows("SELECT COUNT(*) FROM account, outbox, regeneration") == before


# Regenerating


def test_keys_regenerate_orders_a_regeneration_through_the_outbox(world, octy):
    pair = world.register()
    done = octy("keys", "regenerate", "--account", "acme", *WHY, "--json").must()
    assert set(done.json) == set(re.sub(r"\{.*\}", "", keys.REGENERATE_JSON).split(", "))
    assert (done.json["joined"], done.json["old_public_key"]) == (False, pair.public_key)
    [row] = world.rows("SELECT id, cause, actor, reason, leaked FROM regeneration WHERE cause = 'staff'")
    assert row == (done.json["regeneration_id"], "staff", "ada", "ticket 4711", 0)
    assert states(world) == {pair.public_key: KeyPairState.ACTIVE}
    assert audited(done.stderr)[0]["what"] == "regeneration_ordered"


def test_keys_regenerate_with_leaked_retires_the_key_pair_at_once(world, octy):
    pair = world.register()
    done = octy("keys", "regenerate", "--account", "acme", "--leaked", *WHY).must()
    assert f"{pair.public_key} is revoked" in done.stdout
    assert states(world) == {pair.public_key: KeyPairState.RETIRED}


def issue(world: World, regeneration_id: str) -> str:
    """Do the workflow's first steps: the new key pair is active and its link sent. Return its public key."""
    now = time.time()
    with world.database.write_session() as session:
        regenerations.issue_key_pair(session, world.hasher, world.sealer, regeneration_id, ttl=86_400.0, now=now)
        session.flush()
        regenerations.activate(session, regeneration_id, now)
    with world.database.read_session() as session:
        view = regenerations.load_regeneration(session, regeneration_id)
        assert view is not None
        assert view.new_pair is not None
        return view.new_pair.public_key


@pytest.mark.parametrize("issued", [False, True])
def test_second_keys_regenerate_joins_the_first(world, octy, issued):
    pair = world.register()
    first = octy("keys", "regenerate", "--account", "acme", *WHY, "--json").must().json
    if issued:
        issue(world, first["regeneration_id"])
    second = octy("keys", "regenerate", "--account", "acme", "--leaked", *WHY, "--json").must().json
    assert (first.pop("delivery")["status"], second.pop("delivery")["status"]) == ("preparing", "preparing")
    assert second == {**first, "joined": True, "leaked": True}
    assert states(world)[pair.public_key] == KeyPairState.RETIRED
    assert "are being sent already" in octy("keys", "regenerate", "--account", "acme", *WHY).must().stdout


def test_keys_regenerate_is_refused_while_an_incident_is_open(world, octy):
    pair, incident_id = open_incident(world)
    done = octy("keys", "regenerate", "--account", "acme", "--leaked", *WHY).must(3)
    assert f"octy incidents decide {incident_id} regenerate" in done.stderr
    assert states(world) == {pair.public_key: KeyPairState.ACTIVE}
    assert world.rows("SELECT COUNT(*) FROM regeneration WHERE cause = 'staff'") == [(0,)]


def test_keys_regenerate_for_an_account_without_a_key_pair_issues_one(world, octy):
    pair = world.register()
    octy("keys", "revoke", pair.public_key, "--yes", *WHY).must()
    done = octy("keys", "regenerate", "--account", "acme", *WHY, "--json").must()
    assert (done.json["old_public_key"], done.json["joined"]) == (None, False)


# Revoking


def test_keys_revoke_ends_the_key_pair_in_every_process(world, octy):
    pair = world.register()
    with world.authenticator() as authenticator:
        assert authenticator.decide(FakeRequest(pair.basic())).principal is not None
        done = octy("keys", "revoke", pair.public_key, "--yes", *WHY, "--json").must()
        assert authenticator.decide(FakeRequest(pair.basic())).principal is None
    assert set(done.json) == set(keys.REVOKE_JSON.split(", "))
    assert done.json == {
        "public_key": pair.public_key,
        "account": "acme",
        "changed": True,
        "delivery_stopped": False,
        "incident_id": None,
        "live_pairs": 0,
    }
    [line] = audited(done.stderr)
    assert (line["what"], line["actor"], line["reason"]) == ("key_revoked", "ada", "ticket 4711")


def test_keys_revoke_asks_for_confirmation_and_accepts_no(world, octy):
    pair = world.register()
    for typed in ("n\n", "", "\n"):
        done = octy("keys", "revoke", pair.public_key, *WHY, typed=typed).must(1)
        assert "All requests with it will fail" in done.stderr
        assert "nothing was changed" in done.stderr
    assert states(world) == {pair.public_key: KeyPairState.ACTIVE}
    octy("keys", "revoke", pair.public_key, *WHY, typed="y\n").must()
    assert states(world) == {pair.public_key: KeyPairState.RETIRED}


def test_second_keys_revoke_changes_nothing(world, octy):
    pair = world.register()
    octy("keys", "revoke", pair.public_key, "--yes", *WHY).must()
    again = octy("keys", "revoke", pair.public_key, "--yes", *WHY).must()
    assert "nothing was changed" in again.stdout
    assert world.rows("SELECT COUNT(*) FROM key_change WHERE public_key = :key", key=pair.public_key) == [(2,)]


def test_keys_revoke_is_recorded_in_the_open_incident(world, octy):
    pair, incident_id = open_incident(world)
    done = octy("keys", "revoke", pair.public_key, "--yes", *WHY).must()
    assert incident_id in done.stdout
    [(actor, what, detail)] = world.rows("SELECT actor, what, detail FROM incident_event")
    assert (actor, what, json.loads(detail)) == ("ada", "key_revoked", {"reason": "ticket 4711"})


def test_keys_revoke_of_an_uncollected_key_pair_stops_its_delivery(world, octy):
    old = world.register()
    ordered = octy("keys", "regenerate", "--account", "acme", *WHY, "--json").must().json["regeneration_id"]
    new_key = issue(world, ordered)
    done = octy("keys", "revoke", new_key, "--yes", *WHY, "--json").must()
    assert (done.json["delivery_stopped"], done.json["live_pairs"]) == (True, 1)
    assert states(world) == {old.public_key: KeyPairState.ACTIVE, new_key: KeyPairState.RETIRED}
    assert world.rows("SELECT sealed FROM sealed_secret WHERE regeneration_id = :id", id=ordered) == [(None,)]
    kinds = [kind for (kind,) in world.rows("SELECT kind FROM outbox WHERE subject_id = :id", id=ordered)]
    assert kinds == ["regeneration_opened", "regeneration_superseded"]
    later = octy("keys", "regenerate", "--account", "acme", *WHY, "--json").must().json
    assert (later["joined"], later["old_public_key"]) == (False, old.public_key)


# Who and why


@on_one_database  # they are refused before anything is looked up
@pytest.mark.parametrize("command", ["regenerate", "revoke"])
def test_staff_commands_validate_actor_and_reason(world, octy, command):
    pair = world.register()
    words = ("--account", "acme") if command == "regenerate" else (pair.public_key, "--yes")
    for given, fault in (
        (("--reason", " "), "a reason is needed"),
        (("--reason", "x" * 301), "at most 300"),
        (("--reason", "call ada@acme.example"), "no mail address"),
        (("--reason", "it was sk_1abc"), "no secret key"),
        (("--reason", "ok", "--actor", "two words"), "actor must be a staff id"),
        (("--reason", "ok", "--actor", "customer"), "actor must be a staff id"),
        (("--reason", "ok", "--actor", "system"), "actor must be a staff id"),
    ):
        assert fault in octy("keys", command, *words, *given).must(3).stderr
        assert states(world) == {pair.public_key: KeyPairState.ACTIVE}


def test_actor_is_the_option_the_variable_or_the_login(world, octy, monkeypatch):
    monkeypatch.setenv("USER", "forged")
    monkeypatch.setenv("LOGNAME", "forged")
    actors = []
    for number, (words, variable) in enumerate([(("--actor", "bob"), "ada"), ((), "ada"), ((), "")]):
        world.register(f"c{number}")
        command = ("keys", "regenerate", "--account", f"c{number}", *WHY, *words)
        actors.append(audited(octy(*command, OCTY_ACTOR=variable).must().stderr)[0])
    assert [line["actor"] for line in actors][:2] == ["bob", "ada"]
    assert actors[2]["actor"] == actors[2]["login"] != "forged"


def test_audit_line_goes_to_the_system_log_when_there_is_one(world, octy, monkeypatch, tmp_path):
    pair, path = world.register(), tmp_path / "log"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as log:
        log.bind(str(path))
        monkeypatch.setattr(system_log, "SOCKETS", (path,))
        done = octy("keys", "revoke", pair.public_key, "--yes", *WHY).must()
        line = log.recv(4096).decode()
    assert "octy-audit" not in done.stderr
    assert re.match(r'<38>octy-audit: \{"what": "key_revoked", "actor": "ada"', line)


def test_audit_line_goes_to_stderr_when_the_system_log_is_dead(world, octy, monkeypatch, tmp_path):
    pair, path = world.register(), tmp_path / "log"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as log:
        log.bind(str(path))
    monkeypatch.setattr(system_log, "SOCKETS", (Path(path),))
    assert audited(octy("keys", "revoke", pair.public_key, "--yes", *WHY).must().stderr)
