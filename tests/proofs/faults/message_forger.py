"""Sends forged, empty, damaged and replayed signals and updates to running workflows, as anyone with Temporal can.

The checks find in the tables what these must not cause.
"""

import asyncio
import os
import threading
from collections import Counter
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

from octy_worker.dev import LOOPBACK
from octy_workflows.messages import Signal
from octy_workflows.order_content import STAFF_DECISION, STAFF_EXTENSION, STAFF_RESEND
from proofs.faults.context import RunContext

_INTERVAL = 0.25  # seconds between two messages
_UPDATE_TIMEOUT = 3.0  # seconds: without a worker it is not rejected
_SIGNALS = (*map(str, Signal), STAFF_DECISION, STAFF_EXTENSION, STAFF_RESEND, "look", "no_such_signal")
_UPDATES = ("decide", "extend", "resend")
_CONTENTS: tuple[object, ...] = (
    {"choice": "dismiss", "leaked": False, "by": "customer"},
    {"choice": "regenerate", "leaked": True, "by": "customer"},
    {"decision": "dismiss", "actor": "mallory", "reason": "all is well", "leaked": False},
    {"regeneration_id": str(uuid4()), "state": "done"},
    {"order": str(uuid4())},
    {"failures": 1_000_000},
    str(uuid4()),
)
_FORMS = ("without content", "plaintext", "too much content", "damaged ciphertext", "replayed", "update")


class MessageForger:
    """Sends one message after the other, from a thread of its own. `sent` counts them by form."""

    def __init__(self, run: RunContext) -> None:
        self._address = f"{LOOPBACK}:{run.installation.port_of('temporal')}"
        self._random = run.random("message forger")
        self.sent: Counter[str] = Counter()
        self.accepted: list[str] = []  # updates that were answered as if they were genuine

    def run(self, stop: threading.Event) -> None:
        asyncio.run(self._send_until(stop))

    async def _send_until(self, stop: threading.Event) -> None:
        client: Client | None = None
        while not stop.is_set():
            with suppress(RPCError, RuntimeError):  # Temporal is down, or the workflow has just ended
                client = client or await Client.connect(self._address)
                running = [one.id async for one in client.list_workflows("ExecutionStatus = 'Running'", limit=50)]
                if running:
                    form = self._random.choice(_FORMS)
                    await self._send(client, running, form)
                    self.sent[form] += 1
            await asyncio.sleep(_INTERVAL)

    async def _send(self, client: Client, running: list[str], form: str) -> None:
        handle = client.get_workflow_handle(self._random.choice(running))
        name, content = self._random.choice(_SIGNALS), self._random.choice(_CONTENTS)
        if form == "without content":
            await handle.signal(name)
        elif form == "plaintext":
            await handle.signal(name, content)
        elif form == "too much content":
            await handle.signal(name, args=[1, 2, 3])
        elif form == "damaged ciphertext":
            metadata = {"encoding": b"binary/encrypted", "key-id": b"k1"}
            await handle.signal(name, RawValue(Payload(metadata=metadata, data=os.urandom(40))))
        elif form == "replayed":
            await self._replay(client.get_workflow_handle(self._random.choice(running)), handle)
        else:
            await self._update(handle, self._random.choice(_UPDATES), content)

    async def _replay(self, source: WorkflowHandle, target: WorkflowHandle) -> None:
        """Send a workflow what another one or itself was sent before, byte for byte."""
        signals = [
            event.workflow_execution_signaled_event_attributes
            for event in (await source.fetch_history()).events
            if event.HasField("workflow_execution_signaled_event_attributes")
        ]
        if signals:
            signal = self._random.choice(signals)
            await target.signal(signal.signal_name, args=[RawValue(payload) for payload in signal.input.payloads])

    async def _update(self, handle: WorkflowHandle, name: str, content: object) -> None:
        with suppress(WorkflowUpdateFailedError, WorkflowUpdateRPCTimeoutOrCancelledError, TimeoutError):
            async with asyncio.timeout(_UPDATE_TIMEOUT):
                await handle.execute_update(name, content)
                self.accepted.append(f"the update {name} to {handle.id}")
