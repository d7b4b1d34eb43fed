"""The queries of the `octy` command's lists and pages: a few statements each, however long the lists."""

import re
from dataclasses import fields
from datetime import timedelta
from operator import attrgetter
from typing import TYPE_CHECKING, Any, TypeVar

from sqlalchemy import ColumnElement
from sqlalchemy.orm import aliased
from sqlmodel import Session, and_, col, func, select

from octy_middleware.clock import EPOCH, utc
from octy_middleware.db.columns import Table
from octy_middleware.db.models import (
    Account,
    Incident,
    IncidentAnswer,
    IncidentEvent,
    KeyPair,
    Mail,
    Notice,
    OutcomeMinute,
    Regeneration,
)
from octy_middleware.domain.accounts import find_account, security_addresses
from octy_middleware.domain.installation import read_installation_id
from octy_middleware.errors import InvalidInputError
from octy_middleware.keys.secret import has_valid_checksum
from octy_middleware.states import KeyPairState
from octy_worker.domain.incidents import CUSTOMER, events_of, failures_over_time, load_incident
from octy_worker.domain.usage import count_late_uses, count_late_uses_of, late_uses_of, newest_counters
from octy_worker.reports.models import (
    AccountLine,
    AccountReport,
    IncidentLine,
    IncidentReport,
    KeyReport,
    MailLine,
    NoticeLine,
    PairLine,
    RegenerationLine,
    TimelineLine,
    UseLine,
)
from octy_workflows.messages import incident_workflow_id

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

_Shape = TypeVar("_Shape", bound="DataclassInstance")

_SHOWN = 20  # notices and mails of an account, uses of a key
_ID_LENGTH = 36
_LATELY = timedelta(days=7)
_WORKFLOW_PREFIX = re.compile(r"octy-[0-9a-f]+-incident-")
IS_OPEN = col(Incident.closed_at).is_(None)
"""The condition of open incidents."""
is_public_key = re.compile(r"pk_[0-9A-Za-z]{28}").fullmatch
"""Whether a text has the form of our own public keys; imported ones may look otherwise."""


def count_rows(session: Session, table: type[Table], *which: Any) -> int:
    """Return how many rows of a table meet the conditions."""
    return session.exec(select(func.count()).select_from(table).where(*which)).one()


def list_accounts(session: Session, *which: Any, limit: int | None = None, offset: int = 0) -> tuple[AccountLine, ...]:
    """Return accounts that fit these conditions, newest first."""
    live = _count_of_account(KeyPair.account_id, col(KeyPair.state) != KeyPairState.RETIRED)
    unsettled = _count_of_account(Incident.account_id, IS_OPEN)
    query = select(Account, live, unsettled).where(*which).order_by(col(Account.id).desc())
    rows = session.exec(query.limit(limit).offset(offset))
    return tuple(
        _shape(AccountLine, account, live_pairs=pairs, open_incidents=incidents) for account, pairs, incidents in rows
    )


def _count_of_account(owner: Any, which: Any) -> Any:
    return select(func.count()).where(owner == Account.id, which).correlate(Account).scalar_subquery()


def account_of(session: Session, reference: str) -> Account:
    """Return the account of this reference or id; raise InvalidInputError when there is none."""
    account = find_account(session, reference)
    if account is None:
        raise InvalidInputError(
            f"no account has the reference {reference!r} → `octy find` searches addresses, names and ids"
        )
    return account


def show_account(session: Session, reference: str, now: float, *, limit: int | None = _SHOWN) -> AccountReport:
    """Return the account, with at most `limit` notices and mails, the newest."""
    account = account_of(session, reference)
    return _shape(
        AccountReport,
        account,
        security_addresses=security_addresses(account, now),
        pairs=list_pairs(session, KeyPair.account_id == account.id),
        open_incidents=list_incidents(session, Incident.account_id == account.id, IS_OPEN),
        regenerations=_regenerations(session, Regeneration.account_id == account.id),
        notices=_notices(session, account.id, limit=limit),
        notices_total=count_rows(session, Notice, Notice.account_id == account.id),
        mails=_mails(session, Mail.account_id == account.id, limit=limit),
        mails_total=count_rows(session, Mail, Mail.account_id == account.id),
    )


def list_pairs(session: Session, *which: Any, limit: int | None = None, offset: int = 0) -> tuple[PairLine, ...]:
    """Return pairs that fit these conditions, newest first."""
    successor = aliased(KeyPair)
    query = (
        select(KeyPair, Account.reference, successor.public_key)
        .join(Account, col(Account.id) == KeyPair.account_id)
        .outerjoin(successor, col(successor.id) == KeyPair.replaced_by)
        .where(*which)
        .order_by(col(KeyPair.created_at).desc(), col(KeyPair.id).desc())
        .limit(limit)
        .offset(offset)
    )
    return tuple(
        _shape(PairLine, pair, account=reference, replaced_by=replaced_by)
        for pair, reference, replaced_by in session.exec(query)
    )


def pair_of(session: Session, public_key: str) -> KeyPair:
    """Return the pair; raise InvalidInputError when there is none."""
    pair = session.exec(select(KeyPair).where(KeyPair.public_key == public_key)).first()
    if pair is None and public_key.startswith("sk_"):
        raise InvalidInputError("that looks like a secret key, which is never needed → give the public key, pk_…")
    if pair is None:
        wrong = f"no key pair has the public key {public_key[:100]!r}"
        if is_public_key(public_key) and not has_valid_checksum(public_key):
            wrong += ": it is mistyped, its last 6 characters don't fit the rest"
        raise InvalidInputError(f"{wrong} → `octy find` searches for the beginning of a key")
    return pair


def open_incident_of(session: Session, pair_id: str) -> str | None:
    """Return the id of the key pair's open incident, or None."""
    return session.exec(select(Incident.id).where(Incident.key_pair_id == pair_id, IS_OPEN)).first()


def show_key(session: Session, public_key: str, now: float, *, limit: int | None = _SHOWN) -> KeyReport:
    """Return the pair and the last seven days of its use, most frequent first; of a flooded key its last hours.

    At most `limit` uses and late uses are returned; their totals count all.
    """
    pair = pair_of(session, public_key)
    since = utc(now) - _LATELY
    first = int(since.timestamp()) // 60
    read_from = newest_counters(session, public_key, first)
    if read_from > first:
        since = EPOCH + timedelta(minutes=read_from)
    uses = (
        select(
            OutcomeMinute.source,
            OutcomeMinute.outcome,
            func.sum(OutcomeMinute.count),
            func.max(OutcomeMinute.minute),
        )
        .where(OutcomeMinute.public_key == public_key, OutcomeMinute.minute >= read_from)
        .group_by(OutcomeMinute.source, OutcomeMinute.outcome)
    )
    most = uses.order_by(func.sum(OutcomeMinute.count).desc(), OutcomeMinute.source, OutcomeMinute.outcome).limit(limit)
    return KeyReport(
        pair=list_pairs(session, KeyPair.public_key == public_key)[0],
        open_incident=open_incident_of(session, pair.id),
        since=since,
        uses=tuple(
            UseLine(source, outcome, int(count), EPOCH + timedelta(minutes=minute))
            for source, outcome, count, minute in session.exec(most)
        ),
        uses_total=session.exec(select(func.count()).select_from(uses.subquery())).one(),
        late_uses=late_uses_of(session, pair, utc(now), limit=limit),
        late_uses_total=count_late_uses_of(session, pair, utc(now)),
    )


def list_incidents(
    session: Session, *which: Any, limit: int | None = None, offset: int = 0
) -> tuple[IncidentLine, ...]:
    """Return incidents that meet the conditions, newest first."""
    query = (
        select(Incident, Account.reference, IncidentAnswer)
        .join(Account, col(Account.id) == Incident.account_id)
        .join(IncidentAnswer, col(IncidentAnswer.incident_id) == Incident.id)
        .where(*which)
        .order_by(col(Incident.opened_at).desc(), col(Incident.id).desc())
        .limit(limit)
        .offset(offset)
    )
    return tuple(_incident_line(*row) for row in session.exec(query))


def id_begins(column: Any, beginning: str) -> ColumnElement[bool]:
    """Match ids with this beginning through their index.

    Ids are hex digits and hyphens, all of which sort before "g"; where the collation ignores hyphens, substr decides.
    """
    within = and_(col(column) >= beginning, col(column) < f"{beginning}g")
    return and_(within, func.substr(column, 1, len(beginning)) == beginning)


def _incident_line(incident: Incident, reference: str, incident_answer: IncidentAnswer) -> IncidentLine:
    return _shape(
        IncidentLine,
        incident,
        account=reference,
        answer=incident_answer.answer,
        leaked=incident_answer.leaked,
        answered_by=incident_answer.answered_by,
    )


def find_incident(session: Session, text: str) -> str:
    """Return the id of the incident that `text` names: its id, a unique prefix of it, or its workflow's id.

    Raises InvalidInputError when none or several fit.
    """
    wanted = _WORKFLOW_PREFIX.sub("", text.strip().lower())
    found = session.exec(
        select(Incident.id).where(id_begins(Incident.id, wanted)).order_by(col(Incident.id)).limit(2)
    ).all()
    if not wanted or not found:
        raise InvalidInputError(f"no incident has the id {text[:60]!r} → `octy incidents list --all` lists all")
    if len(found) > 1 and wanted not in found:
        raise InvalidInputError(f"several incidents have ids that begin with {text[:60]!r} → give more of the id")
    return found[0]


def incident_of(session: Session, incident_id: str) -> Incident:
    """Return the incident of this complete id; raise InvalidInputError when there is none."""
    incident = session.get(Incident, incident_id)
    if incident is None:
        raise InvalidInputError("no incident has this id → `octy incidents list --all` lists all")
    return incident


def show_incident(session: Session, incident_id: str) -> IncidentReport:
    """Return the report of an existing incident."""
    view = load_incident(session, incident_id)
    assert view is not None
    incident = view.incident
    mails = _mails(session, Mail.incident_id == incident_id)
    regenerations = _regenerations(session, Regeneration.id == incident.regeneration_id)
    regeneration = regenerations[0] if regenerations else None
    return _shape(
        IncidentReport,
        incident,
        incident=_incident_line(incident, view.account.reference, view.incident_answer),
        failures=view.failures,
        answered_at=view.incident_answer.answered_at,
        workflow_id=incident_workflow_id(read_installation_id(session.connection()), incident_id),
        regeneration=regeneration,
        plot=failures_over_time(session, incident),
        sources=view.sources.named,
        source_count=view.sources.number,
        sources_complete=view.sources.complete,
        late_uses=view.late_uses,
        late_uses_total=count_late_uses(session, incident.account_id, incident.opened_at),
        mails=mails,
        timeline=_timeline(view.events, mails, regeneration),
    )


def show_progress(session: Session, incident_id: str) -> tuple[IncidentLine, tuple[TimelineLine, ...]]:
    """Return the state of an existing incident, and its timeline."""
    incident = session.get_one(Incident, incident_id)
    account = session.get_one(Account, incident.account_id)
    line = _incident_line(incident, account.reference, session.get_one(IncidentAnswer, incident_id))
    mails = _mails(session, Mail.incident_id == incident_id)
    regenerations = _regenerations(session, Regeneration.id == incident.regeneration_id)
    return line, _timeline(events_of(session, incident_id), mails, regenerations[0] if regenerations else None)


def _timeline(
    events: tuple[IncidentEvent, ...], mails: tuple[MailLine, ...], regeneration: RegenerationLine | None
) -> tuple[TimelineLine, ...]:
    """Merge what was noted, what was mailed, and the new keys' first use, oldest first."""
    noted = [_shape(TimelineLine, event) for event in events]
    mailed = [_mail_event(mail) for mail in mails]
    return tuple(sorted([*noted, *mailed, *_first_use(regeneration)], key=lambda line: line.at))


def _first_use(regeneration: RegenerationLine | None) -> list[TimelineLine]:
    """Return when the customer first used the new keys, as the recorder wrote it down at the pair."""
    if regeneration is None or regeneration.new_first_used_at is None:
        return []
    detail = {"public_key": regeneration.new_public_key}
    return [TimelineLine(regeneration.new_first_used_at, CUSTOMER, "new_keys_first_used", detail)]


def _mail_event(mail: MailLine) -> TimelineLine:
    detail = {"kind": mail.kind, "key": mail.key, "delivery_attempts": mail.delivery_attempts, "error": mail.last_error}
    shown = {name: value for name, value in detail.items() if value or name == "key"}
    return TimelineLine(mail.sent_at or mail.created_at, "system", f"mail_{mail.state}", shown)


def _mails(session: Session, which: Any, *, limit: int | None = None) -> tuple[MailLine, ...]:
    query = select(Mail).where(which).order_by(col(Mail.created_at).desc(), col(Mail.key)).limit(limit)
    return tuple(_shape(MailLine, mail) for mail in session.exec(query))


def _notices(session: Session, account_id: str, *, limit: int | None) -> tuple[NoticeLine, ...]:
    """Return the account's latest notices, each with its mails; the key of a mail begins with its subject's id."""
    latest = (
        select(Notice, KeyPair.public_key)
        .outerjoin(KeyPair, col(KeyPair.id) == Notice.key_pair_id)
        .where(Notice.account_id == account_id)
        .order_by(col(Notice.at).desc(), col(Notice.id).desc())
        .limit(limit)
    )
    about = func.substr(Mail.key, 1, _ID_LENGTH).in_(latest.with_only_columns(col(Notice.id)))
    mails: dict[str, list[MailLine]] = {}
    for mail in sorted(_mails(session, and_(Mail.account_id == account_id, about)), key=attrgetter("key")):
        mails.setdefault(mail.key[:_ID_LENGTH], []).append(mail)
    return tuple(
        _shape(NoticeLine, notice, public_key=public_key, mails=tuple(mails.get(notice.id, ())))
        for notice, public_key in session.exec(latest)
    )


def _regenerations(session: Session, which: Any) -> tuple[RegenerationLine, ...]:
    old, new = aliased(KeyPair), aliased(KeyPair)
    rows = session.exec(
        select(Regeneration, old.public_key, new.public_key, new.first_used_at)
        .outerjoin(old, col(old.id) == Regeneration.old_pair_id)
        .outerjoin(new, col(new.id) == Regeneration.new_pair_id)
        .where(which)
        .order_by(col(Regeneration.opened_at).desc(), col(Regeneration.id).desc())
    )
    return tuple(
        _shape(RegenerationLine, row, old_public_key=old_key, new_public_key=new_key, new_first_used_at=used)
        for row, old_key, new_key, used in rows
    )


def _shape(kind: type[_Shape], row: object, **more: object) -> _Shape:
    """Return a value of this shape: the fields given, all others from the row's columns of the same names."""
    own = {field.name: getattr(row, field.name) for field in fields(kind) if field.name not in more}
    return kind(**own, **more)
