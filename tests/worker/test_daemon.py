"""The worker process: its activities and workflows, and the reason that it logs when it stops."""

import asyncio
import logging
import os
import signal
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from support.temporal import Temporal, open_temporal
from support.until import until
from support.world import INSTALLATION, World
from temporalio import activity

from octy_middleware import ConfigurationError
from octy_middleware._version import __version__
from octy_worker import daemon
from octy_worker.errors import UnavailableError
from octy_worker.task_queue_workers import executors, workers
from octy_worker.temporal.deployment import deployment_config
from octy_workflows import activities
from octy_workflows.task_queues import (
    TaskQueueKind,
    all_task_queues,
    background_task_queue,
    incident_task_queue,
    task_queue_name,
    workflow_task_queues,
)


@pytest.fixture(scope="module")
def temporal() -> Iterator[Temporal]:
    with open_temporal() as opened:
        yield opened


def configurations(parts: daemon.WorkerComponents, temporal: Temporal) -> dict[str, dict]:
    """Return what each worker is made from, by its task queue."""

    async def build() -> dict[str, dict]:
        threads, main = executors(), parts.task_queue
        activities, deployment = parts.activities(temporal.client), deployment_config(parts.settings)
        made = workers(temporal.client, main, activities, threads, deployment, alerts=parts.alerts)
        for executor in threads.values():
            executor.shutdown()
        return {str(config["task_queue"]): dict(config) for worker in made if (config := worker.config())}

    return temporal.run(build())


def test_worker_registers_exactly_the_declared_activities_and_workflows(world: World, temporal: Temporal) -> None:
    own = world.worker_settings().model_copy(update={"temporal_task_queue": f"registers-{world.database_kind}"})
    parts = daemon.WorkerComponents(own)
    found = configurations(parts, temporal)
    assert sorted(found) == sorted(all_task_queues(parts.task_queue))
    done = {
        name: [activity._Definition.must_from_callable(each) for each in config["activities"]]
        for name, config in found.items()
    }
    declared = {name for name, value in vars(activities).items() if hasattr(value, "__temporal_activity_definition")}
    assert {definition.name for each in done.values() for definition in each} == declared
    with_workflows = {
        name: {each.__name__ for each in config["workflows"]} for name, config in found.items() if config["workflows"]
    }
    assert with_workflows == {
        parts.task_queue: {"KeyRegenerationWorkflow"},
        incident_task_queue(parts.task_queue): {"KeyIncidentWorkflow"},
        background_task_queue(parts.task_queue): {
            "KeyNoticeWorkflow",
            "KeyMaintenanceWorkflow",
            "KeyWebhookWorkflow",
        },
    }
    assert set(with_workflows) == set(workflow_task_queues(parts.task_queue))
    # Mails and webhooks, which may hang, share no slots with anything else, and alerts not even with other mails.
    slow = {"send_mail", "post_webhook"}
    apart = {name: {each.name for each in of} for name, of in done.items() if slow & {each.name for each in of}}
    assert all(len(names) == 1 for names in apart.values())
    assert set(apart) == {
        task_queue_name(parts.task_queue, work)
        for work in (
            TaskQueueKind.ALERTS,
            TaskQueueKind.MAILS,
            TaskQueueKind.NOTICES,
            TaskQueueKind.MAIL_RETRIES,
            TaskQueueKind.WEBHOOKS,
        )
    }
    # No activity waits for a thread, and none is cancelled within a transaction.
    for config in found.values():
        assert config["max_concurrent_activities"] == config["activity_executor"]._max_workers
    assert len({id(config["activity_executor"]) for config in found.values()}) == len(found)
    assert all(definition.no_thread_cancel_exception for each in done.values() for definition in each)


@pytest.mark.sqlite
def test_workers_are_versioned_only_with_workflows_and_a_named_deployment(world: World, temporal: Temporal) -> None:
    def versions(**options: object) -> dict[str, str]:
        found = configurations(daemon.WorkerComponents(world.worker_settings(**options)), temporal)
        return {
            name: config["deployment_config"].version.to_canonical_string()
            for name, config in found.items()
            if config["deployment_config"]
        }

    assert versions(temporal_task_queue="plain") == {}
    plain = configurations(daemon.WorkerComponents(world.worker_settings(temporal_task_queue="told")), temporal)
    assert {config["build_id"] for config in plain.values()} == {__version__}
    named = versions(temporal_task_queue="named", temporal_deployment="octy", temporal_build_id="1.4.0")
    assert named == dict.fromkeys(workflow_task_queues(f"named-{INSTALLATION}"), "octy.1.4.0")


async def _idle(_parts: object, stop: asyncio.Event, *_counters: object) -> None:
    await stop.wait()


async def _end(_parts: object, _stop: asyncio.Event, *_counters: object) -> None: ...


async def _fall(_parts: object, _stop: asyncio.Event, *_counters: object) -> None:
    raise ValueError("namespace nowhere is not found\n[parameters: ('ann@customer.example',)]")


async def _be_cancelled(_parts: object, _stop: asyncio.Event, *_counters: object) -> None:
    raise asyncio.CancelledError


async def _be_stopped(_parts: object, stop: asyncio.Event, *_counters: object) -> None:
    stop.set()


Part = Callable[..., Coroutine[None, None, None]]


@pytest.mark.parametrize(
    ("work", "pages", "why"),
    [
        (_fall, _idle, "stopping because component 'worker' failed: ValueError: namespace nowhere is not found"),
        (_idle, _fall, "stopping because component 'pages' failed: ValueError: namespace nowhere is not found"),
        (_idle, _end, "stopping because component 'pages' failed: it ended unexpectedly"),
        (_be_cancelled, _idle, "stopping because component 'worker' failed: it was cancelled"),
    ],
)
def test_worker_that_stops_unexpectedly_logs_the_reason_in_one_line(  # noqa: PLR0917  # fixtures and a row of the table
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, work: Part, pages: Part, why: str
) -> None:
    monkeypatch.setattr(daemon, "run_worker", work)
    monkeypatch.setattr(daemon, "supervise", pages)
    assert daemon.serve(world.worker_settings(), pages=True) == 1
    [line] = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert line == f"worker: {why}"


def test_worker_that_is_told_to_stop_logs_no_warning(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(daemon, "run_worker", _be_stopped)
    monkeypatch.setattr(daemon, "supervise", _idle)
    assert daemon.serve(world.worker_settings(), pages=True) == 0
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


@pytest.mark.sqlite
def test_worker_that_waits_for_temporal_stops_at_once_on_sigterm(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    def terminate() -> None:
        until(lambda: "retrying" in caplog.text)
        os.kill(os.getpid(), signal.SIGTERM)

    asked = world.worker_settings(temporal_address="127.0.0.1:9")  # the discard port: nothing listens there
    with ThreadPoolExecutor(1) as executor:
        told = executor.submit(terminate)
        assert daemon.serve(asked, pages=False) == 0
        told.result()


@pytest.mark.sqlite
def test_worker_that_waits_for_temporal_says_so_once(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    stop, tried = asyncio.Event(), []

    async def away(*_settings: object, **_options: object) -> None:
        tried.append(1)
        if len(tried) == 2:
            stop.set()
        raise UnavailableError("Temporal can't be reached", "start it")

    monkeypatch.setattr(daemon, "connect", away)
    parts = daemon.WorkerComponents(world.worker_settings())
    assert asyncio.run(daemon.connect_with_retry(parts, stop)) is None
    parts.close()
    assert [record.getMessage() for record in caplog.records] == [
        "worker: Temporal can't be reached → start it; retrying"
    ]
    assert len(tried) == 2


def test_worker_rejected_by_temporal_stops_with_the_reason(
    world: World, temporal: Temporal, caplog: pytest.LogCaptureFixture
) -> None:
    """A namespace that isn't there is fatal to the SDK's worker, which then cancels the task around it."""
    asked = world.worker_settings(temporal_address=temporal.address, temporal_namespace="nowhere")
    assert daemon.serve(asked, pages=False) == 1
    [line] = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert line.startswith("worker: stopping because component 'worker' failed: ")
    assert "nowhere" in line


@pytest.mark.parametrize(
    ("certificate", "key"), [("missing.pem", "missing.key"), ("broken.pem", "broken.pem"), ("", "only.key")]
)
def test_unusable_pages_certificate_is_reported_before_the_worker_starts(
    world: World, certificate: str, key: str
) -> None:
    (world.folder / "broken.pem").write_text("no certificate", encoding="utf-8")
    paths = {
        "pages_certificate": str(world.folder / certificate) if certificate else "",
        "pages_private_key": str(world.folder / key),
    }
    with pytest.raises(ConfigurationError, match="OCTY_PAGES_CERTIFICATE"):
        daemon.WorkerComponents(world.worker_settings(**paths))


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"mail_templates": "templates"}, r"subject\.txt, line 2: 'nothing' is undefined"),
        ({"dkim_domain": "octy.example", "dkim_selector": "s1"}, "OCTY_DKIM_PRIVATE_KEY_FILE not set"),
    ],
)
def test_mail_template_errors_are_reported_before_the_worker_starts(
    world: World, monkeypatch: pytest.MonkeyPatch, options: dict[str, str], why: str
) -> None:
    (world.folder / "templates" / "alert").mkdir(parents=True)
    (world.folder / "templates" / "alert" / "subject.txt").write_text("\n{{ nothing }}", encoding="utf-8")
    monkeypatch.chdir(world.folder)
    with pytest.raises(ConfigurationError, match=why):
        daemon.serve(world.worker_settings(**options), pages=False)
