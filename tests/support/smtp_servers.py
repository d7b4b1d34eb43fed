"""Real SMTP servers for tests: one that keeps mails and answers as told, and one that misbehaves on the wire."""

import socket
import ssl
import threading
from contextlib import contextmanager, suppress
from email import message_from_bytes, policy

import trustme
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, LoginPassword


class Authority:
    """A certificate authority, its PEM file, and server contexts for a name."""

    def __init__(self, folder):
        self._ca = trustme.CA()
        self.file = folder / "ca.pem"
        self._ca.cert_pem.write_to_path(str(self.file))

    def serving(self, name="localhost"):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._ca.issue_cert(name).configure_cert(context)
        return context


class Inbox:
    """Keeps what it accepts. `replies` maps a stage (MAIL, RCPT, DATA) to an answer, for all or one address."""

    def __init__(self):
        self.sent = []
        self.replies = {}
        self.users = []
        self.tls = []

    def clear(self):
        self.__init__()

    def _reply(self, stage, address=""):
        return self.replies.get((stage, address)) or self.replies.get(stage)

    async def handle_MAIL(self, server, session, envelope, address, options):  # noqa: N802
        self.tls.append(server.transport.get_extra_info("ssl_object") is not None)
        envelope.mail_from = address
        return self._reply("MAIL") or "250 ok"

    async def handle_RCPT(self, server, session, envelope, address, options):  # noqa: N802
        refused = self._reply("RCPT", address)
        if not refused:
            envelope.rcpt_tos.append(address)
        return refused or "250 ok"

    async def handle_DATA(self, server, session, envelope):  # noqa: N802
        refused = self._reply("DATA")
        if not refused:
            self.sent.append(Received(envelope))
        return refused or "250 kept"

    def login(self, server, session, envelope, mechanism, data):
        assert isinstance(data, LoginPassword)
        self.users.append(data.login.decode())
        return AuthResult(success=data.password == b"relay-password", handled=False)


class Received:
    """One message as the server got it."""

    def __init__(self, envelope):
        self.recipients = envelope.rcpt_tos
        self.raw = envelope.original_content
        self.message = message_from_bytes(self.raw, policy=policy.default)

    def part(self, kind):
        return self.message.get_body((kind,)).get_content()


class Server(Controller):
    """An aiosmtpd server on a free port."""

    def __init__(self, handler, **options):
        self.connections = 0
        super().__init__(handler, hostname="127.0.0.1", port=0, auth_require_tls=True, **options)

    def factory(self):
        self.connections += 1
        return super().factory()

    def _trigger_server(self):
        self.port = self.server.sockets[0].getsockname()[1]
        super()._trigger_server()
        self.connections = 0


@contextmanager
def running(server):
    server.start()
    try:
        yield server
    finally:
        server.stop()


class Scripted:
    """A server whose answers stand in a list, in clear or over TLS from the first byte.

    Each item answers one line of the client, the one after a 354 the whole mail; the first is the greeting. None closes
    the connection at once, "" says nothing. `heard` is what the client said; each answer takes `pause` seconds.
    """

    def __init__(self, replies, context=None, *, pause=0.0):
        self.replies = replies
        self._pause = pause
        self.heard = []
        self._context = context
        self.connections = 0
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._serve)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._done.set()
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join()

    def _serve(self):
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            self.connections += 1
            with suppress(OSError):
                if self._context is not None:
                    connection = self._context.wrap_socket(connection, server_side=True)
                self._talk(connection)
            connection.close()

    def _talk(self, connection):
        with connection.makefile("rb") as lines:
            before = ""
            for number, reply in enumerate(self.replies):
                whole_mail = before.startswith("354") and reply is not None
                if number and not self._listen(lines, until=b".\r\n" if whole_mail else b""):
                    return
                if reply is None:
                    return
                if reply == "":
                    self._done.wait(2)
                    return
                self._done.wait(self._pause)
                connection.sendall(reply.encode() + b"\r\n")
                before = reply

    def _listen(self, lines, until):
        """Read one line, or all up to one; False when the client is gone."""
        while line := lines.readline():
            self.heard.append(line)
            if not until or line == until:
                return True
        return False
