"""PURE. Which key pairs the lines of the audit log say were cut: `octy keys revoke` leaves no trace in Temporal."""

import json
from collections.abc import Iterable

_MARK = "octy-audit: "


def revoked_keys(lines: Iterable[str]) -> list[str]:
    """Return the public keys that commands have cut, each once, in the order of the lines."""
    found: dict[str, None] = {}
    for line in lines:
        _, mark, text = line.partition(_MARK)
        if not mark:
            continue
        try:
            facts = json.loads(text)
        except ValueError:  # cut off, or followed by something
            continue
        public_key = _cut_by(facts) if isinstance(facts, dict) else None
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
