"""The facts of mails about new keys and the end of old ones. Not here: SQL (`octy_worker.regenerations`)."""

from sqlmodel import Session, col, select

from octy_middleware.accounts import security_addresses
from octy_middleware.models import Incident
from octy_worker.links import Links
from octy_worker.mail.facts.drafts import KEY_LIMIT, Draft
from octy_worker.mail.facts.shapes import Facts, NewKeysFacts, RetiredFacts
from octy_worker.mail.harmless import harmless, harmless_name
from octy_worker.regenerations import load_regeneration
from octy_workflows.messages import MailKind, MailOrder


def draft_of_keys(session: Session, links: Links, order: MailOrder, now: float) -> Draft | None:
    """Return the draft of a regeneration's mail, or None when the rows that it speaks of are not there."""
    view = load_regeneration(session, order.subject_id)
    if view is None:
        return None
    name = harmless_name(view.account.contact_name)
    regeneration = view.regeneration
    new_key = None if view.new_pair is None else harmless(view.new_pair.public_key, KEY_LIMIT)
    old_key = None if view.old_pair is None else harmless(view.old_pair.public_key, KEY_LIMIT)
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
