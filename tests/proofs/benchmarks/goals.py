"""PURE. The goals, compared with the medians of a report.

A goal that a run did not measure, or not at the size that the goal names, is "not measured".
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


Benches = dict[str, Any]
"""The figures of a report by the benches' names; those that did not run are missing."""


@dataclass(frozen=True)
class Finding:
    """One figure beside its limit, which is a maximum unless `at_least`."""

    where: str
    value: float
    limit: float
    unit: str
    at_least: bool = False

    def row(self) -> dict[str, object]:
        """Return it for a report: what was wanted, what was measured, and whether the goal is reached."""
        reached = self.value >= self.limit if self.at_least else self.value <= self.limit
        return {
            "where": self.where,
            "wanted": f"{'≥' if self.at_least else '≤'} {_short(self.limit)} {self.unit}".rstrip(),
            "measured": f"{_short(self.value)} {self.unit}".rstrip(),
            "value": self.value,
            "verdict": REACHED if reached else MISSED,
        }


def _short(value: float) -> str:
    """Write three significant digits, or all of a bigger number."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


@dataclass(frozen=True)
class Goal:
    """`find` raises KeyError where a report lacks the figures."""

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
    """Ours may differ as much as the control's second run did from its first, at most."""
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


def verdicts(benches: Benches) -> list[dict[str, object]]:
    """Return one row a figure, for machines and for the table; one without figures for a goal that has none."""
    rows: list[dict[str, object]] = []
    for goal in GOALS:
        try:
            found = [finding.row() for finding in goal.find(benches)]
        except KeyError:
            found = []
        missing = {"where": "", "wanted": "", "measured": "", "verdict": NOT_MEASURED}
        rows += [{"goal": goal.text, **row} for row in found or [missing]]
    return rows


def table(rows: list[dict[str, Any]]) -> Table:
    """Return the verdicts as a table; a goal is named on its first row."""
    shown, last = [], ""
    for row in rows:
        name = "" if row["goal"] == last else row["goal"]
        shown.append((name, row["where"], row["wanted"], row["measured"], row["verdict"]))
        last = row["goal"]
    return Table("Goals", ("goal", "where", "wanted", "measured (median)", ""), shown)
