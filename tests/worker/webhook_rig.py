"""A customer's server over real TLS, and accounts whose events it is told.

Here: the server, which keeps requests and answers as told, and one that misbehaves on the wire. Not here: tests.
"""

import re
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socket import create_server, socket

from smtp_servers import Authority
from support.world import World

from octy_middleware import webhooks
from octy_middleware.accounts import Accounts
from octy_middleware.clock import utc
from octy_middleware.keychain import Keychain
from octy_middleware.webhooks import WebhookEvent
from octy_worker.activities.webhooks import WebhookActivities
from octy_worker.settings import WebhookSettings
from octy_worker.webhooks.courier import Courier
from octy_worker.webhooks.signing import Parcel
from octy_workflows.messages import WebhookOrder

NOW = 1_770_000_000.0  # 2026-02-02 02:40:00 UTC
KEYS = Keychain.generate()
ACCOUNT = "01890c2e-0000-7000-8000-000000000001"
DOCUMENT = Path(__file__).parents[2] / "docs" / "webhooks.md"


def documented_check() -> Callable[..., bool]:
    """Return the function that customers are shown, as the document has it."""
    [code] = re.findall(r"```python\n(.*?)```", DOCUMENT.read_text("utf-8"), re.DOTALL)
    names: dict[str, object] = {}
    exec(compile(code, str(DOCUMENT), "exec"), names)
    return names["is_genuine"]  # type: ignore[return-value]


@dataclass
class Heard:
    """One request as it came."""

    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Receiver:
    """Keeps requests; answers from a list of statuses, the last one again and again."""

    url: str
    heard: list[Heard] = field(default_factory=list)
    statuses: list[int] = field(default_factory=lambda: [204])
    location: str = ""

    @property
    def ids(self) -> list[str]:
        return [request.headers["webhook-id"] for request in self.heard]

    def answer(self) -> int:
        return self.statuses[0] if len(self.statuses) == 1 else self.statuses.pop(0)


@contextmanager
def receiver(authority: Authority, name: str = "localhost") -> Iterator[Receiver]:
    """Serve HTTPS on loopback with a certificate for the name."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            headers = {key.lower(): value for key, value in self.headers.items()}
            served.heard.append(Heard(self.path, headers, body))
            self.send_response(served.answer())
            if served.location:
                self.send_header("location", served.location)
            self.send_header("set-cookie", "a=b")
            self.end_headers()

        def log_message(self, *_words: object) -> None: ...

    class Server(ThreadingHTTPServer):
        def handle_error(self, *_where: object) -> None:
            """A client that breaks off is no news."""

    server = Server(("127.0.0.1", 0), Handler)
    server.socket = authority.serving(name).wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    served = Receiver(f"https://localhost:{server.server_port}/octy?team=7")
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield served
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _talking(connection: socket, context: ssl.SSLContext | None) -> socket:
    return context.wrap_socket(connection, server_side=True) if context else connection


@contextmanager
def raw_server(act: Callable[[socket], None], context: ssl.SSLContext | None = None) -> Iterator[str]:
    """Serve one connection by hand; yield its URL. With a context over TLS, else plainly."""

    def serve() -> None:
        with suppress(OSError):
            connection, _ = listening.accept()
            with connection, _talking(connection, context) as talking:
                act(talking)

    with create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=serve)
        thread.start()
        yield f"{'https' if context else 'http'}://localhost:{listening.getsockname()[1]}/"
        with suppress(OSError):
            listening.shutdown(2)
        thread.join()


def _trust(authority: Authority | None) -> dict[str, str]:
    return {"webhook_ca_file": str(authority.file)} if authority else {}


def settings(authority: Authority | None = None, **values: object) -> WebhookSettings:
    """Return settings that let a test reach its own machine."""
    values = {
        "webhook_keys": KEYS,
        "webhook_allow_private": True,
        "webhook_timeout": 5.0,
        **_trust(authority),
        **values,
    }
    return WebhookSettings.build(**values)


def parcel(url: str, **data: object) -> Parcel:
    return Parcel("w-1", WebhookEvent.TEST, utc(NOW), ACCOUNT, url, {"account_id": ACCOUNT, **data})


def courier(authority: Authority | None = None, clock: Callable[[], float] = time.time, **values: object) -> Courier:
    return Courier(settings(authority, **values), clock)


def subscribe(world: World, url: str, reference: str = "acme") -> None:
    Accounts(world.database).change_contact(reference, {"webhook_url": url})


def tell(world: World, account_id: str, subject: str = "n1") -> WebhookOrder:
    """Put one event down, and return the order to post it."""
    with world.database.write() as connection:
        assert webhooks.put(
            connection, WebhookEvent.CONTACT_CHANGED, account_id, subject, NOW, data={"notice_id": "n1"}
        )
    [(webhook_id,)] = world.rows("SELECT id FROM webhook WHERE key = :key", key=f"{subject}/contact.changed/1")
    return WebhookOrder(webhook_id, NOW)


def activities(world: World, authority: Authority | None = None, **values: object) -> WebhookActivities:
    return WebhookActivities(world.database, courier(authority, **values), time.time)


def standing(world: World, order: WebhookOrder) -> tuple:
    """Return state, tries and fault of a webhook."""
    [found] = world.rows("SELECT state, tries, last_error FROM webhook WHERE id = :id", id=order.webhook_id)
    return found
