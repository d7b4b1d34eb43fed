"""`octy incidents show --follow`: prints new events once, and ends with the incident or by Ctrl-C, with code 0."""

import json
import re
import time

import pytest
from support.cli_rig import octy_for, open_incident
from support.in_session import in_session

from octy_middleware.clock import utc
from octy_middleware.db.models import Mail
from octy_middleware.states import Answer, MailState, Resolution
from octy_worker.cli import incidents as commands
from octy_worker.domain import incidents

NOW = time.time()
pytestmark = pytest.mark.sqlite  # its SQL is that of `show`, which both databases are tried with


@pytest.fixture
def incident(world, monkeypatch):
    """An incident, and a way to say what happens between two looks."""
    _, incident_id = open_incident(world)

    def meanwhile(*happenings):
        acts = iter(happenings)
        monkeypatch.setattr(commands.time, "sleep", lambda _seconds: next(acts)())

    def note(what, now=NOW):
        with world.database.write_session() as session:
            incidents.append_event(session, incident_id, key=what, actor="ada", what=what, detail={}, now=now)

    def mail(state):
        with world.database.write_session() as session:
            session.merge(
                Mail(
                    key=f"{incident_id}/alert/1",
                    account_id=world.rows("SELECT id FROM account")[0][0],
                    incident_id=incident_id,
                    kind="alert",
                    message_id="<1@octy.example>",
                    state=state,
                    created_at=utc(NOW + 5),
                    sent_at=utc(NOW + 6) if state is MailState.SENT else None,
                )
            )

    def answer():
        in_session(
            world.database,
            incidents.answer_incident,
            incident_id,
            Answer.IT_WAS_US,
            leaked=False,
            by=incidents.CUSTOMER,
            now=NOW + 9,
        )

    def close():
        answer()
        with world.database.write_session() as session:
            incidents.close_incident(session, incident_id, Resolution.FALSE_ALARM, quiet=0, now=NOW + 10)

    incident = type("Case", (), {"id": incident_id, "octy": octy_for(world)})
    incident.meanwhile, incident.note, incident.mail, incident.answer, incident.close = (
        meanwhile,
        note,
        mail,
        answer,
        close,
    )
    return incident


def test_follow_prints_new_events_until_the_incident_is_closed(incident):
    incident.note("seen_before")
    incident.meanwhile(
        lambda: incident.mail(MailState.PENDING),
        lambda: None,
        lambda: incident.mail(MailState.SENT),
        incident.answer,
        incident.close,
    )
    page, news = re.split(r"seen before.*\n", incident.octy("incidents", "show", incident.id, "--follow").must().stdout)
    assert "Timeline" in page
    told = [re.sub(r"^\S+ \S+Z  ", "", line) for line in news.splitlines()]
    assert told == [
        "system  mail pending  kind: alert",
        "system  mail sent  kind: alert",
        "customer  answered  answer: it_was_us, leaked: no",
        "system  closed  resolution: false_alarm",
        "The incident is closed: false_alarm.",
    ]


def test_follow_ends_on_ctrl_c(incident):
    def interrupt():
        raise KeyboardInterrupt

    incident.meanwhile(lambda: incident.note("one"), interrupt)
    ended = incident.octy("incidents", "show", incident.id, "--follow").must(0)
    assert ended.stdout.endswith("ada  one\n")
    assert ended.stderr == ""


def test_follow_of_a_closed_incident_prints_it_and_ends(incident):
    incident.close()
    incident.meanwhile()
    shown = incident.octy("incidents", "show", incident.id, "--follow").must().stdout
    assert shown.endswith("The incident is closed: false_alarm.\n")
    assert shown.count("resolution: false_alarm") == 1


def test_follow_with_json_prints_the_whole_timeline_line_by_line(incident):
    incident.note("one")
    incident.meanwhile(lambda: incident.note("two", NOW + 1), incident.close)
    lines = incident.octy("incidents", "show", incident.id, "--follow", "--json").must().stdout.splitlines()
    told = [json.loads(line) for line in lines]
    assert [line["what"] for line in told] == ["one", "two", "answered", "closed"]
    assert set(told[0]) == {"at", "actor", "what", "detail"}
