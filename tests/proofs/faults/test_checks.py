"""A judge that can't find anything proves nothing: whatever must not happen is planted here, and must be found."""

from dataclasses import replace

import pytest

from proofs.faults.checks import judge
from proofs.faults.evidence import Beside, Evidence, Incident, Mail, Order
from proofs.load.reference_policy import OpenedIncident

CASE = OpenedIncident("key", "", 20, "request-1", 1_000_000, 2_000_000)
INCIDENT = Incident("case-1", "pk_old", CASE, True, "regenerated", "order-2", "not_us")
FIRST = Order("order-1", "account-1", "first", None, "pk_old", "done", True)
SECOND = Order("order-2", "account-1", "incident", "pk_old", "pk_new", "done", True)
ALERT = Mail("<case-1.alert.1@octy>", "alert", "case-1", 1000.0)
NEW_KEYS = Mail("<order-2.new_keys.1@octy>", "new_keys", "order-2", 1010.0)

GOOD = Evidence(
    kills=3,
    refused={"pk_old": 25},
    unsure={"pk_old": 2},
    recorded={"pk_old": 26},
    expected={"pk_old": CASE},
    incidents=(INCIDENT,),
    orders=(FIRST, SECOND),
    mails=(ALERT, NEW_KEYS),
    answered=(("case-1", "not_us", False),),
    states={"pk_old": "retired", "pk_new": "active"},
    probes={"pk_old": 401, "pk_new": 200},
    in_use=frozenset({"pk_new"}),
    late={"pk_old": 0.4},
)


def test_a_good_run_is_found_good_and_counted() -> None:
    verdict = judge(GOOD)
    assert verdict.good, verdict.findings
    assert list(verdict.figures) == [
        *("kills", "refusals_seen", "refusals_recorded", "incidents_expected", "incidents", "alerts_expected"),
        *("alerts", "duplicate_alerts", "regenerations", "lost", "stuck", "secrets_found"),
        *("alerts_withheld", "forged_accepted"),
    ]
    assert list(verdict.figures.values()) == [3, 25, 26, 1, 1, 1, 1, 0, 1, 0, 0, 0, 0, 0]


OPEN = replace(INCIDENT, closed=False, resolution=None)
WAITING = replace(OPEN, answer=None, regeneration_id=None)
AGAIN = replace(ALERT, at=1060.0)

LOST = {
    "a refusal that a client saw": {"recorded": {"pk_old": 24}},
    "a case that the order of commits demands": {"expected": {"pk_old": CASE, "pk_other": CASE}},
    "the end of an answered case": {"incidents": (OPEN,), "running": frozenset({"octy-incident-case-1"})},
    "a customer's answer": {"answered": (("case-1", "it_was_us", False),)},
    "the answer to a case that is gone": {"answered": (*GOOD.answered, ("case-2", "not_us", False))},
    "a message of the outbox": {"undelivered": ("17 incident_answered",)},
    "a mail": {
        "unsent": {"<order-3.new_keys.1@octy>": "order-3"},
        "orders": (FIRST, SECOND, Order("order-3", "account-2", "first", None, "pk_3", "sent", False)),
        "running": frozenset({"octy-regeneration-order-3"}),
    },
    "a customer who waits in vain": {"stopped": ("customer-1: waited in vain for the mail alert",)},
}
WITHHELD = {
    "the alert of a case": {"mails": (NEW_KEYS,)},
    "the alert of a case, beside one that names another key": {
        "mails": (NEW_KEYS, replace(ALERT, subject="case-9", keys=frozenset({"pk_other"})))
    },
    "an alert whose row says so": {"withheld": ("case-1/alert/1",)},
}
FORGED = {
    "an answer that no customer gave": {"answered": ()},
    "an end without an answer": {
        "incidents": (replace(INCIDENT, id="case-2", public_key="pk_new", answer=None, regeneration_id=None), INCIDENT),
        "expected": {"pk_old": CASE, "pk_new": CASE},
        "mails": (*GOOD.mails, replace(ALERT, message_id="<case-2.alert.1@octy>", subject="case-2")),
    },
    "an update that was answered": {"beside": Beside(taken=("the update decide to octy-incident-case-1",))},
}
STUCK = {
    "the workflow of a closed case": {"running": frozenset({"octy-incident-case-1"})},
    "the workflow of a finished regeneration": {"running": frozenset({"octy-regeneration-order-2"})},
    "an open case without a workflow": {
        "incidents": (INCIDENT, replace(WAITING, id="case-2", public_key="pk_new")),
        "expected": {"pk_old": CASE, "pk_new": CASE},
        "mails": (*GOOD.mails, replace(ALERT, message_id="<case-2.alert.1@octy>", subject="case-2")),
    },
    "a regeneration without a workflow": {"orders": (FIRST, replace(SECOND, finished=False))},
    "a workflow of nothing": {"running": frozenset({"octy-notice-7"})},
}
OTHERS = {
    "refusals recorded twice": {"recorded": {"pk_old": 28}},
    "refusals of nobody": {"recorded": {**GOOD.recorded, "pk_other": 1}},
    "a second case of a pair": {
        "incidents": (INCIDENT, replace(INCIDENT, id="case-2")),
        "mails": (*GOOD.mails, replace(ALERT, message_id="<case-2.alert.1@octy>", subject="case-2")),
    },
    "a case too early": {"expected": {}},
    "a case by another request": {"expected": {"pk_old": CASE._replace(request_id="request-2")}},
    "a case at the 21st": {"expected": {"pk_old": CASE._replace(length=21)}},
    "a right pair that was refused": {"misjudged": ("pk_new: answered 401",)},
    "a second copy of an alert on a quiet day": {"mails": (*GOOD.mails, AGAIN)},
    "a second copy long after the trouble": {"mails": (*GOOD.mails, AGAIN), "troubled": (980.0,)},
    "a second alert with another Message-ID": {
        "mails": (*GOOD.mails, replace(AGAIN, message_id="<case-1.alert.2@octy>")),
        "troubled": (1050.0,),
    },
    "a pair replaced twice": {"orders": (FIRST, SECOND, replace(SECOND, id="order-3"))},
    "a pair replaced without a case": {"orders": (FIRST, SECOND, replace(SECOND, id="order-3", old="pk_new"))},
    "a pair replaced that was in order": {
        "incidents": (replace(INCIDENT, answer="it_was_us", resolution="false_alarm"),),
        "answered": (("case-1", "it_was_us", False),),
    },
    "a pair not replaced": {"orders": (FIRST,)},
    "a replacement that ended in vain": {"orders": (FIRST, replace(SECOND, state="abandoned"))},
    "an old pair that lives on": {"states": {**GOOD.states, "pk_old": "retiring"}, "probes": {"pk_new": 200}},
    "a replacement by staff that nobody asked for": {
        "orders": (FIRST, SECOND, Order("order-3", "account-1", "staff", "pk_new", "pk_3", "done", True)),
    },
    "a customer's pair that was cut": {"states": {"pk_old": "retired", "pk_new": "retired"}, "probes": {}},
    "a new pair that does not work": {"probes": {"pk_old": 401, "pk_new": 401}},
    "an old pair that still works": {"probes": {"pk_old": 200, "pk_new": 200}},
    "a pair accepted long after it was cut": {"late": {"pk_old": 1.2}},
    "a host app that ended by itself": {"ended": ("asgi ended by itself with [1]",)},
}


@pytest.mark.parametrize("planted", LOST.values(), ids=LOST.keys())
def test_what_is_lost_is_found(planted: dict[str, object]) -> None:
    verdict = judge(replace(GOOD, **planted))
    assert verdict.figures["lost"] == 1, verdict.findings
    assert verdict.findings[0].startswith("lost: ")


@pytest.mark.parametrize("planted", WITHHELD.values(), ids=WITHHELD.keys())
def test_withheld_alert_is_found(planted: dict[str, object]) -> None:
    verdict = judge(replace(GOOD, **planted))
    assert (verdict.figures["alerts_withheld"], verdict.figures["forged_accepted"]) == (1, 0), verdict.findings
    assert any(finding.startswith("withheld: ") for finding in verdict.findings)


@pytest.mark.parametrize("planted", FORGED.values(), ids=FORGED.keys())
def test_accepted_forgery_is_found(planted: dict[str, object]) -> None:
    verdict = judge(replace(GOOD, **planted))
    assert (verdict.figures["forged_accepted"], verdict.figures["alerts_withheld"]) == (1, 0), verdict.findings
    assert any(finding.startswith("forged: ") for finding in verdict.findings)


@pytest.mark.parametrize(
    "beside",
    [
        Beside(forged={"update": 3}, acts={"four pairs": 0}),
        Beside(forged={}, acts={"four pairs": 1}),
        Beside(findings=("foreign: a host with other peppers answered 401",)),
    ],
)
def test_idle_bystander_and_its_findings_are_found(beside: Beside) -> None:
    assert len(judge(replace(GOOD, beside=beside)).findings) == 1


def test_alert_that_names_the_key_of_another_incident_counts_for_it() -> None:
    joined = replace(ALERT, subject="case-9", keys=frozenset({"pk_old"}))
    assert judge(replace(GOOD, mails=(joined, NEW_KEYS))).good


@pytest.mark.parametrize("planted", STUCK.values(), ids=STUCK.keys())
def test_what_is_stuck_is_found(planted: dict[str, object]) -> None:
    verdict = judge(replace(GOOD, **planted))
    assert (verdict.figures["stuck"], verdict.figures["lost"]) == (1, 0), verdict.findings
    assert any(finding.startswith("stuck: ") for finding in verdict.findings)


@pytest.mark.parametrize("planted", OTHERS.values(), ids=OTHERS.keys())
def test_what_else_must_not_be_is_found(planted: dict[str, object]) -> None:
    verdict = judge(replace(GOOD, **planted))
    assert (verdict.figures["stuck"], verdict.figures["lost"]) == (0, 0), verdict.findings
    assert not verdict.good


def test_every_refusal_that_is_lost_counts() -> None:
    verdict = judge(replace(GOOD, recorded={}))
    assert (verdict.figures["lost"], len(verdict.findings)) == (25, 1)


def test_a_leak_is_found_and_counted() -> None:
    verdict = judge(replace(GOOD, leaks=("leak: a secret key stands in worker.log",)))
    assert (verdict.figures["secrets_found"], verdict.good) == (1, False)


def test_a_second_copy_after_a_kill_is_counted_and_allowed() -> None:
    verdict = judge(replace(GOOD, mails=(*GOOD.mails, AGAIN), troubled=(1001.0,)))
    assert verdict.good, verdict.findings
    assert verdict.figures["duplicate_alerts"] == 1


def test_a_row_behind_a_mail_that_came_is_no_loss_but_counted() -> None:
    verdict = judge(replace(GOOD, unsent={NEW_KEYS.message_id: "order-2"}))
    assert verdict.good, verdict.findings
    assert verdict.more["rows_behind_their_mail"] == 1


def test_a_case_that_waits_for_its_customer_is_no_fault() -> None:
    waiting = replace(WAITING, id="case-2", public_key="pk_new")
    alert = replace(ALERT, message_id="<case-2.alert.1@octy>", subject="case-2")
    verdict = judge(
        replace(
            GOOD,
            incidents=(INCIDENT, waiting),
            expected={"pk_old": CASE, "pk_new": CASE},
            mails=(*GOOD.mails, alert),
            running=frozenset({"octy-incident-case-2"}),
        )
    )
    assert verdict.good, verdict.findings


def test_notice_whose_mail_the_daily_cap_holds_back_is_no_fault() -> None:
    assert judge(replace(GOOD, running=frozenset({"octy-notice-7"}), capped=frozenset({"7"}))).good


def test_a_round_of_upkeep_under_way_is_no_fault() -> None:
    assert judge(replace(GOOD, running=GOOD.running | {"octy-maintenance-octy-reconciliation-workflow-1"})).good
