"""`python -m proofs.faults`: kill and hinder every part under load, then check all invariants.

Options, one run a store, the JSON report, and one clear last line. The exit status is 0 only when all holds.
"""

import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path

from octy_worker.dev.processes import interrupt_on_termination
from proofs.faults.resource_faults import keep, small_disk
from proofs.faults.run import Plan, Result, Siege, say
from proofs.load.databases import chosen_databases, proof_parser

_SHOWN = 20


def run_store(plan: Plan) -> Result:
    """Run a plan in a folder of its own, which stays, and is named, when something did not hold."""
    folder = Path(tempfile.mkdtemp(prefix=f"octy-faults-{plan.store}-"))
    store_folder = folder / "store"
    store_folder.mkdir()
    with removed(folder) as kept, small_disk(store_folder, wanted=plan.store == "sqlite") as small:
        if plan.store == "sqlite" and not small:
            say("sqlite: no disk is filled in this run: this system lets us mount none (`make load` refuses writes)")
        result = Siege(plan, folder, store_folder=store_folder, small_disk=small, say=say).run()
        for finding in result.verdict.findings[:_SHOWN]:
            say(f"{plan.store} BROKEN: {finding}")
        say(f"{plan.store}: {dict(sorted(result.trouble.by_kind.items()))}")
        if not result.verdict.good:
            keep(store_folder, small=small)
            kept.append(folder)
            say(f"{plan.store}: logs, mails and tables are kept in {folder}")
    return result


@contextmanager
def removed(folder: Path) -> Iterator[list[Path]]:
    """Remove the folder after the block, also after Ctrl-C, unless the block puts it down as kept."""
    kept: list[Path] = []
    try:
        yield kept
    finally:
        if folder not in kept:
            shutil.rmtree(folder, ignore_errors=True)


def report_of(results: dict[str, Result], seed: int, seconds: float) -> dict[str, object]:
    """Sum the figures up, in the order that the issue names them; what is more stands behind."""
    all_of = list(results.values())
    return {
        **_sum([result.verdict.figures for result in all_of]),
        "seconds": round(seconds, 1),
        "seed": seed,
        "stores": list(results),
        "requests": sum(result.requests for result in all_of),
        **_sum([result.verdict.more for result in all_of]),
        "secrets_nobody_saw": sum(len(result.diary.unseen) for result in all_of),
        "longest_use_after_cut": round(
            max((late for r in all_of for late in r.evidence.late.values()), default=0.0), 2
        ),
        "worker_ended_by_itself": [end for result in all_of for end in result.worker_ends],
        "moments_missed": sum(result.trouble.missed for result in all_of),
        "by_kind": dict(sorted(_sum([result.trouble.by_kind for result in all_of]).items())),
        "findings": [f"{store}: {text}" for store, result in results.items() for text in result.verdict.findings],
    }


def _sum(counts: Sequence[Mapping[str, int]]) -> dict[str, int]:
    """Add up by name; a name stays where it came first."""
    summed: dict[str, int] = {}
    for name, count in chain.from_iterable(some.items() for some in counts):
        summed[name] = summed.get(name, 0) + count
    return summed


def main(arguments: list[str] | None = None) -> int:
    parser = proof_parser(__doc__)
    parser.add_argument("--kills", type=int, default=60, help="of all runs together")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--report", type=Path, default=Path("faults-report.json"))
    parser.add_argument("--lives", type=int, default=Plan.lives, help="accounts that are attacked at a time")
    parser.add_argument("--pace", type=float, default=Plan.pace, help="seconds between two faults, on the average")
    options = parser.parse_args(arguments)
    begun, stores = time.monotonic(), chosen_databases(options.database)
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
        with interrupt_on_termination():
            return main()
    except KeyboardInterrupt:
        say("faults: interrupted")
        return 130


if __name__ == "__main__":
    status = _run()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)  # this process had a Temporal client, see `octy_worker.daemon`
