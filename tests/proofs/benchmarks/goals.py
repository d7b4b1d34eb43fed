"""PURE. The goals, compared with the medians of a report.

A goal that a run did not measure, or not at the size or the rate that the goal names, is no row: it is listed as not
measured, so that it never counts as reached.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

from proofs.benchmarks.apps.contenders import DJANGO, FASTAPI, FLASK, STARLETTE, behind, recording
from proofs.benchmarks.hot_path import ACCEPTED_ASGI, ACCEPTED_WSGI
from proofs.benchmarks.lab import NAMES
from proofs.benchmarks.presentation import Table
from proofs.benchmarks.refusals import ONE_CORE, many_keys, one_connection, one_key
from proofs.benchmarks.servers import GRANIAN, GTHREAD, UVICORN

Benches = dict[str, Any]
"""The figures of a report by the benches' names; those that did not run are missing."""
Path = Sequence[str]
"""Where a figure is in there."""

_RATE = 2000  # refusals a second


@dataclass(frozen=True)
class Limit:
    """What a figure must not exceed, or must not fall below. `above`: the limit is counted from another figure."""

    path: Path
    limit: float
    unit: str = ""
    least: bool = False
    above: Path = ()

    def compare(self, benches: Benches) -> tuple[str, str, bool]:
        """Return what is wanted, what was measured, and whether that is reached. Raises KeyError without the figure."""
        value, limit = _figure(benches, self.path), self.limit
        if self.above:
            limit += _figure(benches, self.above)
        wanted = f"{'≥' if self.least else '≤'} {_short(limit)} {self.unit}".rstrip()
        return wanted, f"{_short(value)} {self.unit}".rstrip(), value >= limit if self.least else value <= limit


def _figure(benches: Benches, path: Path) -> float:
    """Return a figure of a report; the median where it has a spread."""
    found: Any = reduce(lambda part, name: part[name], path, benches)
    return float(found["median"] if isinstance(found, dict) else found)


def _short(value: float) -> str:
    """Write three significant digits, or all of a bigger number."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


class Goal:
    """One figure of a goal, reached when it keeps one of the limits."""

    def __init__(self, goal: str, where: str, *limits: Limit) -> None:
        self.goal, self.where, self.limits = goal, where, limits

    def row(self, benches: Benches) -> dict[str, object]:
        """Return it for a report. Raises KeyError when it was not measured."""
        wanted, measured, reached = zip(*(limit.compare(benches) for limit in self.limits), strict=True)
        return {
            "goal": self.goal,
            "where": self.where,
            "wanted": " or ".join(wanted),
            "measured": " or ".join(measured),
            "reached": any(reached),
        }


def _http(server: str, contender: str) -> Path:
    return "over_http", "servers", server, contender, "throughput_ratio"


def _refused(arm: str, figure: str) -> Path:
    return "refusals", "arms", arm, figure


def _flood(database: str, figure: str) -> Path:
    return "flood", "databases", database, str(_RATE), figure


_OURS = recording("sqlite")
_ACCEPTED = "accepted, recorded: throughput ratio to the bare ASGI app"
_FRAMEWORK = "the same before a framework, to the framework alone"
_CALLS = "calls of an accepted request (sys.setprofile)"
_REFUSED = "committed refusals a second, to unrecorded ones"
_CPU = "CPU of a committed refusal, to an unrecorded one"
_ADDED = f"latency added to a refusal at {_RATE:,}/s"
_BESIDE = f"accepted p99 during {_RATE:,} refusals/s, to the control's"
_BESIDE_CALM = f"accepted p99 during {_RATE:,} refusals/s, to that without them"
_FIRST_USES = f"p99 of first uses of other keys during {_RATE:,} refusals/s"
_ALERT = "20th refusal answered → alert accepted by the SMTP server"
_MANY_KEYS = "cost of a request at 1,000,000 keys, to 1,000"
_MANY_OUTCOMES = "p99 of a refusal at 10,000,000 recorded outcomes, to 1,000"

GOALS = (
    Goal(_ACCEPTED, UVICORN, Limit(_http(UVICORN, _OURS), 0.88, least=True)),
    Goal(_ACCEPTED, GRANIAN, Limit(_http(GRANIAN, _OURS), 0.86, least=True)),
    *(
        Goal(
            _ACCEPTED,
            f"{server}, to {STARLETTE} + 0.05",
            Limit(_http(server, _OURS), 0.05, least=True, above=_http(server, STARLETTE)),
        )
        for server in (UVICORN, GRANIAN)
    ),
    *(
        Goal(_FRAMEWORK, f"{base}, {server}", Limit(_http(server, behind(base)), ratio, least=True))
        for base, server, ratio in ((FASTAPI, UVICORN, 0.93), (FLASK, GTHREAD, 0.95), (DJANGO, GTHREAD, 0.95))
    ),
    *(Goal(_CALLS, path, Limit(("hot_paths", "calls", path), 14)) for path in (ACCEPTED_ASGI, ACCEPTED_WSGI)),
    *(
        Goal(_REFUSED, arm, Limit(_refused(arm, "ratio"), ratio, least=True))
        for arm, ratio in (
            (one_key("sqlite"), 0.55),
            (many_keys("sqlite"), 0.35),
            (one_key("postgresql"), 0.35),
            (many_keys("postgresql"), 0.20),
        )
    ),
    *(
        Goal(_CPU, arm, Limit(_refused(arm, "cpu_cost"), 2.5, "×"))
        for arm in (one_key(name) + ONE_CORE for name in NAMES)
    ),
    Goal(
        "p50 of a refusal on an idle server",
        one_connection("sqlite"),
        Limit(_refused(one_connection("sqlite"), "p50_syncs"), 4, "fdatasyncs"),
        Limit(_refused(one_connection("sqlite"), "p50_ms"), 0.7, "ms"),
    ),
    Goal(
        _ADDED,
        "SQLite, p50",
        Limit(_flood("sqlite", "added_p50_syncs"), 4, "fdatasyncs"),
        Limit(_flood("sqlite", "added_p50_ms"), 1, "ms"),
    ),
    Goal(_ADDED, "SQLite, p99", Limit(_flood("sqlite", "added_p99_ms"), 4, "ms")),
    *(Goal(_BESIDE, NAMES[name], Limit(_flood(name, "accepted_p99_ratio"), 1.5, "×")) for name in NAMES),
    *(Goal(_BESIDE_CALM, NAMES[name], Limit(_flood(name, "accepted_p99_to_calm"), 1.5, "×")) for name in NAMES),
    *(Goal(_FIRST_USES, NAMES[name], Limit(_flood(name, "first_use_p99_ms"), 20, "ms")) for name in NAMES),
    Goal(_ALERT, "p50", Limit(("alerts", "milliseconds"), 100, "ms")),
    Goal(_ALERT, "p99", Limit(("alerts", "p99_ms"), 300, "ms")),
    Goal(
        "memory for 1,000,000 cached keys", "resident set", Limit(("keys", "memory", "1000000", "megabytes"), 250, "MB")
    ),
    *(
        Goal(
            _MANY_KEYS,
            f"{NAMES[name]}, {kind}",
            Limit(("keys", "databases", name, "sizes", "1000000", f"{kind}_ratio"), 1.15, "×"),
        )
        for name in NAMES
        for kind in ("cached", "loaded", "refused")
    ),
    *(
        Goal(_MANY_OUTCOMES, NAMES[name], Limit(("tables", "databases", name, "10000000", "p99_ratio"), 1.2, "×"))
        for name in NAMES
    ),
    Goal("CPU of `octy --help`", "start of a process", Limit(("commands", "help_cpu_seconds"), 0.25, "s")),
    Goal("`make test`", "last whole run, of this commit", Limit(("commands", "test_seconds"), 360, "s")),
)
"""Those of the accepted path are SQLite's, as are those whose name has no database."""


def results(benches: Benches) -> list[dict[str, object]]:
    """Return a row for each figure that was measured."""
    return [row for goal in GOALS if (row := _row_or_none(goal, benches)) is not None]


def not_measured(benches: Benches) -> list[Goal]:
    """Return the others."""
    return [goal for goal in GOALS if _row_or_none(goal, benches) is None]


def _row_or_none(goal: Goal, benches: Benches) -> dict[str, object] | None:
    try:
        return goal.row(benches)
    except KeyError:
        return None


def table(report: dict[str, Any]) -> Table:
    """Return a report's results as a table; a goal is named on its first row. Only a full run is a proof."""
    shown, last = [], ""
    for row in report["goals"]:
        name = "" if row["goal"] == last else row["goal"]
        shown.append(
            (name, row["where"], row["wanted"], row["measured"], "reached" if row["reached"] else "NOT reached")
        )
        last = row["goal"]
    size, missing = report["size"], not_measured(report["benches"])
    title = "Goals" if size == "full" else f"Goals ({size}: few rounds, for a look; a full run decides)"
    places: dict[str, list[str]] = {}
    for goal in missing:
        places.setdefault(goal.goal, []).append(goal.where)
    names = "; ".join(f"{name} ({' / '.join(wheres)})" for name, wheres in places.items())
    note = f"not measured: {names}" if names else ""
    return Table(title, ("goal", "where", "wanted", "measured (median)", ""), shown, note)
