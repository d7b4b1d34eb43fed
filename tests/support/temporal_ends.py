"""TLS in front of a Temporal server: one end that demands a client certificate, one that checks an API key.

Here: TLS with ALPN h2, the check, and bytes carried on. Not here: the server behind.
"""

import asyncio
import contextlib
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import trustme
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import RequestReceived
from hpack import Decoder
from hyperframe.frame import ContinuationFrame, Frame, HeadersFrame

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_UNAUTHENTICATED = "16"


@dataclass(frozen=True)
class Certificates:
    """Files of one authority: itself, and a client's certificate and key."""

    authority: trustme.CA
    ca: Path
    client: Path
    client_key: Path

    @classmethod
    def make(cls, folder: Path) -> "Certificates":
        folder.mkdir(parents=True, exist_ok=True)
        authority = trustme.CA()
        made = cls(authority, folder / "ca.pem", folder / "client.pem", folder / "client.key")
        client = authority.issue_cert("worker@octy.example")
        authority.cert_pem.write_to_path(made.ca)
        client.private_key_pem.write_to_path(made.client_key)
        client.cert_chain_pems[0].write_to_path(made.client)
        return made

    def server_context(self, *, client_certificate: bool) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.authority.issue_cert("localhost", "127.0.0.1").configure_cert(context)
        context.set_alpn_protocols(["h2"])
        if client_certificate:
            context.verify_mode = ssl.CERT_REQUIRED
            self.authority.configure_trust(context)
        return context


class End:
    """One TLS end. `seen`: how many connections passed, `refused`: how many were turned away."""

    def __init__(self, upstream: str, context: ssl.SSLContext, api_key: str | None) -> None:
        host, _, port = upstream.rpartition(":")
        self._upstream, self._context = (host, int(port)), context
        self.api_key = api_key
        self.address = ""
        self.seen = self.refused = 0

    async def listen(self) -> asyncio.Server:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._context)
        self.address = f"localhost:{server.sockets[0].getsockname()[1]}"
        return server

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            if self.api_key is None:
                await self._carry(reader, writer, b"")
            else:
                await self._check_then_carry(reader, writer)
        with contextlib.suppress(OSError):
            writer.close()

    async def _check_then_carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry a connection on whose first request has the key; answer all requests of any other with status 16."""
        headers, taken = _RequestHeaders(), b""
        while not headers.complete:
            data = await reader.read(65536)
            if not data:
                return
            taken += data
            headers.feed(data)
        if headers.found.get("authorization") == f"Bearer {self.api_key}":
            await self._carry(reader, writer, taken)
        else:
            self.refused += 1
            await _refuse(reader, writer, taken)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, taken: bytes) -> None:
        self.seen += 1
        inner_reader, inner_writer = await asyncio.open_connection(*self._upstream)
        inner_writer.write(taken)
        ways = [asyncio.create_task(_pump(reader, inner_writer)), asyncio.create_task(_pump(inner_reader, writer))]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            inner_writer.close()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()


class _RequestHeaders:
    """Reads the headers of a connection's first request, as they pass."""

    def __init__(self) -> None:
        self._buffer, self._block = b"", b""
        self.found: dict[str, str] = {}
        self.complete = False

    def feed(self, data: bytes) -> None:
        self._buffer += data
        if self._buffer.startswith(_PREFACE):
            self._buffer = self._buffer[len(_PREFACE) :]
        elif _PREFACE.startswith(self._buffer):
            return
        while len(self._buffer) >= 9 and not self.complete:
            frame, length = Frame.parse_frame_header(memoryview(self._buffer[:9]))
            if len(self._buffer) < 9 + length:
                return
            frame.parse_body(memoryview(self._buffer[9 : 9 + length]))
            self._buffer = self._buffer[9 + length :]
            if isinstance(frame, HeadersFrame | ContinuationFrame):
                self._block += frame.data
                if "END_HEADERS" in frame.flags:
                    self.found = {str(name): str(value) for name, value in Decoder().decode(self._block)}
                    self.complete = True


async def _refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, data: bytes) -> None:
    server = H2Connection(H2Configuration(client_side=False))
    server.initiate_connection()
    while data:
        for event in server.receive_data(data):
            if isinstance(event, RequestReceived):
                answer = [(":status", "200"), ("content-type", "application/grpc")]
                trailers = [("grpc-status", _UNAUTHENTICATED), ("grpc-message", "Request unauthorized.")]
                server.send_headers(event.stream_id, [*answer, *trailers], end_stream=True)
        writer.write(server.data_to_send())
        await writer.drain()
        data = await reader.read(65536)


@contextmanager
def tls_end(
    upstream: str, certificates: Certificates, *, client_certificate: bool = False, api_key: str | None = None
) -> Iterator[End]:
    """Run an end in a thread of its own, before the server at `upstream`."""
    end = End(upstream, certificates.server_context(client_certificate=client_certificate), api_key)
    loop, ready = asyncio.new_event_loop(), threading.Event()
    stop: asyncio.Event | None = None

    async def run() -> None:
        nonlocal stop
        stop = asyncio.Event()
        server = await end.listen()
        ready.set()
        await stop.wait()
        server.close()
        running = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    thread = threading.Thread(target=lambda: loop.run_until_complete(run()), name="tls-end")
    thread.start()
    assert ready.wait(10)
    try:
        yield end
    finally:
        assert stop is not None
        loop.call_soon_threadsafe(stop.set)
        thread.join(10)
        loop.close()
