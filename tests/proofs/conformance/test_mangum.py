"""The table's requests as events of API Gateway, through Mangum, in this process."""

import importlib
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from mangum import Mangum
from support.event_loops import own_event_loop

from octy_middleware.auth.sharing import shared_authenticators
from proofs.conformance.accounts import accounts
from proofs.conformance.cases import SECURE, THEN, Case, table
from proofs.conformance.cells import SERVERS, SHORT_TABLE, Cell, CellRun
from proofs.conformance.in_process import PEER, ParsedRequest, describe_parts, run, runs_in_process


def _is_of_a_gateway(case: Case) -> bool:
    """Return whether API Gateway could send it: over TLS, as it says itself and Mangum believes, and each name once."""
    if case.group == "no proxy trusted":
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


def test_cases_of_the_short_table_come_to_the_same_through_mangum(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with accounts(tmp_path / "accounts") as originals:
        cell_run = CellRun.prepare(Cell("", SERVERS[0]), originals, tmp_path / "cell")
    for name, value in cell_run.environment().items():
        monkeypatch.setenv(name, value)
    app = importlib.import_module("proofs.conformance.apps.starlette_app").app

    def ask(request: ParsedRequest) -> list[str]:
        context: Any = None
        response = Mangum(app, lifespan="off")(_event(request), context)
        headers, body = response["headers"].items(), response["body"].encode()
        return [describe_parts(response["statusCode"], headers, body, head=request.method == "HEAD")]

    of_the_table = (case for case in table(originals.key_pairs) if case.group in SHORT_TABLE)
    cases = [case for case in of_the_table if runs_in_process(case) and _is_of_a_gateway(case)]
    assert len(cases) > 30
    with closing(cell_run):
        with own_event_loop():
            responses = {case.title: run(case, ask) for case in cases}
        for world in cell_run.worlds.values():
            for authenticator in shared_authenticators.of_database(world.url):
                authenticator.close()
        assert cell_run.results(cases, responses) == {case.title: case.expected for case in cases}
