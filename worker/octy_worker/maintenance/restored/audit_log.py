"""PURE. Which key pairs the lines of the audit log say were cut: `octy keys revoke` leaves no trace in Temporal.

A line counts only where it begins as ours does. Other programs' lines can hold what strangers sent, such as a path or a
user agent that looks like a line of ours.
"""

import json
import re
from collections.abc import Iterable

# As the command wrote it to stderr, as what systemd or rsyslog kept of it under its own name, or of a unit's stderr.
_HEAD = r"(?:[A-Z][a-z]{2} +\d+ [\d:]+|\d[\d:.TZ+-]+) \S+ "
_OURS = re.compile(rf"(?:{_HEAD}(?:octy(?:\[\d+\])?: )?)?octy-audit(?:\[\d+\])?: (?P<facts>\{{.*)")


def revoked_keys(lines: Iterable[str]) -> list[str]:
    """Return the public keys that commands have cut, each once, in the order of the lines."""
    found: dict[str, None] = {}
    for line in lines:
        ours = _OURS.match(line)
        if ours is None:
            continue
        try:
            facts = json.loads(ours["facts"])
        except ValueError:  # cut off, or followed by something
            continue
        public_key = _cut_by(facts)
        if isinstance(public_key, str) and public_key:
            found[public_key] = None
    return list(found)


def _cut_by(facts: dict[str, object]) -> object:
    match facts.get("what"):
        case "key_revoked":
            return facts.get("public_key")
        case "regeneration_ordered" if facts.get("leaked") is True:
            return facts.get("old_public_key")
    return None
