"""The codec server: Temporal's Web UI and command line send payloads here to be read.

Here: the app, its settings, and who may ask. Not here: encryption itself (`encryption`), the command that runs it.

It reads no history: who asks has the ciphertext already. It is told no workflow's id, so it encrypts nothing: what
people type is an order's id at most, which is no secret, and which workers take in plaintext. A browser on another
page must not make it a machine that reads for everybody, so a request that names an origin must name the Web UI's; one
without is no browser's.
"""

import asyncio
import hmac
import ipaddress
import secrets
from typing import Self

from google.protobuf.json_format import MessageToJson, Parse, ParseError
from pydantic import Field, SecretStr, model_validator
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from temporalio.api.common.v1 import Payloads
from temporalio.converter import PayloadCodec

from octy_middleware.errors import ConfigurationError
from octy_middleware.settings import Keys
from octy_worker.temporal.codec import DecryptionError, EncryptionCodec
from octy_worker.temporal_connection import TemporalSettings
from octy_worker.web.connections import Limits
from octy_worker.web.web_server import serve_until, stop_on_signals, web_server

_LIMIT = 4 * 1024 * 1024  # bytes of a request; Temporal's own limit for a payload is 2 MiB


_LIMITS = Limits(connections=64, per_address=32, body_timeout=60.0)  # a body may be a thousand times a page's form


class CodecSettings(TemporalSettings):
    """What the codec server needs: no database, no mail."""

    temporal_keys: Keys
    codec_host: str = "127.0.0.1"
    codec_port: int = Field(default=8081, ge=0, le=65_535)
    codec_ui_origin: str = Field(default="http://127.0.0.1:8233", pattern=r"^https?://[^/?#*]+$")  # where the Web UI is
    codec_token: SecretStr = SecretStr("")  # asked for as `Authorization: Bearer …`; empty: loopback only

    @model_validator(mode="after")
    def _shut_without_token(self) -> Self:
        if not self.codec_token.get_secret_value() and not _is_loopback(self.codec_host):
            raise ConfigurationError(
                f"OCTY_CODEC_TOKEN is not set, and {self.codec_host} is not only this machine: everybody there could "
                "decrypt. Set a token, or listen on 127.0.0.1"
            )
        return self


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class RequestRejectedError(Exception):
    """The request is refused with this status, for the reason that the text gives."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status


def build_codec_server(settings: CodecSettings) -> Starlette:
    """Return the app with `POST /encode` and `POST /decode`, as Temporal's tools speak to it."""
    desk = _Desk(settings)
    return Starlette(
        routes=[Route("/encode", desk.encode, methods=["POST"]), Route("/decode", desk.decode, methods=["POST"])],
        middleware=[
            Middleware(
                CORSMiddleware,
                allow_origins=[settings.codec_ui_origin],
                allow_methods=["POST"],
                allow_headers=["authorization", "content-type", "x-namespace"],
                allow_private_network=True,  # a Web UI elsewhere, this on the reader's own machine
                max_age=600,
            )
        ],
        exception_handlers={RequestRejectedError: _refuse, DecryptionError: _undecipherable},
    )


async def _refuse(_request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestRejectedError)
    challenge = {"WWW-Authenticate": "Bearer"} if error.status == _UNKNOWN else None
    return PlainTextResponse(f"{error}\n", error.status, challenge)


async def _undecipherable(_request: Request, error: Exception) -> Response:
    return PlainTextResponse(f"{error}\n", _BAD)


_BAD, _UNKNOWN, _FORBIDDEN, _TOO_LARGE = 400, 401, 403, 413


class _Desk:
    """Both routes. Payloads of no workflow in particular: plaintext is shown as it is."""

    def __init__(self, settings: CodecSettings) -> None:
        self._settings = settings
        self._namespace = settings.namespace()
        self._codec: PayloadCodec = EncryptionCodec(settings.temporal_keys, secrets.token_bytes)

    async def encode(self, request: Request) -> Response:
        """Return what a person typed as it is: it can't be bound to a workflow that is not named."""
        return _answer(await self._payloads(request))

    async def decode(self, request: Request) -> Response:
        """Decrypt what a person wants to read, if it authenticates with the workflow's id that it names itself."""
        payloads = await self._payloads(request)
        await self._codec.decode_wrapper(payloads)
        return _answer(payloads)

    async def _payloads(self, request: Request) -> Payloads:
        self._check(request)
        body = bytearray()
        async for part in request.stream():
            body += part
            if len(body) > _LIMIT:
                raise RequestRejectedError(_TOO_LARGE, f"at most {_LIMIT} bytes at once")
        try:
            return Parse(bytes(body).decode(), Payloads())
        except (ParseError, UnicodeDecodeError, RecursionError):
            raise RequestRejectedError(_BAD, "the body must be payloads as JSON") from None

    def _check(self, request: Request) -> None:
        """Refuse other pages' scripts, those without the token, and other namespaces, whose keys are others."""
        settings, headers = self._settings, request.headers
        if headers.get("origin", settings.codec_ui_origin) != settings.codec_ui_origin:
            raise RequestRejectedError(
                _FORBIDDEN, "this origin is not the Web UI's; OCTY_CODEC_UI_ORIGIN names that one"
            )
        token = settings.codec_token.get_secret_value()
        given = headers.get("authorization", "")
        if token and not hmac.compare_digest(given.encode(), f"Bearer {token}".encode()):
            raise RequestRejectedError(_UNKNOWN, "the bearer token is missing or wrong")
        if headers.get("x-namespace") != self._namespace:
            raise RequestRejectedError(_FORBIDDEN, f"X-Namespace must be {self._namespace}")


def _answer(payloads: Payloads) -> Response:
    return Response(MessageToJson(payloads), media_type="application/json", headers={"Cache-Control": "no-store"})


def serve(settings: CodecSettings) -> None:
    """Serve until SIGTERM or SIGINT. Raises OSError when the address can't be had."""
    asyncio.run(_serve(settings))


async def _serve(settings: CodecSettings) -> None:
    app = build_codec_server(settings)
    server = web_server(app, host=settings.codec_host, port=settings.codec_port, limits=_LIMITS)
    await serve_until(stop_on_signals(), server, "the codec server")
