"""The adapters against both specifications, with a checker above and below them, over all requests of the table."""

import asyncio
import importlib
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, ClassVar
from wsgiref.validate import validator

import pytest

from octy_middleware import OctyASGIMiddleware, OctyWSGIMiddleware
from proofs.conformance.accounts import KeyPairs, accounts
from proofs.conformance.asgi_checker import BreachError, checked
from proofs.conformance.cases import table
from proofs.conformance.cells import FRAMEWORKS, SERVERS, Cell, CellRun
from proofs.conformance.in_process import ParsedRequest, asgi, run, runs_in_process, wsgi


class _Checked:
    """What both checked adapters share: the authenticators that they made."""

    made: ClassVar[list[Any]] = []

    @classmethod
    def close_all(cls) -> None:
        while cls.made:
            cls.made.pop().close()


class CheckedASGI(_Checked, OctyASGIMiddleware):
    """The adapter with a checker on either side, wherever a framework builds it in."""

    lower_case = True

    def __init__(self, app: Any, **options: Any) -> None:
        super().__init__(checked(app, lower_case=self.lower_case), **options)
        self._above = checked(super().__call__, lower_case=self.lower_case)
        self.made.append(self.authenticator)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await self._above(scope, receive, send)


class CheckedWSGI(_Checked, OctyWSGIMiddleware):
    """The same with the standard library's own checker."""

    def __init__(self, app: Any, **options: Any) -> None:
        super().__init__(validator(app), **options)
        self._above = validator(super().__call__)
        self.made.append(self.authenticator)

    def __call__(self, environ: Any, start_response: Any) -> Any:
        return self._above(environ, start_response)


ADAPTERS = {
    "asgi": ("OctyASGIMiddleware", CheckedASGI, "asgi_app_by_host", asgi),
    "wsgi": ("OctyWSGIMiddleware", CheckedWSGI, "wsgi_app_by_host", wsgi),
}


@pytest.fixture
def cell_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[KeyPairs, CellRun]]:
    """Return the accounts' key pairs, and a cell's databases with this process's own environment set to them."""
    with accounts(tmp_path / "accounts") as made:
        run = CellRun.prepare(Cell("", SERVERS[0]), made, tmp_path / "cell")
        for name, value in run.environment().items():
            monkeypatch.setenv(name, value)
        with closing(run):
            yield made.key_pairs, run
            _Checked.close_all()


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_every_request_of_the_table_keeps_the_specification(
    framework: str, cell_run: tuple[KeyPairs, CellRun], monkeypatch: pytest.MonkeyPatch
) -> None:
    key_pairs, in_databases = cell_run
    adapter, name = FRAMEWORKS[framework]
    original, checker, by_host, ask = ADAPTERS[adapter]
    module = importlib.import_module(f"proofs.conformance.apps.{name}")
    monkeypatch.setattr(module, original, checker)
    monkeypatch.setattr(CheckedASGI, "lower_case", not framework.startswith("Django"))
    app = ask(getattr(module, by_host)(module.build))
    cases = [case for case in table(key_pairs) if case.adapter in ("", adapter) and runs_in_process(case)]
    assert len(cases) > 250
    responses = {case.title: run(case, app) for case in cases}
    _Checked.close_all()
    assert in_databases.results(cases, responses) == {case.title: case.expected for case in cases}


@pytest.mark.parametrize("framework", [name for name, (adapter, _) in FRAMEWORKS.items() if adapter == "asgi"])
def test_lifespan_is_passed_on_or_served_for_an_app_without_one(
    framework: str, cell_run: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = importlib.import_module(f"proofs.conformance.apps.{FRAMEWORKS[framework][1]}")
    monkeypatch.setattr(module, "OctyASGIMiddleware", CheckedASGI)
    waiting = [{"type": "lifespan.shutdown"}, {"type": "lifespan.startup"}]
    sent: list[str] = []

    async def receive() -> Any:
        return waiting.pop()

    async def send(message: Any) -> None:
        sent.append(message["type"])

    asyncio.run(module.build()({"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}}, receive, send))
    assert sent == ["lifespan.startup.complete", "lifespan.shutdown.complete"]


START = {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]}
BODY = {"type": "http.response.body", "body": b"ok"}
BREACHES = {
    "body first": [BODY],
    "no body": [START],
    "two starts": [START, START],
    "something after the last body": [START, BODY, BODY],
    "more than promised": [START, {**BODY, "body": b"okay"}],
    "less than promised": [START, {**BODY, "body": b""}],
    "a body of text": [START, {**BODY, "body": "ok"}],
    "a status of text": [{**START, "status": "200"}, BODY],
    "an interim status": [{**START, "status": 100}, BODY],
    "a header in upper case": [{**START, "headers": [(b"X-A", b"1")]}, BODY],
    "a header of text": [{**START, "headers": [("x-a", "1")]}, BODY],
    "a line end in a value": [{**START, "headers": [(b"x-a", b"1\r\nx-b: 2")]}, BODY],
    "a space after a value": [{**START, "headers": [(b"x-a", b"1 ")]}, BODY],
    "framing": [{**START, "headers": [(b"transfer-encoding", b"chunked")]}, BODY],
    "a message of another protocol": [{"type": "websocket.accept"}],
}


@pytest.mark.parametrize("messages", BREACHES.values(), ids=BREACHES)
def test_asgi_checker_raises_on_a_breach(messages: list[Any]) -> None:
    async def app(_scope: Any, _receive: Any, send: Any) -> None:
        for message in messages:
            await send(message)

    request = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
    with pytest.raises(BreachError):
        asgi(checked(app))(ParsedRequest.of(request))


def test_asgi_checker_accepts_a_correct_response() -> None:
    async def app(_scope: Any, receive: Any, send: Any) -> None:
        await receive()
        for message in (START, {**BODY, "body": b"o", "more_body": True}, {**BODY, "body": b"k"}):
            await send(message)

    assert asgi(checked(app))(ParsedRequest.of(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")) == ["200 by the server"]


SOCKET_BREACHES = {
    "accept before connect": [{"type": "websocket.accept"}],
    "a message before accept": [None, {"type": "websocket.send", "text": "x"}],
    "a denial after accept": [None, {"type": "websocket.accept"}, {**START, "type": "websocket.http.response.start"}],
    "a denial without a body": [None, {**START, "type": "websocket.http.response.start"}],
    "no end": [None, {"type": "websocket.accept"}],
    "something after the end": [None, {"type": "websocket.close"}, {"type": "websocket.close"}],
}


@pytest.mark.parametrize("messages", SOCKET_BREACHES.values(), ids=SOCKET_BREACHES)
def test_asgi_checker_raises_on_a_breach_of_a_websocket(messages: list[Any]) -> None:
    async def app(_scope: Any, receive: Any, send: Any) -> None:
        for message in messages:
            await (receive() if message is None else send(message))

    with pytest.raises(BreachError):
        asgi(checked(app))(ParsedRequest.of(b"GET / HTTP/1.1\r\nUpgrade: websocket\r\n\r\n"))
