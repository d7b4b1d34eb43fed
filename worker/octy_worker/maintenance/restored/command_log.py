"""PURE. What the command log says that Temporal does not know: which key pairs were revoked, which accounts erased.

A line counts only where it begins as ours does. Other programs' lines can hold what anyone sent, such as a path or a
user agent that looks like a line of ours.
"""

import json
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress

# As the command wrote it to stderr, as what systemd or rsyslog kept of it under its own name, or of a unit's stderr.
_HEAD = r"(?:[A-Z][a-z]{2} +\d+ [\d:]+|\d[\d:.TZ+-]+) \S+ "
_OURS = re.compile(rf"(?:{_HEAD}(?:octy(?:\[\d+\])?: )?)?octy-audit(?:\[\d+\])?: (?P<facts>\{{.*)")


def revoked_keys(lines: Iterable[str]) -> list[str]:
    """Return the public keys that commands have cut, each once, in the order of the lines."""
    return _unique(map(_cut_by, _facts(lines)))


def erased_accounts(lines: Iterable[str]) -> list[str]:
    """Return the ids of the accounts that commands have erased, each once, in the order of the lines."""
    return _unique(facts.get("account") for facts in _facts(lines) if facts.get("what") == "account_erased")


def _facts(lines: Iterable[str]) -> Iterator[dict[str, object]]:
    """Yield the facts of our lines."""
    for line in lines:
        if ours := _OURS.match(line):
            with suppress(ValueError):  # cut off, or followed by something
                yield json.loads(ours["facts"])


def _unique(found: Iterable[object]) -> list[str]:
    return list(dict.fromkeys(one for one in found if isinstance(one, str) and one))


def _cut_by(facts: dict[str, object]) -> object:
    match facts.get("what"):
        case "key_revoked":
            return facts.get("public_key")
        case "regeneration_ordered" if facts.get("leaked") is True:
            return facts.get("old_public_key")
    return None
