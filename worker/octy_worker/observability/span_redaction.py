"""Spans as they leave this process: of an error its kind, neither its text nor its trace.

Here: an exporter around another one. Not here: which spans there are (`tracing`, and the Temporal SDK's interceptor,
which puts texts and traces of failures into its own). A database's words may repeat values, and on the way to Temporal
the same texts are encrypted.

Loaded only where tracing is on.
"""

from collections.abc import Sequence

from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.trace import Status

_KIND = "exception.type"


class RedactingExporter(SpanExporter):
    """Hands spans on without the words of errors."""

    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter = exporter

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Hand them on."""
        return self._exporter.export([_without_words(span) for span in spans])

    def shutdown(self) -> None:
        """End the exporter within."""
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Have the exporter within send what it holds."""
        return self._exporter.force_flush(timeout_millis)


def _without_words(span: ReadableSpan) -> ReadableSpan:
    return ReadableSpan(
        name=span.name,
        context=span.context,
        parent=span.parent,
        resource=span.resource,
        attributes=span.attributes,
        events=[_kind_of(event) for event in span.events],
        links=span.links,
        kind=span.kind,
        status=Status(span.status.status_code),
        start_time=span.start_time,
        end_time=span.end_time,
        instrumentation_scope=span.instrumentation_scope,
    )


def _kind_of(event: Event) -> Event:
    attributes = event.attributes or {}
    return Event(event.name, {_KIND: attributes[_KIND]} if _KIND in attributes else {}, event.timestamp)
