"""The facts of alerts and reminders."""

from collections.abc import Sequence
from dataclasses import replace

from sqlmodel import Session, col, select

from octy_middleware.db.models import Incident
from octy_middleware.domain.accounts import security_addresses
from octy_middleware.recording.streak import Rule
from octy_worker import sanitize
from octy_worker.crypto.links import Links
from octy_worker.domain.incidents import failures_over_time, load_incident, window_seconds
from octy_worker.domain.usage import LateUse, SourceCount
from octy_worker.formatting import SOURCES_SHOWN
from octy_worker.mail.facts.drafts import ID_LIMIT, KEY_LIMIT, USER_AGENT_LIMIT, MailDraft, source_text
from octy_worker.mail.facts.models import AccountNoticeFacts, IncidentFacts, LateUseLine, OtherKey, SourceLine
from octy_worker.sanitize import MailText
from octy_workflows.messages import SendMailInput


def load_incident_draft(session: Session, links: Links, order: SendMailInput, now: float) -> MailDraft | None:
    """Return the draft of an incident's mail, or None when there is no such incident."""
    view = load_incident(session, order.subject_id)
    if view is None:
        return None
    incident, sources = view.incident, view.sources
    shown = sources.named[:SOURCES_SHOWN]
    facts = IncidentFacts(
        kind=order.kind,
        incident_id=incident.id,
        public_key=sanitize.for_mail(incident.public_key, KEY_LIMIT),
        streak=incident.length,
        total=view.failures,
        first_at=incident.first_at,
        opened_at=incident.opened_at,
        last_at=max(incident.opened_at, sources.last_at or incident.opened_at),
        network=_network(incident),
        window=window_seconds(incident),
        plot=failures_over_time(session, incident),
        sources=tuple(_source_line(source) for source in shown),
        other_sources=sources.number - len(shown),
        other_count=sources.total - sum(source.count for source in shown),
        sources_complete=sources.complete,
        late_uses=tuple(_late_line(use) for use in view.late_uses[:SOURCES_SHOWN]),
        request_id=sanitize.for_mail(incident.request_id, ID_LIMIT),
        name=sanitize.name_for_mail(view.account.contact_name),
        url=links.alert_url(incident.id),
    )
    addresses = security_addresses(view.account, now)
    others = AccountNoticeFacts(order.kind, incident.id, incident.opened_at)
    return MailDraft(facts, view.account.id, incident.id, addresses, other_facts=others)


def add_incidents(session: Session, links: Links, found: MailDraft, incident_ids: Sequence[str]) -> MailDraft:
    """Return the draft of an alert with the keys of these incidents added, oldest first."""
    if not incident_ids or not isinstance(found.facts, IncidentFacts):
        return found
    wanted = select(Incident).where(col(Incident.id).in_(incident_ids))
    rows = session.exec(wanted.order_by(col(Incident.opened_at), col(Incident.id))).all()
    return replace(found, facts=replace(found.facts, others=tuple(_other_key(links, each) for each in rows)))


def _other_key(links: Links, incident: Incident) -> OtherKey:
    return OtherKey(
        incident_id=incident.id,
        public_key=sanitize.for_mail(incident.public_key, KEY_LIMIT),
        streak=incident.length,
        total=incident.failures,
        first_at=incident.first_at,
        opened_at=incident.opened_at,
        network=_network(incident),
        window=window_seconds(incident),
        url=links.alert_url(incident.id),
    )


def _network(incident: Incident) -> MailText:
    return source_text(incident.network) if incident.rule == Rule.SOURCE else MailText("")


def _source_line(found: SourceCount) -> SourceLine:
    return SourceLine(source_text(found.source), found.count, sanitize.for_mail(found.user_agent, USER_AGENT_LIMIT))


def _late_line(use: LateUse) -> LateUseLine:
    return LateUseLine(
        public_key=sanitize.for_mail(use.public_key, KEY_LIMIT),
        source=source_text(use.used_by.source),
        user_agent=sanitize.for_mail(use.used_by.user_agent, USER_AGENT_LIMIT),
        count=use.used_by.count,
        last_at=use.used_by.last_at,
    )
