"""Where a server or framework is known to differ from the table: what it does, and why. Asserted exactly.

Every case is named, so that a server that changes shows up as a failure. What the middleware decides is the same
everywhere.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from proofs.conformance.accounts import sample_key_pairs
from proofs.conformance.cases import NOTHING, STOP, Case, CaseResult, table
from proofs.conformance.cells import Cell
from proofs.conformance.response_text import (
    AMBIGUOUS,
    CLOSED,
    GARBLED,
    HSTS,
    INVALID,
    MALFORMED,
    MISSING,
    OPEN,
    OVERSIZE,
    PLAIN,
    SILENT,
    WHO,
)

Results = Mapping[str, tuple[str | tuple[str, ...], str]]


@dataclass(frozen=True)
class Difference:
    """What these servers, or these frameworks on them, make of some cases: responses and record, by title."""

    servers: tuple[str, ...]
    why: str
    results: Results
    frameworks: tuple[str, ...] = ()

    def holds(self, cell: Cell) -> bool:
        """Return whether it is about this cell. With its default settings, a server differs as with ours, too."""
        server = cell.server.name
        named = server in self.servers or server.partition(",")[0] in self.servers
        return named and (not self.frameworks or cell.framework in self.frameworks)

    def result_of(self, case: Case) -> CaseResult:
        responses, recorded = self.results[case.title]
        return CaseResult((responses,) if isinstance(responses, str) else responses, recorded)


def _with_handshake(response: str) -> str:
    words, hsts, _ = response.partition(HSTS)
    return f"{words} with sec-websocket-accept and upgrade besides{hsts}"


def _by_server(*titles: str, status: int = 400) -> Results:
    return dict.fromkeys(titles, (f"{status} by the server", NOTHING))


def _accepted(*titles: str) -> Results:
    return dict.fromkeys(titles, (WHO, "accepted"))


_PEER, _FORGED = "127.0.0.1", "203.0.113.66"
_H11 = ("uvicorn-h11", "hypercorn")
_HTTPTOOLS = ("uvicorn-httptools", "gunicorn-uvicorn")
_GRANIAN = ("granian-asgi", "granian-wsgi")
_GUNICORN = ("gunicorn-asgi", "gunicorn-sync", "gunicorn-gthread")
_SYNC, _AFTER = ("gunicorn-sync",), "keep-alive: right key pair on the same connection after"
_CONTROL = ("header: 0x01", "header: ESC", "header: DEL")
_FOLDED = ("broken lines: folded line", "broken lines: folded line with nothing before")
_FOLDED_INTO_ANOTHER = {"broken lines: header folded into another": (MISSING, "missing")}
_CONTINUE = (
    "refused uploads: asked whether to continue with 10 MB",
    "refused uploads: asked whether to continue with chunks",
)
_REFUSED_SOCKETS = {
    case.title: (case.expected.responses[0], case.expected.recorded)
    for case in table(sample_key_pairs())
    if case.group == "WebSocket" and len(case.expected.responses) == 1
}
_FIRST_ONLY = {
    "HEAD: HEAD without credentials": (MISSING, "missing"),
    "HEAD: HEAD and a wrong secret": (INVALID, "wrong_secret"),
    "HEAD: HEAD and two lines": (AMBIGUOUS, "ambiguous"),
    "HEAD: HEAD and the right key pair": ("200 with no body of 19 bytes", "accepted"),
    "HEAD: HEAD of an exempt path": ("200 with no body of 14 bytes", NOTHING),
    f"{_AFTER} missing": (MISSING, "missing"),
    f"{_AFTER} malformed": (MALFORMED, "malformed"),
    f"{_AFTER} ambiguous": (AMBIGUOUS, "ambiguous"),
    f"{_AFTER} oversize": (OVERSIZE, "oversize"),
    f"{_AFTER} a wrong secret": (INVALID, "wrong_secret"),
    f"{_AFTER} an unknown key": (INVALID, "unknown_key"),
    f"{_AFTER} plain HTTP": (PLAIN, "plain_http"),
    f"{_AFTER} a refused body": (INVALID, "wrong_secret"),
    "keep-alive: right, wrong, right": (WHO, "accepted"),
    "pipelining: missing, right, wrong at once": (MISSING, "missing"),
    "pipelining: a refused body, then right, at once": (MISSING, "missing"),
}

DIFFERENCES = (
    Difference(
        (*_HTTPTOOLS, *_GUNICORN, *_GRANIAN, "waitress"),
        "The server refuses control characters in a header by itself, before any app.",
        _by_server(*_CONTROL),
    ),
    Difference(
        (*_H11, "waitress"),
        "The server joins a folded line with a space, as RFC 9112 5.2 allows: one value, and the right one.",
        {**_accepted(*_FOLDED), **_FOLDED_INTO_ANOTHER},
    ),
    Difference(
        (*_H11, *_GRANIAN),
        "The server takes a bare LF for the end of a line, as RFC 9112 2.2 allows. A proxy in front must not differ.",
        _accepted("broken lines: LF and another header"),
    ),
    Difference(
        _HTTPTOOLS,
        "llhttp knows a fixed list of methods and refuses others by itself.",
        _by_server("methods: no credentials and BREW"),
    ),
    Difference(
        (*_GUNICORN, *_HTTPTOOLS, "waitress"),
        "The server refuses methods in lower case by itself.",
        _by_server("exempt methods: get /open where GET /open and OPTIONS * are exempt"),
    ),
    Difference(
        ("hypercorn",),
        "The server makes methods upper case, for the app as for us.",
        {"exempt methods: get /open where GET /open and OPTIONS * are exempt": (OPEN, NOTHING)},
    ),
    Difference(
        _GUNICORN,
        "The server's own limit of a header line is 8,190 bytes (--limit-request-field_size).",
        _by_server("header: 16 KiB", "header: 64 KiB", status=431),
    ),
    Difference(
        ("hypercorn",),
        "The server has a limit of its own for headers that come in several pieces (h11_max_incomplete_size).",
        _by_server("header: 64 KiB", status=431),
    ),
    Difference(
        _HTTPTOOLS,
        "With httptools, uvicorn takes trailers of a chunked request for headers: behind a proxy that forwards "
        "trailers, clients choose their source. Use --http h11.",
        {
            "trailers: right key pair as a trailer": (WHO, "accepted"),
            "trailers: wrong secret as a trailer of the right key pair": (AMBIGUOUS, "ambiguous"),
            "trailers: forged source as a trailer": (MISSING, f"missing from {_FORGED}"),
            "trailers: forged scheme as a trailer": (PLAIN, "plain_http"),
        },
    ),
    Difference(
        ("gunicorn-asgi",),
        "The server refuses trailers that must not be trailers by itself.",
        _by_server(
            "trailers: right key pair as a trailer", "trailers: wrong secret as a trailer of the right key pair"
        ),
    ),
    Difference(
        ("gunicorn-asgi",),
        "The server has no extension for denying a WebSocket with a response: its own 403 is all that a client gets.",
        {title: ("403 by the server", recorded) for title, (_, recorded) in _REFUSED_SOCKETS.items()},
    ),
    Difference(
        ("granian-asgi",),
        "The server adds two headers of an accepted handshake to the refusal of a WebSocket.",
        {title: (_with_handshake(response), recorded) for title, (response, recorded) in _REFUSED_SOCKETS.items()},
    ),
    Difference(
        ("hypercorn", "gunicorn-sync", "gunicorn-gthread"),
        "The server says 100 before it asks the app; the refusal follows without the body having been read.",
        dict.fromkeys(_CONTINUE, ("100, then 401 invalid", "wrong_secret")),
    ),
    Difference(
        ("waitress",),
        "The server reads the whole body before it calls the app, up to its own --max-request-body-size.",
        dict.fromkeys(
            (
                *_CONTINUE,
                "refused uploads: 5 bytes of 10 MB, no credentials",
                "refused uploads: 5 bytes of 10 MB, wrong secret",
                "refused uploads: a chunk of an endless body",
            ),
            (SILENT, NOTHING),
        ),
    ),
    Difference(
        ("waitress",),
        "The server makes one slash of several at the beginning of a path, for the app as for us.",
        {
            "paths: no credentials for //open": (OPEN, NOTHING),
            "exempt methods: OPTIONS //open where GET /open and OPTIONS * are exempt": (OPEN, NOTHING),
        },
    ),
    Difference(
        _SYNC,
        "This worker closes every connection after its response.",
        {title: ((response, CLOSED), recorded) for title, (response, recorded) in _FIRST_ONLY.items()},
    ),
    Difference(
        ("gunicorn-sync", "gunicorn-gthread", "granian-wsgi"),
        "Django reads as much as Content-Length says behind a WSGI server: nothing of a chunked body.",
        {"accepted uploads: in chunks": ('200 {"length": 0}', "accepted")},
        frameworks=("Django (WSGI)",),
    ),
    Difference(
        ("waitress",),
        "Django leaves the body of an accepted HEAD to the server, and this server sends it.",
        {
            "HEAD: HEAD and the right key pair": (("200 with no body of 19 bytes", GARBLED), "2 × accepted"),
            "HEAD: HEAD of an exempt path": (("200 with no body of 14 bytes", GARBLED), "accepted"),
        },
        frameworks=("Django (WSGI)",),
    ),
    Difference(
        ("granian-wsgi",),
        "The server drops header values that are not ASCII.",
        {
            f"header: {name}": (MISSING, "missing")
            for name in (
                "latin-1 NBSP after the scheme",
                "utf-8 NBSP after the scheme",
                "look-alike letter in the scheme",
                "latin-1 byte",
                "utf-8 letter",
                "full-width token",
            )
        },
    ),
    Difference(
        ("granian-wsgi",),
        "The server lets X_Forwarded_For overwrite X-Forwarded-For, so what comes later wins: clients choose scheme "
        "and source unless the proxy in front drops names with underscores (nginx does by default).",
        {
            "source: a forged address with underscores after": (MISSING, f"missing from {_FORGED}"),
            "source: a forged address with one underscore": (MISSING, f"missing from {_FORGED}"),
            "plain HTTP: https with underscores": (WHO, "accepted"),
            "plain HTTP: http, then https with underscores": (WHO, "accepted"),
        },
    ),
    Difference(
        tuple(f"{name}, default settings" for name in _GUNICORN),
        "The server refuses contradictory scheme headers of a proxy that it trusts by itself.",
        _by_server(
            "plain HTTP: https, then http in another line",
            "plain HTTP: http, then https in another line",
        ),
    ),
    Difference(
        ("waitress, default settings",),
        "The server removes all forwarding headers unless told otherwise (--no-clear-untrusted-proxy-headers): every "
        "request comes over plain HTTP from the proxy.",
        {
            case.title: (PLAIN, f"plain_http from {_PEER}")
            for case in table(sample_key_pairs())
            if case.group in ("source", "plain HTTP", "Forwarded", STOP)
            and case.expected.responses != (OPEN,)
            and case.expected.recorded != f"plain_http from {_PEER}"
        },
    ),
    Difference(
        ("uvicorn-h11",),
        "Litestar routes before it asks a middleware: what no route takes it answers by itself. Around the whole app "
        "(`OctyASGIMiddleware(app)`) the middleware is asked first.",
        {
            "plain HTTP: HEAD over plain HTTP": ("405 with no body of 49 bytes", NOTHING),
            "plain HTTP: https in the request line": ('404 {"status_code":404,"detail":"Not Found"}', NOTHING),
            "custom error responses: a HEAD in the host app's form": ("405 with no body of 49 bytes", NOTHING),
        },
        frameworks=("Litestar",),
    ),
    Difference(
        ("cheroot",),
        "The server takes the last of several lines with the same name for the only one, and X_Forwarded_For for "
        "X-Forwarded-For: clients choose scheme and source unless the proxy in front overwrites these headers and "
        "drops names with underscores.",
        {
            "source: a trusted hop in a line after": (MISSING, f"missing from {_PEER}"),
            "source: a forged address with underscores after": (MISSING, f"missing from {_FORGED}"),
            "source: a forged address with one underscore": (MISSING, f"missing from {_FORGED}"),
            "plain HTTP: http, then https in another line": (WHO, "accepted"),
            "plain HTTP: https with underscores": (WHO, "accepted"),
            "plain HTTP: http, then https with underscores": (WHO, "accepted"),
            "optional: two lines": (WHO, "accepted"),
        },
    ),
    Difference(
        ("cheroot",),
        "The server refuses an absolute address in the request line by itself.",
        _by_server("plain HTTP: https in the request line"),
    ),
    Difference(
        ("uwsgi",),
        "The server takes X_Forwarded_For for X-Forwarded-For: clients choose scheme and source unless the proxy in "
        "front drops names with underscores (nginx does by default).",
        {
            "source: a forged address with underscores after": (MISSING, f"missing from {_FORGED}"),
            "source: a forged address with one underscore": (MISSING, f"missing from {_FORGED}"),
            "plain HTTP: https with underscores": (WHO, "accepted"),
        },
    ),
)


def known_difference(case: Case, cell: Cell) -> Difference | None:
    """Return the known difference of this case in this cell. The last one that holds is the most specific."""
    holding = [item for item in DIFFERENCES if case.title in item.results and item.holds(cell)]
    return holding[-1] if holding else None


def expected(case: Case, cell: Cell) -> CaseResult:
    """Return what the case must come to in the cell: as the table says, or as a known difference says."""
    difference = known_difference(case, cell)
    return case.expected if difference is None else difference.result_of(case)
