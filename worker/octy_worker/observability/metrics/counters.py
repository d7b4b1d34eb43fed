"""Counters of this worker process: deliveries of the relay, sends of mails, refused messages to workflows."""

import time
from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from octy_middleware.domain.outbox import MessageKind
from octy_worker.mail.mailer import Mailer
from octy_worker.mail.message_builder import OutgoingMail
from octy_worker.mail.smtp_errors import SmtpResult, SmtpStatus
from octy_worker.outbox.leases import DeliveryResult, DeliveryStatus
from octy_workflows.messages import RefusalReason, WorkflowKind

_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_EVENTS = frozenset(MessageKind)
_UNKNOWN = "unknown"  # an event of another release; labels are limited to known names


class WorkerCounters:
    """The counters of one worker process."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._messages = Counter(
            "octy_relay_messages_total",
            "Deliveries of outbox messages by result.",
            ["event", "result"],
            registry=registry,
        )
        self._sends = Counter("octy_mail_sends_total", "Sends of mails by result.", ["result"], registry=registry)
        self._seconds = Histogram(
            "octy_mail_send_seconds", "Duration of a send, whatever its result.", buckets=_BUCKETS, registry=registry
        )
        self._refused = Counter(
            "octy_workflow_messages_refused_total",
            "Signals and orders of staff to workflows that match no row of the database, or are malformed.",
            ["workflow", "reason"],
            registry=registry,
        )
        self._missing = Counter(
            "octy_subjects_missing_total",
            "Workflows that are blocked for minutes, because their subject is not in the database.",
            ["workflow"],
            registry=registry,
        )
        self._clock = Gauge(
            "octy_temporal_clock_offset_seconds",
            "How far this host's clock is ahead of Temporal's, by the last activity.",
            registry=registry,
        )
        for kind in WorkflowKind:
            self._missing.labels(kind)
            for reason in RefusalReason:
                self._refused.labels(kind, reason)
        for status in DeliveryStatus:  # a rate needs a zero to begin with
            for event in MessageKind:
                self._messages.labels(event, status)
        for smtp_status in SmtpStatus:
            self._sends.labels(smtp_status)

    def count_delivery(self, result: DeliveryResult) -> None:
        """Count the result of one delivery."""
        event = result.message.kind if result.message.kind in _EVENTS else _UNKNOWN
        self._messages.labels(event, result.status).inc()

    def count_refused(self, kind: WorkflowKind, reason: RefusalReason) -> None:
        """Count a refused message to a workflow."""
        self._refused.labels(kind, reason).inc()

    def count_missing(self, kind: WorkflowKind) -> None:
        """Count a workflow whose subject is not in the database."""
        self._missing.labels(kind).inc()

    def set_clock_offset(self, offset: float) -> None:
        """Record how far this host's clock is ahead of Temporal's."""
        self._clock.set(offset)

    def count_send(self, delivery: SmtpResult, seconds: float) -> None:
        """Count one send."""
        self._sends.labels(delivery.status).inc()
        self._seconds.observe(seconds)


class CountedMailer:
    """A mailer that reports each send and its seconds to `on_send`."""

    def __init__(
        self,
        mailer: Mailer,
        on_send: Callable[[SmtpResult, float], None],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._mailer = mailer
        self._on_send = on_send
        self._monotonic = monotonic

    def send(self, envelope: OutgoingMail) -> SmtpResult:
        """Send it by the wrapped mailer."""
        started = self._monotonic()
        delivery = self._mailer.send(envelope)
        self._on_send(delivery, self._monotonic() - started)
        return delivery
