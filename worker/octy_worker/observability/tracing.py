"""Spans of the worker by OpenTelemetry, for installations that switch them on (OCTY_TRACING).

Here: the set-up, and spans around deliveries of the relay and sends of mails; the Temporal SDK's own interceptor adds
workflows and activities. Not here: where spans go: OTEL_EXPORTER_OTLP_ENDPOINT and the other OTEL_* variables say that.
OpenTelemetry is loaded only when the setting says so.

A trace goes from the relay's delivery over the workflow to the mail. What came before it, the request, is found by ids:
a case holds its request's id, which is an attribute of the middleware's span, and spans here hold the case's id.
Attributes are ids, kinds and codes: no key, no address, no link. Of an error only its kind leaves (`reticence`).
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

from temporalio.client import Interceptor

from octy_middleware.errors import ConfigurationError
from octy_worker.mail.mailer import Mailer
from octy_worker.mail.message_builder import OutgoingMail
from octy_worker.mail.smtp_errors import SmtpResult, SmtpStatus
from octy_worker.outbox.leases import Message

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

_SCOPE = "octy_worker"


class Tracing:
    """What traces, or nothing: `provider` is None when tracing is off."""

    def __init__(self, provider: "TracerProvider | None" = None) -> None:
        self._provider = provider
        self._tracer = None if provider is None else provider.get_tracer(_SCOPE)

    @classmethod
    def start(cls, *, wanted: bool) -> "Tracing":
        """Set OpenTelemetry up where it is wanted. Raises ConfigurationError when it is not installed."""
        if not wanted:
            return cls()
        try:
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415
            from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
            from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
            from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415

            from octy_worker.observability.span_redaction import RedactingExporter  # noqa: PLC0415
        except ModuleNotFoundError:
            raise ConfigurationError(
                "OCTY_TRACING: OpenTelemetry is missing → pip install 'octy-middleware[telemetry]'"
            ) from None
        provider = TracerProvider(resource=Resource.create({"service.name": "octy-worker"}))
        provider.add_span_processor(BatchSpanProcessor(RedactingExporter(OTLPSpanExporter())))
        return cls(provider)

    def interceptors(self) -> Sequence[Interceptor]:
        """Return what a Temporal client takes; workers made with that client have it too."""
        if self._tracer is None:
            return ()
        from temporalio.contrib.opentelemetry import TracingInterceptor  # noqa: PLC0415

        return (TracingInterceptor(self._tracer),)

    def delivery(self, message: Message) -> AbstractContextManager[Any]:
        """Return the span of one message's delivery: the start or the signal of a workflow is within it."""
        return self._span(
            "octy.deliver",
            {"octy.event": message.kind, "octy.subject_id": message.subject_id, "octy.message": message.number},
        )

    def mailer(self, mailer: Mailer) -> Mailer:
        """Return a mailer whose sends leave spans, or this one."""
        return mailer if self._tracer is None else _TracedMailer(mailer, self._span)

    def close(self) -> None:
        """Send what has gathered."""
        if self._provider is not None:
            self._provider.shutdown()

    def _span(self, name: str, attributes: dict[str, str | int]) -> AbstractContextManager[Any]:
        if self._tracer is None:
            return nullcontext()
        # An error's text may repeat what a message holds; the relay's rows and log tell its kind.
        return self._tracer.start_as_current_span(
            name, attributes=attributes, record_exception=False, set_status_on_exception=False
        )


class _TracedMailer:
    def __init__(
        self, mailer: Mailer, span: Callable[[str, dict[str, str | int]], AbstractContextManager[Any]]
    ) -> None:
        self._mailer = mailer
        self._span = span

    def send(self, envelope: OutgoingMail) -> SmtpResult:
        from opentelemetry.trace import StatusCode  # noqa: PLC0415

        with self._span("octy.mail", {"octy.message_id": envelope.message_id}) as span:
            delivery = self._mailer.send(envelope)
            span.set_attributes({"octy.verdict": delivery.status.value, "octy.code": delivery.code})
            if delivery.status is not SmtpStatus.ACCEPTED:
                span.set_status(StatusCode.ERROR)
            return delivery
