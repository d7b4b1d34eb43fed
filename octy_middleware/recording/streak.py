"""PURE. Consecutive failures: every transition of a streak, and the fold of a batch of outcomes into streaks.

Here: what counts up, what ends, and where the threshold is crossed (POLICY). Not here: where streaks are kept and
whether a crossing opens an incident (`recorder`, which knows the open ones).

A key has one streak of the policy (the empty network) and one for each source network. A failure adds one to the
first and to that of its own network; a success ends the first, and of the others only that of its own network.
Folding a batch gives exactly what one-by-one processing in the same order gives.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

POLICY = ""
"""The network of the policy's own streak."""


class Rule(StrEnum):
    """What opened an incident: the key's own streak, that of one source network, or a full window (`window`)."""

    KEY = "key"
    SOURCE = "source"
    WINDOW = "window"


class Run(NamedTuple):
    """A streak's length, and the Unix times of its first and last failure. Length 0 is no streak."""

    length: int = 0
    first_at: float = 0.0
    last_at: float = 0.0

    def after_failure(self, at: float) -> "Run":
        """One more failure. Times never run backwards, whatever the clock does."""
        if self.length == 0:
            return Run(1, at, at)
        return Run(self.length + 1, self.first_at, max(self.last_at, at))


class Hit(NamedTuple):
    """One outcome of a known, live key that bears on its streaks."""

    success: bool
    network: str
    at: float
    request_id: str = ""


@dataclass(frozen=True, slots=True)
class Crossing:
    """The first failure of a batch with which a rule was fulfilled: `length` failures since `first_at`."""

    rule: Rule
    network: str
    length: int
    first_at: float
    at: float
    request_id: str


@dataclass(frozen=True, slots=True)
class Folded:
    """The streaks after a batch (ended ones have length 0), its first crossing, and the longest that any was."""

    runs: Mapping[str, Run]
    crossing: Crossing | None
    longest: int = 0


NO_RUN = Run()


def fold(runs: Mapping[str, Run], hits: Iterable[Hit], threshold: int) -> Folded:
    """Fold one key's hits, in order, into its streaks."""
    now = dict(runs)
    crossing: Crossing | None = None
    longest = 0
    for hit in hits:
        if hit.success:
            now[POLICY] = now[hit.network] = NO_RUN
            continue
        for network in (POLICY, hit.network):
            now[network] = now.get(network, NO_RUN).after_failure(hit.at)
        longest = max(longest, now[POLICY].length, now[hit.network].length)
        if crossing is None:
            crossing = _crossing(now, hit, threshold)
    return Folded(now, crossing, longest)


def _crossing(runs: Mapping[str, Run], hit: Hit, threshold: int) -> Crossing | None:
    """The policy's own streak goes first: when both stand at the threshold, the promise names the rule."""
    for rule, network in ((Rule.KEY, POLICY), (Rule.SOURCE, hit.network)):
        run = runs[network]
        if run.length >= threshold:
            return Crossing(rule, network, run.length, run.first_at, hit.at, hit.request_id)
    return None


def next_notice(length: int, threshold: int) -> int:
    """Return the length at which the case is told next: 2, 4, 8, … times the threshold."""
    notice = threshold * 2
    while notice <= length:
        notice *= 2
    return notice
