"""Times that are given as options."""

from datetime import UTC, datetime

from octy_worker.errors import UsageError


def parse_time(option: str, text: str) -> datetime:
    """Return a time as an aware datetime; without a zone it is UTC. Raises UsageError, which names the option."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(f"{option} {text!r} is not a time", "use the form 2026-01-09T14:00Z") from None
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found
