"""Spans of the authenticator hold outcome and request id only; OpenTelemetry is not imported without tracing."""

import subprocess
import sys

import pytest
from opentelemetry import trace as api
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from support.adapters import asgi
from support.world import FakeRequest, World

from octy_middleware import ConfigurationError


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> InMemorySpanExporter:
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(api, "get_tracer", provider.get_tracer)
    return exporter


@pytest.fixture
def world(tmp_path):
    world = World(tmp_path)
    yield world
    world.close()


def told(spans: InMemorySpanExporter) -> list[tuple[str, dict]]:
    found = [(span.name, dict(span.attributes or {})) for span in spans.get_finished_spans()]
    spans.clear()
    return found


def test_verification_and_recording_are_spans_with_their_outcome(world, spans):
    keys = world.register()
    accepted = {"octy.outcome": "accepted"}
    with world.authenticator(tracing=True) as authenticator:
        assert authenticator.decide(FakeRequest(keys.basic())).passes
        assert told(spans) == [("octy.verify", {}), ("octy.record", accepted)]  # the first use is looked up
        assert authenticator.decide(FakeRequest(keys.basic())).passes
        assert told(spans) == [("octy.verify", accepted)]
        wrong = FakeRequest(keys.basic("wrong"), headers={b"x-request-id": [b"r-1"]})
        assert not authenticator.decide(wrong).passes
        refused = {"octy.outcome": "wrong_secret", "octy.request_id": "r-1"}
        assert told(spans) == [("octy.verify", {}), ("octy.record", refused)]
        authenticator.decide(FakeRequest("Bearer x", headers={b"x-request-id": [b"r-2"]}))
        malformed = {"octy.outcome": "malformed", "octy.request_id": "r-2"}
        assert told(spans) == [("octy.verify", malformed)]  # no client waits for its commit


def test_requests_through_the_asgi_adapter_are_spans_also_on_exempt_paths(world, spans):
    keys = world.register()
    with world.authenticator(tracing=True, exempt_paths=("/open",)) as authenticator, asgi(authenticator) as ask:
        assert [ask("/who", keys.basic("wrong")).status, ask("/open").status] == [401, 200]
    wrong, exempt = ("octy.record", {"octy.outcome": "wrong_secret"}), ("octy.verify", {})
    [verified, recorded, opened] = told(spans)
    assert recorded[1].pop("octy.request_id", None) is None
    assert (verified, recorded, opened) == (exempt, wrong, exempt)


def test_incident_has_the_request_id_of_the_span(world, spans):
    keys = world.register()
    with world.authenticator(tracing=True) as authenticator:
        for number in range(20):
            authenticator.decide(FakeRequest(keys.basic("wrong"), headers={b"x-request-id": [b"r-%d" % number]}))
    ids = [attributes.get("octy.request_id") for name, attributes in told(spans) if name == "octy.record"]
    assert world.rows("SELECT request_id FROM incident") == [(ids[-1],)]


def test_no_span_holds_a_key_a_secret_or_an_address(world, spans):
    keys = world.register()
    with world.authenticator(tracing=True) as authenticator:
        for request in (keys.basic(), keys.basic("wrong"), "Basic !!", None):
            authenticator.decide(FakeRequest(request))
    everything = " ".join(span.to_json() for span in spans.get_finished_spans())
    assert "octy.record" in everything
    for secret in (keys.public_key, keys.secret, keys.basic().split()[1], "203.0.113.9", "acme"):
        assert secret not in everything


def test_error_text_is_not_in_a_span(world, spans):
    class Headers(FakeRequest):
        def header(self, _name: bytes) -> list[bytes]:
            raise ValueError("Basic c2VjcmV0")

    with world.authenticator(tracing=True) as authenticator, pytest.raises(ValueError, match="Basic"):
        authenticator.decide(Headers("x"))
    [span] = spans.get_finished_spans()
    assert "c2VjcmV0" not in span.to_json()


def test_tracing_off_imports_no_opentelemetry(world):
    with world.authenticator() as authenticator:
        assert authenticator.instrumentation is None
    code = (
        "import sys; from octy_middleware import Authenticator, Settings; "
        "from octy_middleware.keys.keychain import Keychain; "
        f"Authenticator(Settings.build(database_url={world.url!r}, peppers=Keychain.generate())); "
        "sys.exit('opentelemetry' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_tracing_without_the_package_says_what_to_install(world, monkeypatch):
    monkeypatch.setitem(sys.modules, "opentelemetry.trace", None)
    with pytest.raises(ConfigurationError, match="telemetry"), world.authenticator(tracing=True):
        pass
