"""Error responses: status, headers and body for every outcome but ACCEPTED.

A body depends on the public texts of the outcome alone, so equal texts give equal bytes.
"""

import json
import logging
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from http import HTTPStatus

from octy_middleware.errors import ConfigurationError
from octy_middleware.http.error_body import error_body
from octy_middleware.http.outcome import Outcome, OutcomeSpec
from octy_middleware.http.request import Request

_logger = logging.getLogger(__name__)

Headers = tuple[tuple[bytes, bytes], ...]

_JSON = b"application/json"
_PROBLEM = b"application/problem+json"
_RETRY_AFTER = {429: 60, 503: 5}  # seconds, where the caller gives none
_REQUIRED_HEADERS = (b"www-authenticate", b"cache-control", b"retry-after")
_MAX_ACCEPT = 512  # bytes; longer ones are ignored, so that they cannot fill the cache

_is_header = re.compile(rb"[!#$%&'*+.^_`|~0-9a-z-]+").fullmatch  # RFC 9110 5.6.2, in lower case
_is_value = re.compile(rb"[\t\x20-\x7e\x80-\xff]*").fullmatch  # RFC 9110 5.5
_is_realm = re.compile(r"[ !#-\[\]-~]+").fullmatch  # a quoted-string that needs no escapes (RFC 9110 5.6.4)
_is_weight = re.compile(rb"0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?").fullmatch  # RFC 9110 12.4.2


@dataclass(frozen=True, slots=True)
class ErrorResponse:
    """A complete response. Header names are in lower case, as ASGI requires.

    `text` and `help_text` are those of the body, for hosts that send them in another form.
    """

    status: int
    headers: Headers
    body: bytes
    text: str = ""
    help_text: str = ""


RefusalHook = Callable[[ErrorResponse, Request], ErrorResponse]
"""A host's own form of error responses: takes ours and the request, and returns the response to send.

It gets no more than the client does, so that no host shows by accident whether a key is unknown, wrong or retired.
"""


def build_error_response(
    outcome: Outcome, *, realm: str, accept: bytes | None = None, retry_after: int | None = None
) -> ErrorResponse:
    """Return the response to a rejected request: `accept` is the raw header, `retry_after` seconds (429, 503).

    Raises ValueError for ACCEPTED and ConfigurationError for a realm that `check_realm` rejects.
    """
    if outcome is Outcome.ACCEPTED:
        raise ValueError("an accepted request has no error response")
    return _cached_response(outcome, realm, prefers_problem(accept), retry_after)


@lru_cache(maxsize=1024)
def _cached_response(outcome: Outcome, realm: str, problem: bool, retry_after: int | None) -> ErrorResponse:  # noqa: FBT001
    body, spec = _BODIES[outcome], outcome.spec
    headers = _headers(spec.status, realm, len(body), problem=problem, retry_after=retry_after)
    return ErrorResponse(spec.status, headers, body, spec.public_text, spec.help_text)


def apply_refusal_hook(refusal: ErrorResponse, request: Request, hook: RefusalHook) -> ErrorResponse:
    """Return the host's form of an error response, with the required headers added; ours, if the hook fails.

    A 401 has its challenge (RFC 9110 11.6.1), nothing is cached, the length is that of the body. Never raises: an
    error in the hook must neither accept a request nor turn a rejection into a 500.
    """
    try:
        answer = hook(refusal, request)
        _check_response(answer, refusal.status)
    except Exception:
        _logger.exception("on_refusal failed; the unchanged response is sent")
        return refusal
    kept = {name: value for name, value in refusal.headers if name in _REQUIRED_HEADERS}
    headers = {**dict(answer.headers), **kept, b"content-length": b"%d" % len(answer.body)}
    return replace(answer, headers=tuple(headers.items()))


def _check_response(answer: ErrorResponse, status: int) -> None:
    """Raise for a response that cannot be sent. The status must not change, because clients act on it."""
    if answer.status != status:
        raise ValueError(f"the status must stay {status}, but is {answer.status!r}")
    names = [name for name, _ in answer.headers]
    if len(set(names)) < len(names) or not all(_is_header(name) and _is_value(value) for name, value in answer.headers):
        raise ValueError("headers must be pairs of bytes without line ends, each name in lower case and once")
    if not isinstance(answer.body, bytes):
        raise TypeError("the body must be bytes")


def hsts_header(seconds: int) -> Headers:
    """Return Strict-Transport-Security for so many seconds (RFC 6797 6.1), or nothing if it is 0."""
    return ((b"strict-transport-security", b"max-age=%d" % seconds),) if seconds else ()


def check_realm(realm: str) -> str:
    """Return the realm if it needs no escapes in a header, else raise ConfigurationError."""
    if _is_realm(realm) is None:
        raise ConfigurationError(f"realm: {realm!r} must be printable ASCII without quotes and backslashes")
    return realm


def prefers_problem(accept: bytes | None) -> bool:
    """Return whether Accept ranks problem+json above plain JSON (RFC 9110 12.5.1). Never raises."""
    return accept is not None and len(accept) <= _MAX_ACCEPT and _prefers_problem(accept)


@lru_cache(maxsize=256)
def _prefers_problem(accept: bytes) -> bool:
    weights: dict[bytes, float] = {}
    for item in accept.split(b","):
        media_range, weight = _read_range(item)
        weights[media_range] = max(weight, weights.get(media_range, 0.0))
    return _quality(_PROBLEM, weights) > _quality(_JSON, weights)


def _read_range(item: bytes) -> tuple[bytes, float]:
    """Read one media range and its weight; other parameters than q are ignored, an invalid q is 0."""
    media_range, *parameters = item.split(b";")
    weight = 1.0
    for parameter in parameters:
        name, _, value = parameter.partition(b"=")
        if name.strip().lower() == b"q":
            weight = float(value) if _is_weight(value.strip()) else 0.0
    return media_range.strip().lower(), weight


def _quality(media_type: bytes, weights: dict[bytes, float]) -> float:
    """Return the weight of the most specific range that matches."""
    return next((weights[key] for key in (media_type, b"application/*", b"*/*") if key in weights), 0.0)


def _headers(status: int, realm: str, length: int, *, problem: bool, retry_after: int | None) -> Headers:
    headers = [
        (b"content-type", _PROBLEM if problem else _JSON + b"; charset=utf-8"),
        (b"content-length", b"%d" % length),
        (b"cache-control", b"no-store"),
    ]
    challenge = f'Basic realm="{check_realm(realm)}", charset="UTF-8"'  # RFC 7617 2 and 2.1
    if status == HTTPStatus.UNAUTHORIZED:
        headers.append((b"www-authenticate", challenge.encode("ascii")))
    if status in _RETRY_AFTER:
        seconds = _RETRY_AFTER[status] if retry_after is None else max(retry_after, 0)
        headers.append((b"retry-after", b"%d" % seconds))
    return tuple(headers)


def _body(spec: OutcomeSpec) -> bytes:
    return json.dumps(error_body(spec.status, spec.public_text, spec.help_text)).encode("ascii")


_BODIES: dict[Outcome, bytes] = {outcome: _body(outcome.spec) for outcome in Outcome if outcome is not Outcome.ACCEPTED}
