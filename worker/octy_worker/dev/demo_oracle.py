"""The results that the policy requires for an input (test oracle), written independently of the product's own code."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_network

from octy_worker.dev.demo_input import Row

THRESHOLD = 20


@dataclass(frozen=True, slots=True)
class Alert:
    """The row at which a user's incident opens, the length of its streak, and the rule."""

    user: str
    row: int
    length: int
    rule: str


@dataclass(frozen=True, slots=True)
class AnsweredIncident:
    """The demo's answer to an incident, and the HTTP status of old and new key pair afterwards."""

    user: str
    answer: str
    leaked: bool
    old_pair: int | None
    new_pair: int | None


@dataclass(frozen=True, slots=True)
class Figures:
    """The figures of the report, as expected or as found. The names of the fields are the keys of its JSON."""

    rows: int
    answers: dict[str, int]
    recorded: dict[str, int]
    alerts: tuple[Alert, ...]
    mails: dict[str, int]
    cases: tuple[AnsweredIncident, ...]


def expected_figures(rows: Sequence[Row]) -> Figures:
    """Return the expected figures for these rows and for the demo's answers."""
    accepted = sum(row.accepted for row in rows)
    refused = len(rows) - accepted
    alerts = expected_alerts(rows)
    incidents = expected_incidents(alerts)
    users = len({row.user for row in rows})
    return Figures(
        rows=len(rows),
        answers={status: count for status, count in (("200", accepted), ("401", refused)) if count},
        recorded={"accepted": accepted, "refused": refused},
        alerts=alerts,
        mails={"new_keys": users + sum(incident.new_pair is not None for incident in incidents), "alert": len(alerts)},
        cases=incidents,
    )


def expected_alerts(rows: Iterable[Row]) -> tuple[Alert, ...]:
    """Return the alerts: at most one per user, because no incident is closed during the replay."""
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


def expected_incidents(alerts: Sequence[Alert]) -> tuple[AnsweredIncident, ...]:
    """Return the first three incidents after their answers: leaked, false alarm, decided by staff."""
    outcomes = (
        ("not_us", True, 401, 200),  # leaked: the old key pair stops at once
        ("it_was_us", False, 200, None),  # nothing changes
        ("regenerate", False, 200, 200),  # the old key pair works during the overlap
    )
    return tuple(AnsweredIncident(alert.user, *outcome) for alert, outcome in zip(alerts, outcomes, strict=False))


def _network(source: IPv4Address | IPv6Address) -> str:
    address = (source.ipv4_mapped if isinstance(source, IPv6Address) else None) or source
    return str(ip_network((address, 24 if address.version == 4 else 64), strict=False))  # noqa: PLR2004
