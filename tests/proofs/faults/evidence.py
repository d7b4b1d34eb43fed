"""PURE. All that is known at the end of a run: values, as the judge reads them.

Here: shapes. Not here: where each comes from (`gathering`), what it means (`judge`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from proofs.load.reference_policy import OpenedIncident


@dataclass(frozen=True)
class Incident:
    """A row of `incident`, with its answer. `case` is what the oracle would say of it."""

    id: str
    public_key: str
    case: OpenedIncident
    closed: bool
    resolution: str | None = None
    regeneration_id: str | None = None
    answer: str | None = None


@dataclass(frozen=True)
class Order:
    """A row of `regeneration`; pairs by their public keys."""

    id: str
    account: str
    cause: str
    old: str | None
    new: str | None
    state: str
    finished: bool


@dataclass(frozen=True)
class Mail:
    """A mail in the sink."""

    message_id: str
    kind: str
    subject: str
    at: float
    keys: frozenset[str] = frozenset()  # public keys that it names


@dataclass(frozen=True)
class Beside:
    """What those left who are no part of the installation. `forged`: how many forgeries of each form were sent."""

    forged: Mapping[str, int] = field(default_factory=dict)
    taken: tuple[str, ...] = ()  # forged updates that were answered as genuine
    acts: Mapping[str, int] = field(default_factory=dict)  # by name: how often each did what it is there for
    findings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Evidence:
    """One run, seen from the outside."""

    kills: int = 0
    refused: Mapping[str, int] = field(default_factory=dict)  # by public key: 401s that clients read
    unsure: Mapping[str, int] = field(default_factory=dict)  # requests without an answer, or told to come again
    recorded: Mapping[str, int] = field(default_factory=dict)  # by public key: refusals in the tables
    misjudged: tuple[str, ...] = ()  # right pairs refused, wrong ones accepted
    expected: Mapping[str, OpenedIncident] = field(default_factory=dict)  # by public key, by the order of commits
    incidents: tuple[Incident, ...] = ()
    orders: tuple[Order, ...] = ()
    mails: tuple[Mail, ...] = ()
    unsent: Mapping[str, str] = field(default_factory=dict)  # Message-IDs of rows neither sent nor skipped: subjects
    undelivered: tuple[str, ...] = ()  # messages of the outbox
    running: frozenset[str] = frozenset()  # workflow ids
    capped: frozenset[str] = frozenset()  # notices with a mail that the daily cap holds back until next day
    answered: tuple[tuple[str, str, bool], ...] = ()  # incident, answer, leaked: what customers pressed
    unseen: tuple[str, ...] = ()  # regenerations whose secret left the tables and reached nobody
    stopped: tuple[str, ...] = ()  # lives that ended early
    states: Mapping[str, str] = field(default_factory=dict)  # of pairs, by public key
    probes: Mapping[str, int] = field(default_factory=dict)  # status of each collected pair in the end
    in_use: frozenset[str] = frozenset()  # pairs that customers hold in the end
    late: Mapping[str, float] = field(default_factory=dict)  # seconds after its end in which a pair was accepted
    troubled: tuple[float, ...] = ()  # when something was done to a part
    ended: tuple[str, ...] = ()  # host apps that ended by themselves
    leaks: tuple[str, ...] = ()
    beside: Beside = field(default_factory=Beside)
    withheld: tuple[str, ...] = ()  # alerts whose rows say that they were withheld
