"""What this worker process does, counted while it does it: deliveries of the relay, sends of mails.

Here: the meters, and the two places where they are put in between. Not here: what stands in the store (`figures`).
"""

import time
from collections.abc import Callable, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from octy_middleware.domain.outbox import Event
from octy_worker.mail.mailer import Mailer
from octy_worker.mail.message_builder import OutgoingMail
from octy_worker.mail.smtp_errors import SmtpResult, SmtpStatus
from octy_worker.outbox.leases import DeliveryResult, Fate
from octy_workflows.messages import RefusalReason, WorkflowKind

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_EVENTS = frozenset(Event)
_FATES: Mapping[Fate, str] = {Fate.DELIVERED: "delivered", Fate.AT_FAULT: "at_fault", Fate.HELD_BACK: "held_back"}
_UNKNOWN = "unknown"  # an event of another release: labels are names of this code


class Counts:
    """The meters of one worker process."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._messages = Counter(
            "octy_relay_messages_total",
            "Messages of the outbox by what became of a try.",
            ["event", "fate"],
            registry=registry,
        )
        self._sends = Counter(
            "octy_mail_sends_total", "Sends of mails by how they ended.", ["verdict"], registry=registry
        )
        self._seconds = Histogram(
            "octy_mail_send_seconds", "What a send took, whatever its end.", buckets=_SECONDS, registry=registry
        )
        self._refused = Counter(
            "octy_workflow_messages_refused_total",
            "Signals and staff orders to workflows that no row of the database backs, or that can't be used.",
            ["workflow", "why"],
            registry=registry,
        )
        self._missing = Counter(
            "octy_subjects_missing_total",
            "Workflows that could not go on for minutes, because what they are about is not in the database.",
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
            for why in RefusalReason:
                self._refused.labels(kind, why)
        for fate in _FATES.values():  # a rate needs a zero to begin with
            for event in Event:
                self._messages.labels(event, fate)
        for status in SmtpStatus:
            self._sends.labels(status)

    def delivered(self, end: DeliveryResult) -> None:
        """Count what became of one message."""
        event = end.message.kind if end.message.kind in _EVENTS else _UNKNOWN
        self._messages.labels(event, _FATES[end.fate]).inc()

    def refused(self, kind: WorkflowKind, why: RefusalReason) -> None:
        """Count a message to a workflow that was refused."""
        self._refused.labels(kind, why).inc()

    def missing(self, kind: WorkflowKind) -> None:
        """Count a workflow whose subject is not in the database."""
        self._missing.labels(kind).inc()

    def clock_seen(self, offset: float) -> None:
        """Note how far this host's clock is ahead of Temporal's."""
        self._clock.set(offset)

    def sent(self, delivery: SmtpResult, seconds: float) -> None:
        """Count one send."""
        self._sends.labels(delivery.status).inc()
        self._seconds.observe(seconds)


class CountedMailer:
    """A mailer whose sends are told to somebody."""

    def __init__(
        self, mailer: Mailer, tell: Callable[[SmtpResult, float], None], monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._mailer = mailer
        self._tell = tell
        self._monotonic = monotonic

    def send(self, envelope: OutgoingMail) -> SmtpResult:
        """Send it by the mailer within."""
        begun = self._monotonic()
        delivery = self._mailer.send(envelope)
        self._tell(delivery, self._monotonic() - begun)
        return delivery
