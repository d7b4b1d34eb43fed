"""`octy incidents decide` and `octy doctor` with everything running: Temporal, worker, pages, mail server.

On SQLite only. What these commands do in SQL is tested on both kinds of database in the folders `domain`, `staff`,
`activities` and in `test_cli_doctor`; `story/test_story.py` decides by command on both with everything running.
"""

import os
import re
import sys
import time
from collections.abc import Iterator

import pytest
from support.cli_rig import DENIED
from support.cli_stack import FIRST_ORDER, CliStack, open_stack
from support.world import INSTALLATION

from octy_middleware.clock import utc
from octy_middleware.db.bulk_sql import run
from octy_middleware.keys.keychain import Keychain
from octy_middleware.states import KeyPairState
from octy_worker.cli import exit_process, incidents, incidents_orders
from octy_worker.domain import regenerations

WHY = ("--reason", "confirmed by phone")


@pytest.fixture(scope="module")
def stack(tmp_path_factory) -> Iterator[CliStack]:
    with open_stack(tmp_path_factory.mktemp("stack"), "sqlite") as stack:
        yield stack


# Accepted decisions


def test_decision_is_applied_and_its_repeat_has_no_effect(stack):
    pair, incident_id = stack.open_incident()
    done = stack.decide(incident_id, "regenerate", "--leaked", *WHY, "--json").must()
    assert set(done.json) == set(incidents_orders.DECIDE_JSON.split(", "))
    assert (done.json["accepted"], done.json["why"], done.json["actor"]) == (True, "", "ada")
    assert '"what": "case_decided"' in done.stderr
    [answer] = stack.events(incident_id, "answered")
    assert answer == {"actor": "ada", "answer": "not_us", "leaked": True, "reason": "confirmed by phone"}
    assert stack.world.rows("SELECT state FROM key_pair WHERE public_key = :key", key=pair.public_key) == [
        (KeyPairState.RETIRED,)
    ]
    stack.until(lambda: stack.state(incident_id) == "regenerating")
    order_id = done.json["order_id"]
    again = stack.decide(incident_id, "regenerate", "--leaked", *WHY, "--order-id", order_id).must()
    assert "Decided: regenerate, leaked, by ada." in again.stdout
    assert len(stack.events(incident_id, "answered")) == 1
    assert stack.events(incident_id, "decision_refused") == []


def test_dismissed_incident_closes_and_stays_closed(stack):
    _, incident_id = stack.open_incident()
    done = stack.decide(incident_id, "dismiss", *WHY, "--json").must()
    stack.wait_for_end(incident_id)
    repeated = stack.decide(incident_id, "dismiss", *WHY, "--order-id", done.json["order_id"])
    late = stack.decide(incident_id, "regenerate", *WHY, "--actor", "bob")
    repeated.must()
    assert "too late, the incident is closed as false_alarm: it_was_us, by ada" in late.must(3).stderr
    [refused] = stack.events(incident_id, "decision_refused")
    assert (refused["actor"], refused["decision"]) == ("bob", "regenerate")


def test_bulk_decision_decides_open_incidents_and_refuses_a_closed_one(stack):
    closed, first, second = (stack.open_incident()[1] for _ in range(3))
    stack.decide(closed, "dismiss", *WHY).must()
    stack.wait_for_end(closed)
    words = ("incidents", "decide-many", "dismiss", first, closed, second, *WHY, "--yes", "--json")
    done = stack.octy.shell(*words).must(3)
    ends = {result["incident_id"]: result["end"] for result in done.json["results"]}
    assert ends == {first: "decided", closed: "refused", second: "decided"}
    for incident_id in (first, second):
        stack.wait_for_end(incident_id)
    repeated = stack.octy.shell(*words, "--order-id", done.json["order_id"]).must(3)
    assert [result["end"] for result in repeated.json["results"]] == ["decided", "refused", "decided"]
    assert len(stack.events(first, "answered")) == 1


# Refusals and their audit lines


def test_second_decision_is_refused_and_audited(stack):
    _, incident_id = stack.open_incident()
    stack.decide(incident_id, "regenerate", *WHY).must()
    late = stack.decide(incident_id, "dismiss", "--reason", "no, wait", "--actor", "bob", "--json").must(3)
    assert late.json["accepted"] is False
    assert "too late, there is an answer: regenerate, decided by ada" in late.json["why"]
    assert late.json["why"] in late.stderr
    [refused] = stack.events(incident_id, "decision_refused")
    assert refused == {"actor": "bob", "decision": "dismiss", "reason": "no, wait", "why": late.json["why"]}
    assert '"what": "decision_refused"' in late.stderr


def test_decision_after_the_customers_answer_is_refused_and_recorded_once(stack):
    _, incident_id = stack.open_incident()
    with stack.world.database.write() as connection:  # the page's answer, before the workflow is notified
        run(
            connection,
            "UPDATE incident_answer SET answer = 'it_was_us', answered_by = 'customer', answered_at = 0 "
            "WHERE incident_id = ?",
            incident_id,
        )
    late = stack.decide(incident_id, "regenerate", *WHY).must(3)
    assert "too late, there is an earlier answer: dismiss, decided by customer" in late.stderr
    assert len(stack.events(incident_id, "decision_refused")) == 1


# Extensions, resent mails, amendments


def test_incident_is_extended_and_its_alert_resent(stack):
    _, incident_id = stack.open_incident()
    stack.until(
        lambda: stack.world.rows("SELECT 1 FROM mail WHERE incident_id = :id AND state = 'sent'", id=incident_id)
    )
    longer = stack.octy.shell("incidents", "extend", incident_id, "--days", "7", *WHY, "--json").must()
    assert set(longer.json) == set(incidents_orders.EXTEND_JSON.split(", "))
    assert '"what": "case_extended"' in longer.stderr
    [event] = stack.events(incident_id, "extended")
    assert (event["actor"], event["days"], event["reason"]) == ("ada", 7, "confirmed by phone")
    assert utc(event["ends_at"]).isoformat()[:19] == longer.json["close_at"][:19]
    stack.until(lambda: stack.octy.shell("incidents", "resend", incident_id, *WHY).code == 0)  # once it is over
    [again] = stack.events(incident_id, "mail_ordered_again")
    assert (again["actor"], again["mail"]) == ("ada", "alert-2")
    assert stack.world.rows("SELECT state FROM mail WHERE key = :key", key=f"{incident_id}/alert/2") == [("sent",)]
    refused = stack.octy.shell("incidents", "resend", incident_id, "--kind", "reminder", *WHY).must(3)
    assert "no reminder was sent yet" in refused.stderr
    assert stack.events(incident_id, "resend_refused")[-1]["kind"] == "reminder"
    keys = stack.octy.shell("incidents", "resend", incident_id, "--kind", "new_keys", *WHY).must(3)
    assert "has no uncollected new keys" in keys.stderr


def test_new_keys_are_resent_then_withdrawn_by_an_amendment(stack):
    pair, incident_id = stack.open_incident()
    stack.decide(incident_id, "regenerate", *WHY).must()
    keys_mail = "SELECT key FROM mail WHERE incident_id = :id AND kind = 'new_keys' AND state = 'sent' ORDER BY key"
    stack.until(lambda: len(stack.world.rows(keys_mail, id=incident_id)) == 1)
    again = stack.octy.shell("incidents", "resend", incident_id, *WHY, "--json").must()
    assert (again.json["mail"], again.json["end"]) == ("new_keys-2", "ordered")
    stack.until(lambda: len(stack.world.rows(keys_mail, id=incident_id)) == 2)
    assert stack.events(incident_id, "mail_ordered_again")[0]["mail"] == "new_keys-2"
    late = stack.octy.shell("incidents", "extend", incident_id, "--days", "7", *WHY).must(3)
    assert "there is an answer: regenerate, decided by ada" in late.stderr
    assert stack.events(incident_id, "extension_refused")[0]["days"] == 7
    done = stack.octy.shell("incidents", "change", incident_id, "dismiss", *WHY, "--json").must()
    assert set(done.json) == set(incidents.CHANGE_JSON.split(", "))
    assert (done.json["closed"], done.json["ordered"]) == (False, None)
    stack.wait_for_end(incident_id)
    query = (
        "SELECT resolution, answer, answered_by FROM incident JOIN incident_answer ON incident_id = id WHERE id = :id"
    )
    assert stack.world.rows(query, id=incident_id) == [("false_alarm", "it_was_us", "ada")]
    states = "SELECT state FROM regeneration WHERE id = :id"
    assert stack.world.rows(states, id=done.json["withdrawn"]) == [("superseded",)]
    active = "SELECT state FROM key_pair WHERE public_key = :key"
    assert stack.world.rows(active, key=pair.public_key) == [("active",)]
    back = stack.octy.shell("incidents", "change", incident_id, "regenerate", *WHY).must()
    assert "New keys are ordered" in back.stdout
    refused = stack.octy.shell("incidents", "change", incident_id, "dismiss", *WHY).must(3)
    assert "new keys were ordered for this incident" in refused.stderr
    assert stack.events(incident_id, "change_refused")[0]["answer"] == "it_was_us"


def test_first_keys_with_an_expired_link_are_resent_without_an_incident(stack):
    contact = ("--reference", "expired", "--email", "expired@acme.example")
    first = stack.octy("accounts", "add", *contact, "--json").must().json["regeneration_id"]
    sent = "SELECT key FROM mail WHERE key = :key AND state = 'sent'"
    stack.until(lambda: stack.world.rows(sent, key=f"{first}/new_keys/1"))
    with stack.world.database.write() as connection:
        run(connection, "UPDATE sealed_secret SET expires_at = 0 WHERE regeneration_id = ?", first)
    words = ("keys", "resend", "--account", "expired", *WHY, "--json")
    done = stack.octy.shell(*words).must()
    assert set(done.json) == set(re.sub(r"\{.*\}", "", incidents_orders.RESEND_KEYS_JSON).split(", "))
    assert (done.json["address"], done.json["mail"]) == ("expired@acme.example", 2)
    assert done.json["earlier"]["status"] == "expired"
    assert '"what": "mail_ordered_again", "actor": "ada"' in done.stderr
    stack.until(lambda: stack.world.rows(sent, key=f"{first}/new_keys/2"))
    links = "SELECT generation FROM sealed_secret WHERE regeneration_id = :id AND expires_at > 0"
    assert stack.world.rows(links, id=first) == [(2,)]
    assert stack.octy.shell(*words, "--order-id", done.json["order_id"]).must().json["mail"] == 2
    assert stack.world.rows(links, id=first) == [(2,)]
    collect(stack, first)
    repeated = stack.octy.shell(*words, "--order-id", done.json["order_id"]).must().json
    assert (repeated["mail"], repeated["earlier"]["status"]) == (2, "collected")
    stack.open_incident()
    other = (*words[:3], f"c{stack.customers}", *words[4:])
    assert "the customer has collected the last ones" in stack.octy.shell(*other).must(3).stderr
    refused = stack.octy.shell(*other, "--order-id", done.json["order_id"]).must(3)
    assert "wait to be collected" in refused.stderr


def new_keys_of(stack, incident_id):
    """Wait until the incident's workflow has ordered new keys; return their regeneration's id."""
    ordered = "SELECT regeneration_id FROM incident WHERE id = :id AND regeneration_id IS NOT NULL"
    stack.until(lambda: stack.world.rows(ordered, id=incident_id))
    return stack.world.rows(ordered, id=incident_id)[0][0]


def collect(stack, regeneration_id):
    """Do what the page does when the customer opens the second link."""
    with stack.world.database.write_session() as session:
        assert regenerations.collect(session, stack.world.sealer, regeneration_id, 2, time.time())


def test_resend_of_new_keys_of_an_incident_is_repeated_after_their_collection(stack):
    _, incident_id = stack.open_incident()
    _, other_id = stack.open_incident()
    stack.decide(incident_id, "regenerate", *WHY).must()
    regeneration_id = new_keys_of(stack, incident_id)
    sent = "SELECT key FROM mail WHERE key = :key AND state = 'sent'"
    stack.until(lambda: stack.world.rows(sent, key=f"{regeneration_id}/new_keys/1"))
    words = ("incidents", "resend", incident_id, *WHY, "--json")
    done = stack.octy.shell(*words).must()
    collect(stack, regeneration_id)
    repeat = ("--order-id", done.json["order_id"])
    for kind in ((), ("--kind", "new_keys")):
        assert stack.octy.shell(*words, *kind, *repeat).must().json == done.json
    other = stack.octy.shell("incidents", "resend", other_id, *WHY, *repeat).must(3)
    assert "belongs to another order" in other.stderr
    assert len(stack.events(incident_id, "mail_ordered_again")) == 1


def test_resend_of_an_alert_is_repeated_when_new_keys_wait(stack):
    _, incident_id = stack.open_incident()
    words = ("incidents", "resend", incident_id, *WHY, "--json")
    sent = "SELECT key FROM mail WHERE key = :key AND state = 'sent'"
    stack.until(lambda: stack.world.rows(sent, key=f"{incident_id}/alert/1"))
    done = stack.octy.shell(*words).must()
    stack.decide(incident_id, "regenerate", *WHY).must()
    assert new_keys_of(stack, incident_id)
    assert stack.octy.shell(*words, "--order-id", done.json["order_id"]).must().json == done.json


def test_invalid_staff_order_is_rejected_unsent_and_audited_without_the_invalid_text(stack):
    _, incident_id = stack.open_incident()
    for words in (("extend", "--days", "91"), ("resend",)):
        reason = "they sent sk_1Secret" if words == ("resend",) else "by phone"
        done = stack.octy.shell("incidents", words[0], incident_id, *words[1:], "--reason", reason).must(3)
        assert "sk_1Secret" not in done.stderr
    assert stack.events(incident_id, "extension_refused") == [
        {"actor": "ada", "days": 91, "reason": "by phone", "why": "days must be between 1 and 90"}
    ]
    [refused] = stack.events(incident_id, "resend_refused")
    assert "reason" not in refused
    faulty = stack.octy.shell("incidents", "change", incident_id, "dismiss", "--reason", "sk_1Secret").must(3)
    assert "sk_1Secret" not in faulty.stderr + str(stack.events(incident_id, "change_refused"))


def test_temporal_workflows_can_be_listed_by_state(stack):
    _, incident_id = stack.open_incident()
    stack.until(
        lambda: (
            f"octy-{INSTALLATION}-incident-{incident_id}" in stack.found("OctyState = 'waiting' AND OctyFailures = 20")
        )
    )
    assert f"octy-{INSTALLATION}-incident-{incident_id}" not in stack.found("OctyNeedsStaff = true")


# What can't be reached


@pytest.mark.parametrize(
    ("variables", "code", "said"),
    [
        ({"OCTY_TEMPORAL_ADDRESS": DENIED}, 4, "Temporal can't be reached at 127.0.0.1:9"),
        ({"OCTY_TEMPORAL_ADDRESS": "no host"}, 2, "OCTY_TEMPORAL_ADDRESS: 'no host' is not host:port"),
        ({"OCTY_TEMPORAL_NAMESPACE": "elsewhere"}, 4, "Namespace elsewhere is not found"),
    ],
)
def test_decision_reports_a_wrong_temporal_connection(stack, variables, code, said):
    _, incident_id = stack.open_incident()
    done = stack.decide(incident_id, "dismiss", *WHY, **variables).must(code)
    assert said in done.stderr
    assert " → " in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert stack.events(incident_id, "decision_refused") == []


def test_decision_without_temporal_keys_is_applied_but_its_result_is_unreadable(stack):
    """The order is saved in SQL, and its id needs no encryption, so it is applied."""
    _, incident_id = stack.open_incident()
    done = stack.decide(incident_id, "dismiss", *WHY, OCTY_TEMPORAL_KEYS="").must(2)
    assert "OCTY_TEMPORAL_KEYS lacks the key '" in done.stderr
    stack.until(lambda: stack.state(incident_id) == "closed")


def test_decision_without_a_worker_says_so_and_its_repeat_is_applied_once(stack):
    before, incident_id = stack.before_any_worker, stack.first_incident
    before.must(4)
    assert f"no worker is polling task queue 'octy-{INSTALLATION}'" in before.stderr
    assert f"start one with `octy worker`; repeat with --order-id {FIRST_ORDER}" in before.stderr
    stack.decide(incident_id, "dismiss", *WHY, "--order-id", FIRST_ORDER).must()
    stack.decide(incident_id, "dismiss", *WHY, "--order-id", FIRST_ORDER).must()
    assert len(stack.events(incident_id, "answered")) == 1


# The end of a process that had a Temporal client


@pytest.mark.parametrize(("variables", "code"), [({}, 0), ({"OCTY_TEMPORAL_ADDRESS": DENIED}, 4)])
def test_cli_process_exits_with_its_code(stack, warm, variables, code):
    _, incident_id = stack.open_incident()
    done = warm.run(stack.octy, "incidents", "decide", incident_id, "regenerate", *WHY, **variables)
    assert (done.returncode, "Traceback" in done.stderr) == (code, False)


@pytest.mark.parametrize(("loaded", "way"), [(True, "at once"), (False, "the long way")])
def test_cli_process_exits_at_once_when_a_temporal_client_was_loaded(monkeypatch, loaded, way):
    """Else about one in twelve aborts, and one in two after a refused connection: too few for the test above."""
    ends = []
    monkeypatch.setattr(os, "_exit", lambda code: ends.append(("at once", code)))
    monkeypatch.setattr(sys, "exit", lambda code: ends.append(("the long way", code)))
    monkeypatch.setitem(sys.modules, "temporalio.client", sys) if loaded else monkeypatch.delitem(
        sys.modules, "temporalio.client", raising=False
    )
    exit_process(3)
    assert ends[0] == (way, 3)


# The doctor

WELL = [
    *("OCTY_PEPPERS", "OCTY_SEALING_KEYS", "OCTY_LINK_KEYS", "OCTY_AUDIT_KEYS", "OCTY_TEMPORAL_KEYS"),
    *("settings", "packages", "files of secrets", "database connection", "database"),
    *("database version", "durability", "installation"),
    *("keys of this database", "write lock"),
    *(
        "integrity",
        "peppers and key pairs",
        "imported hashes",
        "sealing keys and secrets",
        "outbox",
        "webhooks",
        "apps",
    ),
    *("Temporal", "namespace", "search attributes", "worker", "worker releases", "Temporal's clock", "schedules"),
    *("workflow tasks", "restored backup", "codec server", "retention"),
    *("reconciliation", "digest", "audit log", "audit checkpoints", "metrics", "tracing"),
    *("mail templates", "mail signature", "mail server", "pages", "staff API", "staff settings"),
    *("alerts", "incidents", "new keys", "mails", "webhook deliveries", "app commits", "releases"),
    *("database write", "disk", "clocks"),
]


@pytest.fixture(scope="module")
def sealed(stack) -> CliStack:
    """One customer's first keys wait to be collected."""
    stack.octy("accounts", "add", "--reference", "waiting", "--email", "waiting@acme.example").must()
    stack.until(lambda: stack.world.rows("SELECT state FROM mail WHERE kind = 'new_keys' AND state = 'sent'"))
    return stack


def test_doctor_reports_no_problems_of_a_healthy_installation(stack, sealed):
    found = stack.octy.shell("doctor", "--json").must().json
    assert found["ok"] is True
    assert [check["name"] for check in found["checks"]] == WELL
    assert [check["name"] for check in found["checks"] if (check["state"], check["to_do"]) != ("ok", "")] == []
    page = stack.octy.shell("doctor").must().stdout
    assert page.count("✓") == len(WELL)
    assert page.endswith("No problems found.\n")


def test_reconcile_dry_run_finds_no_differences_of_running_incidents(stack, sealed):
    found = stack.octy.shell("incidents", "reconcile", "--dry-run", "--json").must().json
    assert (found["checked"] > 0, found["restarted"], found["terminated"], found["unknown"]) == (True, 0, 0, 0)


OTHER = Keychain.generate("k9").export()


def doctor_finds(stack: CliStack, variables: dict[str, str], wrong: dict[str, str]) -> None:
    """Run the doctor with these settings: it must report exactly these problems, and say this of each."""
    places = {"inbox": stack.inbox, "http_port": stack.inbox.rpartition(":")[2]}
    done = stack.octy.shell(
        "doctor", "--json", **{name: value.format(**places) for name, value in variables.items()}
    ).must(1)
    found = {check["name"]: check for check in done.json["checks"]}
    assert [name for name, check in found.items() if check["state"] == "problem"] == list(wrong)
    for name, said in wrong.items():
        assert said in str(found[name])


@pytest.mark.parametrize(
    ("variables", "wrong"),
    [
        ({"OCTY_PEPPERS": ""}, {"OCTY_PEPPERS": "not set", "peppers and key pairs": ""}),
        ({"OCTY_PEPPERS": OTHER}, {"keys of this database": "", "peppers and key pairs": "OCTY_PEPPERS lacks k1"}),
        (
            {"OCTY_SEALING_KEYS": OTHER},
            {"keys of this database": "", "sealing keys and secrets": "OCTY_SEALING_KEYS lacks k1"},
        ),
    ],
)
def test_doctor_reports_exactly_the_wrong_key(stack, sealed, variables, wrong):
    doctor_finds(stack, variables, wrong)


TEMPORAL, MAIL = "Temporal", "mail server"


@pytest.mark.parametrize(
    ("variables", "wrong"),
    [
        (
            {"OCTY_PUBLIC_URL": "ftp://x", "OCTY_CODEC_URL": f"http://{DENIED}", "OCTY_SMTP_PORT": "9"},
            {
                "OCTY_PUBLIC_URL": "needs the form https://host",
                "codec server": "start `octy codec-server`",
                MAIL: "Connection refused",
                "pages": "",
            },
        ),
        (
            {"OCTY_PUBLIC_URL": f"http://{DENIED}", "OCTY_TEMPORAL_ADDRESS": "127.0.0.1:{http_port}"},
            {TEMPORAL: "does not answer like Temporal without TLS", "pages": "Connection refused"},
        ),
        (
            {"OCTY_PUBLIC_URL": "{inbox}", "OCTY_TEMPORAL_NAMESPACE": "elsewhere"},
            {"namespace": "namespace create --namespace elsewhere", "pages": "responds with status 404"},
        ),
        (
            {"OCTY_TEMPORAL_ADDRESS": DENIED, "OCTY_SMTP_HOST": "127.0.0.2"},
            {TEMPORAL: "Connection refused", MAIL: "127.0.0.2"},
        ),
        (
            {"OCTY_TEMPORAL_ADDRESS": "nonsense", "OCTY_SMTP_SECURITY": "tls"},
            {TEMPORAL: "is not host:port", MAIL: "wrong version number", "staff settings": "is not host:port"},
        ),
        (
            {"OCTY_TEMPORAL_TASK_QUEUE": "no-worker", "OCTY_SMTP_CA_FILE": ""},
            {
                "worker": "start one with `octy worker`",
                "schedules": "",
                MAIL: "its certificate is not trusted",
                "pages": "its certificate is not trusted",
            },
        ),
        (
            {"OCTY_SMTP_CA_FILE": "missing.pem"},
            {MAIL: "No such file or directory", "pages": "No such file or directory"},
        ),
    ],
)
def test_doctor_reports_exactly_the_wrong_settings(stack, sealed, variables, wrong):
    """Two or three at a time where no check looks at both."""
    doctor_finds(stack, variables, wrong)
