"""Cases of methods and paths: what is exempt, below a mount too, and that tricks with paths open nothing."""

from collections.abc import Iterator

from proofs.conformance.accounts import KeyPairs
from proofs.conformance.cases import NOTHING, Case, case, group, http
from proofs.conformance.response_text import INVALID, MISSING, OPEN, WHO

_NEIGHBOUR = b"neighbour.example"


_CLOSED_PATHS = (
    *("/", "/who/", "/open/", "/open/who", "//open", "/./open", "/open/../who", "/open/..%2Fwho", "/open%00"),
    *("/open%2F", "/open;x", "/open%3Fx", "/OPEN", "/who?/open", "/mounted/", "/mounted/who", "/mounted//open"),
    *("/mounted/mounted/open", "/mounted/../open", "/mountedopen", "/mounted%2Fopen/..", "/%C3%B6pen", "/%FFopen"),
)


def cases(key_pairs: KeyPairs) -> Iterator[Case]:
    right, empty = key_pairs.basic, b"Content-Length: 0"
    yield from group(
        "paths",
        ("exempt path", http(path=b"/open"), OPEN, NOTHING),
        ("exempt path and a wrong secret", http(key_pairs.wrong, path=b"/open"), OPEN, NOTHING),
        ("exempt path and a query", http(path=b"/open?x=/who"), OPEN, NOTHING),
        ("exempt path in percent signs", http(path=b"/%6Fpen"), OPEN, NOTHING),
        ("exempt path below the mount", http(path=b"/mounted/open"), OPEN, NOTHING),
        ("right key pair below the mount", http(right, path=b"/mounted/who"), WHO, "accepted"),
    )
    for path in _CLOSED_PATHS:
        yield case("paths", f"no credentials for {path}", http(path=path.encode()), MISSING, "missing")
    for method in ("POST", "PUT", "PATCH", "DELETE", "OPTIONS", "BREW"):
        request = http(empty, method=method.encode())
        yield case("methods", f"no credentials and {method}", request, MISSING, "missing")
    yield case("methods", "right key pair and POST", http(right, empty, method=b"POST"), WHO, "accepted")
    # Another installation in the same process, with a database of its own.
    theirs, account = b"Authorization: " + key_pairs.neighbour.basic().encode(), '200 {"account": "neighbour"}'
    ours_there = http(right, host=_NEIGHBOUR)
    yield from group(
        "two in one process",
        ("the neighbour's own key pair", http(theirs, host=_NEIGHBOUR), account, "neighbour: accepted"),
        ("our key pair at the neighbour's", ours_there, INVALID, "neighbour: unknown_key"),
        ("no credentials at the neighbour's", http(host=_NEIGHBOUR), MISSING, "neighbour: missing"),
    )
