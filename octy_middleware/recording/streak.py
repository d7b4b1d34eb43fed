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

ALL_NETWORKS = ""
"""The network of the policy's own streak."""


class Rule(StrEnum):
    """What opened an incident: the key's own streak, that of one source network, or a full window (`window`)."""

    KEY = "key"
    SOURCE = "source"
    WINDOW = "window"


class Streak(NamedTuple):
    """A streak's length, and the Unix times of its first and last failure. Length 0 is no streak."""

    length: int = 0
    first_at: float = 0.0
    last_at: float = 0.0

    def after_failure(self, at: float) -> "Streak":
        """One more failure. Times never run backwards, whatever the clock does."""
        if self.length == 0:
            return Streak(1, at, at)
        return Streak(self.length + 1, self.first_at, max(self.last_at, at))


class AttemptResult(NamedTuple):
    """One outcome of a known, live key that bears on its streaks."""

    success: bool
    network: str
    at: float
    request_id: str = ""


@dataclass(frozen=True, slots=True)
class RuleMatch:
    """The first failure of a batch with which a rule was fulfilled: `length` failures since `first_at`."""

    rule: Rule
    network: str
    length: int
    first_at: float
    at: float
    request_id: str


@dataclass(frozen=True, slots=True)
class FoldResult:
    """The streaks after a batch (ended ones have length 0), its first crossing, and the longest that any was."""

    streaks: Mapping[str, Streak]
    rule_match: RuleMatch | None
    longest: int = 0


NO_STREAK = Streak()


def fold(streaks: Mapping[str, Streak], results: Iterable[AttemptResult], threshold: int) -> FoldResult:
    """Fold one key's hits, in order, into its streaks."""
    now = dict(streaks)
    rule_match: RuleMatch | None = None
    longest = 0
    for result in results:
        if result.success:
            now[ALL_NETWORKS] = now[result.network] = NO_STREAK
            continue
        for network in (ALL_NETWORKS, result.network):
            now[network] = now.get(network, NO_STREAK).after_failure(result.at)
        longest = max(longest, now[ALL_NETWORKS].length, now[result.network].length)
        if rule_match is None:
            rule_match = _match_rule(now, result, threshold)
    return FoldResult(now, rule_match, longest)


def _match_rule(streaks: Mapping[str, Streak], result: AttemptResult, threshold: int) -> RuleMatch | None:
    """The policy's own streak goes first: when both stand at the threshold, the promise names the rule."""
    for rule, network in ((Rule.KEY, ALL_NETWORKS), (Rule.SOURCE, result.network)):
        streak = streaks[network]
        if streak.length >= threshold:
            return RuleMatch(rule, network, streak.length, streak.first_at, result.at, result.request_id)
    return None


def next_notify_at(length: int, threshold: int) -> int:
    """Return the length at which the case is told next: 2, 4, 8, … times the threshold."""
    notice = threshold * 2
    while notice <= length:
        notice *= 2
    return notice
