"""What a command says of an order that its workflow did not carry out; the answers of Temporal are made here."""

import asyncio
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from support.cli_rig import DENIED, open_incident
from support.world import World
from temporalio.api.workflowservice.v1 import DescribeTaskQueueResponse
from temporalio.client import WorkflowUpdateFailedError, WorkflowUpdateRPCTimeoutOrCancelledError
from temporalio.service import RPCError, RPCStatusCode

from octy_worker.access.proofs import Unproven
from octy_worker.errors import CommandError, UnavailableError, UsageError
from octy_worker.staff import decisions
from octy_worker.staff.acts import DECIDE, RESEND_KEYS, Decision, Resend
from octy_worker.staff.context import StaffContext
from octy_worker.staff.local_desk import LocalDesk
from octy_worker.staff.provers import UnsignedActor

AWAY = RPCError("gone", RPCStatusCode.UNAVAILABLE, b"")
TIMEOUT = WorkflowUpdateRPCTimeoutOrCancelledError()


@dataclass
class FakeClient:
    """A client whose updates end by an error, and whose task queues are polled, or can't be described."""

    error: Exception
    polled: bool
    namespace: str = "default"

    @property
    def workflow_service(self) -> Any:
        return self

    def get_workflow_handle(self, _workflow_id: str) -> Any:
        return SimpleNamespace(execute_update=self._fail)

    async def _fail(self, *_values: object, **_options: object) -> None:
        raise self.error

    async def describe_task_queue(self, _request: object) -> DescribeTaskQueueResponse:
        if not self.polled:
            raise AWAY
        response = DescribeTaskQueueResponse()
        response.pollers.add().last_access_time.FromDatetime(datetime.now(UTC))
        return response


def use(monkeypatch: pytest.MonkeyPatch, error: Exception, *, polled: bool = True) -> None:
    async def open_client(_place: object) -> FakeClient:
        await asyncio.sleep(0)
        return FakeClient(error, polled)

    monkeypatch.setattr(decisions, "open_client", open_client)


def desk_of(world: World) -> LocalDesk:
    variables = {"OCTY_DATABASE_URL": world.url, "OCTY_STAFF_AUTH": "off", "OCTY_TEMPORAL_ADDRESS": DENIED}
    return LocalDesk(StaffContext(world.database, variables), lambda: UnsignedActor("ada", Unproven()))


FAILED: dict[str, tuple[Exception, bool, type[CommandError], str]] = {
    "not encrypted": (
        WorkflowUpdateFailedError(RuntimeError("refused/plaintext")), True, UsageError,
        "the workers accept only encrypted orders, and this one was not encrypted",
    ),
    "any failure": (
        WorkflowUpdateFailedError(RuntimeError("boom")), True, UnavailableError,
        "the workflow failed to handle the order: boom",
    ),
    "no answer of a worker that polls": (TIMEOUT, True, UnavailableError, "although a worker is polling"),
    "no answer of Temporal either": (TIMEOUT, False, UnavailableError, "no worker is polling task queue"),
    "refused by Temporal": (
        RPCError("not allowed", RPCStatusCode.PERMISSION_DENIED, b""), True, UnavailableError,
        "Temporal refused the order: not allowed → run `octy doctor`",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FAILED)
def test_decision_that_fails_says_why_and_its_order_can_be_repeated(
    world: World, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    error, polled, kind, why = FAILED[name]
    _, incident_id = open_incident(world)
    use(monkeypatch, error, polled=polled)
    with pytest.raises(kind, match=why):
        desk_of(world).order(DECIDE, incident_id, Decision("dismiss"), "by phone")
    assert world.rows("SELECT state FROM staff_order") == [("received",)]


def test_link_to_keys_whose_workflow_is_not_there_yet_is_not_ordered(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No incident waits for these keys, so none can be closed meanwhile."""
    use(monkeypatch, RPCError("not found", RPCStatusCode.NOT_FOUND, b""))
    keys = world.register(now=time.time())
    with pytest.raises(UnavailableError, match="the workflow does not exist yet"):
        desk_of(world).order(RESEND_KEYS, keys.regeneration_id, Resend(), "by phone")
