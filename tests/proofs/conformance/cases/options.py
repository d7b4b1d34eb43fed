"""Cases of the settings that change what passes or how a refusal looks: each has a site of its own in every process."""

from collections.abc import Iterator

from proofs.conformance.accounts import KeyPairs
from proofs.conformance.cases import ID, NOTHING, SOURCE, THEN, Case, case, group, http, on_new_connections
from proofs.conformance.response_text import (
    AMBIGUOUS,
    HSTS,
    INVALID,
    MALFORMED,
    MISSING,
    OPEN,
    PLAIN,
    RATE_LIMITED,
    WHO,
)

_OPTIONAL, _METHODS, _HSTS = b"optional.example", b"methods.example", b"hsts.example"
_RATE_LIMITED, _CUSTOM = b"rate-limited.example", b"custom.example"
_ANONYMOUS = '200 {"account": ""}'


def cases(key_pairs: KeyPairs) -> Iterator[Case]:
    right, wrong = key_pairs.basic, key_pairs.wrong
    for name, lines, response, outcome in (
        ("no credentials", (), _ANONYMOUS, NOTHING),
        ("an empty header", (b"Authorization:",), _ANONYMOUS, NOTHING),
        ("a forged remote user", (b"Remote-User: acme", b"REMOTE_USER: acme"), _ANONYMOUS, NOTHING),
        ("the right key pair", (right,), WHO, "accepted"),
        ("a wrong secret", (wrong,), INVALID, "wrong_secret"),
        ("another scheme", (b"Authorization: Bearer x",), MALFORMED, "malformed"),
        ("two lines", (wrong, right), AMBIGUOUS, "ambiguous"),
    ):
        yield case("optional", name, http(*lines, host=_OPTIONAL), response, outcome)
    request = http(host=_OPTIONAL, front=(SOURCE, ID))
    yield case("optional", "no credentials over plain HTTP", request, PLAIN, "plain_http")
    for method, path, response in (
        ("GET", "/open", OPEN),
        ("HEAD", "/open", f"200 with no body of {len(OPEN) - 4} bytes"),
        ("OPTIONS", "/open", OPEN),
        ("POST", "/open", MISSING),
        ("get", "/open", MISSING),
        ("GET", "/who", MISSING),
        ("OPTIONS", "/mounted/open", OPEN),
        ("OPTIONS", "//open", MISSING),
        ("OPTIONS", "/who/../open", MISSING),
    ):
        request = http(b"Content-Length: 0", method=method.encode(), path=path.encode(), host=_METHODS)
        name = f"{method} {path} where GET /open and OPTIONS * are exempt"
        yield case("exempt methods", name, request, response, "missing" if response == MISSING else NOTHING)
    yield from group(
        "HSTS",
        ("a refusal over https", http(wrong, host=_HSTS), INVALID + HSTS, "wrong_secret"),
        ("a success over https", http(right, host=_HSTS), WHO + HSTS, "accepted"),
        ("an exempt path over https", http(path=b"/open", host=_HSTS), OPEN + HSTS, NOTHING),
        ("a refusal over plain HTTP", http(host=_HSTS, front=(SOURCE, ID)), PLAIN, "plain_http"),
        ("an exempt path over plain HTTP", http(path=b"/open", host=_HSTS, front=(SOURCE, ID)), OPEN, NOTHING),
    )
    # Octy's own clients, which send no scheme, know no 429: to them a wrong key stays 401.
    lines = (wrong, wrong, wrong.replace(b"Basic ", b""), right)
    request = THEN.join(http(line, host=_RATE_LIMITED) for line in lines)
    four = (request, (INVALID, RATE_LIMITED, INVALID, WHO), "accepted, 3 × wrong_secret")
    name = "wrong, wrong, wrong without a scheme, right"
    yield case("rate limit", name, *four, conversation=on_new_connections)
    refused, head = '401 {"refused": 401, "method": "GET"}', "401 with no body of 34 bytes"
    yield from group(
        "custom error responses",
        ("a refusal in the host app's form", http(wrong, host=_CUSTOM), refused, "wrong_secret"),
        ("a HEAD in the host app's form", http(method=b"HEAD", host=_CUSTOM), head, "missing"),
        ("the right key pair", http(right, host=_CUSTOM), WHO, "accepted"),
    )
