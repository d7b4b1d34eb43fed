"""A strict reader of the ASGI 3 specification (HTTP & WebSocket 2.5, lifespan 2.0), to be put around any app.

`checked(app)` watches both sides: what the app sends, and that what it gets is what a server would send. A breach
raises BreachError at once.
"""

import re
from collections.abc import Iterable
from typing import Any

_is_name = re.compile(rb"[!#$%&'*+.^_`|~0-9a-z-]+").fullmatch  # RFC 9110 5.6.2, in lower case
_is_value = re.compile(rb"(?:[\x21-\x7e\x80-\xff](?:[\t \x21-\x7e\x80-\xff]*[\x21-\x7e\x80-\xff])?)?").fullmatch
_RECEIVED = {
    "http": {"http.request", "http.disconnect"},
    "websocket": {"websocket.connect", "websocket.receive", "websocket.disconnect"},
    "lifespan": {"lifespan.startup", "lifespan.shutdown"},
}


class BreachError(AssertionError):
    """The specification says otherwise."""


def _must(holds: object, what: str) -> None:
    if not holds:
        raise BreachError(what)


def checked(app: Any, *, lower_case: bool = True) -> Any:
    """Return the app with a checker around it. Django's response headers are not in lower case: let that pass."""

    async def watched(scope: Any, receive: Any, send: Any) -> None:
        _check_scope(scope)
        protocol = _PROTOCOLS[scope["type"]](scope, lower_case)

        async def receive_checked() -> Any:
            message = await receive()
            _must(message["type"] in _RECEIVED[scope["type"]], f"{message['type']} was received by {scope['type']}")
            protocol.received(message)
            return message

        async def send_checked(message: Any) -> None:
            protocol.sent(message)
            await send(message)

        await app(scope, receive_checked, send_checked)
        protocol.ended()

    return watched


def _check_scope(scope: Any) -> None:
    _must(scope["type"] in _PROTOCOLS, f"a scope of type {scope['type']!r}")
    _must(scope["asgi"]["version"].startswith("3."), "asgi version 3")
    if scope["type"] == "lifespan":
        return
    for key, kind in (("path", str), ("query_string", bytes), ("headers", Iterable), ("http_version", str)):
        _must(isinstance(scope[key], kind), f"scope[{key!r}] is {type(scope[key])}")
    _must(isinstance(scope.get("root_path", ""), str), "root_path is text")
    for name, value in scope["headers"]:
        _must(isinstance(name, bytes) and isinstance(value, bytes), "headers are bytes")
        _must(name == name.lower(), f"{name!r} is not in lower case")
    schemes = {"http": ("http", "https"), "websocket": ("ws", "wss")}[scope["type"]]
    _must(scope.get("scheme", schemes[0]) in schemes, f"the scheme {scope.get('scheme')!r}")
    if scope["type"] == "http":
        _must(scope["method"] == scope["method"].upper(), "the method is in upper case")


class _Http:
    """start, then bodies until one without more_body; the length that was promised; nothing after."""

    def __init__(self, scope: Any, lower_case: bool, prefix: str = "http.response") -> None:
        self._lower_case, self._prefix = lower_case, prefix
        self._method = scope.get("method", "GET")
        self._promised: int | None = None
        self._length = 0
        self.state = "before"

    def received(self, message: Any) -> None:
        if message["type"] == "http.request":
            _must(isinstance(message.get("body", b""), bytes), "a request's body is bytes")

    def sent(self, message: Any) -> None:
        kind = message["type"]
        _must(self.state != "done", f"{kind} after the last body")
        if self.state == "before":
            _must(kind == f"{self._prefix}.start", f"{kind} before the start")
            self._start(message)
            self.state = "started"
            return
        _must(kind == f"{self._prefix}.body", f"{kind} in place of a body")
        self._body(message)

    def _start(self, message: Any) -> None:
        _must(type(message["status"]) is int and 200 <= message["status"] <= 599, f"the status {message['status']!r}")
        for item in message.get("headers", ()):
            name, value = item
            _must(isinstance(name, bytes), f"a header name of {type(name)}")
            _must(_is_name(name if self._lower_case else name.lower()), f"the header name {name!r}")
            _must(isinstance(value, bytes) and _is_value(value), f"the header value {value!r}")
            _must(name != b"transfer-encoding", "framing is the server's")
        lengths = [value for name, value in message.get("headers", ()) if name == b"content-length"]
        _must(len(lengths) <= 1, "two lengths")
        self._promised = int(lengths[0]) if lengths else None

    def _body(self, message: Any) -> None:
        body = message.get("body", b"")
        _must(isinstance(body, bytes), f"a body of {type(body)}")
        self._length += len(body)
        if message.get("more_body", False):
            return
        if self._promised is not None and not (self._method == "HEAD" and self._length == 0):
            _must(self._length == self._promised, f"{self._length} bytes where {self._promised} were promised")
        self.state = "done"

    def ended(self) -> None:
        _must(self.state == "done", f"the app returned, and the response is {self.state}")


class _WebSocket:
    """connect is received first; then accept, close, or a denial where the server knows it."""

    def __init__(self, scope: Any, lower_case: bool) -> None:
        denial = "websocket.http.response"
        self._denial = _Http(scope, lower_case, denial) if denial in scope.get("extensions", {}) else None
        self._connected = False
        self.state = "before"

    def received(self, message: Any) -> None:
        _must(self._connected or message["type"] == "websocket.connect", f"{message['type']} before connect")
        self._connected = True
        if message["type"] == "websocket.disconnect":
            self.state = "closed"

    def sent(self, message: Any) -> None:
        kind = message["type"]
        _must(self._connected, f"{kind} before connect was received")
        _must(self.state != "closed", f"{kind} after the end")
        if kind.startswith("websocket.http.response"):
            _must(self._denial is not None and self.state in ("before", "denied"), f"{kind} where no denial can be")
            self._denial.sent(message)
            self.state = "closed" if self._denial.state == "done" else "denied"
        elif kind == "websocket.accept":
            _must(self.state == "before", "a second accept")
            self.state = "accepted"
        elif kind == "websocket.send":
            _must(self.state == "accepted", "a message before accept")
            _must((message.get("text") is None) != (message.get("bytes") is None), "text or bytes")
        else:
            _must(kind == "websocket.close" and self.state != "denied", f"{kind} here")
            self.state = "closed"

    def ended(self) -> None:
        _must(self.state == "closed", f"the app returned, and the socket is {self.state}")


class _Lifespan:
    """startup is answered once, then shutdown."""

    def __init__(self, _scope: Any, _lower_case: bool) -> None:
        self._due = ""

    def received(self, message: Any) -> None:
        _must(not self._due, f"{message['type']} while {self._due} is unanswered")
        self._due = message["type"]

    def sent(self, message: Any) -> None:
        _must(message["type"] in (f"{self._due}.complete", f"{self._due}.failed"), f"{message['type']} now")
        self._due = ""

    def ended(self) -> None:
        _must(not self._due, f"the app returned without a response to {self._due}")


_PROTOCOLS: dict[str, Any] = {"http": _Http, "websocket": _WebSocket, "lifespan": _Lifespan}
