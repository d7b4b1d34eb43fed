"""Accounts: created, found, and their contact data read and changed.

Here: the contact data of CONTRACT.md and the rule of the security address. Not here: keys (`pairs`), mail.
"""

import re
import time
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from sqlmodel import Session, select

from octy_middleware import notices
from octy_middleware.clock import Clock, utc, uuid7
from octy_middleware.database import Database
from octy_middleware.errors import InvalidInputError
from octy_middleware.models import Account
from octy_middleware.states import NoticeKind

CONTACT_FIELDS = (
    "contact_name",
    "contact_surname",
    "contact_email_address",
    "webhook_url",
    "authenticated_id_key",
)
_ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
_LABEL = r"(?!(?![Xx][Nn])..--)[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"  # "ab--…" is reserved (RFC 5890 2.3.1)
_LENGTHS = r"(?=.{1,254}\Z)(?=[^@]{1,64}@)"
# RFC 5321 4.1.2 without quotes and address literals, and nothing beyond ASCII; the mailer checks in full
_ADDRESS = re.compile(rf"{_LENGTHS}{_ATOM}(?:\.{_ATOM})*@{_LABEL}(?:\.{_LABEL})*")
_FIELD_LIMIT = 500
SETTLING = timedelta(days=7)
"""How long after a change of the contact address the security address follows."""


class Accounts:
    """A host app's view of its customers' contact data, by `Principal.reference`."""

    def __init__(self, database: Database, *, clock: Clock = time.time) -> None:
        self._database = database
        self._clock = clock

    def contact(self, reference: str) -> dict[str, str]:
        """Return the five contact fields. Raises InvalidInputError when there is no such account."""
        with self._database.read_session() as session:
            return contact_data(_existing(session, reference))

    def change_contact(self, reference: str, contact: object) -> dict[str, str]:
        """Set contact fields from decoded JSON and return all of them. Raises InvalidInputError, nothing changed."""
        if not isinstance(contact, Mapping):
            raise InvalidInputError("the body must be a JSON object")
        with self._database.write_session() as session:
            account = _existing(session, reference)
            change_contact(session, account, contact, self._clock())
            return contact_data(account)


def _existing(session: Session, reference: str) -> Account:
    account = find_account(session, reference)
    if account is None:
        raise InvalidInputError(f"there is no account {reference[:200]!r}")
    return account


def create_account(session: Session, reference: str, contact: Mapping[str, str], now: float) -> Account:
    """Add an account; raise InvalidInputError when the reference is taken or a field can't be accepted."""
    reference = checked_reference(reference)
    if find_account(session, reference) is not None:
        raise InvalidInputError(f"an account with the reference {reference!r} exists already")
    account = Account(**account_values(reference, contact, now))
    session.add(account)
    session.flush()
    return account


def account_values(reference: str, contact: Mapping[str, str], now: float) -> dict[str, Any]:
    """Return the columns of a new account; raise InvalidInputError when a field can't be accepted."""
    fields = checked_contact(contact)
    if "contact_email_address" not in fields:
        raise InvalidInputError("contact_email_address is missing: it is where alerts and new keys are sent")
    return {
        "id": uuid7(now),
        "reference": checked_reference(reference),
        **{name: fields.get(name, "") for name in CONTACT_FIELDS},
        "security_email": fields["contact_email_address"],
        "created_at": utc(now),
    }


def checked_reference(reference: str) -> str:
    """Return a reference as it is stored; raise InvalidInputError when it can't be one."""
    reference = reference.strip()
    if not reference or len(reference) > 200 or not reference.isprintable():  # noqa: PLR2004
        raise InvalidInputError("the reference must be 1 to 200 printable characters")
    return reference


def find_account(session: Session, reference: str) -> Account | None:
    """Return the account of this reference or id."""
    by_reference = session.exec(select(Account).where(Account.reference == reference)).first()
    return by_reference or session.get(Account, reference)


def change_contact(session: Session, account: Account, contact: Mapping[str, str], now: float) -> None:
    """Set contact fields. A new mail address becomes the security address only after 7 days.

    The contact address can be changed with the API keys themselves, so a thief could otherwise have the new keys
    sent to himself (SECURITY.md, T3). Raises InvalidInputError and changes nothing on a field that can't be taken.
    """
    fields = checked_contact(contact)
    address = fields.get("contact_email_address", account.contact_email_address)
    if address != account.contact_email_address:
        _change_address(session, account, address, now)
    account.sqlmodel_update(fields)
    session.add(account)


def _change_address(session: Session, account: Account, address: str, now: float) -> None:
    """Start the 7 days, and have both addresses told; a change that is taken back ends them, and changes nothing."""
    account.security_email, account.previous_security_email, account.previous_until = _settled(account, now)
    account.contact_changed_at = None if address == account.security_email else utc(now)
    if account.contact_changed_at is not None:
        addresses = {"old": account.security_email, "new": address}
        notices.give(session.connection(), NoticeKind.CONTACT_CHANGED, account.id, now, addresses)


def security_addresses(account: Account, now: float) -> tuple[str, ...]:
    """Return whom to write to: first the address for everything, then those that get alerts only.

    For 7 days after a change it is the old address; for 7 more the new one with a copy of alerts to the old one,
    whatever is changed meanwhile.
    """
    first, previous, until = _settled(account, now)
    return (first,) if until is None or utc(now) >= until else (first, previous)


def contact_data(account: Account) -> dict[str, str]:
    """Return the five fields as Octy's clients read them."""
    return {name: getattr(account, name) for name in CONTACT_FIELDS}


def _settled(account: Account, now: float) -> tuple[str, str, datetime | None]:
    """Return the security address, the one before it, and until when that one gets copies.

    One is enough: an address lasts 7 days at least, so the one before the previous has had all its copies by then.
    """
    changed = account.contact_changed_at
    if changed is None or utc(now) < changed + SETTLING:
        return account.security_email, account.previous_security_email, account.previous_until
    return account.contact_email_address, account.security_email, changed + 2 * SETTLING


def checked_contact(contact: Mapping[str, str]) -> dict[str, str]:
    """Return contact fields as they are stored; raise InvalidInputError for one that can't be taken."""
    fields: dict[str, str] = {}
    for name, value in contact.items():
        if name not in CONTACT_FIELDS:
            raise InvalidInputError(f"unknown field {str(name)[:40]!r}; there are {', '.join(CONTACT_FIELDS)}")
        if not isinstance(value, str) or len(value) > _FIELD_LIMIT or not (value.isprintable() or value == ""):
            raise InvalidInputError(f"{name} must be printable text of at most {_FIELD_LIMIT} characters")
        fields[name] = value.strip()
    address = fields.get("contact_email_address")
    if address is not None and not _ADDRESS.fullmatch(address):
        raise InvalidInputError("contact_email_address is no mail address")
    webhook = fields.get("webhook_url")
    if webhook and not webhook.startswith(("https://", "http://")):
        raise InvalidInputError("webhook_url must begin with https://")
    return fields
