"""OpenTelemetry spans of the worker, if OCTY_TRACING is on: deliveries of the relay and sends of mails.

The Temporal SDK's interceptor adds workflows and activities. OTEL_EXPORTER_OTLP_ENDPOINT and the other OTEL_* variables
say where spans are exported. OpenTelemetry is imported only if tracing is on.

A trace leads from the relay's delivery through the workflow to the mail. The request that caused it is found by ids: an
incident stores the request id, which is an attribute of the middleware's span, and spans here have the incident's id.
Attributes are ids, kinds and codes: no key, no address, no link. Of an error only its type is exported
(`span_redaction`).
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
    """The tracer of this process; `provider` is None if tracing is off."""

    def __init__(self, provider: "TracerProvider | None" = None) -> None:
        self._provider = provider
        self._tracer = None if provider is None else provider.get_tracer(_SCOPE)

    @classmethod
    def start(cls, *, enabled: bool) -> "Tracing":
        """Set OpenTelemetry up if tracing is enabled. Raises ConfigurationError if it is not installed."""
        if not enabled:
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
        """Return the interceptors for a Temporal client; its workers use them, too."""
        if self._tracer is None:
            return ()
        from temporalio.contrib.opentelemetry import TracingInterceptor  # noqa: PLC0415

        return (TracingInterceptor(self._tracer),)

    def delivery_span(self, message: Message) -> AbstractContextManager[Any]:
        """Return the span of one delivery, which includes the start or signal of the workflow."""
        return self._span(
            "octy.deliver",
            {"octy.event": message.kind, "octy.subject_id": message.subject_id, "octy.message": message.id},
        )

    def trace_mailer(self, mailer: Mailer) -> Mailer:
        """Return a mailer that records a span of each send; the same mailer if tracing is off."""
        return mailer if self._tracer is None else _TracedMailer(mailer, self._span)

    def close(self) -> None:
        """Export the spans that are buffered."""
        if self._provider is not None:
            self._provider.shutdown()

    def _span(self, name: str, attributes: dict[str, str | int]) -> AbstractContextManager[Any]:
        if self._tracer is None:
            return nullcontext()
        # The text of an error may repeat personal data; the outbox row and the log have its type.
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
            span.set_attributes({"octy.result": delivery.status.value, "octy.code": delivery.code})
            if delivery.status is not SmtpStatus.ACCEPTED:
                span.set_status(StatusCode.ERROR)
            return delivery
