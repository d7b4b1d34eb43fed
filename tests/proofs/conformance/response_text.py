"""A response's bytes → what it says, in a few words: "401 malformed", '200 {"account": "acme"}', "400 by the server".

What a refusal must look like to the byte is written down once more by hand, so that the middleware is not measured by
itself.
"""

import json
from http import HTTPStatus

from proofs.conformance.raw_http import Response

WHO = '200 {"account": "acme"}'
OPEN = '200 {"open": true}'
MISSING, MALFORMED, INVALID = "401 missing", "401 malformed", "401 invalid"
AMBIGUOUS, OVERSIZE, PLAIN, RATE_LIMITED = "400 ambiguous", "431 oversize", "403 plain_http", "429 rate_limited"
HSTS = " for https only, max-age=31536000"
CLOSED, SILENT, GARBLED = "closed", "silent", "garbled"
SERVER = "400 by the server"

_TEXTS = {
    MISSING: (
        "No API keys were sent.",
        "Send the public key and the secret key as the user name and password of HTTP Basic authentication.",
    ),
    MALFORMED: (
        "The Authorization header can't be read.",
        "Send 'Basic', a space, and public_key:secret_key in standard, padded base64.",
    ),
    INVALID: (
        "The API keys are not valid.",
        "Check that the public key and the secret key belong together and are still in use.",
    ),
    AMBIGUOUS: (
        "The Authorization header is ambiguous.",
        "Send the header once, without commas, and without control characters such as line ends in the keys.",
    ),
    OVERSIZE: ("The Authorization header is too long.", "Send one public key and one secret key, and nothing else."),
    RATE_LIMITED: (
        "Too many failed attempts.",
        "Wait as long as Retry-After says. Requests with the right keys are not affected.",
    ),
    PLAIN: (
        "HTTPS is required.",
        "Use an https:// address. Replace keys that were sent over plain HTTP: others may have read them.",
    ),
}
_OWN = {"date", "server", "connection", "keep-alive", "strict-transport-security"}  # what servers add by themselves


def _body(status: int, text: str, help_text: str) -> bytes:
    """Return Octy's envelope with the members of RFC 9457 beside it."""
    errors = [{"error_message": text, "extended_help": help_text}]
    return json.dumps(
        {
            "request_meta": {"request_status": "Failed", "message": text},
            "error": {"code": status, "reason": HTTPStatus(status).phrase, "errors": errors},
            "type": "about:blank",
            "title": HTTPStatus(status).phrase,
            "status": status,
            "detail": text,
        }
    ).encode()


_BODIES = {name: _body(int(name[:3]), *texts) for name, texts in _TEXTS.items()}


def _headers(status: int, length: int, content_type: str, retry_after: str | None) -> dict[str, str]:
    headers = {"content-type": content_type, "content-length": str(length), "cache-control": "no-store"}
    if status == 401:
        headers["www-authenticate"] = 'Basic realm="Octy API", charset="UTF-8"'
    if status == 429:
        headers["retry-after"] = retry_after if 0 < int(retry_after or 0) <= 60 else "1 to 60"
    return headers


def describe(response: Response) -> str:
    """Return what the response says; whatever is not as it must be is part of it."""
    words = [*(f"{status}, then" for status in response.interim), str(response.status), _meaning(response)]
    if "location" in response.fields:
        words.append("redirected")
    if "strict-transport-security" in response.fields:
        words.append(f"for https only, {response.fields['strict-transport-security']}")
    return " ".join(filter(None, words))


def _meaning(response: Response) -> str:
    if response.status == 101:
        return ""
    name = _name(response)
    if name is None:
        if response.head:
            return f"with no body of {response.fields.get('content-length', 'unknown')} bytes"
        own = response.body.startswith(b"{") and len(response.body) < 80
        return response.body.decode() if own else "by the server"
    return name[4:] + _faults(response, _BODIES[name])


def _name(response: Response) -> str | None:
    """Return which refusal it is: by its body, or where a HEAD has none by its length."""
    for name, body in _BODIES.items():
        same = len(body) == int(response.fields.get("content-length", -1)) if response.head else body == response.body
        if same and int(name[:3]) == response.status:
            return name
    return None


def _faults(response: Response, body: bytes) -> str:
    """Return nothing when all our headers are there, once each and as they must be."""
    ours = sorted((name, value) for name, value in response.headers if name not in _OWN)
    for word, content_type in (("", "application/json; charset=utf-8"), (" as problem", "application/problem+json")):
        expected = sorted(
            _headers(response.status, len(body), content_type, response.fields.get("retry-after")).items()
        )
        if ours == expected:
            return word
        besides = [name for name, value in ours if (name, value) not in expected]
        if len(ours) == len(expected) + len(besides):
            return f"{word} with {' and '.join(besides)} besides"
    return f" with wrong headers {ours}"
