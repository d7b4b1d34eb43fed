"""Spans of decisions by OpenTelemetry, for hosts that switch them on (`tracing`, OCTY_TRACING).

Two spans a request: `octy.verify`, which needs no I/O, and `octy.record`, which is load and commit. Where they are
sent is set up by the host's own OpenTelemetry. This is the only module of the middleware that imports OpenTelemetry,
and only when the setting is on.

Attributes: the outcome, and of a refused request the id that it came with (X-Request-Id), by which an incident names
the request that opened it. No key, no address, no other header.
"""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

from octy_middleware.errors import ConfigurationError
from octy_middleware.http.decision import AuthDecision
from octy_middleware.http.event import received_request_id
from octy_middleware.http.request import Request

if TYPE_CHECKING:
    from opentelemetry.trace import Span

_SCOPE = "octy_middleware"
Describe = Callable[[AuthDecision], None]
"""Describes a span by the decision that it ended with."""


class Instrumentation:
    """The spans of an authenticator. Raises ConfigurationError when OpenTelemetry's API is not installed."""

    def __init__(self) -> None:
        try:
            from opentelemetry.trace import get_tracer  # noqa: PLC0415  # only hosts that trace have it
        except ModuleNotFoundError:
            raise ConfigurationError(
                "tracing (OCTY_TRACING): OpenTelemetry is missing → pip install 'octy-middleware[telemetry]'"
            ) from None
        self._tracer = get_tracer(_SCOPE)

    @contextmanager
    def verify(self, request: Request) -> Generator[Describe, None, None]:
        """Measure the part that needs no I/O. Runs in one thread, from beginning to end."""
        # Neither traceback nor text of an error: they may contain headers.
        with self._tracer.start_as_current_span(
            "octy.verify", record_exception=False, set_status_on_exception=False
        ) as span:
            yield partial(_describe, span, request)

    @contextmanager
    def record(self, request: Request) -> Generator[Describe, None, None]:
        """Measure load and commit. Not the current span, as other requests run in its thread before it ends."""
        span = self._tracer.start_span("octy.record")
        try:
            yield partial(_describe, span, request)
        finally:
            span.end()


def _describe(span: "Span", request: Request, decision: AuthDecision) -> None:
    if decision.outcome is None:
        return
    span.set_attribute("octy.outcome", decision.outcome.value)
    request_id = "" if decision.passes else received_request_id(request)
    if request_id:
        span.set_attribute("octy.request_id", request_id)
