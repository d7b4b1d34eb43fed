"""`python -m proofs.fuzz`: fuzz in several processes and show what was seen; exit 1 if anything was wrong."""

import argparse
import multiprocessing
import secrets
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor

from support.memory_folder import use_memory_folder

from proofs.fuzz import sockets
from proofs.fuzz.fuzzer import Share, run
from proofs.fuzz.report import Report
from proofs.fuzz.request import from_text
from proofs.fuzz.session import ENTRY_POINTS

ALL_ENTRY_POINTS = (*ENTRY_POINTS, *sockets.NAMES)


def fuzz(seed: int, headers: int, processes: int) -> Report:
    """Play all requests in so many processes; add a finding for what never came up."""
    use_memory_folder()
    started = time.monotonic()
    report = Report(seed)
    shares = [Share(seed, headers, index, processes) for index in range(processes)]
    with ProcessPoolExecutor(processes, mp_context=multiprocessing.get_context("spawn")) as pool:
        for part in pool.map(run, shares):
            report.add(part)
    report.seconds = time.monotonic() - started
    report.check_coverage(ALL_ENTRY_POINTS)
    return report


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="fuzz", description=__doc__)
    parser.add_argument("--headers", type=int, default=10_000_000, help="in all (default: 10,000,000)")
    parser.add_argument("--seed", type=int, default=None, help="make the same requests again (default: a fresh one)")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--request", default="", help="play one request alone, by the text that a finding shows")
    options = parser.parse_args(arguments)
    seed = secrets.randbelow(10**6) if options.seed is None else options.seed
    print(f"octy: seed {seed}", flush=True)  # noqa: T201
    if options.request:
        request, entry_point = from_text(options.request)
        servers = tuple(name for name in sockets.NAMES if name == entry_point)
        report = run(Share(seed, headers=1, servers=servers, only=(request, entry_point)))
    else:
        report = fuzz(seed, options.headers, options.processes)
    report.show(ALL_ENTRY_POINTS)
    return 1 if report.findings else 0


if __name__ == "__main__":
    sys.exit(main())
