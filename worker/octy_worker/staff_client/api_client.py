"""HTTP to a staff API: JSON in and out, and each failure as the error of a command."""

import os
from types import TracebackType
from typing import Any, Self, TypeVar
from urllib.parse import urlsplit

import httpx2
from pydantic import ValidationError

from octy_middleware._version import __version__
from octy_middleware.loopback import is_loopback
from octy_worker.access.login_text import InvalidServerError, normalize_server
from octy_worker.errors import CommandError, RefusedError, UnavailableError, UsageError
from octy_worker.staff.json_values import from_json, to_json
from octy_worker.staff_api.wire import PREFIX, SESSION_ENDED, WireError, rebuild_error
from octy_worker.tls import client_context

O = TypeVar("O")  # noqa: E741  # output

_TIMEOUT = 30.0  # seconds


def read_server(url: str) -> str:
    """Return a server's URL in the form that is signed. Raises UsageError."""
    try:
        return normalize_server(url)
    except InvalidServerError as error:
        raise UsageError(str(error), "name the URL of the staff API, as in https://staff.example.com") from None


class NoAnswerError(UnavailableError):
    """The request was sent, or part of it, and no answer came: it is unknown whether the server has acted."""


class ApiClient:
    """Calls one staff API, with a session's token or without. It follows no redirect."""

    def __init__(self, server: str, token: str = "") -> None:
        self.server = server
        headers = {"User-Agent": f"octy/{__version__}"} | ({"Authorization": f"Bearer {token}"} if token else {})
        self._client = httpx2.Client(headers=headers, timeout=_TIMEOUT, follow_redirects=False, **_transport(server))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._client.close()

    def get(self, path: str, output: type[O]) -> O:
        """Read. Raises CommandError."""
        return self._call("GET", path, None, output, _TIMEOUT)

    def post(self, path: str, value: object, output: type[O], *, timeout: float = _TIMEOUT) -> O:
        """Call with a value, which is a dataclass. Raises CommandError."""
        return self._call("POST", path, to_json(type(value), value), output, timeout)

    def _call(self, method: str, path: str, body: Any, output: type[O], timeout: float) -> O:
        answer = self._send(method, path, body, timeout)
        value = self._read(answer)
        if answer.status_code == httpx2.codes.OK:
            try:
                return from_json(output, value)
            except ValidationError:
                raise self._no_api(f"its answer to {path} is not of this release") from None
        raise self._error(answer, value)

    def _send(self, method: str, path: str, body: Any, timeout: float) -> httpx2.Response:
        try:
            return self._client.request(method, f"{self.server}{PREFIX}{path}", json=body, timeout=timeout)
        except (httpx2.ReadTimeout, httpx2.WriteTimeout):
            raise NoAnswerError(f"the staff API at {self.server} did not answer within {timeout:g} s") from None
        except (httpx2.ReadError, httpx2.WriteError, httpx2.RemoteProtocolError):
            raise NoAnswerError(f"the staff API at {self.server} closed the connection without an answer") from None
        except (httpx2.TransportError, httpx2.InvalidURL) as error:
            raise UnavailableError(
                f"the staff API at {self.server} can't be reached: {error}",
                "check the URL and the network; SSL_CERT_FILE names authorities of your own",
            ) from None

    def _read(self, answer: httpx2.Response) -> Any:
        try:
            return answer.json()
        except ValueError:
            raise self._no_api(f"it answers {answer.status_code} without JSON") from None

    def _error(self, answer: httpx2.Response, value: Any) -> CommandError:
        try:
            error = WireError(**value["error"])
        except (TypeError, KeyError):
            return self._no_api(f"it answers {answer.status_code}")
        if error.kind == SESSION_ENDED:
            why = error.message.partition(" → ")[0]
            return RefusedError(why, f"log in with `octy login {self.server}`")
        return rebuild_error(error)

    def _no_api(self, why: str) -> CommandError:
        return UnavailableError(f"{self.server} is not a staff API of this release: {why}", "check the URL")


def _transport(server: str) -> dict[str, Any]:
    """Return options of the client: proxies and authorities of the environment; on loopback never a proxy."""
    if not is_loopback(urlsplit(server).hostname or ""):
        return {}
    return {"verify": client_context(os.environ.get("SSL_CERT_FILE", ""), setting="SSL_CERT_FILE"), "trust_env": False}
