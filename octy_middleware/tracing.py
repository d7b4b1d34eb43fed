"""Spans of a gate's decisions by OpenTelemetry, for hosts that switch them on (`tracing`, OCTY_TRACING).

Here: what is put around the two halves of a request's story: `octy.verify`, which needs no I/O, and `octy.record`,
which is look-up and commit. Not here: where spans go, which the host's own OpenTelemetry set-up says. This is the only
room that knows OpenTelemetry, and it is loaded only when the setting says so; the gate without it is unchanged.

Attributes are the outcome, and of a refused request the id that it came with (X-Request-Id), by which a case names the
request that opened it. No key, no address, no other header.
"""

from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any

from octy_middleware.auth.decision import Claim, SlowClaim, Verdict
from octy_middleware.errors import ConfigurationError
from octy_middleware.http.event import given_request_id
from octy_middleware.http.request import Request

if TYPE_CHECKING:
    from opentelemetry.trace import Span

    from octy_middleware.auth.authenticator import Gate

_SCOPE = "octy_middleware"


def trace(gate: "Gate") -> None:
    """Have every decision of this gate leave spans. Raises ConfigurationError when the API is not installed."""
    try:
        from opentelemetry.trace import get_tracer  # noqa: PLC0415  # only hosts that trace have it
    except ModuleNotFoundError:
        raise ConfigurationError(
            "tracing (OCTY_TRACING): OpenTelemetry is missing → pip install 'octy-middleware[telemetry]'"
        ) from None
    tracer, admit, pursue = get_tracer(_SCOPE), gate.admit, gate.pursue

    def admit_traced(request: Request) -> Verdict | Claim:
        # Neither an error's trace nor its text, which the status would repeat: what it says may be a header's.
        with tracer.start_as_current_span("octy.verify", record_exception=False, set_status_on_exception=False) as span:
            found = admit(request)
            if isinstance(found, Verdict):
                _describe(span, found, request)
            return found

    def pursue_traced(
        found: Verdict | Claim, request: Request, make_ticket: Callable[[], Any]
    ) -> Generator[Any | SlowClaim, None, Verdict]:
        # Not the current span: between its steps the thread, or the event loop, does other work.
        span = tracer.start_span("octy.record")
        try:
            verdict = yield from pursue(found, request, make_ticket)
            _describe(span, verdict, request)
            return verdict
        finally:
            span.end()

    gate.admit = admit_traced  # type: ignore[method-assign]
    gate.pursue = pursue_traced  # type: ignore[method-assign]


def _describe(span: "Span", verdict: Verdict, request: Request) -> None:
    if verdict.outcome is None:
        return
    span.set_attribute("octy.outcome", verdict.outcome.value)
    request_id = "" if verdict.passes else given_request_id(request)
    if request_id:
        span.set_attribute("octy.request_id", request_id)
