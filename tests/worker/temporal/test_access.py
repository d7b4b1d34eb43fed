"""Access to Temporal for commands, in this process: what they do not get, and why."""

import asyncio
from collections.abc import Callable, Coroutine
from types import SimpleNamespace
from typing import Any

import pytest
from temporalio.service import RPCError, RPCStatusCode

from octy_middleware.errors import ConfigurationError
from octy_worker.errors import UnavailableError
from octy_worker.settings import TemporalAccess
from octy_worker.temporal import access
from octy_worker.temporal.access import fetch_versions, open_client, promote_version
from octy_worker.temporal.client import connect


def promoted(place: TemporalAccess) -> Coroutine[Any, Any, None]:
    return promote_version(place, "1", identity="test", retry_for=0.1)


@pytest.mark.parametrize(
    ("call", "said"),
    [(fetch_versions, "Temporal did not list worker versions"), (promoted, "Temporal did not promote the version")],
)
def test_refused_call_about_versions_says_what_temporal_said(
    monkeypatch: pytest.MonkeyPatch, call: Callable[[TemporalAccess], Coroutine[Any, Any, object]], said: str
) -> None:
    async def refuse(*_request: object) -> None:
        raise RPCError("no permission", RPCStatusCode.PERMISSION_DENIED, b"")

    async def refusing(_place: object) -> SimpleNamespace:
        service = SimpleNamespace(describe_worker_deployment=refuse, set_worker_deployment_current_version=refuse)
        return SimpleNamespace(namespace="default", workflow_service=service)

    monkeypatch.setattr(access, "open_client", refusing)
    with pytest.raises(UnavailableError, match=f"{said}: no permission → run `octy doctor`"):
        asyncio.run(call(TemporalAccess(temporal_deployment="octy")))


def test_server_that_does_not_answer_is_given_up_after_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    async def hang(_place: object) -> None:
        await asyncio.sleep(60)

    monkeypatch.setattr(access, "connect", hang)
    with pytest.raises(UnavailableError, match=r"Temporal at 127.0.0.1:7233 did not answer within 0.01 s"):
        asyncio.run(open_client(TemporalAccess(temporal_address="127.0.0.1:7233"), connect_timeout=0.01))


def test_address_that_no_client_takes_is_a_fault_of_the_settings() -> None:
    with pytest.raises(ConfigurationError, match="OCTY_TEMPORAL_ADDRESS: invalid connection to"):
        asyncio.run(connect(TemporalAccess(temporal_address="127.0.0.1:99999")))
