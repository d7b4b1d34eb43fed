"""The facts of mails about new keys, and about use and end of old keys.

For the one kind of mail that contains it, the secret is decrypted here; `Secret` hides it until the mail is rendered.
"""

from sqlmodel import Session, col, select

from octy_middleware.clock import utc
from octy_middleware.db.models import Incident, KeyPair
from octy_middleware.domain.accounts import security_addresses
from octy_middleware.http.credentials import Secret
from octy_middleware.states import KeyPairState
from octy_worker import sanitize
from octy_worker.crypto.links import Links
from octy_worker.crypto.sealed_box import Sealer
from octy_worker.domain.regenerations import RegenerationView, load_regeneration, old_uses
from octy_worker.domain.usage import SourceUse
from octy_worker.formatting import SOURCES_SHOWN
from octy_worker.mail.facts.drafts import KEY_LIMIT, USER_AGENT_LIMIT, MailDraft, source_text
from octy_worker.mail.facts.models import Facts, KeysInsideFacts, NewKeysFacts, RetiredFacts, StillUsedFacts, UseLine
from octy_worker.sanitize import MailText
from octy_workflows.messages import MailKind, SendMailInput


def load_keys_draft(
    session: Session, links: Links, sealer: Sealer | None, order: SendMailInput, now: float
) -> MailDraft | None:
    """Return the draft of a regeneration's mail, or None when its rows do not exist."""
    view = load_regeneration(session, order.subject_id)
    facts = None if view is None else _load(session, view, links, sealer, order)
    if view is None or facts is None:
        return None
    first, *_ = security_addresses(view.account, now)
    return MailDraft(
        facts,
        view.account.id,
        _incident_of(session, view.regeneration.id),
        (first,),
        obsolete=_is_obsolete(facts, now),
        delivers_secret_of=view.regeneration.id if order.kind is MailKind.NEW_KEYS_INSIDE else None,
    )


def _load(
    session: Session, view: RegenerationView, links: Links, sealer: Sealer | None, order: SendMailInput
) -> Facts | None:
    if order.kind is MailKind.NEW_KEYS:
        return _new_keys(view, links, order.number)
    if order.kind is MailKind.NEW_KEYS_INSIDE:
        return _keys_inside(view, sealer, order.number)
    if order.kind is MailKind.STILL_USED:
        return _still_used(session, view)
    return _retired(view)


def _is_obsolete(facts: Facts, now: float) -> bool:
    """Return whether there is no secret to send any more, or the old key pair has ended or is not used."""
    if isinstance(facts, KeysInsideFacts):
        return facts.secret is None
    return isinstance(facts, StillUsedFacts) and (not facts.uses or facts.ends_at <= utc(now))


def _new_keys(view: RegenerationView, links: Links, number: int) -> NewKeysFacts | None:
    if view.new_pair is None or view.sealed is None:
        return None
    return NewKeysFacts(
        regeneration_id=view.regeneration.id,
        public_key=_key(view.new_pair),
        old_public_key=_optional_key(view.old_pair),
        leaked=view.regeneration.leaked,
        resent=number > 1,
        expires_at=view.sealed.expires_at,
        name=sanitize.name_for_mail(view.account.contact_name),
        url=links.reveal_url(view.regeneration.id, number),
    )


def _keys_inside(view: RegenerationView, sealer: Sealer | None, number: int) -> KeysInsideFacts | None:
    """Decrypt the secret, unless it is deleted or the new key pair has ended."""
    if view.new_pair is None or view.sealed is None:
        return None
    sealed, secret = view.sealed.sealed, None
    if sealed is not None and sealer is not None and view.new_pair.state != KeyPairState.RETIRED:
        secret = Secret(sealer.open(sealed, view.regeneration.id))
    return KeysInsideFacts(
        regeneration_id=view.regeneration.id,
        public_key=_key(view.new_pair),
        old_public_key=_optional_key(view.old_pair),
        leaked=view.regeneration.leaked,
        resent=number > 1,
        name=sanitize.name_for_mail(view.account.contact_name),
        secret=secret,
    )


def _still_used(session: Session, view: RegenerationView) -> StillUsedFacts | None:
    """Return who still uses the old key pair."""
    old, collected_at = view.old_pair, view.regeneration.collected_at
    if old is None or old.retire_at is None or view.new_pair is None or collected_at is None:
        return None
    uses = old_uses(session, view)
    others = uses[SOURCES_SHOWN:]
    return StillUsedFacts(
        regeneration_id=view.regeneration.id,
        public_key=_key(old),
        new_public_key=_key(view.new_pair),
        collected_at=collected_at,
        ends_at=old.retire_at,
        new_first_used_at=view.new_pair.first_used_at,
        total=sum(use.count for use in uses),
        uses=tuple(_use_line(use) for use in uses[:SOURCES_SHOWN]),
        other_sources=len(others),
        other_count=sum(use.count for use in others),
        name=sanitize.name_for_mail(view.account.contact_name),
    )


def _use_line(use: SourceUse) -> UseLine:
    return UseLine(
        source_text(use.source), use.count, sanitize.for_mail(use.user_agent, USER_AGENT_LIMIT), use.last_minute
    )


def _retired(view: RegenerationView) -> RetiredFacts | None:
    old, new = view.old_pair, view.new_pair
    if old is None or old.retired_at is None:
        return None
    return RetiredFacts(
        regeneration_id=view.regeneration.id,
        public_key=_key(old),
        new_public_key=_optional_key(new),
        new_first_used_at=None if new is None else new.first_used_at,
        leaked=view.regeneration.leaked,
        retired_at=old.retired_at,
        last_used_at=old.last_used_at,
        name=sanitize.name_for_mail(view.account.contact_name),
    )


def _key(pair: KeyPair) -> MailText:
    return sanitize.for_mail(pair.public_key, KEY_LIMIT)


def _optional_key(pair: KeyPair | None) -> MailText | None:
    return None if pair is None else _key(pair)


def _incident_of(session: Session, regeneration_id: str) -> str | None:
    waiting = select(Incident.id).where(Incident.regeneration_id == regeneration_id)
    return session.exec(waiting.order_by(col(Incident.id))).first()
