"""Cases of the settings that change what passes or how a refusal looks: each has a site of its own in every process."""

from collections.abc import Iterator

from proofs.conformance.accounts import KeyPairs
from proofs.conformance.cases import ID, NOTHING, SOURCE, THEN, Case, case, http, on_new_connections
from proofs.conformance.response_text import HSTS, INVALID, MALFORMED, MISSING, OPEN, PLAIN, RATE_LIMITED, WHO

_OPTIONAL, _METHODS, _HSTS = b"optional.example", b"methods.example", b"hsts.example"
_RATE_LIMITED, _CUSTOM = b"rate-limited.example", b"custom.example"
_ANONYMOUS = '200 {"account": ""}'


def cases(key_pairs: KeyPairs) -> Iterator[Case]:
    yield from _optional(key_pairs)
    yield from _methods()
    yield from _hsts(key_pairs)
    yield _rate_limited(key_pairs)
    for name, lines, method, answer, outcome in (
        (
            "a refusal in the host app's form",
            (key_pairs.wrong,),
            b"GET",
            '401 {"refused": 401, "method": "GET"}',
            "wrong_secret",
        ),
        ("a HEAD in the host app's form", (), b"HEAD", "401 with no body of 34 bytes", "missing"),
        ("the right key pair", (key_pairs.basic,), b"GET", WHO, "accepted"),
    ):
        yield case("custom error responses", name, http(*lines, method=method, host=_CUSTOM), answer, outcome)


def _optional(key_pairs: KeyPairs) -> Iterator[Case]:
    for name, lines, answer, outcome in (
        ("no credentials", (), _ANONYMOUS, NOTHING),
        ("an empty header", (b"Authorization:",), _ANONYMOUS, NOTHING),
        ("a forged remote user", (b"Remote-User: acme", b"REMOTE_USER: acme"), _ANONYMOUS, NOTHING),
        ("the right key pair", (key_pairs.basic,), WHO, "accepted"),
        ("a wrong secret", (key_pairs.wrong,), INVALID, "wrong_secret"),
        ("another scheme", (b"Authorization: Bearer x",), MALFORMED, "malformed"),
        ("two lines", (key_pairs.wrong, key_pairs.basic), "400 ambiguous", "ambiguous"),
    ):
        yield case("optional", name, http(*lines, host=_OPTIONAL), answer, outcome)
    request = http(host=_OPTIONAL, front=(SOURCE, ID))
    yield case("optional", "no credentials over plain HTTP", request, PLAIN, "plain_http")


def _methods() -> Iterator[Case]:
    for method, path, answer in (
        (b"GET", b"/open", OPEN),
        (b"HEAD", b"/open", f"200 with no body of {len(OPEN) - 4} bytes"),
        (b"OPTIONS", b"/open", OPEN),
        (b"POST", b"/open", MISSING),
        (b"get", b"/open", MISSING),
        (b"GET", b"/who", MISSING),
        (b"OPTIONS", b"/mounted/open", OPEN),
        (b"OPTIONS", b"//open", MISSING),
        (b"OPTIONS", b"/who/../open", MISSING),
    ):
        request = http(b"Content-Length: 0", method=method, path=path, host=_METHODS)
        name = f"{method.decode()} {path.decode()} where GET /open and OPTIONS * are exempt"
        yield case("exempt methods", name, request, answer, "missing" if answer == MISSING else NOTHING)


def _hsts(key_pairs: KeyPairs) -> Iterator[Case]:
    for name, request, answer, outcome in (
        ("a refusal over https", http(key_pairs.wrong, host=_HSTS), INVALID + HSTS, "wrong_secret"),
        ("a success over https", http(key_pairs.basic, host=_HSTS), WHO + HSTS, "accepted"),
        ("an exempt path over https", http(path=b"/open", host=_HSTS), OPEN + HSTS, NOTHING),
        ("a refusal over plain HTTP", http(host=_HSTS, front=(SOURCE, ID)), PLAIN, "plain_http"),
        ("an exempt path over plain HTTP", http(path=b"/open", host=_HSTS, front=(SOURCE, ID)), OPEN, NOTHING),
    ):
        yield case("HSTS", name, request, answer, outcome)


def _rate_limited(key_pairs: KeyPairs) -> Case:
    """Return four requests of one source: 429 where it is wrong, never where it is right.

    Octy's own clients, which send no scheme, know no 429: to them a wrong key stays 401.
    """
    lines = (key_pairs.wrong, key_pairs.wrong, key_pairs.wrong.replace(b"Basic ", b""), key_pairs.basic)
    request = THEN.join(http(line, host=_RATE_LIMITED) for line in lines)
    answers, recorded = (INVALID, RATE_LIMITED, INVALID, WHO), "accepted, 3 × wrong_secret"
    return case(
        "rate limit",
        "wrong, wrong, wrong without a scheme, right",
        request,
        answers,
        recorded,
        conversation=on_new_connections,
    )
