"""Span redaction: an exporter that removes error messages and stack traces, and keeps the type of the exception.

The Temporal SDK's interceptor records messages and stack traces of failures in its spans. They may repeat values of
rows, and in Temporal the same texts are encrypted. Imported only if tracing is on.
"""

from collections.abc import Sequence

from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.trace import Status

_EXCEPTION_TYPE = "exception.type"


class RedactingExporter(SpanExporter):
    """Exports spans without error messages and stack traces."""

    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter = exporter

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Export the redacted spans."""
        return self._exporter.export([_redact(span) for span in spans])

    def shutdown(self) -> None:
        """Shut the wrapped exporter down."""
        self._exporter.shutdown()


def _redact(span: ReadableSpan) -> ReadableSpan:
    return ReadableSpan(
        name=span.name,
        context=span.context,
        parent=span.parent,
        resource=span.resource,
        attributes=span.attributes,
        events=[_redact_event(event) for event in span.events],
        links=span.links,
        kind=span.kind,
        status=Status(span.status.status_code),
        start_time=span.start_time,
        end_time=span.end_time,
        instrumentation_scope=span.instrumentation_scope,
    )


def _redact_event(event: Event) -> Event:
    attributes = event.attributes or {}
    return Event(
        event.name,
        {_EXCEPTION_TYPE: attributes[_EXCEPTION_TYPE]} if _EXCEPTION_TYPE in attributes else {},
        event.timestamp,
    )
