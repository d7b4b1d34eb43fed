"""Two installations with databases of their own on one Temporal server, namespace and default settings (T24)."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.cli_rig import open_incident
from support.temporal import Temporal, open_temporal
from support.until import until_async
from support.worker_rig import WorkerRig
from support.world import World

from octy_middleware.domain.installation import new_installation_id
from octy_worker.maintenance.reconciliation.run import Findings, Reconciliation
from octy_worker.maintenance.reconciliation.workflows import WorkflowLookup
from octy_worker.maintenance.restored.histories import Histories
from octy_worker.temporal.access import has_worker

INCIDENTS = 6  # of each installation


@pytest.fixture(scope="module")
def temporal() -> Iterator[Temporal]:
    with open_temporal() as opened:
        yield opened


@pytest.fixture
def worlds(tmp_path: Path, database_kind: str) -> Iterator[dict[str, World]]:
    opened = {}
    for name in ("left", "right"):
        (tmp_path / name).mkdir()
        opened[name] = World(tmp_path / name, database_kind, installation=new_installation_id())
    yield opened
    for world in opened.values():
        world.close()


def alerted(rig: WorkerRig) -> list[str]:
    """Return who was sent an alert by this worker."""
    return sorted(envelope.recipient for envelope in rig.told.envelopes if ".alert." in envelope.message_id)


async def compare(rig: WorkerRig, temporal: Temporal) -> Findings:
    """Compare the database with what runs in Temporal, and change nothing."""
    parts = rig.parts
    workflows = WorkflowLookup(temporal.client, parts.task_queue, parts.installation)
    histories, options = Histories(temporal.client, parts.installation), {"notice_ttl": 3600.0, "dry_run": True}
    run = Reconciliation(
        rig.world.database, workflows, histories, time.time, installation=parts.installation, **options
    )
    found = await run.run()
    assert found is not None
    return found


def test_each_worker_sends_every_alert_of_its_own_installation_and_no_other(
    worlds: dict[str, World], temporal: Temporal, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig = {name: WorkerRig(world, monkeypatch) for name, world in worlds.items()}
    assert {one.settings.temporal_task_queue for one in rig.values()} == {"octy"}  # the default of both
    for name, world in worlds.items():
        for number in range(INCIDENTS):
            open_incident(world, f"{name}{number}")

    async def play() -> None:
        left, right = rig.values()
        async with left.run(temporal.client), right.run(temporal.client):
            await until_async(lambda: all(len(alerted(one)) >= INCIDENTS for one in rig.values()))
            for one in rig.values():
                assert await has_worker(temporal.client, one.parts.task_queue, time.time())

                async def consistent(one: WorkerRig = one) -> object:  # a workflow may just be ending
                    found = await compare(one, temporal)
                    return None if found.differences else found

                found = await until_async(consistent, interval=0.1)
                assert found.unknown == 0
                assert found.checked >= INCIDENTS

    temporal.run(play())
    for name, one in rig.items():
        assert alerted(one) == sorted(f"security@{name}{number}.example" for number in range(INCIDENTS))
        assert worlds[name].rows("SELECT state, COUNT(*) FROM mail WHERE kind = 'alert' GROUP BY state") == [
            ("sent", INCIDENTS)
        ]
