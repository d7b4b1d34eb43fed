"""Figures of the store as metrics, read when Prometheus asks, and no oftener than they may cost.

Here: names, help texts and labels of gauges; how long figures are good for. Not here: SQL (`figures`), counters of this
process (`counts`).

A store that is away is told as `octy_store_up 0`; the other gauges are missing then, rather than wrong.
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
from octy_worker.observability.database_probe import Room, clock_offset, room_of, write_probe
from octy_worker.observability.metrics.figures import Attempts, Now, Process, Totals, read_now, read_totals
from octy_worker.reports.stalled_work import StalledWork

_logger = logging.getLogger(__name__)

_NOW = 1.0  # seconds for which figures are good, however many scrapers ask
_TOTALS = 60.0
_SHARE = 50  # and so many times as long as reading them took: 2 % of a connection's time at most
_STATES = [state for state in IncidentState if state is not IncidentState.CLOSED]
_Labels = tuple[str, ...]
_Read = TypeVar("_Read")


class Kept(Generic[_Read]):
    """A reading that is made anew when it is older than it may be. Raises what reading raises."""

    def __init__(self, read: Callable[[], _Read], least: float, monotonic: Clock = time.monotonic) -> None:
        self._read = read
        self._least = least
        self._monotonic = monotonic
        self._kept: _Read | None = None
        self._until = 0.0

    def get(self) -> _Read:
        """Return it, read now or lately."""
        begun = self._monotonic()
        if self._kept is None or begun >= self._until:
            self._kept = self._read()
            ended = self._monotonic()
            self._until = ended + max(self._least, _SHARE * (ended - begun))
        return self._kept


class StoreCollector(Collector):
    """The gauges of one store, read by one scraper at a time."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._turn = threading.Lock()
        self._attempts = Attempts(database)
        self._now = Kept(lambda: self._read_now(database, clock), _NOW)
        self._totals = Kept(lambda: read_totals(database, clock()), _TOTALS)
        self._probed = Kept(lambda: _probe(database, clock), _TOTALS)

    def _read_now(self, database: Database, clock: Clock) -> Now:
        self._attempts.read()
        return read_now(database, clock())

    def describe(self) -> Iterator[Metric]:
        """Nothing: a registry that knows no names asks no store when this is registered."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        """Yield every gauge of the store."""
        begun, told = time.monotonic(), list[Metric]()
        with self._turn:
            try:
                told += [
                    *_of_now(self._now.get()),
                    *_of_totals(self._totals.get()),
                    *_of_probe(self._probed.get()),
                ]
            except OctyError as error:
                _logger.warning("metrics: the store can't be read: %s", type(error).__name__)
        yield from told
        yield _attempts(self._attempts.counted)
        yield _gauge("octy_store_up", "Whether the store could be read.", float(bool(told)))
        yield _gauge("octy_store_read_seconds", "What reading the store took.", time.monotonic() - begun)


def _of_now(now: Now) -> Iterator[Metric]:
    yield _gauge(
        "octy_app_processes", "Processes of host apps that told of themselves within 10 minutes.", now.process_count
    )
    for name, what, values in _by_process(now.processes):
        yield _labelled(f"octy_recorder_{name}", f"{what}, by process, as last told.", ("host", "process"), values)
    yield _gauge("octy_outbox_undelivered", "Messages for Temporal that are not delivered.", now.outbox.undelivered)
    yield _gauge("octy_outbox_set_aside", "Of these, messages that are tried no more.", now.outbox.set_aside)
    yield _gauge("octy_outbox_oldest_seconds", "Age of the oldest message that is still tried.", now.outbox.oldest)
    states: dict[_Labels, float] = {(state,): now.open_incidents.get(state, 0) for state in _STATES}
    yield _labelled("octy_incidents_open", "Open cases by state.", ("state",), states)
    yield _gauge("octy_alerts_unsent", "Open, unanswered cases whose alert has not left.", now.alerts.count)
    yield _gauge("octy_alerts_unsent_oldest_seconds", "Since when the oldest of these is open.", now.alerts.oldest)
    yield _gauge("octy_alerts_held", "Whether alerts are held on evidence of a fault of our own.", float(now.held))
    withheld: dict[_Labels, float] = {(kind,): now.withheld.get(kind, 0) for kind in CAPPED}
    yield _labelled("octy_mails_withheld", "Mails that the daily cap withholds, by kind.", ("kind",), withheld)
    finished: dict[_Labels, float] = {
        (job.name,): job.finished_at.timestamp() for job in now.jobs if job.finished_at is not None
    }
    # no label `job`: Prometheus has one of its own, and renames ours to `exported_job`
    yield _labelled("octy_task_last_finished_timestamp_seconds", "When a task was last complete.", ("task",), finished)
    faulty: dict[_Labels, float] = {(job.name,): float(job.faulty) for job in now.jobs}
    yield _labelled("octy_task_faulty", "Whether a task's last try failed.", ("task",), faulty)
    found: dict[_Labels, float] = {(what,): count for what, count in now.reconciled.items()}
    yield _labelled("octy_reconciliation_found", "What the last reconciliation found.", ("what",), found)


def _of_results(found: StalledWork) -> Iterator[Metric]:
    stalled, mails, webhooks = found.incidents_stalled, found.mails_retrying, found.webhooks_retrying
    for name, what, value in (
        ("alerts_failed", "Open, unanswered incidents whose alert was refused for good.", found.alerts_failed),
        ("incidents_stalled", "Open incidents whose next step is missing.", stalled.count),
        ("keys_refused", "New keys whose mail was refused for good.", found.keys_refused),
        ("keys_uncollected", "Customers without a usable pair, since the new one waits.", found.keys_uncollected),
        ("mails_retrying", "Mails that were tried for more than 15 minutes.", mails.count),
        ("mails_retrying_oldest_seconds", "Age of the oldest of these.", mails.oldest),
        ("mails_refused_today", "Mails refused for good within a day.", found.mails_refused),
        ("webhooks_retrying", "Webhooks that were tried for more than an hour.", webhooks.count),
        ("webhooks_failed_lately", "Webhooks of the last four days that were given up.", found.webhooks_failed),
        ("app_processes_failing", "App processes whose commit failed within 10 minutes.", found.apps_failing),
        ("app_processes_other_release", "App processes of another release.", found.apps_of_other_release),
    ):
        yield _gauge(f"octy_{name}", what, value)


@dataclass(frozen=True, slots=True)
class Probed:
    """What a real write took, or None when it failed; free bytes and clock, where these can be told."""

    seconds: float | None
    room: Room | None
    offset: float | None


def _probe(database: Database, clock: Clock) -> Probed:
    try:
        seconds: float | None = write_probe(database, clock())
    except OctyError as error:
        _logger.warning("metrics: the database can't be written: %s", type(error).__name__)
        seconds = None
    return Probed(seconds, room_of(database), clock_offset(database, clock))


def _of_probe(found: Probed) -> Iterator[Metric]:
    yield _gauge("octy_database_writable", "Whether a row could be committed.", float(found.seconds is not None))
    if found.seconds is not None:
        yield _gauge("octy_database_write_seconds", "What committing a row took.", found.seconds)
    if found.room is not None:
        yield _gauge("octy_database_free_bytes", "Room beside the database's file.", found.room.free)
    if found.offset is not None:
        yield _gauge("octy_database_clock_offset_seconds", "This host's clock ahead of the database's.", found.offset)


def _of_totals(totals: Totals) -> Iterator[Metric]:
    yield _labelled("octy_incidents_closed", "Closed cases by resolution.", ("resolution",), totals.closed)
    yield _labelled("octy_mails", "Mails by kind and state.", ("kind", "state"), totals.mails)
    yield _labelled("octy_webhooks", "Events for customers' own servers by state.", ("state",), totals.webhooks)
    yield _labelled(
        "octy_regenerations", "Issues and replacements of pairs by state.", ("state",), totals.regenerations
    )
    yield _labelled("octy_key_pairs", "Key pairs by state.", ("state",), totals.pairs)
    yield _gauge("octy_streaks", "Running streaks of failures, of keys and of networks.", totals.streaks)
    yield _gauge("octy_streak_longest", "Length of the longest streak.", totals.longest)
    yield from _of_results(totals.results)


def _by_process(processes: Iterable[Process]) -> Iterator[tuple[str, str, dict[_Labels, float]]]:
    apps = {(app.host, app.id): app for app in processes}
    yield "queued", "Outcomes that wait for their commit", {one: app.queued for one, app in apps.items()}
    yield "lost", "Outcomes given up since the process began", {one: app.lost for one, app in apps.items()}
    yield "failures", "Commits that failed since the process began", {one: app.failures for one, app in apps.items()}
    yield "commit_seconds", "What the last commit took", {one: app.commit for one, app in apps.items()}


def _attempts(counted: Mapping[str, int]) -> Metric:
    told = CounterMetricFamily(
        "octy_attempts", "Refused attempts put down in detail since this worker began.", labels=["outcome"]
    )
    for outcome, count in counted.items():
        told.add_metric([outcome], count)
    return told


def _gauge(name: str, what: str, value: float) -> Metric:
    return GaugeMetricFamily(name, what, value=value)


def _labelled(name: str, what: str, labels: Sequence[str], values: Mapping[_Labels, float]) -> Metric:
    told = GaugeMetricFamily(name, what, labels=labels)
    for one, value in values.items():
        told.add_metric(one, value)
    return told
