"""Sends one signed POST to a checked URL and classifies the result.

httpcore only speaks HTTP: it follows no redirect, keeps no cookie and reads no proxy from the environment. So there is
nothing to disable, and no later release can enable it.
"""

import logging
from collections.abc import Mapping
from contextlib import suppress

import httpcore2 as httpcore

from octy_middleware._version import __version__
from octy_middleware.clock import Clock
from octy_worker.settings import WebhookSettings
from octy_worker.tls import client_context
from octy_worker.webhooks.failures import FailureReason, PostError, PostResult
from octy_worker.webhooks.network import PublicNetworkBackend
from octy_worker.webhooks.signing import Signer, WebhookMessage
from octy_worker.webhooks.url_policy import DEFAULT_PORTS, Destination, check_url

_MAX_RESPONSE_BYTES = 65_536  # bytes of a response body that are read and discarded
_GONE = 410
FIRST_TIMEOUT = 3.0  # seconds of the first attempt: silent servers hold a slot no longer
_HEADERS = {"user-agent": f"octy-webhooks/{__version__}", "content-type": "application/json", "connection": "close"}

logging.getLogger("httpcore2").setLevel(logging.INFO)  # DEBUG shows customers' servers and response headers


class WebhookClient:
    """Sends webhook messages. The constructor raises ConfigurationError when the CA file can't be loaded."""

    def __init__(self, settings: WebhookSettings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._signer = None if settings.webhook_keys is None else Signer(settings.webhook_keys)
        self._tls = client_context(settings.webhook_ca_file, setting="OCTY_WEBHOOK_CA_FILE")

    def post(self, message: WebhookMessage, *, first_attempt: bool = False) -> PostResult:
        """Send it once; the first attempt has a short timeout. Errors of the receiver are results, not exceptions."""
        if self._signer is None:
            return PostResult(FailureReason.OFF)
        timeout = self._settings.webhook_timeout
        try:
            return self._post(
                message,
                self._signer.headers(message, self._clock()),
                min(FIRST_TIMEOUT, timeout) if first_attempt else timeout,
            )
        except PostError as error:
            return PostResult(error.reason)
        except httpcore.TimeoutException:
            return PostResult(FailureReason.TOO_SLOW)
        except httpcore.ConnectError:
            return PostResult(FailureReason.NO_CONNECTION)
        except (httpcore.NetworkError, httpcore.ProtocolError):
            return PostResult(FailureReason.BROKEN)

    def _post(self, message: WebhookMessage, signature: Mapping[str, str], timeout: float) -> PostResult:
        settings = self._settings
        destination = check_url(
            message.url, allow_http=settings.webhook_allow_http, allow_private=settings.webhook_allow_private
        )
        network = PublicNetworkBackend(timeout=timeout, allow_private=settings.webhook_allow_private)
        headers = {**_HEADERS, "host": host_header(destination), **signature}
        with (
            httpcore.ConnectionPool(ssl_context=self._tls, max_connections=1, network_backend=network) as pool,
            pool.stream(
                "POST", request_url(destination), headers=list(headers.items()), content=message.body
            ) as response,
        ):
            _drain(response)
            return _result(response.status)


def request_url(destination: Destination) -> httpcore.URL:
    """Return the URL of a destination."""
    return httpcore.URL(
        scheme=destination.scheme, host=destination.host, port=destination.port, target=destination.target
    )


def host_header(destination: Destination) -> str:
    """Return the value of the Host header: the port only where it is not the scheme's default."""
    host = f"[{destination.host}]" if ":" in destination.host else destination.host
    return host if destination.port == DEFAULT_PORTS[destination.scheme] else f"{host}:{destination.port}"


def _drain(response: httpcore.Response) -> None:
    """Read a short body, so that the server can finish. The status is known, so errors are ignored."""
    size = 0
    with suppress(PostError, httpcore.TimeoutException, httpcore.NetworkError, httpcore.ProtocolError):
        for chunk in response.iter_stream():
            size += len(chunk)
            if size >= _MAX_RESPONSE_BYTES:
                return


def _result(status: int) -> PostResult:
    if 200 <= status < 300:  # noqa: PLR2004  # 2xx
        return PostResult(None, status)
    if 300 <= status < 400:  # noqa: PLR2004  # 3xx
        return PostResult(FailureReason.REDIRECT, status)
    return PostResult(FailureReason.GONE if status == _GONE else FailureReason.STATUS, status)
