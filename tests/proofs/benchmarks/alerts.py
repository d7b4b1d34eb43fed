"""From the response to the 20th refusal until the SMTP server has accepted the alert.

Everything is real: the example app behind TLS, the database, the worker, the Temporal server, and STARTTLS to the mail
sink, which says 250 and notes the time once a mail is safely on disk. One customer after the other is attacked.
"""

import time
from datetime import UTC, datetime
from typing import Any

from story.api import Api, StoryAccount
from support.paths import EXAMPLES

from octy_worker.dev.customer import Customer
from octy_worker.dev.stack import Stack
from proofs.benchmarks.lab import Lab
from proofs.benchmarks.presentation import Plot, Table, bar, shown
from proofs.benchmarks.spread import Spread
from proofs.load.report import percentile

THRESHOLD = 20
_TITLE = "20th refusal answered → alert accepted by"


def measure(lab: Lab) -> dict[str, Any]:
    """Attack so many customers; the first one warms up."""
    number = lab.sizes.incidents
    with (
        Stack(lab.folder / "stack", fixed_ports=False, examples=EXAMPLES) as stack,
        Customer(stack.tls_context()) as customer,
        lab.steps("alerts", number + 1) as step,
    ):
        api = Api(stack.api, stack.tls_context())
        try:
            taken = [_one_incident(StoryAccount(stack, customer), api, step) for _ in range(number + 1)][1:]
        finally:
            api.close()
    return {"incidents": number, "milliseconds": Spread.of(taken), "p99_ms": percentile(taken, 0.99), "all_ms": taken}


def _one_incident(account: StoryAccount, api: Api, step: Any) -> float:
    keys = account.register()
    api.fail(keys, THRESHOLD)
    answered = datetime.now(UTC)
    accepted = account.wait_for_mail("alert").received_at
    step()
    time.sleep(0.2)  # the rest of this incident's work ends before the next one begins
    return (accepted - answered).total_seconds() * 1e3


def tables(figures: dict[str, Any]) -> list[Table]:
    taken = figures["milliseconds"]
    row = (shown(taken, 0), f"{figures['p99_ms']:,.0f}", f"{taken['most']:,.0f}")
    note = "SQLite, Temporal's dev server, one worker, STARTTLS on loopback; one incident after the other."
    columns = ("", "median ms", "p99 ms", "longest ms")
    return [Table(f"{_TITLE} the SMTP server", columns, [(f"{figures['incidents']} incidents", *row)], note)]


def plots(figures: dict[str, Any]) -> list[Plot]:
    return [Plot("alerts", f"{_TITLE} SMTP", "ms", [bar("octy, the whole stack", figures["milliseconds"])])]
