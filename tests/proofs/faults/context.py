"""What all parts of a run share: the installation, its observer, and what each part records for the checks."""

import random
import threading
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field

from octy_worker.dev.customer import Keys
from proofs.faults.installation import Installation
from proofs.faults.observer import Observer
from proofs.faults.options import RunOptions

NO_RESPONSE = 0


class Responses:
    """The responses that clients received, by public key. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._statuses: defaultdict[str, Counter[int]] = defaultdict(Counter)
        self.unexpected: list[str] = []
        self.last_accepted: dict[str, float] = {}  # send time (monotonic) of the last accepted request of a key pair

    def record_wrong(self, public_key: str, status: int) -> None:
        """Record the response to a wrong secret: 401, or 503 while the database is away."""
        with self._lock:
            self._statuses[public_key][status] += 1
            if status not in (401, 503, NO_RESPONSE):
                self.unexpected.append(f"{public_key}: response {status} to a wrong secret")

    def record_right(self, public_key: str, status: int, sent: float, *, in_use: bool) -> None:
        """Record the response to a right secret. `in_use`: it must be 200, or 503 while the database is away."""
        with self._lock:
            self._statuses[public_key][status] += 1
            if status == 200:
                self.last_accepted[public_key] = max(sent, self.last_accepted.get(public_key, 0.0))
            if in_use and status not in (200, 503, NO_RESPONSE):
                self.unexpected.append(f"{public_key}: response {status} to the right secret of a key pair in use")

    def count(self, status: int) -> dict[str, int]:
        """Return how many responses with this status each public key had."""
        with self._lock:
            return {key: found[status] for key, found in self._statuses.items()}

    def total(self) -> int:
        with self._lock:
            return sum(found.total() for found in self._statuses.values())


@dataclass
class CustomerLog:
    """What customers did and saw. Each entry is one atomic append."""

    answers: list[tuple[str, str, bool]] = field(default_factory=list)  # incident, answer, leaked
    keys: list[Keys] = field(default_factory=list)  # every key pair that a customer was shown
    tokens: list[str] = field(default_factory=list)
    addresses: list[str] = field(default_factory=list)
    in_use: list[Keys] = field(default_factory=list)  # when the account's scenario ends
    unseen: list[str] = field(default_factory=list)  # regenerations whose secret was collected, but not displayed
    failures: list[str] = field(default_factory=list)  # why threads of a run ended early


@dataclass
class InjectedFaults:
    """The faults of a run."""

    by_kind: Counter[str] = field(default_factory=Counter)
    kills: int = 0
    missed: int = 0  # how often no kill point came in time
    times: list[float] = field(default_factory=list)  # wall clock: a mail may be sent twice after each
    outages: list[tuple[float, float]] = field(default_factory=list)  # of the database, monotonic


@dataclass
class RunContext:
    """`remaining`: seconds that anybody waits from now on. It shrinks when the faults have ended."""

    options: RunOptions
    installation: Installation
    observer: Observer
    remaining: Callable[[], float]
    responses: Responses = field(default_factory=Responses)
    log: CustomerLog = field(default_factory=CustomerLog)
    faults: InjectedFaults = field(default_factory=InjectedFaults)
    command_lines: set[bytes] = field(default_factory=set)  # of all processes, seen during the run

    def random(self, user: object) -> random.Random:
        """Return the random numbers of one part of the run."""
        return random.Random(f"{self.options.seed}/{self.options.database}/{user}")
