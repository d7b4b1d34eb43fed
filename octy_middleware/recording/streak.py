"""Streaks of consecutive failures and the rules that open an incident. Pure: no I/O.

A key has one streak over all networks and one for each source network. A failure adds one to the first and to that of
its own network. A success ends the first, and of the others only that of its own network. Folding a batch gives exactly
what processing its results one by one in the same order gives.
"""

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import NamedTuple

from octy_middleware.http.event import UNDESCRIBED, Description, UnreadDescription

ALL_NETWORKS = ""
"""The network of the streak that counts failures from any network."""


class Rule(StrEnum):
    """What opened an incident: the streak over all networks, that of one network, or the window (`window_rule`)."""

    KEY = "key"
    SOURCE = "source"
    WINDOW = "window"


class Streak(NamedTuple):
    """Consecutive failures: how many, and the Unix times of the first and the last. Length 0 is no streak."""

    length: int = 0
    first_at: float = 0.0
    last_at: float = 0.0


class AttemptResult(NamedTuple):
    """The result of one attempt with a live key, as far as it matters to streaks."""

    success: bool
    network: str
    at: float
    description: Description | UnreadDescription = UNDESCRIBED


class RuleMatch(NamedTuple):
    """The first failure of a batch that met a rule, at `at`: `length` failures since `first_at`."""

    rule: Rule
    network: str
    length: int
    first_at: float
    at: float
    request_id: str


class FoldResult(NamedTuple):
    """The streaks after a batch by network (length 0: ended), the first rule met, and the greatest length reached."""

    streaks: Mapping[str, Streak]
    rule_match: RuleMatch | None
    longest: int = 0


NO_STREAK = Streak()


def fold(streaks: Mapping[str, Streak], results: Iterable[AttemptResult], threshold: int) -> FoldResult:
    """Apply the results of one key, in order, to its streaks."""
    now: dict[str, tuple[int, float, float]] = dict(streaks)  # plain tuples: named ones take eight times as long
    rule_match: RuleMatch | None = None
    longest = 0
    for result in results:
        success, network, at, _ = result
        if success:
            now[ALL_NETWORKS] = now[network] = NO_STREAK
            continue
        for each in (ALL_NETWORKS, network):
            length, first_at, last_at = now.get(each, NO_STREAK)
            # `last_at` never decreases, even if the clock is set back.
            now[each] = (length + 1, first_at, max(last_at, at)) if length else (1, at, at)
            longest = max(longest, length + 1)
        if rule_match is None and longest >= threshold:
            rule_match = _match_rule(now, result, threshold)
    return FoldResult({network: Streak(*streak) for network, streak in now.items()}, rule_match, longest)


def _match_rule(streaks: Mapping[str, tuple[int, float, float]], result: AttemptResult, threshold: int) -> RuleMatch:
    """Return the rule that was met: over all networks if that streak is long enough, else that of this network."""
    is_key_rule = streaks[ALL_NETWORKS][0] >= threshold
    rule, network = (Rule.KEY, ALL_NETWORKS) if is_key_rule else (Rule.SOURCE, result.network)
    length, first_at, _ = streaks[network]
    return RuleMatch(rule, network, length, first_at, result.at, result.description.read().request_id)


def next_notify_at(length: int, threshold: int) -> int:
    """Return the length at which the incident's workflow is notified next: 2, 4, 8, … times the threshold."""
    notify_at = threshold * 2
    while notify_at <= length:
        notify_at *= 2
    return notify_at
