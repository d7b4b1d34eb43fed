"""A request that came through no server. Imports nothing: processes that tests start need it first of all."""


class FakeRequest:
    """A request that came through no server."""

    def __init__(self, authorization: str | bytes | None = None, **given: object) -> None:
        self.method = str(given.get("method", "GET"))
        self.path = str(given.get("path", "/v1/things"))
        self.peer = given.get("peer", "203.0.113.9")
        self.scheme = str(given.get("scheme", "https"))
        self.has_replaced_peer = bool(given.get("has_replaced_peer"))
        self._headers: dict[bytes, list[bytes]] = dict(given.get("headers", {}))  # type: ignore[call-overload]
        if authorization is not None:
            value = authorization.encode() if isinstance(authorization, str) else authorization
            self._headers[b"authorization"] = [value]

    def header(self, name: bytes) -> list[bytes]:
        return self._headers.get(name, [])
