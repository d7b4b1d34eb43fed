"""Somebody who reaches Temporal: forged, content-less and replayed signals and updates to every kind of workflow.

Here: sending them while everything else goes on, and counting what was sent and what was taken. Not here: what they
must not bring about, which the judge sees in the tables.
"""

import asyncio
import os
import random
import threading
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from uuid import uuid4

from temporalio.api.common.v1 import Payload
from temporalio.client import (
    Client,
    WorkflowHandle,
    WorkflowUpdateFailedError,
    WorkflowUpdateRPCTimeoutOrCancelledError,
)
from temporalio.common import RawValue
from temporalio.service import RPCError

_PAUSE = 0.25  # seconds between two forgeries
_UPDATE_TIMEOUT = 3.0  # seconds: no worker may be there to refuse it
SIGNALS = (
    *(
        "customer_answered",
        "answer_amended",
        "regeneration_finished",
        "keys_collected",
        "superseded",
        "failures_increased",
    ),
    *("staff_decision", "staff_extension", "staff_resend", "look", "no_such_signal"),
)
_CONTENTS: tuple[object, ...] = (
    {"choice": "dismiss", "leaked": False, "by": "customer"},
    {"choice": "regenerate", "leaked": True, "by": "customer"},
    {"decision": "dismiss", "actor": "mallory", "reason": "all is well", "leaked": False},
    {"regeneration_id": str(uuid4()), "state": "done"},
    {"request": str(uuid4())},
    {"failures": 1_000_000},
    str(uuid4()),
)
_UPDATES = ("decide", "extend", "resend")


class Forger:
    """Sends one forgery after another to running workflows, from a thread."""

    def __init__(self, temporal_port: int, seed: str) -> None:
        self._address = f"127.0.0.1:{temporal_port}"
        self._chance = random.Random(seed)
        self.sent: Counter[str] = Counter()
        self.taken: list[str] = []  # updates that were answered as if they were genuine

    def run(self, stop: threading.Event) -> None:
        """Forge until told to stop; Temporal may be away meanwhile."""
        asyncio.run(self._forge(stop))

    async def _forge(self, stop: threading.Event) -> None:
        client: Client | None = None
        while not stop.is_set():
            try:
                client = client or await Client.connect(self._address)
                running = [one.id async for one in client.list_workflows("ExecutionStatus = 'Running'", limit=50)]
                if running:
                    await self._forge_one(client, running)
            except (RPCError, RuntimeError):  # Temporal is killed now and then, or the workflow has just ended
                client = None if client is None else client
            await asyncio.sleep(_PAUSE)

    async def _forge_one(self, client: Client, running: list[str]) -> None:
        handle = client.get_workflow_handle(self._chance.choice(running))
        ways: dict[str, Callable[[], object]] = {
            "without content": lambda: handle.signal(self._name()),
            "plaintext": lambda: handle.signal(self._name(), self._chance.choice(_CONTENTS)),
            "too much content": lambda: handle.signal(self._name(), args=[1, 2, 3]),
            "damaged ciphertext": lambda: handle.signal(self._name(), _damaged()),
            "replayed": lambda: self._replay(client, handle, self._chance.choice(running)),
            "update": lambda: self._update(handle),
        }
        kind = self._chance.choice(sorted(ways))
        await ways[kind]()  # type: ignore[misc]
        self.sent[kind] += 1

    def _name(self) -> str:
        return self._chance.choice(SIGNALS)

    async def _replay(self, client: Client, handle: WorkflowHandle, other: str) -> None:
        """Send what another workflow was sent, or this one before, byte for byte."""
        history = await client.get_workflow_handle(other).fetch_history()
        signals = [
            event.workflow_execution_signaled_event_attributes
            for event in history.events
            if event.HasField("workflow_execution_signaled_event_attributes")
        ]
        if signals:
            chosen = self._chance.choice(signals)
            await handle.signal(chosen.signal_name, args=[RawValue(payload) for payload in chosen.input.payloads])

    async def _update(self, handle: WorkflowHandle) -> None:
        name = self._chance.choice(_UPDATES)
        with suppress(WorkflowUpdateFailedError, WorkflowUpdateRPCTimeoutOrCancelledError, TimeoutError):
            async with asyncio.timeout(_UPDATE_TIMEOUT):
                await handle.execute_update(name, self._chance.choice(_CONTENTS))
                self.taken.append(f"the update {name} to {handle.id}")


def _damaged() -> RawValue:
    return RawValue(Payload(metadata={"encoding": b"binary/encrypted", "key-id": b"k1"}, data=os.urandom(40)))
