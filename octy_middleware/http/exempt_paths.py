r"""Requests that need no credentials, by the setting `exempt_paths`.

An entry is a path, or a prefix ending in `*`, with or without a method before it: `/health`, `/static/*`,
`GET /v1/versions`, `OPTIONS *`. GET includes HEAD.

A prefix covers only plain paths. A router may read `/static/../admin`, `/static//x` or `/static/..\admin` as another
path, so these need credentials; an exact entry matches them.
"""

import re
from collections.abc import Iterable

from octy_middleware.errors import ConfigurationError

_match_entry = re.compile(r"(?:([A-Z]+) +)?(/[^*\s]*\*?|\*)").fullmatch
_is_ambiguous = re.compile(r"//|\\|(?:^|/)\.{1,2}(?:/|$)|[\x00-\x1f\x7f]").search
_ANY = ""


class ExemptPaths:
    """The parsed entries. Raises ConfigurationError for an invalid one."""

    def __init__(self, entries: Iterable[str]) -> None:
        exact: set[tuple[str, str]] = set()
        below: dict[str, tuple[str, ...]] = {}
        for entry in entries:
            match = _match_entry(entry)
            if match is None:
                raise ConfigurationError(
                    f"exempt_paths: {entry!r} is not a path like '/health', '/static/*', 'GET /versions' or 'OPTIONS *'"
                )
            method, path = match[1] or _ANY, match[2]
            if path.endswith("*"):
                below[method] = (*below.get(method, ()), path[:-1])
            else:
                exact.add((method, path))
        self._exact = frozenset(exact)
        self._below = below

    def __bool__(self) -> bool:
        """Whether there is any entry."""
        return bool(self._exact or self._below)

    def cover(self, method: str, path: str) -> bool:
        """Return whether a request needs no credentials."""
        method = "GET" if method == "HEAD" else method
        if (_ANY, path) in self._exact or (method, path) in self._exact:
            return True
        prefixes = self._below.get(_ANY, ()) + self._below.get(method, ())
        return bool(prefixes) and path.startswith(prefixes) and _is_ambiguous(path) is None
