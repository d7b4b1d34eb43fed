"""Cases of methods and paths: what is exempt, below a mount too, and that tricks with paths open nothing."""

from collections.abc import Iterator

from proofs.conformance.accounts import KeyPairs
from proofs.conformance.cases import NOTHING, Case, case, http
from proofs.conformance.response_text import MISSING, OPEN, WHO

_NEIGHBOUR = b"neighbour.example"


def cases(key_pairs: KeyPairs) -> Iterator[Case]:
    wrong = key_pairs.wrong
    yield case("paths", "exempt path", http(path=b"/open"), OPEN, NOTHING)
    yield case("paths", "exempt path and a wrong secret", http(wrong, path=b"/open"), OPEN, NOTHING)
    yield case("paths", "exempt path and a query", http(path=b"/open?x=/who"), OPEN, NOTHING)
    yield case("paths", "exempt path in percent signs", http(path=b"/%6Fpen"), OPEN, NOTHING)
    yield case("paths", "exempt path below the mount", http(path=b"/mounted/open"), OPEN, NOTHING)
    yield case("paths", "right key pair below the mount", http(key_pairs.basic, path=b"/mounted/who"), WHO, "accepted")
    for path in _CLOSED_PATHS:
        yield case("paths", f"no credentials for {path}", http(path=path.encode()), MISSING, "missing")
    for method in ("POST", "PUT", "PATCH", "DELETE", "OPTIONS", "BREW"):
        request = http(b"Content-Length: 0", method=method.encode())
        yield case("methods", f"no credentials and {method}", request, MISSING, "missing")
    yield case(
        "methods",
        "right key pair and POST",
        http(key_pairs.basic, b"Content-Length: 0", method=b"POST"),
        WHO,
        "accepted",
    )
    yield from _neighbours(key_pairs)


def _neighbours(key_pairs: KeyPairs) -> Iterator[Case]:
    """Return cases of another installation in the same process, with a database of its own."""
    theirs = b"Authorization: " + key_pairs.neighbour.basic().encode()
    request = http(theirs, host=_NEIGHBOUR)
    yield case(
        "two in one process",
        "the neighbour's own key pair",
        request,
        '200 {"account": "neighbour"}',
        "neighbour: accepted",
    )
    request = http(key_pairs.basic, host=_NEIGHBOUR)
    yield case(
        "two in one process", "our key pair at the neighbour's", request, "401 invalid", "neighbour: unknown_key"
    )
    request = http(host=_NEIGHBOUR)
    yield case("two in one process", "no credentials at the neighbour's", request, MISSING, "neighbour: missing")


_CLOSED_PATHS = (
    "/",
    "/who/",
    "/open/",
    "/open/who",
    "//open",
    "/./open",
    "/open/../who",
    "/open/..%2Fwho",
    "/open%00",
    "/open%2F",
    "/open;x",
    "/open%3Fx",
    "/OPEN",
    "/who?/open",
    "/mounted/",
    "/mounted/who",
    "/mounted//open",
    "/mounted/mounted/open",
    "/mounted/../open",
    "/mountedopen",
    "/mounted%2Fopen/..",
    "/%C3%B6pen",
    "/%FFopen",
)
