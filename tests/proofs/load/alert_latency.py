"""From the 20th failure that the server received to the alert that the mail server accepted, under several loads.

`python -m proofs.load.alert_latency [--quick] [--load NAME …] [--database sqlite|postgresql]` prints p50, p99 and the
longest of each load, a control without load first, and ends with 1 when a p99 is above one second. Everything is real:
the example app under uvicorn with TLS, the database, the worker and its pages, Temporal's dev server on a file, SMTP
with STARTTLS.

Incidents begin on a fixed schedule, whether the one before is over or not, and the accounts were made before: whatever
keeps the server or the database from answering is inside the measured time. All twenty requests are sent at once, and
the time counts from the moment at which the server has the last one, answered or not.
"""

import argparse
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path

from support.databases import DATABASES

from proofs.load.alert_loads import LOADS, LoadProgress
from proofs.load.alert_rig import AccountKeys, Rig, alert_rig
from proofs.load.report import Report, conclude, in_ms, percentile

LIMIT = 1.0  # seconds
_INTERVAL = 2.0  # seconds from one incident to the next
_AHEAD = 0.5  # seconds before its time at which an attack opens its connections
_MOST = 10  # times as many incidents as asked for, while the load is not complete
_PREPARATION_TIMEOUT = 900.0


def measure(rig: Rig, name: str, incidents: int, *, quick: bool, report: Report) -> list[float]:
    """Let the load begin, then attack one customer after the other; return how long each alert took."""
    progress, errors = LoadProgress(quick), list[BaseException]()
    customers = rig.accounts("customer", incidents * _MOST + 1)

    def run_load() -> None:
        try:
            LOADS[name](rig, progress)
        except BaseException as error:  # noqa: BLE001  # raised by the caller: a load that ended proves nothing
            errors.append(error)
        finally:
            progress.ready.set()
            progress.complete.set()

    thread = threading.Thread(target=run_load)
    thread.start()
    try:
        if not progress.ready.wait(_PREPARATION_TIMEOUT):
            raise RuntimeError(f"the load {name} was not ready after {_PREPARATION_TIMEOUT:g} s")
        taken = _attack_all(rig, customers, incidents, progress, report)
    finally:
        progress.stop.set()
        thread.join()
    if errors:
        raise RuntimeError(f"the load {name} ended: {errors[0]!r}") from errors[0]
    for what, value in progress.figures.items():
        report.figure(what, value)
    return taken


def _attack_all(
    rig: Rig, customers: Sequence[AccountKeys], incidents: int, progress: LoadProgress, report: Report
) -> list[float]:
    statuses: Counter[int] = Counter()

    def attack(customer: AccountKeys, at: float) -> float:
        """Attack a customer at a time; return how long the alert took, or infinity when it did not come."""
        time.sleep(max(0.0, at - _AHEAD - time.monotonic()))
        with rig.attack(customer) as made:
            time.sleep(max(0.0, at - time.monotonic()))
            received_at = made.send()
            statuses.update(made.statuses())
            accepted_at = rig.alert_at(customer)
        return float("inf") if accepted_at is None else (accepted_at - received_at).total_seconds()

    attack(customers[0], 0.0)  # warms up
    statuses.clear()
    with ThreadPoolExecutor(max_workers=64) as pool:
        first, begun = time.monotonic() + _AHEAD, []
        for number, customer in enumerate(islice(customers, 1, None)):
            if number >= incidents and progress.complete.is_set():
                break
            at = first + number * _INTERVAL
            begun.append(pool.submit(attack, customer, at))
            progress.stop.wait(max(0.0, at - time.monotonic()))
        taken = [future.result() for future in begun]
    report.figure("responses to failures", dict(statuses))
    return taken


def run(names: Sequence[str], incidents: int, *, database: str, quick: bool, limit: float) -> list[Report]:
    """Measure each load on a stack of its own."""
    reports = []
    for name in names:
        report = Report(f"{name}, {database}")
        with tempfile.TemporaryDirectory() as folder, alert_rig(Path(folder), database) as rig:
            taken = measure(rig, name, incidents, quick=quick, report=report)
        report.figure("20th failure → accepted by SMTP", in_ms(taken))
        report.expect(percentile(taken, 0.99) <= limit, f"p99 is {percentile(taken, 0.99):.2f} s")
        reports.append(report)
    return reports


def main() -> int:
    parser = argparse.ArgumentParser(prog="proofs.load.alert_latency")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--load", nargs="+", choices=LOADS, default=list(LOADS))
    parser.add_argument("--database", choices=DATABASES, default="sqlite")
    parser.add_argument("--incidents", type=int, default=None)
    given = parser.parse_args()
    incidents = given.incidents or (5 if given.quick else 30)
    reports = run(given.load, incidents, database=given.database, quick=given.quick, limit=LIMIT)
    return conclude("alert_latency", reports)


if __name__ == "__main__":
    sys.exit(main())
