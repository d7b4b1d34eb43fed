"""The policy once more, apart from the product's code: what outcomes in the order of their commits must lead to.

One thread, plain dicts, one outcome after the other. `commit_log` knows the order, `exactness` compares the tables.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable
from ipaddress import ip_address, ip_network
from typing import NamedTuple

THRESHOLD = 20
_KEY_WIDE = ""  # the network under which a key's own streak stands


class LoggedOutcome(NamedTuple):
    """One outcome as a batch of the commit log has it."""

    outcome: str
    at: float
    source: str
    public_key: str
    request_id: str


class OpenedIncident(NamedTuple):
    """How an incident was opened; times are whole microseconds."""

    rule: str
    network: str
    length: int
    request_id: str
    first_at: int
    opened_at: int


class ReferencePolicy:
    """Takes batches in order. All results are by public key.

    `growth`: the streak lengths in the outbox messages of an incident, in order.
    """

    def __init__(self) -> None:
        self.counts: Counter[tuple[str, int, str, str]] = Counter()
        self.incidents: dict[str, OpenedIncident] = {}
        self.growth: defaultdict[str, list[int]] = defaultdict(list)
        self._failures: defaultdict[tuple[str, str], list[int]] = defaultdict(list)  # times since the last success
        self._failed: defaultdict[str, list[int]] = defaultdict(list)  # times of all failures of a key
        self._next: dict[str, int] = {}  # the doubling of each incident that has no message yet

    def add(self, batch: Iterable[LoggedOutcome]) -> None:
        """Take one commit in. It has at most one message of an incident: the longest that a streak has been in it."""
        longest: Counter[str] = Counter()
        for one in batch:
            self.counts[one.public_key, int(one.at // 60), one.source, one.outcome] += 1
            streaks = (one.public_key, _KEY_WIDE), (one.public_key, _network(one.source))
            if one.outcome == "accepted":
                for streak in streaks:
                    self._failures.pop(streak, None)
            elif one.outcome == "wrong_secret":
                self._failed[one.public_key].append(round(one.at * 1_000_000))
                for streak in streaks:
                    self._failures[streak].append(round(one.at * 1_000_000))
                    longest[one.public_key] = max(longest[one.public_key], len(self._failures[streak]))
                self._open(one, streaks)
        for public_key, length in longest.items():
            if length >= self._next.get(public_key, length + 1):
                self.growth[public_key].append(length)
                while self._next[public_key] <= length:
                    self._next[public_key] *= 2

    def attempts(self) -> dict[str, tuple[int, int]]:
        """Return the least and most attempts of each incident: since its first failure, or since that one's minute."""
        return {
            key: (
                sum(at >= incident.first_at for at in self._failed[key]),
                sum(at >= incident.first_at // 60_000_000 * 60_000_000 for at in self._failed[key]),
            )
            for key, incident in self.incidents.items()
        }

    def streaks(self) -> dict[tuple[str, str], tuple[int, int, int]]:
        """Return length, first and last time of each streak that has not ended."""
        return {streak: (len(times), times[0], max(times)) for streak, times in self._failures.items() if times}

    def _open(self, one: LoggedOutcome, streaks: Iterable[tuple[str, str]]) -> None:
        """Open a key's incident at the first streak that has reached the threshold, the key's own before others."""
        if one.public_key in self.incidents:
            return
        for public_key, network in streaks:
            times = self._failures[public_key, network]
            if len(times) >= THRESHOLD:
                opened = ("source" if network else "key", network, len(times), one.request_id, times[0])
                self.incidents[public_key] = OpenedIncident(*opened, round(one.at * 1_000_000))
                self._next[public_key] = 2 * THRESHOLD
                return


def _network(source: str) -> str:
    host, slash, _ = source.partition("/")  # an IPv6 source is its /64 already
    return source if slash else str(ip_network(f"{host}/{24 if ip_address(host).version == 4 else 64}", strict=False))
