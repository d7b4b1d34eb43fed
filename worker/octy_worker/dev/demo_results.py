"""Reads the results of a demo from the database and the mail sink."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from sqlmodel import Session, col, func, select

from octy_middleware.db.database import Database
from octy_middleware.db.models import Account, Incident, IncidentAnswer, IncidentEvent, OutcomeMinute, Regeneration
from octy_middleware.http.outcome import Outcome
from octy_middleware.states import Answer, KeyPairCause
from octy_worker.dev.demo_oracle import Alert
from octy_worker.dev.inbox import ReceivedMail
from octy_worker.domain.incidents import CUSTOMER

KINDS = ("new_keys", "alert")  # of mails, as the report counts them
REGENERATE = "regenerate"  # the answer in the report when staff decided


@dataclass(frozen=True, slots=True)
class OpenedIncident:
    """An incident in the database."""

    incident_id: str
    alert: Alert


@dataclass(frozen=True, slots=True)
class TimelineEntry:
    """One entry of the timeline."""

    at: datetime
    user: str
    text: str


def recorded(database: Database) -> dict[str, int]:
    """Return the counts of accepted and refused requests."""
    with database.read_session() as session:
        counts = session.exec(
            select(OutcomeMinute.outcome, func.sum(OutcomeMinute.count)).group_by(OutcomeMinute.outcome)
        ).all()
    accepted = sum(int(count) for outcome, count in counts if outcome == Outcome.ACCEPTED)
    return {"accepted": accepted, "refused": sum(int(count) for _, count in counts) - accepted}


def opened_incidents(database: Database) -> list[OpenedIncident]:
    """Return all incidents, in the order of the rows that opened them."""
    with database.read_session() as session:
        found = session.exec(
            select(Incident, Account.reference).join(Account, col(Account.id) == col(Incident.account_id))
        ).all()
    found_incidents = [
        OpenedIncident(incident.id, Alert(user, int(incident.request_id), incident.length, incident.rule))
        for incident, user in found
    ]
    return sorted(found_incidents, key=lambda opened: opened.alert.row)


def answer_of(database: Database, incident_id: str) -> tuple[str, bool]:
    """Return the current answer, and whether the secret leaked."""
    with database.read_session() as session:
        incident_answer = session.get_one(IncidentAnswer, incident_id)
        by_staff = incident_answer.answer == Answer.NOT_US and incident_answer.answered_by != CUSTOMER
        return (REGENERATE if by_staff else incident_answer.answer or ""), incident_answer.leaked


def resolution_of(database: Database, incident_id: str) -> str | None:
    """Return the incident's resolution, None while it is open."""
    with database.read_session() as session:
        return session.get_one(Incident, incident_id).resolution


def count_mails(mails: Iterable[ReceivedMail]) -> dict[str, int]:
    """Return the number of different mails of each kind."""
    kinds = Counter({mail.message_id: mail.kind for mail in mails}.values())
    return {kind: kinds[kind] for kind in KINDS}


def timeline(database: Database, mails: Iterable[ReceivedMail]) -> list[TimelineEntry]:
    """Return the entries of all accounts and of each incident, oldest first."""
    mails = tuple(mails)
    moments = _account_entries(database)
    with database.read_session() as session:
        for opened in opened_incidents(database):
            moments += _incident_entries(session, opened, mails)
    return sorted(moments, key=lambda moment: moment.at)


def _account_entries(database: Database) -> list[TimelineEntry]:
    with database.read_session() as session:
        opened = session.exec(select(func.count(), func.max(Account.created_at)).select_from(Account)).one()
        collected = session.exec(
            select(func.count(), func.max(Regeneration.collected_at)).where(
                Regeneration.cause == KeyPairCause.FIRST, col(Regeneration.collected_at).is_not(None)
            )
        ).one()
    said = ((opened, "accounts opened"), (collected, "first key pairs collected from mails"))
    return [TimelineEntry(at, "", f"{what}: {count}") for (count, at), what in said if at is not None]


def _incident_entries(session: Session, opened: OpenedIncident, mails: Iterable[ReceivedMail]) -> list[TimelineEntry]:
    user = opened.alert.user
    incident = session.get_one(Incident, opened.incident_id)
    moments = [TimelineEntry(incident.opened_at, user, _describe_opening(opened.alert))]
    events = session.exec(select(IncidentEvent).where(IncidentEvent.incident_id == incident.id)).all()
    moments += [TimelineEntry(event.at, user, _describe_event(event)) for event in events if event.what != "opened"]
    subjects = {incident.id}
    if incident.regeneration_id is not None:
        subjects.add(incident.regeneration_id)
        regeneration = session.get_one(Regeneration, incident.regeneration_id)
        if regeneration.collected_at is not None:
            moments.append(TimelineEntry(regeneration.collected_at, user, "the customer collects the new keys"))
    moments += [
        TimelineEntry(mail.received_at, user, f'mail: "{mail.subject}"')
        for mail in mails
        if mail.subject_id in subjects
    ]
    return moments


def _describe_opening(alert: Alert) -> str:
    return f"{alert.length} wrong secrets in a row by row {alert.row} (rule {alert.rule}): incident opened"


def _describe_event(event: IncidentEvent) -> str:
    detail = event.detail
    match event.what:
        case "answered":
            leaked = ", and the secret leaked" if detail.get("leaked") else ""
            us = detail.get("answer") == Answer.IT_WAS_US
            if event.actor == CUSTOMER:
                return f"the customer answers: {'it was us' if us else 'it was not us'}{leaked}"
            return f"support staff ({event.actor}) decides: {'dismiss' if us else REGENERATE}{leaked}"
        case "regenerating":
            return "new keys ordered"
        case "failures_increased":
            return f"more attempts: {detail.get('failures')} so far"
        case "closed":
            return f"incident closed: {str(detail.get('resolution')).replace('_', ' ')}"
        case other:
            return other.replace("_", " ")
