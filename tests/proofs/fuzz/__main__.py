"""`python -m proofs.fuzz`: the processes, the table, the last line, the exit code."""

import argparse
import json
import multiprocessing
import secrets
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from proofs.fuzz import campaign, sockets
from proofs.fuzz.process import Share, run
from proofs.fuzz.report import Report

LANES = (*campaign.LANES, *sockets.LANES)


def play(seed: int, headers: int, processes: int) -> Report:
    """Play all inputs in so many processes, and say what never came up."""
    begun = time.monotonic()
    shares = [Share(seed, headers, index, processes) for index in range(processes)]
    report = Report(seed)
    with ProcessPoolExecutor(processes, mp_context=multiprocessing.get_context("spawn")) as pool:
        for part in pool.map(run, shares):
            report.add(part)
    report.seconds = time.monotonic() - begun
    report.check_coverage(LANES)
    return report


def main() -> int:
    parser = argparse.ArgumentParser(prog="fuzz", description=__doc__)
    parser.add_argument("--headers", type=int, default=10_000_000, help="in all (default: 10,000,000)")
    parser.add_argument("--seed", type=int, default=None, help="make the same inputs again (default: a fresh one)")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--only", type=int, action="append", default=[], help="play this number and no other")
    parser.add_argument("--json", type=Path, help="write the figures here, too")
    options = parser.parse_args()
    seed = secrets.randbelow(10**6) if options.seed is None else options.seed
    print(f"octy: seed {seed}", flush=True)  # noqa: T201
    if options.only:
        report = run(Share(seed, options.headers, only=tuple(options.only)))
    else:
        report = play(seed, options.headers, options.processes)
    report.show(LANES)
    if options.json:
        options.json.write_text(json.dumps(report.figures(), indent=2) + "\n", encoding="utf-8")
    return 1 if report.findings else 0


if __name__ == "__main__":
    sys.exit(main())
