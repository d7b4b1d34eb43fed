"""Metrics of a worker and of the Temporal SDK, and the spans of an incident, from one real run."""

import asyncio
import json
import re
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from support.cli_rig import fail
from support.paths import DEPLOY
from support.prometheus_rig import queries_without_data, series_of
from support.retention_rig import add_webhooks
from support.temporal import open_temporal
from support.until import until_async
from support.worker_rig import WorkerRig
from support.world import INSTALLATION, FakeRequest, World

from octy_middleware.keys.keychain import Keychain
from octy_middleware.metrics import exposition
from octy_worker.audit.checkpoint_writer import CheckpointWriter
from octy_worker.dev.processes import free_port, is_listening
from octy_worker.maintenance.reconciliation.run import JOB
from octy_worker.observability.metrics import collector
from octy_worker.observability.metrics.metrics_server import sdk_runtime
from octy_worker.observability.tracing import Tracing
from octy_worker.temporal.client import connect

_NAME = re.compile(r"\b(?:octy|temporal)_[a-z_]+\b")


@dataclass(frozen=True)
class Observations:
    """What was seen of one run."""

    worker: str
    sdk: str
    app: str
    spans: tuple[ReadableSpan, ...]
    secrets: tuple[str, ...]
    incident_id: str


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Observations:
    world, exporter = World(tmp_path_factory.mktemp("observed")), InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    with open_temporal() as temporal, pytest.MonkeyPatch.context() as patch, world.authenticator() as authenticator:
        patch.setattr(collector, "TOTALS_TTL", 0.5)  # seconds, not a minute
        ports = {"metrics_port": free_port(), "metrics_sdk_port": free_port()}
        rig = WorkerRig(world, patch, temporal_address=temporal.address, **ports)
        rig.parts.tracing = Tracing(provider)
        CheckpointWriter(world.database, Keychain.generate("a1"), INSTALLATION, time.time, write=print).take()
        keys = world.register()
        add_webhooks(world, keys.account_id, ("sent", time.time()))
        with world.authenticator() as own:  # whose end leaves nothing unrecorded
            own.decide(FakeRequest(keys.basic()))
        app = exposition(authenticator)

        async def act() -> tuple[str, str]:
            stop = asyncio.Event()
            runtime, interceptors = sdk_runtime(rig.settings), rig.parts.tracing.interceptors()
            client = await connect(rig.settings, runtime=runtime, interceptors=interceptors)
            serving = asyncio.create_task(rig.parts.metrics.serve(rig.settings, stop))
            await until_async(lambda: asyncio.to_thread(is_listening, ports["metrics_port"]))
            await asyncio.to_thread(read, ports["metrics_port"])  # attempts are counted from the first reading
            fail(world, keys)
            async with rig.run(client):
                await until_async(lambda: any(".alert." in message for message in rig.mails))
                await until_async(lambda: len(rig.rows("SELECT 1 FROM outbox WHERE delivered_at IS NOT NULL")) == 3)
                await until_async(
                    lambda: rig.rows(f"SELECT 1 FROM job WHERE name = '{JOB}' AND finished_at IS NOT NULL")
                )
                await asyncio.sleep(1.1)  # for so long figures are good
                await asyncio.to_thread(read, ports["metrics_port"])
                await asyncio.sleep(1.1)
                worker, sdk = [await asyncio.to_thread(read, port) for port in ports.values()]
            stop.set()
            await serving
            return worker, sdk

        worker, sdk = temporal.run(act())
    incident_id = world.rows("SELECT id FROM incident")[0][0]
    secrets = (keys.public_key, keys.secret, "security@acme.example", "203.0.113.9")
    world.close()
    return Observations(worker, sdk, app, exporter.get_finished_spans(), secrets, incident_id)


def read(port: int) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        return str(answer.read().decode())


def value(text: str, series: str) -> float:
    [found] = [line.rpartition(" ")[2] for line in text.splitlines() if line.rpartition(" ")[0] == series]
    return float(found)


def names_in(text: str) -> set[str]:
    """Return every name that can be asked for."""
    kinds = dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE))
    parts = {f"{name}_{part}" for name, kind in kinds.items() if kind == "histogram" for part in ("bucket", "count")}
    return kinds.keys() | parts


def asked_by_the_dashboard() -> set[str]:
    told = json.loads((DEPLOY / "grafana" / "octy.json").read_text())
    return {
        name
        for panel in told["panels"]
        for target in panel.get("targets", ())
        for name in _NAME.findall(target["expr"])
    }


def asked_by_the_rules() -> set[str]:
    text = (DEPLOY / "prometheus" / "octy.rules.yml").read_text()
    exprs = (re.sub(r'"[^"]*"', "", expr) for expr in re.findall(r"expr: (.*)", text))  # values of labels are no names
    return {name for expr in exprs for name in _NAME.findall(expr)}


@pytest.mark.parametrize("asked", [asked_by_the_dashboard, asked_by_the_rules])
def test_every_metric_of_rules_and_dashboard_is_exported(seen: Observations, asked) -> None:
    names = asked()
    assert len(names) > 5
    exported = names_in(seen.worker) | names_in(seen.sdk) | names_in(seen.app)
    unseen = {
        "octy_database_clock_offset_seconds",
        "temporal_workflow_task_execution_failed_total",
    }  # PostgreSQL; a fault
    assert names - exported - unseen == set()


def queries_of_the_dashboard() -> list[str]:
    told = json.loads((DEPLOY / "grafana" / "octy.json").read_text())
    return [target["expr"] for panel in told["panels"] for target in panel.get("targets", ())]


@pytest.mark.needs("promtool")
def test_each_dashboard_query_returns_data_of_a_running_stack(seen: Observations, tmp_path: Path) -> None:
    jobs = {"octy-worker": seen.worker, "octy-worker-temporal": seen.sdk, "octy-app": seen.app}
    series = [one for job, text in jobs.items() for one in series_of(text, job)]
    wrong_label = 'sum by (result) (octy_mail_sends_total{outcome="accepted"})'
    queries = [*queries_of_the_dashboard(), wrong_label]
    assert len(queries) > 30
    assert queries_without_data(queries, series, tmp_path) == [wrong_label]


def test_every_octy_metric_is_on_the_dashboard(seen: Observations) -> None:
    """But for those that only alerts are about."""
    shown = asked_by_the_dashboard() | asked_by_the_rules()
    families = {
        name for text in (seen.worker, seen.app) for name in re.findall(r"^# TYPE (octy_\S+)", text, re.MULTILINE)
    }
    left = {name for name in families if not any(each.startswith(name) for each in shown)}
    created = {name for name in left if name.endswith("_created")}
    assert left - created == {
        *("octy_database_read_seconds", "octy_app_recorder_commit_seconds"),
        *("octy_app_recorder_failures_total", "octy_app_recorder_lost_total", "octy_app_recorder_queued"),
        *("octy_app_recorder_waiting_seconds", "octy_app_database_restores_total"),
        "octy_mails_refused_today",
    }


def test_metrics_show_the_figures_of_the_incident(seen: Observations) -> None:
    told = {
        'octy_incidents_open{state="waiting"}': 1,
        'octy_attempts_total{outcome="wrong_secret"}': 20,
        'octy_relay_messages_total{event="incident_opened",result="delivered"}': 1,
        'octy_relay_messages_total{event="incident_opened",result="failed"}': 0,
        'octy_mail_sends_total{result="refused"}': 0,
        'octy_mails{kind="alert",state="sent"}': 1,
        "octy_outbox_undelivered": 0,
        "octy_longest_streak": 20,
        "octy_database_up": 1,
    }
    assert {series: value(seen.worker, series) for series in told} == told
    assert value(seen.worker, 'octy_mail_sends_total{result="accepted"}') >= 1


def test_trace_spans_outbox_workflow_and_mail(seen: Observations) -> None:
    by_id = {span.context.span_id: span for span in seen.spans}
    mails = [span for span in seen.spans if span.name == "octy.mail" and ".alert." in str(span.attributes)]
    [mail] = mails
    way, span = [], mail
    while span is not None:
        way.append(span.name)
        span = by_id.get(span.parent.span_id) if span.parent else None
    assert way == [
        *("octy.mail", "RunActivity:send_mail", "StartActivity:send_mail"),
        *("StartWorkflow:KeyIncidentWorkflow", "octy.deliver"),
    ]
    [deliver] = [
        span for span in seen.spans if span.name == "octy.deliver" and "incident_opened" in str(span.attributes)
    ]
    assert deliver.context.trace_id == mail.context.trace_id
    assert deliver.attributes["octy.subject_id"] == seen.incident_id
    assert mail.attributes["octy.result"] == "accepted"


def test_metrics_and_spans_contain_no_customer_data(seen: Observations) -> None:
    everything = " ".join([seen.worker, seen.sdk, seen.app, *(span.to_json() for span in seen.spans)])
    assert [secret for secret in seen.secrets if secret in everything] == []
