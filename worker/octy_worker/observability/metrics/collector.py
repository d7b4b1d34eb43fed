"""Gauges of the database's figures: names, help texts and labels. Read at a scrape, cached for a fixed time.

If the database is unavailable, `octy_database_up` is 0 and the other gauges are missing, rather than wrong.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from octy_middleware.clock import Clock
from octy_middleware.db.database import Database
from octy_middleware.errors import OctyError
from octy_middleware.states import IncidentState
from octy_worker.mail.repository import CAPPED
from octy_worker.observability.database_probe import DiskSpace, clock_offset, disk_space, write_probe
from octy_worker.observability.metrics.queries import (
    AppProcessFigures,
    AttemptCounter,
    Current,
    Totals,
    read_current,
    read_totals,
)
from octy_worker.reports.stalled_work import StalledWork

_logger = logging.getLogger(__name__)

_CURRENT_TTL = 1.0  # seconds, however many servers scrape
TOTALS_TTL = 60.0
_STATES = [state for state in IncidentState if state is not IncidentState.CLOSED]
_Labels = tuple[str, ...]
_Value = TypeVar("_Value")


class CachedReading(Generic[_Value]):
    """A value that is read again when it is older than `ttl` seconds. Raises what `read` raises."""

    def __init__(self, read: Callable[[], _Value], ttl: float, monotonic: Clock = time.monotonic) -> None:
        self._read = read
        self._ttl = ttl
        self._monotonic = monotonic
        self._value: _Value | None = None
        self._expires_at = 0.0

    def get(self) -> _Value:
        """Return the value, from the cache if it is recent enough."""
        if self._value is None or self._monotonic() >= self._expires_at:
            self._value = self._read()
            self._expires_at = self._monotonic() + self._ttl
        return self._value


class DatabaseCollector(Collector):
    """The gauges of one database. Concurrent scrapes read one after the other."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._lock = threading.Lock()
        self._attempts = AttemptCounter(database)
        self._current = CachedReading(lambda: self._read_current(database, clock), _CURRENT_TTL)
        self._totals = CachedReading(lambda: read_totals(database, clock()), TOTALS_TTL)
        self._probe = CachedReading(lambda: _run_probe(database, clock), TOTALS_TTL)

    def _read_current(self, database: Database, clock: Clock) -> Current:
        self._attempts.read()
        return read_current(database, clock())

    def collect(self) -> Iterator[Metric]:
        """Yield every gauge."""
        started, metrics = time.monotonic(), list[Metric]()
        with self._lock:
            try:
                metrics += [
                    *_of_current(self._current.get()),
                    *_of_totals(self._totals.get()),
                    *_of_probe(self._probe.get()),
                ]
            except OctyError as error:
                _logger.warning("metrics: can't read the database: %s", type(error).__name__)
        yield from metrics
        yield labelled_counter(
            "octy_attempts",
            "Refused attempts recorded in detail since this worker started.",
            "outcome",
            self._attempts.counts,
        )
        yield _gauge("octy_database_up", "Whether the database could be read.", float(bool(metrics)))
        yield _gauge("octy_database_read_seconds", "Duration of reading the database.", time.monotonic() - started)


def _of_current(current: Current) -> Iterator[Metric]:
    yield _gauge("octy_app_processes", "Host app processes seen within 10 minutes.", current.process_count)
    for name, description, values in _by_process(current.processes):
        yield _labelled(f"octy_recorder_{name}", f"{description}, by process.", ("host", "process"), values)
    yield _gauge(
        "octy_outbox_undelivered", "Undelivered outbox messages, dead letters included.", current.outbox.undelivered
    )
    yield _gauge("octy_outbox_dead_letters", "Outbox messages that failed for good.", current.outbox.dead_letters)
    yield _gauge(
        "octy_outbox_oldest_seconds",
        "Age of the oldest undelivered message that is no dead letter.",
        current.outbox.oldest,
    )
    states: dict[_Labels, float] = {(state,): current.open_incidents.get(state, 0) for state in _STATES}
    yield _labelled("octy_incidents_open", "Open incidents by state.", ("state",), states)
    yield _gauge("octy_alerts_unsent", "Open, unanswered incidents whose alert is not sent yet.", current.alerts.count)
    yield _gauge("octy_alerts_unsent_oldest_seconds", "Age of the oldest of these incidents.", current.alerts.oldest)
    yield _gauge(
        "octy_alerts_held",
        "Whether alerts are held because the failures look like a fault of the host app.",
        float(current.held),
    )
    withheld: dict[_Labels, float] = {(kind,): current.withheld.get(kind, 0) for kind in CAPPED}
    yield _labelled("octy_mails_withheld", "Mails withheld by the daily cap, by kind.", ("kind",), withheld)
    finished: dict[_Labels, float] = {
        (job.name,): job.finished_at.timestamp() for job in current.jobs if job.finished_at is not None
    }
    # not `job`: Prometheus has a label of this name, and would rename ours to `exported_job`
    yield _labelled(
        "octy_task_last_finished_timestamp_seconds", "When a periodic job last finished.", ("task",), finished
    )
    failing: dict[_Labels, float] = {(job.name,): float(job.failing) for job in current.jobs}
    yield _labelled("octy_task_failing", "Whether the last run of a periodic job failed.", ("task",), failing)
    findings: dict[_Labels, float] = {(what,): count for what, count in current.findings.items()}
    yield _labelled("octy_reconciliation_found", "Findings of the last reconciliation, by kind.", ("what",), findings)


def _of_results(found: StalledWork) -> Iterator[Metric]:
    stalled, mails, webhooks = found.incidents_stalled, found.mails_retrying, found.webhooks_retrying
    for name, description, value in (
        ("alerts_failed", "Open, unanswered incidents whose alert was rejected permanently.", found.alerts_failed),
        ("incidents_stalled", "Open incidents that are stalled.", stalled.count),
        ("keys_refused", "Regenerations whose mail was rejected permanently.", found.keys_refused),
        (
            "keys_uncollected",
            "Customers without a usable key pair, because the new one is not collected.",
            found.keys_uncollected,
        ),
        ("mails_retrying", "Mails being retried for more than 15 minutes.", mails.count),
        ("mails_retrying_oldest_seconds", "Age of the oldest of these mails.", mails.oldest),
        ("mails_refused_today", "Mails rejected permanently within a day.", found.mails_refused),
        ("webhooks_retrying", "Webhooks being retried for more than an hour.", webhooks.count),
        ("webhooks_failed_recent", "Webhooks of the last four days that failed.", found.webhooks_failed),
        ("app_processes_failing", "App processes whose commit failed within 10 minutes.", found.apps_failing),
        ("app_processes_other_release", "App processes of another release.", found.apps_of_other_release),
    ):
        yield _gauge(f"octy_{name}", description, value)


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """Seconds of a committed write (None: it failed), disk space and clock offset (None: not known)."""

    seconds: float | None
    disk: DiskSpace | None
    offset: float | None


def _run_probe(database: Database, clock: Clock) -> ProbeResult:
    try:
        seconds: float | None = write_probe(database, clock())
    except OctyError as error:
        _logger.warning("metrics: can't write to the database: %s", type(error).__name__)
        seconds = None
    return ProbeResult(seconds, disk_space(database), clock_offset(database, clock))


def _of_probe(found: ProbeResult) -> Iterator[Metric]:
    yield _gauge("octy_database_writable", "Whether a row could be committed.", float(found.seconds is not None))
    if found.seconds is not None:
        yield _gauge("octy_database_write_seconds", "Duration of a commit.", found.seconds)
    if found.disk is not None:
        yield _gauge("octy_database_free_bytes", "Free disk space of the database file.", found.disk.free)
    if found.offset is not None:
        yield _gauge(
            "octy_database_clock_offset_seconds",
            "How far this host's clock is ahead of the database server's.",
            found.offset,
        )


def _of_totals(totals: Totals) -> Iterator[Metric]:
    yield _labelled("octy_incidents_closed", "Closed incidents by resolution.", ("resolution",), totals.closed)
    yield _labelled("octy_mails", "Mails by kind and state.", ("kind", "state"), totals.mails)
    yield _labelled("octy_webhooks", "Webhooks by state.", ("state",), totals.webhooks)
    yield _labelled("octy_regenerations", "Regenerations by state.", ("state",), totals.regenerations)
    yield _labelled("octy_key_pairs", "Key pairs by state.", ("state",), totals.pairs)
    yield _gauge("octy_streaks", "Failure streaks, of keys and of networks.", totals.streaks)
    yield _gauge("octy_longest_streak", "Length of the longest failure streak.", totals.longest)
    yield from _of_results(totals.results)


def _by_process(processes: Iterable[AppProcessFigures]) -> Iterator[tuple[str, str, dict[_Labels, float]]]:
    apps = {(app.host, app.id): app for app in processes}
    yield "queued", "Outcomes waiting for their commit", {one: app.queued for one, app in apps.items()}
    yield "lost", "Outcomes lost since the process started", {one: app.lost for one, app in apps.items()}
    yield "failures", "Failed commits since the process started", {one: app.failures for one, app in apps.items()}
    yield "commit_seconds", "Duration of the last commit", {one: app.commit for one, app in apps.items()}


def labelled_counter(name: str, description: str, label: str, counts: Mapping[str, float]) -> Metric:
    """Return a counter with a series for each value of its label."""
    metric = CounterMetricFamily(name, description, labels=[label])
    for value, count in counts.items():
        metric.add_metric([value], count)
    return metric


def _gauge(name: str, description: str, value: float) -> Metric:
    return GaugeMetricFamily(name, description, value=value)


def _labelled(name: str, description: str, labels: Sequence[str], values: Mapping[_Labels, float]) -> Metric:
    metric = GaugeMetricFamily(name, description, labels=labels)
    for each, value in values.items():
        metric.add_metric(each, value)
    return metric
