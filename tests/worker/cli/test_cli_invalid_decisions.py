"""Decisions that are refused unsent, for their content. Those that come too late: `test_cli_decide`."""

import json

import pytest
from support.cli_rig import DENIED, Octy, octy_for, open_incident
from support.staff_acts import answering
from support.world import World

from octy_workflows.messages import ResendResult

PHONE = ("--reason", "by phone")


@pytest.fixture
def octy(world: World) -> Octy:
    return octy_for(world)


@pytest.mark.parametrize(
    ("words", "why", "kept"),
    [
        (("dismiss", "--leaked", *PHONE), "can't be dismissed", "by phone"),
        (("regenerate", "--reason", "it was sk_1Secret"), "no secret key", None),
        (("regenerate", "--reason", "wrote to ada@acme.example"), "no mail address", None),
        (("regenerate", "--reason", " "), "a reason is needed", None),
        (("regenerate", "--actor", "customer", *PHONE), "actor must be a staff id", "by phone"),
        (("regenerate", "--order-id", "a b", *PHONE), "order_id must be a UUIDv7", "by phone"),
    ],
)
def test_invalid_decision_is_rejected_unsent_and_audited_without_the_invalid_text(world, octy, words, why, kept):
    _, incident_id = open_incident(world)
    done = octy("incidents", "decide", incident_id, *words, OCTY_TEMPORAL_ADDRESS=DENIED).must(3)
    assert why in done.stderr
    [(what, actor, detail)] = world.rows("SELECT what, actor, detail FROM incident_event")
    refused = json.loads(detail)
    assert refused["why"] in done.stderr
    assert refused.get("reason") == kept
    assert (what, actor == "customer") == ("decision_refused", False)
    assert "sk_1Secret" not in detail + done.stderr
    assert "acme.example" not in detail + done.stderr


@pytest.mark.parametrize(("end", "said"), [("failed", "was rejected by the mail server"), ("skipped", "was withheld")])
def test_mail_that_was_not_sent_again_is_told(world, octy, monkeypatch, end, said):
    """What its workflow answers is tried in `test_cli_decide`."""
    _, incident_id = open_incident(world)
    monkeypatch.setattr("octy_worker.staff.decisions.resend", answering(ResendResult("alert-2", end)))
    done = octy("incidents", "resend", incident_id, *PHONE).must(3)
    assert done.stdout.startswith(f"Mail alert-2 {said}")
    assert f"mail alert-2 was not sent: {end}" in done.stderr
