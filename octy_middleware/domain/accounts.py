"""Accounts: creating and finding them, their contact data, and the rule of the security address."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlmodel import Session, select

from octy_middleware.addresses import normalize_mail_address
from octy_middleware.clock import Clock, to_micros, utc, uuid7
from octy_middleware.db.database import Database
from octy_middleware.db.models import Account
from octy_middleware.domain import notices
from octy_middleware.errors import InvalidInputError
from octy_middleware.states import NoticeKind

CONTACT_FIELDS = (
    "contact_name",
    "contact_surname",
    "contact_email_address",
    "webhook_url",
    "authenticated_id_key",
)
_MAX_FIELD_LENGTH = 500
SECURITY_EMAIL_DELAY = timedelta(days=7)
"""The delay after which a changed contact address becomes the security address."""
STAFF_SECURITY_EMAIL_DELAY = timedelta(hours=24)
"""The same for a change by support staff: not possible with a stolen API key, but a caller may deceive staff."""
CONTACT_HISTORY_PERIOD = timedelta(days=14)
"""How long a replaced address still gets security mails."""
CHANGES_PER_DAY = 5
"""How often a host app's customer may change the contact address and the webhook URL in 24 hours, together."""
_NOTIFIED_FIELDS = {"contact_email_address", "webhook_url"}  # their changes are notified, recorded and limited


@dataclass(frozen=True, slots=True)
class StaffChange:
    """Which member of support staff changes contact data, and why: stored with the notice."""

    actor: str
    reason: str


class Accounts:
    """A host app's view of its customers' contact data, by `Principal.reference`."""

    def __init__(self, database: Database, *, clock: Clock = time.time, changes_per_day: int = CHANGES_PER_DAY) -> None:
        """`changes_per_day` limits the changes of addresses for each account, because each one sends mails."""
        self._database = database
        self._clock = clock
        self._changes_per_day = changes_per_day

    def contact(self, reference: str) -> dict[str, str]:
        """Return the five contact fields. Raises InvalidInputError when there is no such account."""
        with self._database.read_session() as session:
            return contact_data(_get_account(session, reference))

    def change_contact(self, reference: str, contact: object) -> dict[str, str]:
        """Set contact fields from decoded JSON and return all of them. Raises InvalidInputError, nothing changed."""
        if not isinstance(contact, Mapping):
            raise InvalidInputError("the body must be a JSON object")
        with self._database.write_session() as session:
            account = _get_account(session, reference)
            change_contact(session, account, contact, self._clock(), limit=self._changes_per_day)
            return contact_data(account)


def _get_account(session: Session, reference: str) -> Account:
    account = find_account(session, reference)
    if account is None:
        raise InvalidInputError(f"there is no account {reference[:200]!r}")
    return account


def create_account(session: Session, reference: str, contact: Mapping[str, str], now: float) -> Account:
    """Add an account; raise InvalidInputError when the reference is taken or a field is invalid."""
    reference = checked_reference(reference)
    if find_account(session, reference) is not None:
        raise InvalidInputError(f"an account with the reference {reference!r} exists already")
    account = Account(**account_values(reference, contact, now))
    session.add(account)
    session.flush()
    return account


def account_values(reference: str, contact: Mapping[str, str], now: float) -> dict[str, Any]:
    """Return the columns of a new account; raise InvalidInputError when a field is invalid."""
    fields = checked_contact(contact)
    if "contact_email_address" not in fields:
        raise InvalidInputError("contact_email_address is missing: alerts and new keys are sent there")
    return {
        "id": uuid7(now),
        "reference": checked_reference(reference),
        **{name: fields.get(name, "") for name in CONTACT_FIELDS},
        "security_email": fields["contact_email_address"],
        "contact_history": [],
        "created_at": utc(now),
    }


def checked_reference(reference: str) -> str:
    """Return a reference as it is stored; raise InvalidInputError when it is invalid."""
    reference = reference.strip()
    if not reference or len(reference) > 200 or not reference.isprintable():  # noqa: PLR2004
        raise InvalidInputError("the reference must be 1 to 200 printable characters")
    return reference


def find_account(session: Session, reference: str) -> Account | None:
    """Return the account of this reference or id."""
    by_reference = session.exec(select(Account).where(Account.reference == reference)).first()
    return by_reference or session.get(Account, reference)


def change_contact(
    session: Session,
    account: Account,
    contact: Mapping[str, str],
    now: float,
    *,
    limit: int | None = None,
    staff: StaffChange | None = None,
) -> None:
    """Set contact fields. A new mail address becomes the security address only after 7 days; by `staff` after 24 hours.

    Contact data can be changed with the API keys themselves, so without the delay a thief could have the new keys sent
    to himself (SECURITY.md, T3). `limit`: changes of addresses in 24 hours; None: any number. Raises InvalidInputError,
    nothing changed, for an invalid field or beyond the limit.
    """
    fields = checked_contact(contact)
    replaced = {name: getattr(account, name) for name in _NOTIFIED_FIELDS & fields.keys()}
    replaced = {name: value for name, value in replaced.items() if value != fields[name]}
    if not replaced:
        account.sqlmodel_update(fields)
        session.add(account)
        return
    _check_change_limit(account, now, limit)
    account.contact_history = [
        *_history(account, now),
        *({"field": name, "value": value, "until": to_micros(now)} for name, value in sorted(replaced.items())),
    ]
    account.security_email = security_addresses(account, now)[0]
    account.sqlmodel_update(fields)
    if "contact_email_address" in replaced:
        _create_contact_notice(session, account, now, staff)
    session.add(account)
    if "webhook_url" in replaced:
        notices.create_notice(session.connection(), NoticeKind.WEBHOOK_CHANGED, account.id, now, {})


def _check_change_limit(account: Account, now: float, limit: int | None) -> None:
    day_ago = to_micros(now - 86_400)
    changes = [
        entry for entry in account.contact_history if entry["field"] in _NOTIFIED_FIELDS and entry["until"] > day_ago
    ]
    if limit is not None and len(changes) >= limit:
        raise InvalidInputError(
            f"contact_email_address and webhook_url were changed {limit} times within 24 hours: nothing was changed; "
            "try again tomorrow or contact support"
        )


def _create_contact_notice(session: Session, account: Account, now: float, staff: StaffChange | None) -> None:
    """Start the delay and notify all addresses. A change back to the security address only ends the delay."""
    new = account.contact_email_address
    if new == account.security_email:
        account.contact_changed_at = account.contact_takes_effect_at = None
        return
    account.contact_changed_at = utc(now)
    account.contact_takes_effect_at = utc(now) + (SECURITY_EMAIL_DELAY if staff is None else STAFF_SECURITY_EMAIL_DELAY)
    first, *others = security_addresses(account, now)
    detail: dict[str, Any] = {"old": first, "new": new, "others": [address for address in others if address != new]}
    if staff is not None:
        detail |= {"actor": staff.actor, "reason": staff.reason}
    notices.create_notice(session.connection(), NoticeKind.CONTACT_CHANGED, account.id, now, detail)


def security_addresses(account: Account, now: float) -> tuple[str, ...]:
    """Return the recipients of security mails: the security address, then others, whose mails have no links.

    The security address is the contact address that has been set for 7 days, or for 24 hours when staff set it. The
    others are the current contact address and all of the last 14 days, newest first: one of them is the owner's
    (POLICY.md).
    """
    first = account.contact_email_address if _has_taken_effect(account, now) else account.security_email
    replaced = [entry["value"] for entry in reversed(_history(account, now)) if entry["field"] != "webhook_url"]
    others = dict.fromkeys([account.contact_email_address, *replaced])
    return (first, *(address for address in others if address != first))


def _has_taken_effect(account: Account, now: float) -> bool:
    """Whether the delay is over and the changed contact address is the security address."""
    return account.contact_takes_effect_at is not None and utc(now) >= account.contact_takes_effect_at


def _history(account: Account, now: float) -> list[dict[str, Any]]:
    """Return what was replaced in the last 14 days, oldest first; includes the previous security address."""
    entries, takes_effect_at = account.contact_history, account.contact_takes_effect_at
    if takes_effect_at is not None and _has_taken_effect(account, now):
        until = to_micros(takes_effect_at.timestamp())
        entries = [*entries, {"field": "security_email", "value": account.security_email, "until": until}]
    since = to_micros(now - CONTACT_HISTORY_PERIOD.total_seconds())
    return sorted((entry for entry in entries if entry["until"] > since), key=lambda entry: int(entry["until"]))


def contact_data(account: Account) -> dict[str, str]:
    """Return the five contact fields that Octy's published clients read."""
    return {name: getattr(account, name) for name in CONTACT_FIELDS}


def checked_contact(contact: Mapping[str, str]) -> dict[str, str]:
    """Return contact fields as they are stored; raise InvalidInputError for an invalid one."""
    fields: dict[str, str] = {}
    for name, value in contact.items():
        if name not in CONTACT_FIELDS:
            raise InvalidInputError(f"unknown field {str(name)[:40]!r}; there are {', '.join(CONTACT_FIELDS)}")
        if not isinstance(value, str) or len(value) > _MAX_FIELD_LENGTH or not (value.isprintable() or value == ""):
            raise InvalidInputError(f"{name} must be printable text of at most {_MAX_FIELD_LENGTH} characters")
        fields[name] = value.strip()
    if "contact_email_address" in fields:
        address = normalize_mail_address(fields["contact_email_address"])
        if address is None:
            raise InvalidInputError("contact_email_address is not a valid mail address")
        fields["contact_email_address"] = address
    webhook = fields.get("webhook_url")
    if webhook and not webhook.startswith(("https://", "http://")):
        raise InvalidInputError("webhook_url must begin with https://")
    return fields
