"""The facts of notices: an exposed key pair, added key pairs, a changed contact address or webhook URL.

The addresses that get the mail about a changed address are stored in the notice: when a delayed mail is sent, the
account's security address may already be the new one, which must get no link.
"""

from sqlmodel import Session

from octy_middleware.domain.accounts import security_addresses
from octy_middleware.states import NoticeKind
from octy_worker import sanitize
from octy_worker.crypto.links import Links
from octy_worker.domain.notices import NoticeView, is_superseded, load_notice
from octy_worker.mail.facts.drafts import ID_LIMIT, KEY_LIMIT, USER_AGENT_LIMIT, MailDraft, source_text
from octy_worker.mail.facts.models import (
    AccountNoticeFacts,
    ContactChangedFacts,
    ExposedFacts,
    Facts,
    KeysAddedFacts,
    NewContactFacts,
    WebhookChangedFacts,
)
from octy_workflows.messages import MailKind, SendMailInput

_ADDRESS_LIMIT = 400  # 254 characters, and the brackets that keep them from being a link
_NOTICE_KINDS = {
    MailKind.EXPOSED: NoticeKind.EXPOSED,
    MailKind.KEYS_ADDED: NoticeKind.KEYS_ADDED,
    MailKind.CONTACT_CHANGED: NoticeKind.CONTACT_CHANGED,
    MailKind.NEW_CONTACT: NoticeKind.CONTACT_CHANGED,
    MailKind.WEBHOOK_CHANGED: NoticeKind.WEBHOOK_CHANGED,
}


def load_notice_draft(session: Session, links: Links, order: SendMailInput, now: float) -> MailDraft | None:
    """Return the draft of a notice's mail, or None when there is no such notice."""
    view = load_notice(session, order.subject_id)
    if view is None or view.kind is not _NOTICE_KINDS[order.kind]:
        return None
    facts, addresses = _facts_and_addresses(view, links, order.kind, now)
    others = AccountNoticeFacts(order.kind, view.notice.id, view.notice.at)
    return MailDraft(facts, view.account.id, None, addresses, obsolete=is_superseded(view), other_facts=others)


def _facts_and_addresses(view: NoticeView, links: Links, kind: MailKind, now: float) -> tuple[Facts, tuple[str, ...]]:
    detail = view.notice.detail
    if kind is MailKind.EXPOSED:
        return _exposed(view, links), security_addresses(view.account, now)
    if kind is MailKind.KEYS_ADDED:
        return _keys_added(view, links), security_addresses(view.account, now)
    if kind is MailKind.CONTACT_CHANGED:
        return _contact_changed(view, links), (detail["old"], *detail["others"])
    if kind is MailKind.WEBHOOK_CHANGED:
        return _webhook_changed(view, links), security_addresses(view.account, now)
    return NewContactFacts(view.notice.id, view.notice.at, view.follows_at), (detail["new"],)


def _exposed(view: NoticeView, links: Links) -> ExposedFacts:
    notice, detail = view.notice, view.notice.detail
    return ExposedFacts(
        notice_id=notice.id,
        public_key=sanitize.for_mail(view.pair.public_key if view.pair else "", KEY_LIMIT),
        at=notice.at,
        source=source_text(detail["source"]),
        user_agent=sanitize.for_mail(detail["user_agent"], USER_AGENT_LIMIT),
        request_id=sanitize.for_mail(detail["request_id"], ID_LIMIT),
        name=sanitize.name_for_mail(view.account.contact_name),
        url=links.notice_url(notice.id),
    )


def _keys_added(view: NoticeView, links: Links) -> KeysAddedFacts:
    notice = view.notice
    return KeysAddedFacts(
        notice_id=notice.id,
        public_keys=tuple(sanitize.for_mail(key, KEY_LIMIT) for key in notice.detail["public_keys"].split()),
        count=int(notice.detail["count"]),
        at=notice.at,
        name=sanitize.name_for_mail(view.account.contact_name),
        url=links.notice_url(notice.id),
    )


def _contact_changed(view: NoticeView, links: Links) -> ContactChangedFacts:
    notice = view.notice
    return ContactChangedFacts(
        notice_id=notice.id,
        at=notice.at,
        follows_at=view.follows_at,
        by_staff=view.by_staff,
        new_address=sanitize.for_mail(notice.detail["new"], _ADDRESS_LIMIT),
        name=sanitize.name_for_mail(view.account.contact_name),
        url=links.notice_url(notice.id),
    )


def _webhook_changed(view: NoticeView, links: Links) -> WebhookChangedFacts:
    notice = view.notice
    return WebhookChangedFacts(
        notice_id=notice.id,
        at=notice.at,
        name=sanitize.name_for_mail(view.account.contact_name),
        url=links.notice_url(notice.id),
    )
