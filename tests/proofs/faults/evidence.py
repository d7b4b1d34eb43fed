"""PURE. What is known at the end of a run: values, which `checks` compares."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from proofs.load.reference_policy import OpenedIncident


@dataclass(frozen=True)
class Incident:
    """A row of `incident` with its answer. `opening`: the columns that the reference policy predicts."""

    id: str
    public_key: str
    opening: OpenedIncident
    closed: bool
    resolution: str | None = None
    regeneration_id: str | None = None
    answer: str | None = None


@dataclass(frozen=True)
class Regeneration:
    """A row of `regeneration`, with the public key of the old key pair."""

    id: str
    cause: str
    old: str | None
    state: str
    finished: bool


@dataclass(frozen=True)
class Mail:
    """A mail that the mail server stored at the Unix time `at`. `keys`: the public keys that it names."""

    message_id: str
    kind: str
    subject: str
    at: float
    keys: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Evidence:
    """One run, seen from the outside. Mappings are by public key unless they say otherwise."""

    kills: int = 0
    by_kind: Mapping[str, int] = field(default_factory=dict)  # kind of fault -> how many
    missed: int = 0  # waits for a kill point that ended without one
    requests: int = 0
    refused: Mapping[str, int] = field(default_factory=dict)  # responses 401 that clients received
    unanswered: Mapping[str, int] = field(default_factory=dict)  # requests without a response
    unavailable: Mapping[str, int] = field(default_factory=dict)  # responses 503
    outages: int = 0  # of the database, caused by faults
    recorded: Mapping[str, int] = field(default_factory=dict)  # refusals in the tables
    unexpected: tuple[str, ...] = ()  # right secrets refused, wrong ones accepted
    expected: Mapping[str, OpenedIncident] = field(default_factory=dict)  # incidents, by the order of commits
    incidents: tuple[Incident, ...] = ()
    regenerations: tuple[Regeneration, ...] = ()
    mails: tuple[Mail, ...] = ()
    unsent: Mapping[str, str] = field(default_factory=dict)  # Message-ID -> subject of rows neither sent nor skipped
    undelivered: tuple[str, ...] = ()  # outbox messages
    running: frozenset[str] = frozenset()  # workflow ids
    capped: frozenset[str] = frozenset()  # notices whose mail waits for the next day, because of the daily cap
    answers: tuple[tuple[str, str, bool], ...] = ()  # by customers: incident, answer, leaked
    unseen: tuple[str, ...] = ()  # regenerations whose secret was collected, but not displayed
    failures: tuple[str, ...] = ()  # scenarios that ended early
    states: Mapping[str, str] = field(default_factory=dict)
    statuses: Mapping[str, int] = field(default_factory=dict)  # response to each collected key pair in the end
    in_use: frozenset[str] = frozenset()  # key pairs that customers have in the end
    late: Mapping[str, float] = field(default_factory=dict)  # seconds after its retirement of the last acceptance
    faults: tuple[float, ...] = ()  # Unix times
    exits: tuple[str, ...] = ()  # of host apps, without a kill
    worker_exits: tuple[str, ...] = ()
    leaks: tuple[str, ...] = ()
    withheld: tuple[str, ...] = ()  # alerts whose rows say that the daily cap prevented them
    forgeries: Mapping[str, int] = field(default_factory=dict)  # form -> how many forged messages were sent
    accepted_forgeries: tuple[str, ...] = ()  # updates that were answered as if they were genuine
    side_actions: Mapping[str, int] = field(default_factory=dict)  # side scenario -> how often it did what it is for
    side_findings: tuple[str, ...] = ()
