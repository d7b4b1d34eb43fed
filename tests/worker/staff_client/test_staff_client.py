"""The client of the staff API: answers that are none, proxies, a token that verified no user, and what fails here."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Never

import pytest
from support.ssh_keys import SoftToken
from support.staff_api_rig import StaffApi, staff_api_served
from support.staff_rig import StaffKeys
from support.world import INSTALLATION, World

from octy_worker.crypto.ssh_certificates import read_unverified
from octy_worker.crypto.ssh_signer import Signer
from octy_worker.dev.processes import free_port
from octy_worker.errors import CommandError, RefusedError, UnavailableError
from octy_worker.staff.acts import RELEASE_ALERTS
from octy_worker.staff.operations import NoFields
from octy_worker.staff_api.wire import InstallationInfo, Nonce, Nothing
from octy_worker.staff_client.api_client import ApiClient, NoAnswerError
from octy_worker.staff_client.login import log_in
from octy_worker.staff_client.remote_desk import RemoteDesk
from octy_worker.staff_client.session_file import SavedSession, save_session

NOW = float(int(time.time()))


@contextmanager
def answering(status: int, body: bytes, held: threading.Event | None = None) -> Iterator[tuple[str, list[str]]]:
    """Serve one answer to everything, when `held` is set; yield the URL and the methods that were called."""
    called: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            called.append(self.command)
            if held is not None:
                held.wait(60)
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def __getattr__(self, name: str) -> Callable[[], None]:
            """Answer every method."""
            if name.startswith("do_"):
                return self.answer
            raise AttributeError(name)

        def log_message(self, *values: object) -> None:
            """Nothing is logged."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", called
        server.shutdown()
        thread.join()


ANSWERS = [
    ("no JSON", 200, b"<html>", "it answers 200 without JSON"),
    ("of another release", 200, b"{}", "its answer to /installation is not of this release"),
    ("no error of ours", 404, b"{}", "it answers 404"),
    ("no object", 404, b"[]", "it answers 404"),
    ("error of another form", 500, b'{"error":{"code":7}}', "it answers 500"),
]


@pytest.mark.parametrize(("status", "body", "why"), [row[1:] for row in ANSWERS], ids=[row[0] for row in ANSWERS])
def test_answer_of_another_server_is_named(status: int, body: bytes, why: str) -> None:
    refused = pytest.raises(UnavailableError, match=f"is not a staff API of this release: {why}")
    with answering(status, body) as (url, _), ApiClient(url) as client, refused:
        client.get("/installation", InstallationInfo)


def test_answer_that_does_not_come_leaves_open_what_was_done() -> None:
    held = threading.Event()
    with answering(200, b"{}", held) as (url, _), ApiClient(url) as client:
        with pytest.raises(NoAnswerError, match=r"did not answer within 0\.2 s"):
            client.post("/login/nonce", Nothing(), Nonce, timeout=0.2)
        held.set()


def test_proxy_of_the_environment_is_used_but_never_on_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    with answering(502, b"no") as (proxy, by_proxy), answering(200, b"<html>") as (own, called):
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"):
            monkeypatch.setenv(name, proxy)
        with ApiClient("https://staff.example.com") as client, pytest.raises(UnavailableError, match="be reached"):
            client.get("/installation", InstallationInfo)
        assert by_proxy == ["CONNECT"]
        with ApiClient(own) as client, pytest.raises(UnavailableError, match="without JSON"):
            client.get("/installation", InstallationInfo)
        assert (by_proxy, called) == (["CONNECT"], ["GET"])


@dataclass(frozen=True, slots=True)
class TokenSigner(Signer):
    """A FIDO token that was touched, and did not verify its user."""

    token: SoftToken = field(default_factory=SoftToken)

    def sign(self, message: bytes, namespace: str) -> str:
        return self.token.sign(self.certificate.blob, message, namespace.encode(), flags=0x01)


def test_token_that_did_not_verify_its_user_needs_a_code(world: World, tmp_path: Path) -> None:
    keys, port, token = StaffKeys.make(tmp_path), free_port(), SoftToken()
    api = StaffApi.of(world, keys, NOW, staff_url=f"http://localhost:{port}", staff_port=port)
    blob = token.certificate(keys.authority, after=int(NOW) - 60, before=int(NOW) + 3600)
    asked: list[str] = []

    def ask() -> str:
        asked.append(api.rig.code())
        return asked[-1]

    signer = TokenSigner(read_unverified(blob), "", None, token)
    with staff_api_served(api.office, api.settings), ApiClient(api.settings.staff_url) as client:
        saved, _ = log_in(client, signer, "ada", key="", ask_code=ask, now=NOW)
    assert (saved.handle, len(asked)) == ("ada", 1)


SAVED = SavedSession("http://localhost:1", INSTALLATION, "ada", "session-1", "", "2030-01-01", "token")


def test_order_with_an_invalid_reason_is_refused_before_anything_is_sent() -> None:
    def prover() -> Never:
        raise AssertionError("nothing is signed")

    with ApiClient(SAVED.server) as client:
        desk = RemoteDesk(client, SAVED, prover, clock=time.time)
        with pytest.raises(RefusedError, match="a reason is needed"):
            desk.order(RELEASE_ALERTS, "", NoFields(), "")


def test_session_that_can_not_be_saved_says_where(tmp_path: Path) -> None:
    place = tmp_path / "a file"
    place.write_text("")
    with pytest.raises(CommandError, match=r"the session can't be saved in .*a file/.* → set XDG_STATE_HOME"):
        save_session(place, SAVED)
