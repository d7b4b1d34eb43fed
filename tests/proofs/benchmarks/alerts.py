"""From the answer to the 20th refusal to the moment at which the SMTP server has accepted the alert.

Everything is real: the example app behind TLS, the database, the worker, the Temporal server, STARTTLS to the mail
sink, which notes when it has a mail safely on disk and says 250. One customer after the other is attacked.

Here: the attacks and the clock. Not here: the stack (`octy_worker.dev.stack`).
"""

import time
from datetime import UTC, datetime
from typing import Any

from story.api import Api, Crew

from octy_worker.dev.customer import Customer
from octy_worker.dev.stack import Stack
from proofs.benchmarks.lab import Lab
from proofs.benchmarks.presentation import Plot, Table, bar, shown
from proofs.benchmarks.spread import Spread
from proofs.load.report import percentile

THRESHOLD = 20


def measure(lab: Lab) -> dict[str, Any]:
    """Attack so many customers; the first one warms up."""
    number = lab.sizes.incidents
    with (
        Stack(lab.folder / "stack", fixed_ports=False) as stack,
        Customer(stack.tls_context()) as customer,
        lab.steps("alerts", number + 1) as step,
    ):
        api = Api(stack.api, stack.tls_context())
        try:
            taken = [_one_case(Crew(stack, customer), api, step) for _ in range(number + 1)][1:]
        finally:
            api.close()
    return {"incidents": number, "seconds": Spread.of(taken), "p99": percentile(taken, 0.99), "all": taken}


def _one_case(crew: Crew, api: Api, step: Any) -> float:
    keys = crew.register()
    api.fail(keys, THRESHOLD)
    answered = datetime.now(UTC)
    accepted = crew.wait_for_mail("alert").received_at
    step()
    time.sleep(0.2)  # what follows the mail is over before the next case begins
    return (accepted - answered).total_seconds()


def tables(figures: dict[str, Any]) -> list[Table]:
    row = (
        f"{figures['incidents']} cases",
        shown(figures["seconds"], 0, scale=1e3),
        f"{figures['p99'] * 1e3:,.0f}",
        f"{figures['seconds']['most'] * 1e3:,.0f}",
    )
    note = "SQLite, Temporal's dev server, one worker, STARTTLS on loopback; one case after the other."
    title = "20th refusal answered → alert accepted by the SMTP server"
    return [Table(title, ("", "median ms", "p99 ms", "longest ms"), [row], note)]


def plots(figures: dict[str, Any]) -> list[Plot]:
    taken = {key: value * 1e3 if key != "rounds" else value for key, value in figures["seconds"].items()}
    return [
        Plot("alerts", "20th refusal answered → alert accepted by SMTP", "ms", [bar("octy, the whole stack", taken)])
    ]
