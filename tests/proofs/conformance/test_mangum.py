"""The table's requests as events of API Gateway, through Mangum, in this process."""

import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from mangum import Mangum
from support.event_loops import own_event_loop

from octy_middleware.auth.sharing import close_authenticators
from proofs.conformance.accounts import Accounts, accounts
from proofs.conformance.cases import SECURE, THEN, Case, table
from proofs.conformance.cells import SERVERS, SHORT_TABLE, CaseResult, Cell, CellRun, RecordedOutcomes
from proofs.conformance.in_process import PEER, ParsedRequest, run, runs_in_process
from proofs.conformance.raw_http import Response
from proofs.conformance.response_text import describe


@pytest.fixture
def originals(tmp_path: Path) -> Iterator[Accounts]:
    with accounts(tmp_path / "accounts") as made:
        yield made


def _is_of_a_gateway(case: Case) -> bool:
    """Tell whether API Gateway could send it: over TLS, as it says itself and Mangum believes, and each name once."""
    if case.group == "nobody trusted":
        return False
    for part in map(ParsedRequest.of, case.request.split(THEN)):
        names = [name for name, _ in part.headers]
        secure = tuple(SECURE.lower().split(b": "))
        if len(names) != len(set(names)) or secure not in part.headers or b"upgrade" in names:
            return False
    return True


def _event(request: ParsedRequest) -> dict[str, Any]:
    http = {"method": request.method, "path": request.target.decode(), "protocol": "HTTP/1.1", "sourceIp": PEER[0]}
    return {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": request.path.decode(),
        "rawQueryString": request.query.decode(),
        "headers": {name.decode(): value.decode("latin-1") for name, value in request.headers},
        "requestContext": {"http": http, "stage": "$default"},
        "body": request.body.decode(),
        "isBase64Encoded": False,
    }


def test_cases_of_the_smaller_table_come_to_the_same(
    originals: Accounts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = CellRun.prepared(Cell("", SERVERS[0]), originals, tmp_path / "cell")
    for name, value in session.environment().items():
        monkeypatch.setenv(name, value)
    module = importlib.import_module("proofs.conformance.apps.starlette_app")
    app = module.asgi_sites(module.build)

    def ask(request: ParsedRequest) -> list[str]:
        context: Any = None
        said = Mangum(app, lifespan="off")(_event(request), context)
        head = request.method == "HEAD"
        headers = [(name.lower(), value) for name, value in said["headers"].items()]
        body = said["body"].encode()
        return [describe(Response(said["statusCode"], headers, b"" if head else body, b"", head))]

    all_cases = table(originals.key_pairs)
    cases = [
        case for case in all_cases if case.group in SHORT_TABLE and runs_in_process(case) and _is_of_a_gateway(case)
    ]
    with own_event_loop():
        answers = {case.title: run(case, ask) for case in cases}
    for world in session.worlds.values():
        close_authenticators(world.url)
    record = RecordedOutcomes(session.worlds)
    seen = {case.title: CaseResult(answers[case.title], record.of(case)) for case in cases}
    for world in session.worlds.values():
        world.database.close()
    assert {**seen, **record.rest()} == {case.title: CaseResult(case.answers, case.recorded) for case in cases}
    assert len(cases) > 30
