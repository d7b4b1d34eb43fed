"""PURE. The chain of the audit log: each entry holds the hash of the one before it.

An entry does not hold its detail but a commitment to it: SHA-256 over a random salt and the detail. Detail and salt
stand beside the entry and can be erased: the chain still verifies, and the detail can't be guessed.
What is detected: an entry that was changed, removed, inserted or moved. An end that was cut off is detected only by
comparison with a checkpoint kept outside of the database.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from octy_worker.canonical_json import JsonValue, canonical_json

GENESIS = "0" * 64
"""The previous hash of the first entry."""
SALT_BYTES = 32
ERASED = "account.erased"
"""The action of an entry about an erasure; its own detail has the fields of an `Erasure`."""


class Entry(NamedTuple):
    """One entry as it is stored. `at`: Unix microseconds. `detail` and `salt` (hex) are None after an erasure."""

    seq: int
    at: int
    actor: str
    action: str
    subject: str
    order_id: str  # empty: not by an order
    commitment: str
    previous_hash: str
    hash: str
    detail: str | None  # canonical JSON
    salt: str | None


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What is known from outside of the database: the hash of one entry."""

    seq: int
    hash: str


BEGINNING = Checkpoint(0, GENESIS)
"""What the first entry continues."""


@dataclass(frozen=True, slots=True)
class Erasure:
    """What an entry ERASED accounts for: numbers of entries whose detail, and ids of orders whose text was erased."""

    entries: frozenset[int]
    orders: frozenset[str]

    @classmethod
    def of(cls, entry: Entry) -> "Erasure":
        """Return what was erased before an entry ERASED; nothing for one that this system does not write."""
        try:
            detail = json.loads(entry.detail or "{}")
            entries, orders = frozenset(detail["entries"]), frozenset(detail["orders"])
        except (ValueError, KeyError, TypeError):
            return cls(frozenset(), frozenset())
        return cls(frozenset(seq for seq in entries if type(seq) is int and seq < entry.seq), orders)


class ChainError(Exception):
    """The chain is broken. `seq`: the first entry that is wrong."""

    def __init__(self, seq: int, wrong: str) -> None:
        super().__init__(f"entry {seq}: {wrong}")
        self.seq = seq


@dataclass(frozen=True, slots=True)
class ChainResult:
    """An unbroken chain. `proven_up_to`: the last entry that a checkpoint covers, 0 without one.

    `erased`: entries without a detail; `erasures`: how many of them entries of erasures account for.
    """

    entries: int
    erased: int
    erasures: int
    last: Checkpoint
    proven_up_to: int


def commit_to(detail: Mapping[str, JsonValue], salt: bytes) -> tuple[str, str]:
    """Return the detail in canonical JSON, and the commitment to it."""
    text = canonical_json(dict(detail)).decode()
    return text, _commitment(text, salt.hex())


def next_entry(
    last: Checkpoint,
    *,
    at: int,
    actor: str,
    action: str,
    subject: str,
    order_id: str,
    detail: Mapping[str, JsonValue],
    salt: bytes,
) -> Entry:
    """Return the entry after `last`."""
    text, commitment = commit_to(detail, salt)
    entry = Entry(
        last.seq + 1, at, actor, action, subject, order_id, commitment, last.hash, "", text, salt.hex()
    )  # fmt: skip
    return entry._replace(hash=_hash(entry))


def verify_chain(
    entries: Iterable[Entry], checkpoints: Iterable[Checkpoint] = (), *, after: Checkpoint = BEGINNING
) -> ChainResult:
    """Recompute the chain, given in the order of `seq`. Raises ChainError at the first entry that is wrong.

    `after`: the entry before the given ones, which is believed; then the checkpoints are of entries after it.
    """
    expected = {checkpoint.seq: checkpoint.hash for checkpoint in checkpoints}
    last, erased, erasures, proven = after, 0, 0, 0
    for entry in entries:
        if entry.seq != last.seq + 1:
            raise ChainError(last.seq + 1, _gap(entry.seq, last.seq))
        if entry.previous_hash != last.hash:
            raise ChainError(
                entry.seq, "it does not continue the entry before it: one of the two was replaced or moved"
            )
        if entry.hash != _hash(entry):
            raise ChainError(entry.seq, "its fields do not match its hash: it was changed")
        erased += entry.detail is None
        if entry.detail is not None and not has_right_detail(entry.detail, entry.salt or "", entry.commitment):
            raise ChainError(entry.seq, "its detail does not match its commitment: the detail was changed")
        if expected.get(entry.seq, entry.hash) != entry.hash:
            raise ChainError(entry.seq, "a checkpoint has another hash: this entry or an earlier one was rewritten")
        if entry.action == ERASED:
            erasures += len(Erasure.of(entry).entries)
        proven = entry.seq if entry.seq in expected else proven
        last = Checkpoint(entry.seq, entry.hash)
    if expected and max(expected) > last.seq:
        raise ChainError(last.seq + 1, f"the end is missing: a checkpoint proves {max(expected)} entries")
    return ChainResult(last.seq, erased, erasures, last, proven)


def _gap(found: int, before: int) -> str:
    return "it is missing" if found > before else f"entry {found} stands in its place: entries were inserted or moved"


def has_right_detail(detail: str, salt: str, commitment: str) -> bool:
    """Return whether detail and salt are those that an entry commits to."""
    return _commitment(detail, salt) == commitment


def _commitment(detail: str, salt: str) -> str:
    return hashlib.sha256(f"{salt}{detail}".encode()).hexdigest()


def _hash(entry: Entry) -> str:
    """Return SHA-256 over all committed fields; lengths in front of them, so that no two entries have one text."""
    fields = (str(entry.seq), str(entry.at), *entry[2:8])
    return hashlib.sha256("".join([f"{len(value)}:{value}" for value in fields]).encode()).hexdigest()
