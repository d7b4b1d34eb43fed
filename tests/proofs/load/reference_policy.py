"""What the policy promises for outcomes in the order of their commits: one thread, plain dicts, one by one.

Here: the policy once more, written apart from the product's fold, so that a fault there is not repeated here. Not
here: how the order of commits is known (`commit_log`), what was found in the tables (`exactness`).
"""

from collections import Counter, defaultdict
from collections.abc import Iterable
from ipaddress import ip_address, ip_network
from typing import NamedTuple

THRESHOLD = 20
_KEY_WIDE = ""  # the network under which the policy's own streak stands


class LoggedOutcome(NamedTuple):
    """One outcome as a batch of the commit log has it."""

    outcome: str
    at: float
    source: str
    public_key: str
    request_id: str


class OpenedIncident(NamedTuple):
    """How a case was opened; times are whole microseconds."""

    rule: str
    network: str
    length: int
    request_id: str
    first_at: int
    opened_at: int


class ReferencePolicy:
    """Reads batches in order. All that it says is by public key."""

    def __init__(self) -> None:
        self.counts: Counter[tuple[str, int, str, str]] = Counter()
        self.cases: dict[str, OpenedIncident] = {}
        self.told: defaultdict[str, list[int]] = defaultdict(list)
        self._failures: defaultdict[tuple[str, str], list[int]] = defaultdict(list)  # times since the last success
        self._failed: defaultdict[str, list[int]] = defaultdict(list)  # times of all failures of a key
        self._next: dict[str, int] = {}  # the doubling of each case that nobody has heard of yet

    def read(self, batch: Iterable[LoggedOutcome]) -> None:
        """Take one commit in. It tells of a case at most once: the longest that a streak has been in it."""
        longest: Counter[str] = Counter()
        for line in batch:
            self.counts[line.public_key, int(line.at // 60), line.source, line.outcome] += 1
            streaks = (line.public_key, _KEY_WIDE), (line.public_key, _network(line.source))
            if line.outcome == "accepted":
                for streak in streaks:
                    self._failures.pop(streak, None)
            elif line.outcome == "wrong_secret":
                self._failed[line.public_key].append(round(line.at * 1_000_000))
                for streak in streaks:
                    self._failures[streak].append(round(line.at * 1_000_000))
                    longest[line.public_key] = max(longest[line.public_key], len(self._failures[streak]))
                self._open(line, streaks)
        for public_key, length in longest.items():
            self._tell(public_key, length)

    def attempts(self) -> dict[str, tuple[int, int]]:
        """Return the bounds of how many attempts each case has: since its first failure, or since that one's minute."""
        return {
            key: (
                sum(at >= case.first_at for at in self._failed[key]),
                sum(at >= case.first_at // 60_000_000 * 60_000_000 for at in self._failed[key]),
            )
            for key, case in self.cases.items()
        }

    def streaks(self) -> dict[tuple[str, str], tuple[int, int, int]]:
        """Return length, first and last time of each streak that has not ended."""
        return {streak: (len(times), times[0], max(times)) for streak, times in self._failures.items() if times}

    def _open(self, line: LoggedOutcome, streaks: Iterable[tuple[str, str]]) -> None:
        """Open the case of a key at the first streak that has reached the threshold, the key's own before others."""
        if line.public_key in self.cases:
            return
        for public_key, network in streaks:
            times = self._failures[public_key, network]
            if len(times) >= THRESHOLD:
                rule = "source" if network else "key"
                opened_at = round(line.at * 1_000_000)
                self.cases[public_key] = OpenedIncident(rule, network, len(times), line.request_id, times[0], opened_at)
                self._next[public_key] = 2 * THRESHOLD
                return

    def _tell(self, public_key: str, length: int) -> None:
        if public_key in self._next and length >= self._next[public_key]:
            self.told[public_key].append(length)
            while self._next[public_key] <= length:
                self._next[public_key] *= 2


def _network(source: str) -> str:
    host, slash, _ = source.partition("/")  # an IPv6 source is its /64 already
    return source if slash else str(ip_network(f"{host}/{24 if ip_address(host).version == 4 else 64}", strict=False))
