"""The codec server over HTTP: what it reads and writes, and whom it refuses."""

import asyncio
import base64
import secrets
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import httpx2
import pytest
from google.protobuf.json_format import MessageToDict
from support.cli_rig import Octy
from support.temporal import open_temporal
from support.until import until
from temporalio.api.common.v1 import Payload
from temporalio.converter import WorkflowSerializationContext

from octy_middleware.errors import ConfigurationError
from octy_middleware.keys.keychain import Keychain
from octy_worker.cli.doctor.check import State
from octy_worker.cli.doctor.network import check_codec_server
from octy_worker.dev.processes import free_port, is_listening
from octy_worker.dev.temporal_server import find_temporal
from octy_worker.settings import TemporalAccess
from octy_worker.temporal.client import connect
from octy_worker.temporal.codec import EncryptionCodec
from octy_worker.temporal.codec_server import CodecSettings, build_codec_server
from octy_worker.web.web_server import serve_until, web_server

KEYS = Keychain({"k1": b"\x01" * 32, "k2": b"\x02" * 32})
UI = "https://temporal.acme.example"
TOKEN = "a shared token"
DECISION = {
    "metadata": {"encoding": base64.b64encode(b"json/plain").decode()},
    "data": base64.b64encode(b"{}").decode(),
}


@contextmanager
def serving(**options: object) -> Iterator[str]:
    settings = CodecSettings.build(temporal_keys=KEYS, codec_ui_origin=UI, codec_port=free_port(), **options)
    stop, loop = asyncio.Event(), asyncio.new_event_loop()
    server = web_server(build_codec_server(settings), host=settings.codec_host, port=settings.codec_port)
    thread = threading.Thread(target=loop.run_until_complete, args=(serve_until(stop, server, "the codec server"),))
    thread.start()
    until(lambda: server.started or not thread.is_alive())
    assert server.started
    try:
        yield f"http://{settings.codec_host}:{settings.codec_port}"
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
        loop.close()


@pytest.fixture(scope="module")
def opened() -> Iterator[str]:
    with serving() as url:
        yield url


@pytest.fixture(scope="module")
def locked() -> Iterator[str]:
    with serving(codec_token=TOKEN) as url:
        yield url


def ask(url: str, *payloads: object, body: str = "", method: str = "POST", **headers: str) -> httpx2.Response:
    content = {"content": body} if body else {"json": {"payloads": payloads}}
    named = {"X-Namespace": "default", **{name.replace("_", "-"): value for name, value in headers.items()}}
    return httpx2.request(method, url, headers={k: v for k, v in named.items() if v}, trust_env=False, **content)


def sealed_for(workflow_id: str, named: str = "") -> dict:
    """Return a payload as a history shows it; `named`: the id in its metadata, if that is another."""
    context = WorkflowSerializationContext(namespace="default", workflow_id=workflow_id)
    codec = EncryptionCodec(KEYS, secrets.token_bytes).with_context(context)
    [sealed] = asyncio.run(codec.encode([Payload(metadata={"encoding": b"json/plain"}, data=b"{}")]))
    sealed.metadata["encryption-workflow-id"] = (named or workflow_id).encode()
    return MessageToDict(sealed)


def test_codec_server_decodes_encrypted_payloads_and_passes_plaintext(opened):
    encoded = ask(f"{opened}/encode", DECISION, Origin=UI)
    assert (encoded.status_code, encoded.headers["access-control-allow-origin"]) == (200, UI)
    assert encoded.json() == {"payloads": [DECISION]}
    assert ask(f"{opened}/decode", sealed_for("a", "b"), Origin=UI).status_code == 400
    decoded = ask(f"{opened}/decode", sealed_for("octy-incident-1"), DECISION, Origin=UI)
    assert decoded.json() == {"payloads": [DECISION, DECISION]}  # one that never was encrypted is shown as it is
    assert decoded.headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "null", "http://temporal.acme.example", f"{UI}.evil.example"]
)
@pytest.mark.parametrize("route", ["encode", "decode"])
def test_codec_server_rejects_another_origin(opened, route, origin):
    refused = ask(f"{opened}/{route}", DECISION, Origin=origin)
    assert refused.status_code == 403
    assert "access-control-allow-origin" not in refused.headers
    assert DECISION["data"] not in refused.text


def test_codec_server_allows_cors_preflight_of_the_web_ui_only(opened):
    asks = {
        "Access_Control_Request_Method": "POST",
        "Access_Control_Request_Headers": "authorization,content-type,x-namespace",
    }
    allowed = ask(f"{opened}/decode", method="OPTIONS", Origin=UI, **asks)
    assert (allowed.status_code, allowed.headers["access-control-allow-origin"]) == (200, UI)
    refused = ask(f"{opened}/decode", method="OPTIONS", Origin="https://evil.example", **asks)
    assert refused.status_code == 400
    assert "access-control-allow-origin" not in refused.headers


@pytest.mark.parametrize(
    ("given", "status"),
    [
        ("", 401),
        ("Basic Og==", 401),
        ("Bearer another", 401),
        (TOKEN, 401),
        (f"Bearer {TOKEN}é", 401),
        (f"Bearer {TOKEN}", 200),
    ],
)
def test_codec_server_with_a_token_rejects_requests_without_it(locked, given, status):
    answer = ask(f"{locked}/decode", DECISION, Origin=UI, Authorization=given.encode())
    assert answer.status_code == status
    assert (answer.headers.get("www-authenticate") == "Bearer") is (status == 401)
    assert answer.headers["access-control-allow-origin"] == UI  # so that the Web UI can show the reason


@pytest.mark.parametrize("namespace", ["", "other"])
def test_codec_server_rejects_another_namespace(opened, namespace):
    assert ask(f"{opened}/decode", DECISION, X_Namespace=namespace).status_code == 403


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        ("no json", 400, "not a JSON list of payloads"),
        ('{"payloads": 1}', 400, "not a JSON list of payloads"),
        ("[" * 5000, 400, "not a JSON list of payloads"),
        ('{"payloads": [' + " " * 4_200_000 + "]}", 413, "larger than"),
        (
            '{"payloads": [{"metadata": {"encoding": "YmluYXJ5L2VuY3J5cHRlZA==", "encryption-key-id": "azk="}}]}',
            400,
            "OCTY_TEMPORAL_KEYS lacks the key 'k9'",
        ),
    ],
)
def test_codec_server_reports_why_a_payload_cannot_be_decoded(opened, body, status, said):
    answer = ask(f"{opened}/decode", body=body)
    assert (answer.status_code, said in answer.text) == (status, True)


def test_codec_server_accepts_only_post(opened):
    assert ask(f"{opened}/decode", method="GET").status_code == 405
    assert ask(f"{opened}/", DECISION).status_code == 404


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"codec_host": "0.0.0.0"}, "OCTY_CODEC_TOKEN is not set"),
        ({"codec_host": "codec.acme.example"}, "OCTY_CODEC_TOKEN is not set"),
        ({"codec_ui_origin": "*"}, "OCTY_CODEC_UI_ORIGIN"),
        ({"codec_ui_origin": f"{UI}/"}, "OCTY_CODEC_UI_ORIGIN"),
        ({"temporal_keys": "k1:short"}, "OCTY_TEMPORAL_KEYS"),
    ],
)
def test_codec_server_settings_that_allow_everybody_are_rejected(settings, said):
    with pytest.raises(ConfigurationError, match=said):
        CodecSettings.build(**{"temporal_keys": KEYS, **settings})
    assert CodecSettings.build(temporal_keys=KEYS, codec_host="0.0.0.0", codec_token="t").codec_host == "0.0.0.0"


def test_temporal_cli_encodes_and_decodes_through_the_codec_server(locked):
    """As the Web UI does, too: what is typed leaves as it is, what is shown was decrypted here."""
    with open_temporal() as temporal:
        place = TemporalAccess(temporal_address=temporal.address, temporal_keys=KEYS)
        client = temporal.run(connect(place))
        case = temporal.run(client.start_workflow("Case", {"id": "i1"}, id="case", task_queue="no-worker"))
        server = ["--address", temporal.address, "--workflow-id", "case"]
        through = ["--codec-endpoint", locked, "--codec-auth", f"Bearer {TOKEN}"]
        typed = ["--name", "staff_decision", "--input", '{"order":"0199f2c4"}']
        run = partial(subprocess.run, check=True, capture_output=True, text=True, timeout=30)
        run([find_temporal(), "workflow", "signal", *server, *through, *typed])
        history = temporal.run(case.fetch_history())
        [said] = history.events[-1].workflow_execution_signaled_event_attributes.input.payloads
        assert said.data == b'{"order":"0199f2c4"}'
        show = [find_temporal(), "workflow", "show", "--output", "json", *server]
        shown = base64.b64encode(b'{"id":"i1"}').decode()
        assert shown in run([*show, *through]).stdout
        assert shown not in run(show).stdout


@pytest.mark.parametrize(
    ("token", "namespace", "state"),
    [("", "default", State.OK), (TOKEN, "default", State.OK), ("", "elsewhere", State.PROBLEM)],
)
def test_doctor_checks_the_codec_server_of_its_namespace(world, token, namespace, state):
    with serving(codec_token=token) as url:
        settings = world.worker_settings(temporal_keys=KEYS, codec_url=url, temporal_namespace=namespace)
        assert check_codec_server(settings).state is state


def test_doctor_needs_no_codec_server_without_encryption(world):
    for options in ({"temporal_keys": None}, {"temporal_keys": KEYS, "codec_url": "none"}):
        assert check_codec_server(world.worker_settings(**options)).state is State.OK


def test_codec_server_command_serves_until_sigterm():
    octy, port = Octy({"OCTY_TEMPORAL_KEYS": KEYS.export()}), free_port()
    assert "OCTY_CODEC_TOKEN is not set" in octy("codec-server", "--host", "0.0.0.0").must(2).stderr
    command = [sys.executable, "-m", "octy_worker", "codec-server", "--port", str(port)]
    with subprocess.Popen(command, env=octy.environment(), stdout=subprocess.PIPE, text=True) as server:
        until(lambda: is_listening(port) or server.poll() is not None)
        assert server.poll() is None
        assert ask(f"http://127.0.0.1:{port}/decode", DECISION, Origin="http://127.0.0.1:8233").status_code == 200
        taken = octy("codec-server", "--port", str(port)).must(4)
        assert f"the codec server can't listen on 127.0.0.1:{port}" in taken.stderr
        server.send_signal(signal.SIGTERM)
        assert server.wait(30) == 0
