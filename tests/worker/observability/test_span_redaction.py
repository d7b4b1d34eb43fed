"""Span redaction: the type of an error is exported, its text is not."""

import sys

import pytest
from opentelemetry.exporter.otlp.proto.http import trace_exporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode
from support.mail_rig import RecordingMailer

from octy_middleware.domain.outbox import MessageKind, Priority
from octy_middleware.errors import ConfigurationError
from octy_worker.mail.message_builder import OutgoingMail
from octy_worker.mail.renderer import RenderedMail
from octy_worker.mail.smtp_errors import SmtpResult, SmtpStatus
from octy_worker.observability.span_redaction import RedactingExporter
from octy_worker.observability.tracing import Tracing
from octy_worker.outbox.leases import Message

ADDRESS = "jane@acme.example"
MESSAGE = Message(1, Priority.ALERT, MessageKind.INCIDENT_OPENED, "i-1", "{}", 0)


@pytest.fixture
def out() -> InMemorySpanExporter:
    return InMemorySpanExporter()


def provider(out: InMemorySpanExporter, *, reticent: bool = True) -> TracerProvider:
    made = TracerProvider()
    made.add_span_processor(SimpleSpanProcessor(RedactingExporter(out) if reticent else out))
    return made


def fail(words: str = ADDRESS) -> None:
    raise ValueError(f"Key (security_email)=({words}) already exists.")


def test_error_texts_in_sdk_spans_are_redacted_and_the_rest_stays(out: InMemorySpanExporter) -> None:
    tracer = provider(out).get_tracer("t")
    with (
        pytest.raises(ValueError, match="exists"),
        tracer.start_as_current_span("RunActivity:x", kind=SpanKind.SERVER, attributes={"temporalActivityID": "1"}),
    ):
        fail()
    [span] = out.get_finished_spans()
    assert ADDRESS not in span.to_json()
    assert span.status.status_code is StatusCode.ERROR
    [event] = span.events
    assert dict(event.attributes or {}) == {"exception.type": "ValueError"}
    assert (span.name, span.kind, dict(span.attributes or {})) == (
        "RunActivity:x",
        SpanKind.SERVER,
        {"temporalActivityID": "1"},
    )


def test_error_texts_in_our_own_spans_are_redacted(out: InMemorySpanExporter) -> None:
    tracing = Tracing(provider(out, reticent=False))
    with pytest.raises(ValueError, match="exists"), tracing.delivery_span(MESSAGE):
        fail()
    [span] = out.get_finished_spans()
    assert ADDRESS not in span.to_json()


def test_span_of_a_mail_that_was_not_accepted_is_an_error(out: InMemorySpanExporter) -> None:
    refused = SmtpResult(SmtpStatus.REFUSED, "rcpt-550")
    mailer = Tracing(provider(out)).trace_mailer(RecordingMailer(refused))
    mail = OutgoingMail("<1@octy.example>", 0.0, ADDRESS, RenderedMail("s", "t", "h"))
    assert mailer.send(mail) == refused
    [span] = out.get_finished_spans()
    assert span.status.status_code is StatusCode.ERROR
    assert dict(span.attributes or {}) == {
        "octy.message_id": "<1@octy.example>",
        "octy.result": "refused",
        "octy.code": "rcpt-550",
    }


def test_tracing_without_its_packages_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    with pytest.raises(ConfigurationError, match=r"OCTY_TRACING: .* pip install 'octy-middleware\[telemetry\]'"):
        Tracing.start(enabled=True)


def test_configured_tracing_exports_redacted_spans(out: InMemorySpanExporter, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trace_exporter, "OTLPSpanExporter", lambda: out)
    tracing = Tracing.start(enabled=True)
    [interceptor] = tracing.interceptors()
    with pytest.raises(ValueError, match="exists"), interceptor.tracer.start_as_current_span("RunActivity:x"):
        fail()
    tracing.close()
    [span] = out.get_finished_spans()
    assert ADDRESS not in span.to_json()
