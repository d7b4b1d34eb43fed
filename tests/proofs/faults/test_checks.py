"""A check that cannot fail proves nothing: every violation is planted in good evidence here, and must be found."""

from dataclasses import replace
from typing import Any

import pytest

from proofs.faults.checks import check
from proofs.faults.evidence import Evidence, Incident, Mail, Regeneration
from proofs.load.reference_policy import OpenedIncident

OPENING = OpenedIncident("key", "", 20, "request-1", 1_000_000, 2_000_000)
INCIDENT = Incident("case-1", "pk_old", OPENING, True, "regenerated", "order-2", "not_us")
FIRST = Regeneration("order-1", "first", None, "done", True)
SECOND = Regeneration("order-2", "incident", "pk_old", "done", True)
ALERT = Mail("<case-1.alert.1@octy>", "alert", "case-1", 1000.0)
NEW_KEYS = Mail("<order-2.new_keys.1@octy>", "new_keys", "order-2", 1010.0)

GOOD = Evidence(
    kills=3,
    refused={"pk_old": 25},
    unanswered={"pk_old": 1},
    unavailable={"pk_old": 1},
    recorded={"pk_old": 26},
    expected={"pk_old": OPENING},
    incidents=(INCIDENT,),
    regenerations=(FIRST, SECOND),
    mails=(ALERT, NEW_KEYS),
    answers=(("case-1", "not_us", False),),
    states={"pk_old": "retired", "pk_new": "active"},
    statuses={"pk_old": 401, "pk_new": 200},
    in_use=frozenset({"pk_new"}),
    late={"pk_old": 0.4},
)

OPEN = replace(INCIDENT, closed=False, resolution=None)
COPY = replace(ALERT, at=1060.0)
SECOND_ALERT = replace(ALERT, message_id="<case-2.alert.1@octy>", subject="case-2")
BOTH_EXPECTED = {"expected": {"pk_old": OPENING, "pk_new": OPENING}, "mails": (ALERT, NEW_KEYS, SECOND_ALERT)}
WAITING = replace(OPEN, id="case-2", public_key="pk_new", answer=None, regeneration_id=None)
UNANSWERED = replace(WAITING, closed=True, resolution="regenerated")

VIOLATIONS: dict[str, dict[str, dict[str, Any]]] = {  # figure -> what is planted; each adds 1 to its figure
    "lost": {
        "a refusal that a client received": {"recorded": {"pk_old": 24}},
        "an incident that the order of commits demands": {"expected": {"pk_old": OPENING, "pk_other": OPENING}},
        "the end of an answered incident": {"incidents": (OPEN,), "running": frozenset({"octy-incident-case-1"})},
        "a customer's answer": {"answers": (("case-1", "it_was_us", False),)},
        "the answer to a missing incident": {"answers": (*GOOD.answers, ("case-2", "not_us", False))},
        "an outbox message": {"undelivered": ("17 incident_answered",)},
        "a mail": {
            "unsent": {"<order-3.new_keys.1@octy>": "order-3"},
            "regenerations": (FIRST, SECOND, Regeneration("order-3", "first", None, "sent", False)),
            "running": frozenset({"octy-regeneration-order-3"}),
        },
        "what a customer waits for": {"failures": ("customer-1: waited in vain for the mail alert",)},
    },
    "alerts_withheld": {
        "the alert of an incident": {"mails": (NEW_KEYS,)},
        "the alert of an incident, beside one that names another key": {
            "mails": (NEW_KEYS, replace(ALERT, subject="case-9", keys=frozenset({"pk_other"})))
        },
        "an alert whose row says so": {"withheld": ("case-1/alert/1",)},
    },
    "forged_accepted": {
        "an answer that no customer gave": {"answers": ()},
        "an end without an answer": {**BOTH_EXPECTED, "incidents": (UNANSWERED, INCIDENT)},
        "an update that was answered": {"accepted_forgeries": ("the update decide to octy-incident-case-1",)},
    },
    "stuck": {
        "the workflow of a closed incident": {"running": frozenset({"octy-incident-case-1"})},
        "the workflow of a finished regeneration": {"running": frozenset({"octy-regeneration-order-2"})},
        "an open incident without a workflow": {**BOTH_EXPECTED, "incidents": (INCIDENT, WAITING)},
        "a regeneration without a workflow": {"regenerations": (FIRST, replace(SECOND, finished=False))},
        "a workflow without a row": {"running": frozenset({"octy-notice-7"})},
    },
    "secrets_found": {"a leak": {"leaks": ("leak: a secret key in worker.log",)}},
    "": {  # no figure
        "refusals recorded twice without an outage": {"recorded": {"pk_old": 28}},
        "more refusals recorded twice than an outage can cause": {"recorded": {"pk_old": 29}, "outages": 1},
        "refusals that no client sent": {"recorded": {**GOOD.recorded, "pk_other": 1}},
        "a second incident of a key pair": {
            "incidents": (INCIDENT, replace(INCIDENT, id="case-2")),
            "answers": (*GOOD.answers, ("case-2", "not_us", False)),
            "mails": (*GOOD.mails, SECOND_ALERT),
        },
        "an incident too early": {"expected": {}},
        "an incident by another request": {"expected": {"pk_old": OPENING._replace(request_id="request-2")}},
        "an incident at the 21st failure": {"expected": {"pk_old": OPENING._replace(length=21)}},
        "a right secret that was refused": {"unexpected": ("pk_new: response 401",)},
        "a copy of an alert without a fault": {"mails": (*GOOD.mails, COPY)},
        "a copy of an alert long after a fault": {"mails": (*GOOD.mails, COPY), "faults": (980.0,)},
        "a second alert with another Message-ID": {
            "mails": (*GOOD.mails, replace(COPY, message_id="<case-1.alert.2@octy>")),
            "faults": (1050.0,),
        },
        "a key pair replaced twice": {"regenerations": (FIRST, SECOND, replace(SECOND, id="order-3"))},
        "a key pair replaced without an incident": {
            "regenerations": (FIRST, SECOND, replace(SECOND, id="order-3", old="pk_new"))
        },
        "a key pair replaced after a false alarm": {
            "incidents": (replace(INCIDENT, answer="it_was_us", resolution="false_alarm"),),
            "answers": (("case-1", "it_was_us", False),),
        },
        "a key pair not replaced": {"regenerations": (FIRST,)},
        "an abandoned regeneration": {"regenerations": (FIRST, replace(SECOND, state="abandoned"))},
        "an old key pair that is not retired": {
            "states": {**GOOD.states, "pk_old": "retiring"},
            "statuses": {"pk_new": 200},
        },
        "a regeneration by staff that was not requested": {
            "regenerations": (FIRST, SECOND, Regeneration("order-3", "staff", "pk_new", "done", True))
        },
        "a customer's key pair that was retired": {
            "states": {"pk_old": "retired", "pk_new": "retired"},
            "statuses": {},
        },
        "a new key pair that is refused": {"statuses": {"pk_old": 401, "pk_new": 401}},
        "an old key pair that is accepted": {"statuses": {"pk_old": 200, "pk_new": 200}},
        "a key pair accepted long after it was retired": {"late": {"pk_old": 1.2}},
        "a host app that exited": {"exits": ("asgi exited with status 1: ",)},
        "an idle side scenario": {"forgeries": {"update": 3}, "side_actions": {"four pairs": 0}},
        "an idle message forger": {"side_actions": {"four pairs": 1}},
        "a finding of a side scenario": {"side_findings": ("foreign: response 401 of a host with other peppers",)},
    },
}
NO_VIOLATIONS: dict[str, dict[str, Any]] = {
    "nothing": {},
    "a refusal recorded twice, because an outage interrupted its commit": {
        "recorded": {"pk_old": 28},
        "outages": 1,
    },
    "an alert of another incident that names the key": {
        "mails": (replace(ALERT, subject="case-9", keys=frozenset({"pk_old"})), NEW_KEYS)
    },
    "a copy of an alert after a kill": {"mails": (*GOOD.mails, COPY), "faults": (1001.0,)},
    "a row that does not know of its mail": {"unsent": {NEW_KEYS.message_id: "order-2"}},
    "an incident that waits for its customer": {
        **BOTH_EXPECTED,
        "incidents": (INCIDENT, WAITING),
        "running": frozenset({"octy-incident-case-2"}),
    },
    "a notice that waits for the daily cap": {
        "running": frozenset({"octy-notice-7"}),
        "capped": frozenset({"7"}),
    },
    "maintenance in progress": {"running": frozenset({"octy-maintenance-octy-reconciliation-workflow-1"})},
}


@pytest.mark.parametrize(
    ("figure", "planted"),
    [pytest.param(figure, one, id=name) for figure, some in VIOLATIONS.items() for name, one in some.items()],
)
def test_violation_is_found_and_counted_in_its_figure_only(figure: str, planted: dict[str, Any]) -> None:
    result = check(replace(GOOD, **planted))
    counted = {name: result.figures[name] for name in VIOLATIONS if name and result.figures[name]}
    assert counted == ({figure: 1} if figure else {}), result.findings
    assert result.findings


@pytest.mark.parametrize("planted", NO_VIOLATIONS.values(), ids=NO_VIOLATIONS)
def test_evidence_without_violation_has_no_finding(planted: dict[str, Any]) -> None:
    assert check(replace(GOOD, **planted)).findings == ()


def test_figures_count_the_evidence() -> None:
    figures = check(GOOD).figures
    assert list(figures) == [
        *("kills", "refusals_seen", "refusals_recorded", "incidents_expected", "incidents", "alerts_expected"),
        *("alerts", "duplicate_alerts", "regenerations", "lost", "stuck", "secrets_found"),
        *("alerts_withheld", "forged_accepted"),
    ]
    assert list(figures.values()) == [3, 25, 26, 1, 1, 1, 1, 0, 1, 0, 0, 0, 0, 0]
    copied = check(replace(GOOD, mails=(*GOOD.mails, COPY), unsent={NEW_KEYS.message_id: "order-2"}))
    assert copied.figures["duplicate_alerts"] == 1
    assert (copied.more["mails_sent_again"], copied.more["rows_behind_their_mail"]) == (1, 1)


def test_every_lost_refusal_counts() -> None:
    result = check(replace(GOOD, recorded={}))
    assert (result.figures["lost"], len(result.findings)) == (25, 1)
