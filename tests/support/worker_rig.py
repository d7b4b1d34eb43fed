"""A worker's components on a real database, with a fake mailer. No tests here."""

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import AsyncIterator

import pytest
from temporalio.client import Client

from octy_middleware.states import Answer
from octy_worker import daemon
from octy_worker.domain import incidents
from octy_worker.temporal.schedules import ensure_search_attributes_and_schedules, maintain_schedules
from support.in_session import in_session
from support.mail_rig import RecordingMailer
from support.world import World


class WorkerRig:
    """A worker, its relay and the maintenance of its schedules in this process."""

    def __init__(self, world: World, monkeypatch: pytest.MonkeyPatch, **options: object) -> None:
        self.world = world
        self.settings = world.worker_settings(**options)
        self.told = RecordingMailer()
        monkeypatch.setattr(daemon, "SmtpMailer", lambda _settings: self.told)
        self.parts = daemon.WorkerComponents(self.settings)

    @contextlib.asynccontextmanager
    async def run(self, client: Client) -> AsyncIterator[None]:
        await ensure_search_attributes_and_schedules(
            client, self.settings, self.parts.installation
        )  # as the daemon does before it begins
        relay = self.parts.relay(client)
        async with self.parts.run_workers(client):
            going = [relay.run(), maintain_schedules(client, self.settings, self.parts.installation, interval=0.1)]
            tasks = [asyncio.create_task(one) for one in going]
            try:
                yield
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
        self.parts.close()

    def answer(self, incident_id: str, answer: Answer) -> None:
        """Answer as the customer's page does."""
        taken = in_session(
            self.world.database,
            incidents.answer_incident,
            incident_id,
            answer,
            leaked=False,
            by=incidents.CUSTOMER,
            now=time.time(),
        )
        assert taken is not None
        assert taken.taken

    @property
    def mails(self) -> Counter[str]:
        """Return how often each mail was sent, by Message-ID."""
        return Counter(envelope.message_id for envelope in self.told.envelopes)

    def rows(self, statement: str, **values: object) -> list[tuple]:
        return self.world.rows(statement, **values)
