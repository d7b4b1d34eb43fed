"""What this process of a host app did, as Prometheus reads it: text, made without any library.

Here: `exposition`, for a route or a listener of the host's own. It needs no store: `octy_middleware` in every process
counts what it has recorded, and the worker's metrics tell of all processes what they last put down of themselves.
"""

from collections.abc import Iterable, Iterator

from octy_middleware.auth.authenticator import Authenticator
from octy_middleware.http.outcome import Outcome

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


def exposition(authenticator: Authenticator) -> str:
    """Return the metrics of this process in Prometheus' text format, `CONTENT_TYPE`.

    Counters begin with the process. A host with several processes behind one port has each of them ask by itself.
    """
    health, recorded = authenticator.health(), authenticator.recorded()
    outcomes = [(f'{{outcome="{outcome.value}"}}', recorded.get(outcome, 0)) for outcome in Outcome]
    families: tuple[tuple[str, str, str, Iterable[tuple[str, float]]], ...] = (
        ("octy_app_outcomes_total", "counter", "Requests recorded, by outcome.", outcomes),
        ("octy_app_recorder_lost_total", "counter", "Outcomes given up: the queue was full.", [("", health.lost)]),
        ("octy_app_recorder_failures_total", "counter", "Commits that failed.", [("", health.failures)]),
        (
            "octy_app_database_restores_total",
            "counter",
            "Times that the database went back: a backup was restored.",
            [("", authenticator.restores_detected)],
        ),
        ("octy_app_recorder_queued", "gauge", "Outcomes that wait for their commit.", [("", health.queued)]),
        ("octy_app_recorder_commit_seconds", "gauge", "What the last commit took.", [("", health.last_commit_seconds)]),
        (
            "octy_app_recorder_waiting_seconds",
            "gauge",
            "How long the present commit lasts.",
            [("", health.current_commit_seconds)],
        ),
    )
    return "".join(line for family in families for line in _lines(*family))


def _lines(name: str, kind: str, what: str, values: Iterable[tuple[str, float]]) -> Iterator[str]:
    yield f"# HELP {name} {what}\n# TYPE {name} {kind}\n"
    yield from (f"{name}{labels} {value}\n" for labels, value in values)
