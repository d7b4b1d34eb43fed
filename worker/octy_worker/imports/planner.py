"""An import is planned first, by comparing its rows with the database, then written.

An import adds and never changes: existing accounts and key pairs stay as they are. Rows that exist already, unchanged,
are counted, so that the same file can be imported again. New customers get no mail; customers whose account existed and
who get another key pair are notified.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, BinaryIO, NamedTuple
from uuid import UUID

from sqlalchemy import Connection, and_, not_, or_
from sqlmodel import col, select

from octy_middleware.clock import utc, uuid7
from octy_middleware.db.database import Database
from octy_middleware.db.models import Account, KeyPair
from octy_middleware.domain.accounts import CONTACT_FIELDS, account_values
from octy_middleware.domain.key_pairs import ImportedKeyPair
from octy_middleware.errors import InvalidInputError
from octy_middleware.keys.secret import KeyHasher, imported_hash, row_binding
from octy_middleware.states import KeyPairCause, KeyPairState
from octy_worker.imports.reader import RowError, RowsDigest, read_rows
from octy_worker.imports.validator import Candidate, Checker
from octy_worker.imports.writer import Cursor, ImportWriter, Rows, unfinished

Progress = Callable[[str, int, int | None], None]
"""Called now and then: what was done, with how many rows, of how many; None while that is unknown."""

_UNSALTED = "hex_"
_NO_PLAIN_SHA = "it can be forged: order new keys with `octy keys regenerate`"
_CHUNK = 1000  # rows a statement
_COUNTING = 32  # bits of an id


@dataclass(slots=True)
class Plan:
    """What an import would write. With errors nothing may be written: all of a file is imported, or nothing.

    `digest`: SHA-256 of the file's rows, as the audit log has it. `added`: further pairs of accounts that exist.
    `sealed`: False when there was no pepper to seal the hashes with, as in a dry run on a host without; not to be
    written.
    """

    rows: int = 0
    digest: str = ""
    sealed: bool = True
    added: dict[str, list[ImportedKeyPair]] = field(default_factory=dict)
    accounts: list[dict[str, Any]] = field(default_factory=list)
    pairs: list[ImportedKeyPair] = field(default_factory=list)
    already_there: int = 0
    errors: list[RowError] = field(default_factory=list)

    def kinds(self) -> dict[str, int]:
        """Count the pairs by scheme and rough cost of their hashes, the most frequent first."""
        return dict(Counter(pair["imported_scheme"] for pair in self.pairs).most_common())


def plan_import(
    database: Database,
    file: BinaryIO,
    *,
    hasher: KeyHasher | None,
    into_existing: bool,
    now: float,
    progress: Progress,
) -> Plan:
    """Read the whole file, and compare it with the database. Writes nothing.

    A plan made without a hasher can't be carried out.
    """
    plan = Plan(sealed=hasher is not None)
    candidates = _check(file, Checker(now), plan, progress)
    interrupted, ids = unfinished(database), _ids(2 * len(candidates), now)
    with database.read() as connection:
        comparison = _Comparison(connection, plan, ids, hasher, interrupted, into_existing=into_existing, now=now)
        for done, chunk in _chunks(candidates):
            comparison.add(chunk)
            progress("compared", done, len(candidates))
    plan.errors.sort(key=lambda error: error.line)
    return plan


def carry_out(
    database: Database, plan: Plan, *, now: float, progress: Progress, writer: ImportWriter | None = None
) -> None:
    """Write the plan, and make it valid at the end. Raises DatabaseUnavailableError; then nothing was imported."""
    if plan.errors or not plan.sealed:
        raise ValueError("a plan with errors or without seals is not to be carried out")
    total = len(plan.accounts) + len(plan.pairs)
    writer = writer or ImportWriter(database, time.time)
    writer.write(Rows(plan.accounts, plan.pairs), now=now, report=lambda done: progress("written", done, total))


def _check(file: BinaryIO, checker: Checker, plan: Plan, progress: Progress) -> list[Candidate]:
    candidates = []
    digest = RowsDigest()
    for found in read_rows(file):
        plan.rows += 1
        if not isinstance(found, RowError):
            digest.add(found)
        checked = [found] if isinstance(found, RowError) else checker.check(found)
        if isinstance(checked, Candidate):
            candidates.append(checked)
        else:
            plan.errors.extend(checked)
        if plan.rows % _CHUNK == 0:
            progress("read", plan.rows, None)
    progress("read", plan.rows, plan.rows)
    plan.digest = digest.hex()
    return candidates


def _ids(count: int, now: float) -> Iterator[str]:
    """Return so many ids in ascending order, of a range that only this import uses.

    Lists show the file's order, an index is written page after page, and an import's rows are found by their range.
    """
    begin = UUID(uuid7(now)).int >> _COUNTING << _COUNTING
    return (str(UUID(int=begin | number)) for number in range(count))


def _chunks(items: Sequence[Any]) -> Iterator[tuple[int, Sequence[Any]]]:
    """Return the items in chunks, each with how many are done after it."""
    for start in range(0, len(items), _CHUNK):
        chunk = items[start : start + _CHUNK]
        yield start + len(chunk), chunk


class _PlannedAccount(NamedTuple):
    """An account in the database, or one that a row of the file will create."""

    account_id: str
    contact: dict[str, str]
    is_new: bool


class _Pair(NamedTuple):
    """A key pair in the database."""

    account_id: str
    digest: str
    imported_scheme: str | None
    cause: str

    def is_that_of(self, row: Candidate) -> bool:
        """Return whether it is the row's pair; a digest of ours may have replaced the imported hash since."""
        upgraded = self.cause == KeyPairCause.IMPORT and self.imported_scheme is None
        return upgraded or imported_hash(self.digest) == row.secret_digest


class _Comparison:
    """Compares rows with the database and with the accounts of the rows before them, and adds to the plan."""

    def __init__(
        self,
        connection: Connection,
        plan: Plan,
        ids: Iterator[str],
        hasher: KeyHasher | None,
        interrupted: Cursor | None,
        *,
        into_existing: bool,
        now: float,
    ) -> None:
        """`interrupted`: an import that was interrupted, or is in progress, whose rows are not valid."""
        self._hasher = hasher
        self._connection = connection
        self._plan = plan
        self._new_ids = ids
        self._into_existing = into_existing
        self._now = now
        self._accounts: dict[str, _PlannedAccount] = {}  # by reference
        self._ids: set[str] = set()
        self._interrupted = interrupted

    def add(self, rows: Sequence[Candidate]) -> None:
        """Add what these rows make, or what is wrong with them."""
        self._load_accounts({row.reference for row in rows} - self._accounts.keys())
        there = self._load_pairs([row.public_key for row in rows])
        for row in rows:
            errors = list(self._errors_of(row, there.get(row.public_key)))
            self._plan.errors.extend(errors)
            if errors:
                continue
            if row.public_key in there:
                self._plan.already_there += 1
            else:
                self._add_pair(row)

    def _errors_of(self, row: Candidate, pair: _Pair | None) -> Iterator[RowError]:
        """Return what is wrong with a row; plan its account if it is new."""
        account = self._accounts.get(row.reference)
        if pair is not None and (account is None or pair.account_id != account.account_id):
            yield RowError(row.line, "public_key", "belongs to another account", "check the reference")
        elif account is None:
            yield from self._open_account(row)
        else:
            yield from _differences(row, account)
            yield from self._errors_of_pair(row, pair, account)

    def _open_account(self, row: Candidate) -> Iterator[RowError]:
        if row.reference in self._ids:
            yield RowError(
                row.line, "reference", "is the id of an existing account", "use your own id for the customer"
            )
            return
        try:
            values = account_values(row.reference, row.contact, self._now)
        except InvalidInputError as error:
            wrong = str(error).removeprefix("contact_email_address ")
            yield RowError(row.line, "contact_email_address", wrong, "give it in the customer's first row")
            return
        values |= {"id": next(self._new_ids), "created_at": row.created_at or values["created_at"]}
        self._plan.accounts.append(values)
        contact = {name: values[name] for name in CONTACT_FIELDS}
        self._accounts[row.reference] = _PlannedAccount(values["id"], contact, is_new=True)

    def _errors_of_pair(self, row: Candidate, pair: _Pair | None, account: _PlannedAccount) -> Iterator[RowError]:
        if pair is None and not account.is_new and not self._into_existing:
            yield RowError(
                row.line,
                "reference",
                "has an account already",
                "if it is the same customer, --into-existing adds the key pair to it",
            )
        elif pair is None and not account.is_new and row.imported_scheme.startswith(_UNSALTED):
            yield RowError(row.line, "secret_hash", "is plain SHA, but the account exists already", _NO_PLAIN_SHA)
        elif pair is not None and not pair.is_that_of(row):
            yield RowError(
                row.line, "public_key", "exists already with another secret", "an import does not change key pairs"
            )

    def _add_pair(self, row: Candidate) -> None:
        account, pair_id = self._accounts[row.reference], next(self._new_ids)
        known = self._pair_of(row, account.account_id, pair_id)
        self._plan.pairs.append(known)
        if not account.is_new:
            self._plan.added.setdefault(account.account_id, []).append(known)

    def _pair_of(self, row: Candidate, account_id: str, pair_id: str) -> ImportedKeyPair:
        stored = row.secret_digest
        return ImportedKeyPair(
            id=pair_id,
            account_id=account_id,
            public_key=row.public_key,
            secret_digest=self._hasher.seal(stored, row_binding(pair_id, row.public_key)) if self._hasher else stored,
            imported_scheme=row.imported_scheme,
            created_at=row.created_at or utc(self._now),
        )

    def _load_accounts(self, references: set[str]) -> None:
        columns = [col(getattr(Account, name)) for name in ("id", "reference", *CONTACT_FIELDS)]
        wanted = or_(col(Account.reference).in_(references), col(Account.id).in_(references))
        if self._interrupted is not None:
            wanted = and_(wanted, not_(col(Account.id).between(self._interrupted.first, self._interrupted.last)))
        for account_id, reference, *contact in self._connection.execute(select(*columns).where(wanted)):
            self._ids.add(account_id)
            self._accounts[reference] = _PlannedAccount(
                account_id, dict(zip(CONTACT_FIELDS, contact, strict=True)), is_new=False
            )

    def _load_pairs(self, public_keys: Sequence[str]) -> dict[str, _Pair]:
        names = ("public_key", "account_id", "secret_digest", "imported_scheme", "cause")
        columns = [col(getattr(KeyPair, name)) for name in names]
        not_valid = and_(col(KeyPair.cause) == KeyPairCause.IMPORT, col(KeyPair.state) == KeyPairState.PENDING)
        wanted = and_(col(KeyPair.public_key).in_(public_keys), not_(not_valid))
        found = self._connection.execute(select(*columns).where(wanted))
        return {public_key: _Pair(*rest) for public_key, *rest in found}


def _differences(row: Candidate, account: _PlannedAccount) -> Iterator[RowError]:
    """Compare contact data. An empty cell says nothing; an account is not changed by an import."""
    other = "differs from the customer's first row" if account.is_new else "differs from what the account has"
    for name, value in row.contact.items():
        if value != account.contact[name]:
            yield RowError(row.line, name, other, "repeat the same value, or leave the cell empty")
