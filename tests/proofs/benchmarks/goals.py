"""PURE. The goals, and what the figures say of each.

A goal is held against medians. Where a run did not measure it, or not at the size that the goal names, it says so:
nothing is concluded from less. Here: the goals. Not here: the figures (the benches).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from proofs.benchmarks.apps.contenders import STARLETTE, recording
from proofs.benchmarks.flood import CONTROL_ARM, OURS
from proofs.benchmarks.lab import NAMES
from proofs.benchmarks.presentation import Table
from proofs.benchmarks.refusals import one_key
from proofs.benchmarks.servers import UVICORN

GRANIAN = "granian (ASGI)"
REACHED, MISSED, NOT_MEASURED = "reached", "NOT reached", "not measured"


@dataclass(frozen=True)
class Finding:
    """One figure beside its limit. `at_least`: which side of the limit is the good one."""

    where: str
    value: float
    limit: float
    unit: str
    at_least: bool = False

    @property
    def reached(self) -> bool:
        return self.value >= self.limit if self.at_least else self.value <= self.limit

    def __str__(self) -> str:
        return f"{_short(self.value)} {self.unit}".rstrip()

    @property
    def wanted(self) -> str:
        return f"{'≥' if self.at_least else '≤'} {_short(self.limit)} {self.unit}".rstrip()


def _short(value: float) -> str:
    """Write three digits that count, or all of a bigger number."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


Benches = dict[str, Any]
"""The figures of a report by the benches' names; those that did not run are not there."""


@dataclass(frozen=True)
class Goal:
    """What is wanted, and where a report has it."""

    text: str
    find: Callable[[Benches], Iterator[Finding]]


def _in_process(benches: Benches) -> Iterator[Finding]:
    arms = benches["in_process"]["arms"]
    starlette = arms[STARLETTE]["added_cpu_us"]["median"]
    for store, name in _ours(arms):
        added = arms[name]["added_cpu_us"]["median"]
        yield Finding(store, added, 2.5, "µs of CPU")
        yield Finding(f"{store}, against Starlette's", added / starlette, 0.4, "×")


def _over_http(server: str, least: float) -> Callable[[Benches], Iterator[Finding]]:
    def find(benches: Benches) -> Iterator[Finding]:
        arms = benches["over_http"]["servers"][server]
        for store, name in _ours(arms):
            for kind, key in (("throughput", "throughput_ratio"), ("CPU", "cpu_ratio")):
                mine, starlette = arms[name][key]["median"], arms[STARLETTE][key]["median"]
                yield Finding(f"{store}, {kind}", mine, least, "", at_least=True)
                yield Finding(f"{store}, {kind}, against Starlette's", mine, starlette, "", at_least=True)

    return find


def _ours(arms: dict[str, Any]) -> Iterator[tuple[str, str]]:
    return ((NAMES[store], recording(store)) for store in NAMES if recording(store) in arms)


def _refusals(benches: Benches) -> Iterator[Finding]:
    arms = benches["refusals"]["arms"]
    for store in NAMES:
        if one_key(store) in arms:
            yield Finding(NAMES[store], arms[one_key(store)]["ratio"]["median"], 0.8, "", at_least=True)


def _added_latency(benches: Benches) -> Iterator[Finding]:
    for store, found in benches["flood"]["stores"].items():
        if found["rate"] >= 2000:
            yield Finding(f"{NAMES[store]}, p50", found["added_p50_syncs"]["median"], 4, "fdatasyncs")
            yield Finding(f"{NAMES[store]}, p99", found["added_p99_ms"]["median"], 2.5, "ms")


def _accepted_meanwhile(benches: Benches) -> Iterator[Finding]:
    """Noise is how far the control's second self was from its first, at most; ours may be as far."""
    for store, found in benches["flood"]["stores"].items():
        if found["rate"] >= 2000:
            noise = max(found["accepted_p99_noise"]["most"], 1.0)
            calm = found["arms"][CONTROL_ARM]["accepted_p99_ms"]["median"]
            ours = found["arms"][OURS]["accepted_p99_ms"]["median"]
            where = f"{NAMES[store]}: {ours:.2f} ms, control {calm:.2f} ms"
            yield Finding(where, found["accepted_p99_ratio"]["median"], noise, "×")


def _alerts(benches: Benches) -> Iterator[Finding]:
    found = benches["alerts"]
    yield Finding("p50", found["seconds"]["median"] * 1e3, 200, "ms")
    yield Finding("p99", found["p99"] * 1e3, 1000, "ms")


def _memory(benches: Benches) -> Iterator[Finding]:
    found = benches["keys"]["memory"].get("1000000")
    if found is not None:
        yield Finding("resident set", found["megabytes"], 300, "MB")


def _many_keys(benches: Benches) -> Iterator[Finding]:
    for store, found in benches["keys"]["stores"].items():
        if "1000" in found["sizes"] and "1000000" in found["sizes"]:
            for kind in ("remembered", "looked_up", "refused"):
                ratio = found["sizes"]["1000000"][f"{kind}_ratio"]["median"]
                yield Finding(f"{NAMES[store]}, {kind.replace('_', ' ')}", ratio, 1.1, "×")


def _many_outcomes(benches: Benches) -> Iterator[Finding]:
    for store, found in benches["tables"]["stores"].items():
        if "1000" in found and "10000000" in found:
            for kind in ("p50", "p99"):
                ratio = found["10000000"][f"{kind}_ratio"]["median"]
                yield Finding(f"{NAMES[store]}, {kind}", ratio, 1.5, "×")


GOALS = (
    Goal("accepted request, key seen before, recording included: added in process", _in_process),
    Goal("throughput ratio over HTTP with recording, uvicorn", _over_http(UVICORN, 0.92)),
    Goal("throughput ratio over HTTP with recording, granian", _over_http(GRANIAN, 0.95)),
    Goal("committed refusals/s, one process, against unrecorded ones", _refusals),
    Goal("latency added to a refusal at 2,000/s", _added_latency),
    Goal("accepted p99 while 2,000 refusals/s are recorded, within A/A noise", _accepted_meanwhile),
    Goal("20th refusal answered → alert accepted by the SMTP server", _alerts),
    Goal("memory for 1,000,000 remembered keys", _memory),
    Goal("cost with 1,000,000 keys in the database against 1,000", _many_keys),
    Goal("refusal latency with 10,000,000 recorded outcomes against 1,000", _many_outcomes),
)


def findings(goal: Goal, benches: Benches) -> list[Finding]:
    """Return a goal's figures; none when its bench did not run, or not at that size."""
    try:
        return list(goal.find(benches))
    except KeyError:
        return []


def verdicts(benches: Benches) -> list[dict[str, object]]:
    """Return one row a figure, for machines and for the table."""
    rows: list[dict[str, object]] = []
    for goal in GOALS:
        found = findings(goal, benches)
        rows += [
            {
                "goal": goal.text,
                "where": finding.where,
                "wanted": finding.wanted,
                "measured": str(finding),
                "value": finding.value,
                "verdict": REACHED if finding.reached else MISSED,
            }
            for finding in found
        ]
        if not found:
            rows.append({"goal": goal.text, "where": "", "wanted": "", "measured": "", "verdict": NOT_MEASURED})
    return rows


def table(rows: list[dict[str, Any]]) -> Table:
    """Return the verdicts as a table; a goal is named on its first row."""
    shown, last = [], ""
    for row in rows:
        name = "" if row["goal"] == last else row["goal"]
        shown.append((name, row["where"], row["wanted"], row["measured"], row["verdict"]))
        last = row["goal"]
    return Table("Goals", ("goal", "where", "wanted", "measured (median)", ""), shown)
