"""The codec server: decrypts payloads for Temporal's Web UI and command line.

It reads no histories: the client has the ciphertext already. It does not know the workflow id, so it encrypts nothing;
people type at most the id of a staff order, which is no secret and which workers accept in plaintext. A request with
an Origin header must name the Web UI's origin, so that no other web page can decrypt; a request without one does not
come from a browser.
"""

import asyncio
import hmac
import secrets
from http import HTTPStatus
from typing import Self

from google.protobuf.json_format import MessageToJson, Parse, ParseError
from pydantic import Field, SecretStr, model_validator
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from temporalio.api.common.v1 import Payloads
from temporalio.converter import PayloadCodec

from octy_middleware.errors import ConfigurationError
from octy_middleware.loopback import is_loopback
from octy_middleware.settings import Keys
from octy_worker.temporal.codec import DecryptionError, EncryptionCodec
from octy_worker.temporal_connection import TemporalSettings
from octy_worker.web.connections import Limits
from octy_worker.web.web_server import serve_until, stop_on_signals, web_server

_MAX_BODY = 4 * 1024 * 1024  # bytes of a request; Temporal's own limit for a payload is 2 MiB
_LIMITS = Limits(connections=64, per_address=32, body_timeout=60.0)  # bodies can be large


class CodecSettings(TemporalSettings):
    """What the codec server needs: no database, no mail."""

    temporal_keys: Keys
    codec_host: str = "127.0.0.1"
    codec_port: int = Field(default=8081, ge=0, le=65_535)
    codec_ui_origin: str = Field(default="http://127.0.0.1:8233", pattern=r"^https?://[^/?#*]+$")  # where the Web UI is
    codec_token: SecretStr = SecretStr("")  # required as `Authorization: Bearer …`; empty: loopback only

    @model_validator(mode="after")
    def _require_token(self) -> Self:
        if not self.codec_token.get_secret_value() and not is_loopback(self.codec_host):
            raise ConfigurationError(
                f"OCTY_CODEC_TOKEN is not set, and {self.codec_host} is not a loopback address, so anybody could "
                "decrypt payloads. Set a token, or listen on 127.0.0.1"
            )
        return self


def build_codec_server(settings: CodecSettings) -> Starlette:
    """Return the app with `POST /encode` and `POST /decode`, the protocol of Temporal's remote codecs."""
    codec_routes = _CodecRoutes(settings)
    return Starlette(
        routes=[
            Route("/encode", codec_routes.encode, methods=["POST"]),
            Route("/decode", codec_routes.decode, methods=["POST"]),
        ],
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
        exception_handlers={DecryptionError: _not_decrypted},
    )


async def _not_decrypted(_request: Request, error: Exception) -> Response:
    return PlainTextResponse(f"{error}\n", HTTPStatus.BAD_REQUEST)


class _CodecRoutes:
    """Both routes. Payloads are not bound to a workflow, and plaintext is returned unchanged."""

    def __init__(self, settings: CodecSettings) -> None:
        self._settings = settings
        self._namespace = settings.namespace()
        self._codec: PayloadCodec = EncryptionCodec(settings.temporal_keys, secrets.token_bytes)

    async def encode(self, request: Request) -> Response:
        """Return the payloads unchanged: without a workflow id they can't be bound to a workflow."""
        return _response(await self._payloads(request))

    async def decode(self, request: Request) -> Response:
        """Decrypt payloads, which authenticate with the workflow id in their metadata."""
        payloads = await self._payloads(request)
        await self._codec.decode_wrapper(payloads)
        return _response(payloads)

    async def _payloads(self, request: Request) -> Payloads:
        self._check(request)
        body = bytearray()
        async for chunk in request.stream():
            body += chunk
            if len(body) > _MAX_BODY:
                raise HTTPException(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"the body is larger than {_MAX_BODY} bytes\n")
        try:
            return Parse(bytes(body).decode(), Payloads())
        except (ParseError, UnicodeDecodeError, RecursionError):
            raise HTTPException(HTTPStatus.BAD_REQUEST, "the body is not a JSON list of payloads\n") from None

    def _check(self, request: Request) -> None:
        """Reject other origins, missing tokens, and other namespaces, which have other keys."""
        settings, headers = self._settings, request.headers
        if headers.get("origin", settings.codec_ui_origin) != settings.codec_ui_origin:
            raise HTTPException(HTTPStatus.FORBIDDEN, "this origin is not the Web UI's; set OCTY_CODEC_UI_ORIGIN\n")
        token = settings.codec_token.get_secret_value()
        given = headers.get("authorization", "")
        if token and not hmac.compare_digest(given.encode(), f"Bearer {token}".encode()):
            challenge = {"WWW-Authenticate": "Bearer"}
            raise HTTPException(HTTPStatus.UNAUTHORIZED, "the bearer token is missing or wrong\n", challenge)
        if headers.get("x-namespace") != self._namespace:
            raise HTTPException(HTTPStatus.FORBIDDEN, f"X-Namespace must be {self._namespace}\n")


def _response(payloads: Payloads) -> Response:
    return Response(MessageToJson(payloads), media_type="application/json", headers={"Cache-Control": "no-store"})


def serve(settings: CodecSettings) -> None:
    """Serve until SIGTERM or SIGINT. Raises OSError when the address can't be had."""
    asyncio.run(_serve(settings))


async def _serve(settings: CodecSettings) -> None:
    app = build_codec_server(settings)
    server = web_server(app, host=settings.codec_host, port=settings.codec_port, limits=_LIMITS)
    await serve_until(stop_on_signals(), server, "the codec server")
