"""Metrics of one process of a host app in Prometheus' text format, made without a library.

They need no database: each process counts what it has recorded. The worker's metrics cover all processes, by the
heartbeats that these write.
"""

from collections.abc import Iterable, Iterator

from octy_middleware.auth.authenticator import Authenticator
from octy_middleware.http.outcome import Outcome

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


def exposition(authenticator: Authenticator) -> str:
    """Return the metrics of this process in Prometheus' text format, `CONTENT_TYPE`.

    Counters begin with the process. If several processes share a port, each one must be scraped by itself.
    """
    health, recorded = authenticator.health(), authenticator.recorded()
    outcomes = [(f'{{outcome="{outcome.value}"}}', recorded.get(outcome, 0)) for outcome in Outcome]
    families: tuple[tuple[str, str, str, Iterable[tuple[str, float]]], ...] = (
        ("octy_app_outcomes_total", "counter", "Requests recorded, by outcome.", outcomes),
        (
            "octy_app_recorder_lost_total",
            "counter",
            "Outcomes dropped because the queue was full.",
            [("", health.lost)],
        ),
        ("octy_app_recorder_failures_total", "counter", "Commits that failed.", [("", health.failures)]),
        (
            "octy_app_database_restores_total",
            "counter",
            "Times that an older state of the database was seen: a backup was restored.",
            [("", authenticator.restores_detected)],
        ),
        ("octy_app_recorder_queued", "gauge", "Outcomes waiting for their commit.", [("", health.queued)]),
        (
            "octy_app_recorder_commit_seconds",
            "gauge",
            "Duration of the last commit.",
            [("", health.last_commit_seconds)],
        ),
        (
            "octy_app_recorder_waiting_seconds",
            "gauge",
            "Duration of the current commit so far.",
            [("", health.current_commit_seconds)],
        ),
    )
    return "".join(line for family in families for line in _lines(*family))


def _lines(name: str, kind: str, help_text: str, values: Iterable[tuple[str, float]]) -> Iterator[str]:
    yield f"# HELP {name} {help_text}\n# TYPE {name} {kind}\n"
    yield from (f"{name}{labels} {value}\n" for labels, value in values)
