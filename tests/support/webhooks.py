"""A customer's server over real TLS, and servers that misbehave on the wire. No tests here."""

import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socket import create_server, socket


@dataclass
class ReceivedRequest:
    """One request as it came."""

    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Receiver:
    """Keeps requests; answers from a list of statuses, the last one again and again."""

    url: str
    heard: list[ReceivedRequest] = field(default_factory=list)
    statuses: list[int] = field(default_factory=lambda: [204])
    location: str = ""

    @property
    def ids(self) -> list[str]:
        return [request.headers["webhook-id"] for request in self.heard]

    def answer(self) -> int:
        return self.statuses[0] if len(self.statuses) == 1 else self.statuses.pop(0)


@contextmanager
def receiver(context: ssl.SSLContext) -> Iterator[Receiver]:
    """Serve HTTPS on loopback."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            headers = {key.lower(): value for key, value in self.headers.items()}
            served.heard.append(ReceivedRequest(self.path, headers, body))
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
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
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
