"""Exempt paths: what an entry covers, and that a prefix covers no path outside of it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from octy_middleware import ConfigurationError
from octy_middleware.http.exempt_paths import ExemptPaths

ENTRIES = ("/health", "/static/*", "GET /versions", "POST /hooks/*", "OPTIONS *")


@pytest.mark.parametrize(
    ("method", "path", "covered"),
    [
        ("GET", "/health", True),
        ("DELETE", "/health", True),
        ("GET", "/health/", False),
        ("GET", "/healthz", False),
        ("GET", "/Health", False),
        ("GET", "//health", False),
        ("GET", "/static/", True),
        ("GET", "/static/a/b.css", True),
        ("GET", "/static", False),
        ("GET", "/staticx", False),
        ("GET", "/static/../admin", False),
        ("GET", "/static/./x", False),
        ("GET", "/static/..", False),
        ("GET", "/static//x", False),
        ("GET", "/static/..\\admin", False),
        ("GET", "/static/a\x00b", False),
        ("GET", "/static/..a/.b/c..", True),
        ("GET", "/versions", True),
        ("HEAD", "/versions", True),
        ("POST", "/versions", False),
        ("get", "/versions", False),
        ("POST", "/hooks/github", True),
        ("GET", "/hooks/github", False),
        ("OPTIONS", "/who", True),
        ("OPTIONS", "*", True),
        ("OPTIONS", "/a/../b", False),
        ("GET", "/who", False),
        ("", "/who", False),
    ],
)
def test_entries_cover_their_paths_only(method: str, path: str, covered: bool) -> None:
    assert ExemptPaths(ENTRIES).cover(method, path) is covered


def test_empty_list_covers_no_path() -> None:
    assert not ExemptPaths(()).cover("GET", "/")


@pytest.mark.parametrize(
    "entry", ["", "health", "/a*b", "/a/**", "get /x", "GET", "GET  ", "/a b", "/a\n", "https://x/health", "/a?b*c"]
)
def test_invalid_entry_is_named(entry: str) -> None:
    with pytest.raises(ConfigurationError, match=r"exempt_paths: .*'/static/\*'"):
        ExemptPaths([entry])


_PIECES = st.sampled_from(["..", ".", "", "a", "static", "b.css", "\\", "..a", "%2e%2e"])


@given(st.lists(_PIECES, max_size=6).map(lambda pieces: "/static/" + "/".join(pieces)))
def test_prefix_never_covers_a_path_that_leaves_it(path: str) -> None:
    stack: list[str] = []
    for piece in path.replace("\\", "/").split("/"):
        if piece == "..":
            stack = stack[:-1]
        elif piece not in ("", "."):
            stack.append(piece)
    if ExemptPaths(["/static/*"]).cover("GET", path):
        assert stack[:1] == ["static"]
        assert path.rstrip("/") in ("/" + "/".join(stack), "/static")
