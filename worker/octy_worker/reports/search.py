"""Search for a customer by an address, a name, a public key, a request id or an incident id."""

import re
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Text, and_, cast, false, literal, or_, union_all
from sqlmodel import Session, col, func, select

from octy_middleware.addresses import normalize_mail_address
from octy_middleware.db.models import Account, Attempt, Incident, KeyPair, Notice, Regeneration, Webhook
from octy_middleware.errors import InvalidInputError
from octy_worker.reports.models import AccountLine, IncidentLine, PairLine
from octy_worker.reports.queries import count_rows, id_begins, is_public_key, list_accounts, list_incidents, list_pairs

SEARCHED_REQUESTS = 1_000_000
"""How many of the newest refused requests are searched: they have no index by request id, which each would pay for."""

_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_LABEL = re.compile(r"[A-Za-z ]+:\s+")  # "Incident: …", "The request that set it off: …"
_SECRET_KEY = re.compile(r"(?<![A-Za-z0-9])sk_")
_BEGINNING_OF_ID = re.compile(r"[0-9a-f][0-9a-f-]{2,35}")


@dataclass(frozen=True, slots=True)
class RequestLine:
    """One refused request. `account` is None and `public_key` empty when no key pair has the key that it sent."""

    request_id: str
    at: datetime
    account: str | None
    public_key: str
    outcome: str
    source: str


@dataclass(frozen=True, slots=True)
class SearchResult:
    """What matches a search text, newest first; totals count all matches.

    `all_requests_searched`: false when older refused requests than the newest million were left out.
    """

    accounts: tuple[AccountLine, ...]
    keys: tuple[PairLine, ...]
    incidents: tuple[IncidentLine, ...]
    requests: tuple[RequestLine, ...]
    accounts_total: int
    keys_total: int
    incidents_total: int
    requests_total: int
    all_requests_searched: bool

    @property
    def totals(self) -> tuple[int, int, int, int]:
        """How many accounts, key pairs, incidents and refused requests match."""
        return self.accounts_total, self.keys_total, self.incidents_total, self.requests_total


@dataclass(frozen=True, slots=True)
class SearchText:
    """What is searched for: the text without the label that mails print before it, and the full id in it, if any."""

    text: str
    id: str | None

    @property
    def exact(self) -> tuple[str, ...]:
        """The text as typed and in lower case: what a request id is compared with."""
        return tuple({self.text, self.text.lower()})

    @property
    def spellings(self) -> tuple[str, ...]:
        """The spellings that are compared without regard to case: SQLite knows only the lower case of ASCII."""
        text = self.text
        return (text,) if text.isascii() else tuple({text, text.lower(), text.upper(), text.title()})


@dataclass(frozen=True, slots=True)
class _Conditions:
    """Which accounts, key pairs, incidents and refused requests match."""

    accounts: ColumnElement[bool]
    keys: ColumnElement[bool]
    incidents: ColumnElement[bool]
    requests: ColumnElement[bool]


def search(session: Session, text: str, *, limit: int | None) -> SearchResult:
    """Return what matches a text, at most `limit` of each kind. Raises InvalidInputError for no text or a secret key.

    The cheapest search comes first, and the first that matches anything ends it: full ids and keys by their indexes,
    then parts of texts in all accounts and keys, then request ids of notices and of the newest refused requests.
    """
    wanted = _parse(text)
    if wanted.id or is_public_key(wanted.text):
        found = _read(session, conditions_by_id(wanted), limit)
        if any(found.totals):
            return found
    found = _read(session, _by_part(wanted), limit)
    if any(found.totals):
        return found
    last, complete = _last_not_searched(session)
    return replace(_read(session, _by_request(wanted, last), limit), all_requests_searched=complete)


def _read(session: Session, matches: _Conditions, limit: int | None) -> SearchResult:
    accounts, keys = count_rows(session, Account, matches.accounts), count_rows(session, KeyPair, matches.keys)
    incidents, requests = (
        count_rows(session, Incident, matches.incidents),
        count_rows(session, Attempt, matches.requests),
    )
    return SearchResult(
        accounts=list_accounts(session, matches.accounts, limit=limit) if accounts else (),
        keys=list_pairs(session, matches.keys, limit=limit) if keys else (),
        incidents=list_incidents(session, matches.incidents, limit=limit) if incidents else (),
        requests=_requests(session, matches.requests, limit) if requests else (),
        accounts_total=accounts,
        keys_total=keys,
        incidents_total=incidents,
        requests_total=requests,
        all_requests_searched=True,
    )


def _parse(text: str) -> SearchText:
    text = text.strip(" \t\r\n<>")
    label = _LABEL.match(text)
    text = text[label.end() :] if label else text
    if not text:
        raise InvalidInputError("the search text is empty → give an address, a name, a public key, or an id")
    if _SECRET_KEY.search(text):
        raise InvalidInputError("that looks like a secret key, which is never needed → give the public key, pk_…")
    if "@" in text and not text.isascii():
        text = normalize_mail_address(text) or text  # addresses are stored with their domain in IDNA
    full_id = _UUID.search(text.lower())
    return SearchText(text, full_id[0] if full_id else None)


def conditions_by_id(wanted: SearchText) -> _Conditions:
    """Match a full public key, or the id of an incident, an account, or the subject of a mail or webhook."""
    ids = [select(table.account_id).where(table.id == wanted.id) for table in (Notice, Regeneration, Webhook)]
    return _Conditions(
        accounts=col(Account.id).in_(union_all(select(literal(wanted.id or "")), *ids)),
        keys=col(KeyPair.public_key) == wanted.text,
        incidents=col(Incident.id) == wanted.id,
        requests=false(),
    )


def _by_part(wanted: SearchText) -> _Conditions:
    """Match a part of an account's reference, addresses or name; the beginning of a public key or an incident's id.

    Also the id of the request that opened an incident.
    """
    name = col(Account.contact_name) + " " + col(Account.contact_surname)
    columns: list[Any] = [col(Account.contact_email_address), col(Account.security_email), name]
    if "@" in wanted.text:  # an address of the last 14 days, in JSON whose own names have no @
        columns.append(cast(col(Account.contact_history), Text))
    texts: Any = col(Account.reference)
    for column in columns:
        texts = texts + "\n" + column  # one comparison a row, and none across two columns
    # The subquery reads only the index of public keys, which is much smaller than the table.
    keys = select(KeyPair.public_key).where(func.substr(KeyPair.public_key, 1, len(wanted.text)) == wanted.text)
    incidents: list[ColumnElement[bool]] = [col(Incident.request_id).in_(wanted.exact)]
    if _BEGINNING_OF_ID.fullmatch(wanted.text.lower()):
        incidents.append(id_begins(Incident.id, wanted.text.lower()))
    return _Conditions(
        accounts=or_(*(texts.icontains(spelling, autoescape=True) for spelling in wanted.spellings)),
        keys=col(KeyPair.public_key).in_(keys),
        incidents=or_(*incidents),
        requests=false(),
    )


def _by_request(wanted: SearchText, last_not_searched: int) -> _Conditions:
    """Match the id of a refused request, or of one that came over plain HTTP and whose account got a notice."""
    exposed_by = col(Notice.detail)["request_id"].as_string().in_(wanted.exact)
    return _Conditions(
        accounts=col(Account.id).in_(select(Notice.account_id).where(exposed_by)),
        keys=false(),
        incidents=false(),
        requests=and_(col(Attempt.id) > last_not_searched, col(Attempt.request_id).in_(wanted.exact)),
    )


def _last_not_searched(session: Session) -> tuple[int, bool]:
    """Return the id of the newest refused request that is left out, and whether there is none."""
    newest, oldest = (session.exec(select(end(Attempt.id))).one() or 0 for end in (func.max, func.min))
    last = max(0, newest - SEARCHED_REQUESTS)
    return last, oldest > last or not newest


def _requests(session: Session, which: ColumnElement[bool], limit: int | None) -> tuple[RequestLine, ...]:
    rows = session.exec(
        select(Attempt, Account.reference)
        .outerjoin(KeyPair, col(KeyPair.public_key) == Attempt.public_key)
        .outerjoin(Account, col(Account.id) == KeyPair.account_id)
        .where(which)
        .order_by(col(Attempt.id).desc())
        .limit(limit)
    )
    return tuple(
        RequestLine(attempt.request_id, attempt.at, account, attempt.public_key, attempt.outcome, attempt.source)
        for attempt, account in rows
    )
