"""`python -m proofs.faults`: kill and disturb every part under load, then check all invariants.

One run on each database, a JSON report, and one clear last line. The exit status is 0 only when everything holds.
"""

import json
import os
import shutil
import sys
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

from octy_worker.dev.processes import interrupt_on_termination
from proofs.faults.checks import CheckResult
from proofs.faults.options import RunOptions
from proofs.faults.resource_faults import small_disk
from proofs.faults.run import FaultRun
from proofs.load.databases import chosen_databases, proof_parser

_MOST_FINDINGS = 20  # on the terminal; the report has all


def run_database(options: RunOptions) -> CheckResult:
    """Run in a temporary folder. When something does not hold, a copy of it is kept, and named."""
    database = options.database
    with TemporaryDirectory(prefix=f"octy-faults-{database}-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        database_folder = folder / "database"
        database_folder.mkdir()
        with small_disk(database_folder, wanted=database == "sqlite") as mounted:
            if database == "sqlite" and not mounted:
                say("sqlite: no disk is filled: this system mounts none for us (`make load` refuses writes)")
            result = FaultRun(options, folder, database_folder=database_folder, small_disk=mounted, report=say).run()
            for finding in result.findings[:_MOST_FINDINGS]:
                say(f"{database} BROKEN: {finding}")
            say(f"{database}: {dict(sorted(result.evidence.by_kind.items()))}")
            if result.findings:
                kept = shutil.copytree(folder, f"{folder}-kept")
                say(f"{database}: logs, mails and tables are kept in {kept}")
    return result


def report_of(results: dict[str, CheckResult], seed: int, seconds: float) -> dict[str, object]:
    """Sum the figures of all runs: first those that matter most."""
    runs = [result.evidence for result in results.values()]
    return {
        **_sum(result.figures for result in results.values()),
        "seconds": round(seconds, 1),
        "seed": seed,
        "stores": list(results),
        "requests": sum(run.requests for run in runs),
        **_sum(result.more for result in results.values()),
        "secrets_never_seen": sum(len(run.unseen) for run in runs),
        "longest_use_after_cut": round(max((late for run in runs for late in run.late.values()), default=0.0), 2),
        "worker_ended_by_itself": [line for run in runs for line in run.worker_exits],
        "moments_missed": sum(run.missed for run in runs),
        "by_kind": dict(sorted(_sum(run.by_kind for run in runs).items())),
        "findings": [f"{database}: {text}" for database, result in results.items() for text in result.findings],
    }


def _sum(counts: Iterable[Mapping[str, int]]) -> Counter[str]:
    """Add up by name, in the order of first occurrence; zeros stay."""
    total: Counter[str] = Counter()
    for some in counts:
        total.update(some)
    return total


def main(arguments: list[str] | None = None) -> int:
    parser = proof_parser(__doc__)
    parser.add_argument("--kills", type=int, default=60, help="of all runs together")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--report", type=Path, default=Path("faults-report.json"))
    options = parser.parse_args(arguments)
    begun, databases = time.monotonic(), chosen_databases(options.database)
    results = {}
    for number, database in enumerate(databases):
        kills = options.kills // len(databases) + (number < options.kills % len(databases))
        results[database] = run_database(RunOptions(database, kills, options.seed))
    report = report_of(results, options.seed, time.monotonic() - begun)
    options.report.write_text(json.dumps(report, indent=2) + "\n", "utf-8")
    findings = sum(len(result.findings) for result in results.values())
    say(json.dumps({name: report[name] for name in [*next(iter(results.values())).figures, "seconds"]}))
    say(f"faults: {f'BROKEN: {findings} findings' if findings else 'nothing was lost'} ({options.report})")
    return 1 if findings else 0


def say(line: str) -> None:
    print(line, flush=True)  # noqa: T201


def _main() -> int:
    try:
        with interrupt_on_termination():
            return main()
    except KeyboardInterrupt:
        say("faults: interrupted")
        return 130


if __name__ == "__main__":
    status = _main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)  # this process had a Temporal client, see `octy_worker.daemon`
