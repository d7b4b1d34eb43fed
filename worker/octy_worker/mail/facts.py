"""From rows to the facts of a letter.

Here: what of a case or regeneration a mail tells, and to whom it goes; all text from outside is made harmless here.
Not here: SQL (`cases`, `regenerations`), sentences (`letters`).
"""

from dataclasses import dataclass, field

from sqlmodel import Session, col, select

from octy_middleware.accounts import security_addresses
from octy_middleware.models import Incident
from octy_middleware.streak import Rule
from octy_worker.cases import SourceCount, load_case
from octy_worker.links import Links
from octy_worker.mail.harmless import Harmless, harmless, harmless_name
from octy_worker.mail.letters import CaseFacts, Facts, NewKeysFacts, RetiredFacts, SourceLine
from octy_worker.regenerations import load_regeneration
from octy_worker.words import SOURCES_SHOWN, origin
from octy_workflows.messages import MailKind, MailOrder

_CLIENT_LIMIT = 60
_KEY_LIMIT = 200
_ID_LIMIT = 60


@dataclass(frozen=True, slots=True)
class Draft:
    """A mail to be: the facts, the account, and the addresses; the first one is the one that counts."""

    facts: Facts
    account_id: str
    incident_id: str | None
    addresses: tuple[str, ...] = field(repr=False)


def draft(session: Session, links: Links, order: MailOrder, now: float) -> Draft | None:
    """Gather what the order's mail tells, as of `now`. None when the rows that it speaks of are not there."""
    if order.kind in (MailKind.ALERT, MailKind.REMINDER):
        return _case_draft(session, links, order, now)
    return _keys_draft(session, links, order, now)


def _case_draft(session: Session, links: Links, order: MailOrder, now: float) -> Draft | None:
    case = load_case(session, order.subject_id)
    if case is None:
        return None
    incident, others = case.incident, case.sources[SOURCES_SHOWN:]
    seen = [source.last_at for source in case.sources if source.last_at is not None]
    facts = CaseFacts(
        kind=order.kind,
        incident_id=incident.id,
        public_key=harmless(incident.public_key, _KEY_LIMIT),
        streak=incident.length,
        total=case.failures,
        first_at=incident.first_at,
        opened_at=incident.opened_at,
        last_at=max([incident.opened_at, *seen]),
        network=_source(incident.network) if incident.rule == Rule.SOURCE else Harmless(""),
        sources=tuple(_source_line(source) for source in case.sources[:SOURCES_SHOWN]),
        other_sources=len(others),
        other_count=sum(source.count for source in others),
        request_id=harmless(incident.request_id, _ID_LIMIT),
        name=harmless_name(case.account.contact_name),
        url=links.case_url(incident.id),
    )
    return Draft(facts, case.account.id, incident.id, security_addresses(case.account, now))


def _keys_draft(session: Session, links: Links, order: MailOrder, now: float) -> Draft | None:
    view = load_regeneration(session, order.subject_id)
    if view is None:
        return None
    name = harmless_name(view.account.contact_name)
    regeneration = view.regeneration
    new_key = None if view.new_pair is None else harmless(view.new_pair.public_key, _KEY_LIMIT)
    old_key = None if view.old_pair is None else harmless(view.old_pair.public_key, _KEY_LIMIT)
    facts: Facts
    if order.kind == MailKind.NEW_KEYS:
        if new_key is None or view.sealed is None:
            return None
        facts = NewKeysFacts(
            regeneration_id=regeneration.id,
            public_key=new_key,
            old_public_key=old_key,
            leaked=regeneration.leaked,
            renewed=order.number > 1,
            expires_at=view.sealed.expires_at,
            name=name,
            url=links.reveal_url(regeneration.id, order.number),
        )
    else:
        if view.old_pair is None or old_key is None or view.old_pair.retired_at is None:
            return None
        facts = RetiredFacts(
            regeneration_id=regeneration.id,
            public_key=old_key,
            new_public_key=new_key,
            leaked=regeneration.leaked,
            retired_at=view.old_pair.retired_at,
            last_used_at=view.old_pair.last_used_at,
            name=name,
        )
    first, *_ = security_addresses(view.account, now)
    return Draft(facts, view.account.id, _incident_of(session, regeneration.id), (first,))


def _incident_of(session: Session, regeneration_id: str) -> str | None:
    waiting = select(Incident.id).where(Incident.regeneration_id == regeneration_id)
    return session.exec(waiting.order_by(col(Incident.id))).first()


def _source(source: str) -> Harmless:
    return harmless(origin(source), _ID_LIMIT)


def _source_line(found: SourceCount) -> SourceLine:
    return SourceLine(_source(found.source), found.count, harmless(found.client, _CLIENT_LIMIT))
