"""The composition root: what the worker registers, and that it says why it stops."""

import asyncio
import logging
import os
import signal
import time
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from support.temporal import Temporal, open_temporal
from support.world import World
from temporalio import activity

from octy_middleware import ConfigurationError
from octy_worker import daemon
from octy_worker.settings import WorkerSettings
from octy_workflows import activities


@pytest.fixture(scope="module")
def temporal() -> Iterator[Temporal]:
    with open_temporal() as opened:
        yield opened


def settings(world: World, **options: object) -> WorkerSettings:
    keys = {"peppers": world.peppers, "sealing_keys": world.sealing_keys, "link_keys": world.peppers}
    return WorkerSettings(database_url=world.url, **keys, **options)  # type: ignore[arg-type]


def test_the_worker_registers_exactly_what_workflows_may_ask_for(world: World, temporal: Temporal) -> None:
    async def build() -> tuple[dict, dict]:
        with ThreadPoolExecutor(daemon._THREADS) as executor:
            own = settings(world).model_copy(update={"temporal_task_queue": f"registers-{world.store}"})
            parts = daemon.Parts(own)
            workers = parts.worker(temporal.client, executor), parts.webhook_worker(temporal.client, executor)
            return dict(workers[0].config()), dict(workers[1].config())

    config, webhooks = temporal.run(build())
    activities_done = [*config["activities"], *webhooks["activities"]]
    registered = [activity._Definition.must_from_callable(done) for done in activities_done]
    declared = [name for name, value in vars(activities).items() if hasattr(value, "__temporal_activity_definition")]
    assert sorted(definition.name for definition in registered) == sorted(declared)
    assert {found.__name__ for found in config["workflows"]} == {
        "KeyIncidentWorkflow",
        "KeyRegenerationWorkflow",
        "KeyNoticeWorkflow",
        "KeyUpkeepWorkflow",
        "KeyWebhookWorkflow",
    }
    # Customers' servers keep no mail waiting.
    assert webhooks["task_queue"] == f"{config['task_queue']}-webhooks"
    assert [done.__name__ for done in webhooks["activities"]] == ["post_webhook"]
    assert webhooks["max_concurrent_activities"] == daemon._WEBHOOK_THREADS
    # None waits for a thread, and none is torn out of a transaction.
    assert config["max_concurrent_activities"] == daemon._THREADS
    assert all(definition.no_thread_cancel_exception for definition in registered)


@pytest.mark.sqlite
def test_the_worker_has_a_version_only_where_a_deployment_is_named(world: World, temporal: Temporal) -> None:
    async def version(**options: object) -> object:
        with ThreadPoolExecutor(daemon._THREADS) as executor:
            return (
                daemon.Parts(settings(world, **options)).worker(temporal.client, executor).config()["deployment_config"]
            )

    assert temporal.run(version(temporal_task_queue="plain")) is None
    named = temporal.run(version(temporal_task_queue="named", temporal_deployment="octy", temporal_build_id="1.4.0"))
    assert named.version.to_canonical_string() == "octy.1.4.0"


async def _idle(_parts: daemon.Parts, stop: asyncio.Event) -> None:
    await stop.wait()


async def _end(_parts: daemon.Parts, _stop: asyncio.Event) -> None: ...


async def _fall(_parts: daemon.Parts, _stop: asyncio.Event) -> None:
    raise ValueError("namespace nowhere is not found\n[parameters: ('ann@customer.example',)]")


async def _be_stopped(_parts: daemon.Parts, stop: asyncio.Event) -> None:
    stop.set()


Part = Callable[[daemon.Parts, asyncio.Event], Coroutine[None, None, None]]


@pytest.mark.parametrize(
    ("work", "pages", "why"),
    [
        (_fall, _idle, "stopped by its part 'worker': ValueError: namespace nowhere is not found"),
        (_idle, _fall, "stopped by its part 'pages': ValueError: namespace nowhere is not found"),
        (_idle, _end, "stopped by its part 'pages': it ended by itself"),
    ],
)
def test_a_worker_that_stops_by_itself_says_why_in_one_line(  # noqa: PLR0917  # fixtures and a row of the table
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, work: Part, pages: Part, why: str
) -> None:
    monkeypatch.setattr(daemon, "_work", work)
    monkeypatch.setattr(daemon, "_show_pages", pages)
    assert daemon.serve(settings(world), pages=True) == 1
    [line] = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert line == f"worker: {why}"


def test_a_worker_that_is_told_to_stop_says_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(daemon, "_work", _be_stopped)
    monkeypatch.setattr(daemon, "_show_pages", _idle)
    assert daemon.serve(settings(world), pages=True) == 0
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


@pytest.mark.sqlite
def test_a_worker_that_waits_for_temporal_stops_at_once(world: World, caplog: pytest.LogCaptureFixture) -> None:
    def terminate() -> None:
        while "trying on" not in caplog.text:
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGTERM)

    asked = settings(world, temporal_address="127.0.0.1:9")  # the discard port: nothing listens there
    with ThreadPoolExecutor(1) as executor:
        told = executor.submit(terminate)
        assert daemon.serve(asked, pages=False) == 0
        told.result()


def test_a_worker_that_temporal_does_not_take_stops_with_the_reason(
    world: World, temporal: Temporal, caplog: pytest.LogCaptureFixture
) -> None:
    """A namespace that isn't there is fatal to the SDK's worker, which then cancels the task around it."""
    asked = settings(world, temporal_address=temporal.address, temporal_namespace="nowhere")
    assert daemon.serve(asked, pages=False) == 1
    [line] = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert line.startswith("worker: stopped by its part 'worker': ")
    assert "nowhere" in line


@pytest.mark.parametrize(
    ("certificate", "key"), [("missing.pem", "missing.key"), ("broken.pem", "broken.pem"), ("", "only.key")]
)
def test_a_certificate_that_can_not_serve_is_named_before_anything_starts(
    world: World, certificate: str, key: str
) -> None:
    (world.folder / "broken.pem").write_text("no certificate", encoding="utf-8")
    paths = {
        "pages_certificate": str(world.folder / certificate) if certificate else "",
        "pages_private_key": str(world.folder / key),
    }
    with pytest.raises(ConfigurationError, match="OCTY_PAGES_CERTIFICATE"):
        daemon.Parts(settings(world, **paths))


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"mail_templates": "templates"}, r"subject\.txt, line 2: nothing is called 'nothing'"),
        ({"dkim_domain": "octy.example", "dkim_selector": "s1"}, "OCTY_DKIM_PRIVATE_KEY_FILE not set"),
    ],
)
def test_mails_that_could_not_be_made_are_told_before_anything_starts(
    world: World, monkeypatch: pytest.MonkeyPatch, options: dict[str, str], why: str
) -> None:
    (world.folder / "templates" / "alert").mkdir(parents=True)
    (world.folder / "templates" / "alert" / "subject.txt").write_text("\n{{ nothing }}", encoding="utf-8")
    monkeypatch.chdir(world.folder)
    with pytest.raises(ConfigurationError, match=why):
        daemon.serve(settings(world, **options), pages=False)
