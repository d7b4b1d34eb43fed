"""`python -m faults`: kill and hinder everything under load, heal it, and check every invariant from the outside.

Options, one run a store, the JSON report, and one clear last line. The exit status is 0 only when all holds.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from load.places import add_store_option, stores_of

from faults.disk import mount_small_disk
from faults.siege import Plan, Result, Siege, say
from octy_worker.dev.processes import ended_like_ctrl_c

_SHOWN = 20


def run_store(plan: Plan) -> Result:
    """Run a plan in a folder that goes when all held; else it stays, and is named."""
    folder = Path(tempfile.mkdtemp(prefix=f"octy-faults-{plan.store}-"))
    store_folder = folder / "store"
    store_folder.mkdir()
    small = plan.store == "sqlite" and mount_small_disk(store_folder)
    if plan.store == "sqlite" and not small:
        say("sqlite: this kernel lets us mount nothing, so no disk is filled in this run (`make load` refuses writes)")
    result = Siege(plan, folder, store_folder=store_folder, small_disk=small, say=say).run()
    for finding in result.verdict.findings[:_SHOWN]:
        say(f"{plan.store} BROKEN: {finding}")
    say(f"{plan.store}: {dict(sorted(result.trouble.by_kind.items()))}")
    if not result.verdict.good:
        say(f"{plan.store}: logs, mails and tables are kept in {folder}")
    return result


def report_of(results: dict[str, Result], seed: int, seconds: float) -> dict[str, object]:
    """Sum the figures up, in the order that the issue names them; what is more stands behind."""
    figures: Counter[str] = Counter()
    for result in results.values():
        for name, figure in result.verdict.figures.items():
            figures[name] += figure
    kinds: Counter[str] = Counter()
    for result in results.values():
        kinds += result.trouble.by_kind
    return {
        **figures,
        "seconds": round(seconds, 1),
        "seed": seed,
        "stores": list(results),
        "requests": sum(result.requests for result in results.values()),
        "secrets_nobody_saw": sum(len(result.diary.unseen) for result in results.values()),
        "worker_ended_by_itself": sum(result.worker_ends for result in results.values()),
        "moments_missed": dict(sum((result.trouble.missed for result in results.values()), Counter())),
        "by_kind": dict(sorted(kinds.items())),
        "findings": [f"{store}: {text}" for store, result in results.items() for text in result.verdict.findings],
    }


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_store_option(parser)
    parser.add_argument("--kills", type=int, default=60, help="of all runs together")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--report", type=Path, default=Path("faults-report.json"))
    parser.add_argument("--lives", type=int, default=8, help="accounts that are attacked at a time")
    parser.add_argument("--pace", type=float, default=1.0, help="seconds between two faults, on the average")
    options = parser.parse_args(arguments)
    begun, stores = time.monotonic(), stores_of(options)
    results = {}
    for number, store in enumerate(stores):
        kills = options.kills // len(stores) + (number < options.kills % len(stores))
        results[store] = run_store(Plan(store, kills, options.seed, lives=options.lives, pace=options.pace))
    report = report_of(results, options.seed, time.monotonic() - begun)
    options.report.write_text(json.dumps(report, indent=2) + "\n", "utf-8")
    findings = [finding for result in results.values() for finding in result.verdict.findings]
    say(json.dumps({name: report[name] for name in [*next(iter(results.values())).verdict.figures, "seconds"]}))
    say(f"faults: {f'BROKEN: {len(findings)} findings' if findings else 'nothing was lost'} ({options.report})")
    return 1 if findings else 0


def _run() -> int:
    try:
        with ended_like_ctrl_c():
            return main()
    except KeyboardInterrupt:
        say("faults: interrupted")
        return 130


if __name__ == "__main__":
    status = _run()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)  # this process had a Temporal client, see `octy_worker.daemon`
