"""Key pairs and regenerations as tables and pages."""

from collections.abc import Sequence

from rich.console import RenderableType
from rich.table import Table

from octy_worker.cli.output import format_time, key_value_table, table
from octy_worker.domain.usage import LateUse
from octy_worker.formatting import format_source
from octy_worker.reports.models import KeyReport, PairLine, RegenerationLine


def list_table(found: Sequence[PairLine]) -> Table:
    """Return one row for each key pair, with its account."""
    columns = ("public key", "account", "state", "last used", "issued")
    return table(
        columns,
        ((pair.public_key, pair.account, pair.state, pair.last_used_at, pair.created_at) for pair in found),
        no_wrap=("public key",),
    )


def pairs_table(found: Sequence[PairLine], *, title: str) -> Table:
    """Return the key pairs of one account."""
    columns = ("public key", "state", "cause", "last used", "ends or ended")
    rows = (
        (pair.public_key, pair.state, pair.cause, pair.last_used_at, pair.retired_at or pair.retire_at)
        for pair in found
    )
    return table(columns, rows, title=title, no_wrap=("public key",))


def regenerations_table(found: Sequence[RegenerationLine]) -> Table:
    """Return the regenerations of an account."""
    columns = ("ordered", "cause", "state", "by", "reason", "collected")
    rows = ((each.opened_at, each.cause, each.state, each.actor, each.reason, each.collected_at) for each in found)
    return table(columns, rows, title="Regenerations")


def page(report: KeyReport) -> list[RenderableType]:
    """Return everything about one key pair."""
    pair = report.pair
    head = key_value_table(
        [
            ("public key", pair.public_key),
            ("account", pair.account),
            ("state", pair.state),
            ("cause", pair.cause),
            ("issued", pair.created_at),
            ("active since", pair.activated_at),
            ("first used", pair.first_used_at),
            ("last used", pair.last_used_at),
            ("retires", pair.retire_at),
            ("retired", pair.retired_at),
            ("replaced by", pair.replaced_by),
            ("quiet until", pair.quiet_until),
            ("sent over plain HTTP", pair.exposed_at),
            ("open incident", report.open_incident),
        ]
    )
    columns = ("source", "outcome", "requests", "last (minute)")
    uses = table(
        columns,
        ((format_source(use.source), use.outcome, use.count, use.last_at) for use in report.uses),
        title=f"Used since {format_time(report.since)}, most frequent first",
        no_wrap=("source",),
    )
    parts: list[RenderableType] = [head, uses if report.uses else f"Not used since {format_time(report.since)}."]
    return [*parts, late_uses_table(report.late_uses)] if report.late_uses else parts


def late_uses_table(uses: Sequence[LateUse]) -> Table:
    """Return one row for each source that still sends a retired key pair."""
    columns = ("retired key", "user agent", "source", "requests", "last")
    rows = (
        (
            use.public_key,
            use.used_by.user_agent,
            format_source(use.used_by.source),
            use.used_by.count,
            use.used_by.last_at,
        )
        for use in uses
    )
    return table(
        columns,
        rows,
        title="Retired key pairs that are still used with the right secret (refused, not counted as failures)",
        no_wrap=("retired key", "source"),
    )
