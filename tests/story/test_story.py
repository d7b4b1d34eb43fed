"""End to end, over both adapters: twenty failures, one mail, an answer, new keys, and the end of the old ones."""

import json
from collections.abc import Callable

import pytest
from support.cli_rig import Octy

from octy_worker.dev.customer import CustomerError
from story.api import Api, StoryAccount

Connect = Callable[[str], Api]


@pytest.mark.parametrize("adapter", ["asgi", "wsgi"], indirect=True)
def test_answer_not_us_and_leaked_revokes_the_old_key_pair_at_once(
    account: StoryAccount, connect: Connect, adapter: str
) -> None:
    api, old = connect(adapter), account.register()
    assert api.status(old) == 200
    api.fail(old, 19)
    assert account.incidents() == []
    api.fail(old, 1)
    alert = account.wait_for_mail("alert")
    api.fail(old, 5)
    assert api.status(old) == 200  # being attacked costs the customer nothing
    account.customer.answer_alert(alert, "not_us", leaked=True)
    assert api.refused_within(old, 1.0)  # before the new key pair is even there
    new = account.customer.collect_keys(account.wait_for_mail("new_keys", 2))
    assert (api.status(new), api.status(old)) == (200, 401)
    account.wait_for_mail("keys_retired")
    _, _, resolution, length, rule = account.wait_for_state("closed")
    assert (resolution, length, rule) == ("regenerated", 20, "key")
    assert len(account.mails("alert")) == 1
    assert len(account.mails()) == 4


def test_answer_not_us_keeps_the_old_key_pair_for_the_overlap(
    account: StoryAccount, connect: Connect, adapter: str
) -> None:
    api, old = connect(adapter), account.register()
    api.fail(old, 20)
    account.customer.answer_alert(account.wait_for_mail("alert"), "not_us")
    new = account.customer.collect_keys(account.wait_for_mail("new_keys", 2))
    assert (api.status(new), api.status(old)) == (200, 200)
    assert new.public_key != old.public_key
    account.wait_for_state("regenerating")


def test_answer_it_was_us_closes_the_incident_and_resets_the_streak(
    account: StoryAccount, connect: Connect, adapter: str
) -> None:
    api, keys = connect(adapter), account.register()
    api.fail(keys, 20)
    account.customer.answer_alert(account.wait_for_mail("alert"), "it_was_us")
    account.wait_for_state("closed")
    api.fail(keys, 25)  # quiet for 24 hours: recorded, but no new case
    assert [incident[2] for incident in account.incidents()] == ["false_alarm"]
    assert api.status(keys) == 200
    assert len(account.mails("alert")) == 1


@pytest.mark.parametrize("stack", ["sqlite"], indirect=True, scope="session")  # `test_cli_decide` has both
def test_staff_decides_by_command_and_a_later_decision_is_refused(
    account: StoryAccount, connect: Connect, adapter: str, octy: Octy
) -> None:
    api, old = connect(adapter), account.register()
    api.fail(old, 20)
    account.wait_for_mail("alert")
    [(incident, *_)] = account.incidents()
    staff = ("--reason", "confirmed by phone")
    octy.shell("incidents", "decide", incident, "regenerate", *staff).must()
    assert "too late" in octy.shell("incidents", "decide", incident, "dismiss", *staff).must(3).stderr
    new = account.customer.collect_keys(account.wait_for_mail("new_keys", 2))
    assert (api.status(new), api.status(old)) == (200, 200)
    timeline = json.dumps(octy("incidents", "show", incident, "--json").must().json)
    assert "confirmed by phone" in timeline
    assert "decision_refused" in timeline


def test_failures_between_live_traffic_match_the_source_rule(
    account: StoryAccount, connect: Connect, adapter: str
) -> None:
    """The customer's own successes would hide an attacker for ever; the attacker's network gives him away."""
    api, keys = connect(adapter), account.register()
    for _ in range(20):
        assert api.status(keys, "sk_wrong", **{"X-Forwarded-For": "198.51.100.66"}) == 401
        assert api.status(keys, **{"X-Forwarded-For": "192.0.2.10"}) == 200
    alert = account.wait_for_mail("alert")
    assert "198.51.100.66" in alert.text
    assert "192.0.2.10" not in alert.text
    assert [incident[3:] for incident in account.incidents()] == [(20, "source")]


@pytest.mark.parametrize("answer", ["it_was_us", "not_us"])
def test_second_answer_is_refused_and_changes_nothing(account: StoryAccount, connect: Connect, answer: str) -> None:
    api, keys = connect(account.stack.api), account.register()
    api.fail(keys, 20)
    alert = account.wait_for_mail("alert")
    account.customer.answer_alert(alert, answer)
    with pytest.raises(CustomerError, match=r"\b409\b|no form"):
        account.customer.answer_alert(alert, "not_us" if answer == "it_was_us" else "it_was_us")
    [(incident, *_)] = account.incidents()
    assert account.rows("SELECT answer FROM incident_answer WHERE incident_id = :id", id=incident) == [(answer,)]
