"""From the 20th failure that the server received to the alert that the mail server accepted, while something goes on.

`python -m proofs.load.alert_latency [--quick] [--load NAME …] [--store sqlite|postgresql]` prints p50, p99 and the
longest of each load, a control without load first, and ends with 1 when a p99 is above one second. Everything is real:
the example app under uvicorn with TLS, the database, the worker and its pages, Temporal's dev server on a file, SMTP
with STARTTLS.

Incidents begin on a fixed schedule, whether the one before is over or not, and the accounts were made before: whatever
keeps the server or the store from answering is inside the measured time. All twenty requests are sent at once, and the
time counts from the moment at which the server has the last one, answered or not.
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

from proofs.load.alert_loads import LOADS, LoadProgress
from proofs.load.alert_rig import AccountKeys, Rig, alert_rig
from proofs.load.report import Report, conclude, in_ms, percentile

LIMIT = 1.0  # seconds
_INTERVAL = 2.0  # seconds from one incident to the next
_AHEAD = 0.5  # seconds before its time at which an attack opens its connections
_MOST = 10  # times as many incidents as asked for, while the load is not complete
_LONGEST_PREPARATION = 900.0


def measure(rig: Rig, name: str, incidents: int, *, quick: bool, report: Report) -> list[float]:
    """Let the load begin, then attack one customer after the other; return how long each alert took."""
    course, faults = LoadProgress(quick), list[BaseException]()
    pairs = rig.accounts("customer", incidents * _MOST + 1)

    def keep_busy() -> None:
        try:
            LOADS[name](rig, course)
        except BaseException as error:  # noqa: BLE001  # told by the caller: a load that ended proves nothing
            faults.append(error)
        finally:
            course.ready.set()
            course.complete.set()

    thread = threading.Thread(target=keep_busy)
    thread.start()
    try:
        if not course.ready.wait(_LONGEST_PREPARATION):
            raise RuntimeError(f"the load {name} was not ready after {_LONGEST_PREPARATION:g} s")
        taken = _attack_all(rig, pairs, incidents, course, report)
    finally:
        course.stop.set()
        thread.join()
    if faults:
        raise RuntimeError(f"the load {name} ended: {faults[0]!r}") from faults[0]
    for what, value in course.said.items():
        report.figure(what, value)
    return taken


def _attack_all(
    rig: Rig, pairs: Sequence[AccountKeys], incidents: int, course: LoadProgress, report: Report
) -> list[float]:
    statuses: Counter[int] = Counter()

    def attack(pair: AccountKeys, at: float) -> float:
        """Attack a customer at a time; return how long the alert took, or infinity when it did not come."""
        time.sleep(max(0.0, at - _AHEAD - time.monotonic()))
        with rig.attack(pair) as made:
            time.sleep(max(0.0, at - time.monotonic()))
            received_at = made.send()
            statuses.update(made.statuses())
            accepted_at = rig.alert_at(pair)
        return float("inf") if accepted_at is None else (accepted_at - received_at).total_seconds()

    attack(pairs[0], 0.0)  # warms up
    statuses.clear()
    with ThreadPoolExecutor(max_workers=64) as pool:
        began, begun = time.monotonic() + _AHEAD, []
        for number, pair in enumerate(islice(pairs, 1, None)):
            if number >= incidents and course.complete.is_set():
                break
            begun.append(pool.submit(attack, pair, began + number * _INTERVAL))
            course.stop.wait(max(0.0, began + number * _INTERVAL - time.monotonic()))
        taken = [future.result() for future in begun]
    report.figure("answers to failures", dict(statuses))
    return taken


def run(names: Sequence[str], incidents: int, *, store: str, quick: bool, limit: float) -> list[Report]:
    """Measure each load on a stack of its own."""
    reports = []
    for name in names:
        report = Report(f"{name}, {store}")
        with tempfile.TemporaryDirectory() as folder, alert_rig(Path(folder), store) as rig:
            taken = measure(rig, name, incidents, quick=quick, report=report)
        report.figure("20th failure → accepted by SMTP", in_ms(taken))
        report.expect(percentile(taken, 0.99) <= limit, f"p99 is {percentile(taken, 0.99):.2f} s")
        reports.append(report)
    return reports


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="proofs.load.alert_latency")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--load", nargs="+", choices=LOADS, default=list(LOADS))
    parser.add_argument("--store", choices=["sqlite", "postgresql"], default="sqlite")
    parser.add_argument("--incidents", type=int, default=None)
    given = parser.parse_args(arguments)
    incidents = given.incidents or (5 if given.quick else 30)
    return conclude("alert_latency", run(given.load, incidents, store=given.store, quick=given.quick, limit=LIMIT))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
