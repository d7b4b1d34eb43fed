"""PURE. What the policy promises for an input: an independent statement, used only to check what really happened.

Here: the policy in a few lines, written apart from the product's own (`octy_middleware.recording.streak`), so that a fault
there is not repeated here. Not here: what was found (`demo_readback`).
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_network

from octy_worker.dev.demo_input import Row

THRESHOLD = 20


@dataclass(frozen=True, slots=True)
class Alert:
    """The row at which a user's case opens, how many failures in a row made it, and by which rule."""

    user: str
    row: int
    length: int
    rule: str


@dataclass(frozen=True, slots=True)
class Case:
    """What the demo does with a case, and which status the old and the new pair get afterwards."""

    user: str
    answer: str
    leaked: bool
    old_pair: int | None
    new_pair: int | None


@dataclass(frozen=True, slots=True)
class Figures:
    """All that the report says: as it has to be, and, of the same shape, as it was found."""

    rows: int
    answers: dict[str, int]
    recorded: dict[str, int]
    alerts: tuple[Alert, ...]
    mails: dict[str, int]
    cases: tuple[Case, ...]


def expect(rows: Sequence[Row]) -> Figures:
    """Return what the policy promises for these rows, and for the answers that the demo gives."""
    accepted = sum(row.accepted for row in rows)
    refused = len(rows) - accepted
    alerts = expected_alerts(rows)
    cases = expected_cases(alerts)
    users = len({row.user for row in rows})
    return Figures(
        rows=len(rows),
        answers={status: count for status, count in (("200", accepted), ("401", refused)) if count},
        recorded={"accepted": accepted, "refused": refused},
        alerts=alerts,
        mails={"new_keys": users + sum(case.new_pair is not None for case in cases), "alert": len(alerts)},
        cases=cases,
    )


def expected_alerts(rows: Iterable[Row]) -> tuple[Alert, ...]:
    """Return the alerts: one a user at most, since no case is closed while the rows are replayed."""
    by_user, by_network, alerts = Counter[str](), Counter[tuple[str, str]](), dict[str, Alert]()
    for row in rows:
        network = (row.user, _network(row.source))
        if row.accepted:
            by_user[row.user] = by_network[network] = 0
            continue
        by_user[row.user] += 1
        by_network[network] += 1
        rule = "key" if by_user[row.user] >= THRESHOLD else "source"
        if max(by_user[row.user], by_network[network]) >= THRESHOLD and row.user not in alerts:
            alerts[row.user] = Alert(row.user, row.number, THRESHOLD, rule)
    return tuple(alerts.values())


def expected_cases(alerts: Sequence[Alert]) -> tuple[Case, ...]:
    """Return what becomes of the first three: reported with a leak, a false alarm, decided by staff."""
    outcomes = (
        ("not_us", True, 401, 200),  # leaked: the old pair is cut at once
        ("it_was_us", False, 200, None),  # nothing changes
        ("regenerate", False, 200, 200),  # the old pair lives on through the overlap
    )
    return tuple(Case(alert.user, *outcome) for alert, outcome in zip(alerts, outcomes, strict=False))


def _network(source: IPv4Address | IPv6Address) -> str:
    address = (source.ipv4_mapped if isinstance(source, IPv6Address) else None) or source
    return str(ip_network((address, 24 if address.version == 4 else 64), strict=False))  # noqa: PLR2004
