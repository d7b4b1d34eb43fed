"""Instructions of a request by valgrind's callgrind: a figure that the load of a machine hardly changes.

One process sends few and then many requests; the difference of the counts, divided by that of the requests, is free of
what happens once. Counting begins when everything is imported and warm. All threads of the process are counted; the
kernel is not.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

Key = TypeVar("Key")
_FEW, _MANY = 10, 110
_HOT_PATH = Path(__file__).with_name("hot_path.py")


def is_installed() -> bool:
    return all(map(shutil.which, ("valgrind", "vgdb")))


@dataclass(frozen=True)
class Job:
    """A hot path, a folder of its own, the environment of `hot_path` with PYTHONPATH, and which Python."""

    path: str
    folder: Path
    environment: Mapping[str, str]
    python: str = sys.executable


def count_all(jobs: Mapping[Key, Job], step: Callable[[], None]) -> dict[Key, float]:
    """Return the instructions of each job's requests. All cores count at once: the counts are no times."""

    def one(job: Job) -> float:
        found = count(job)
        step()
        return found

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return dict(zip(jobs, pool.map(one, jobs.values()), strict=True))


def count(job: Job) -> float:
    """Return the instructions of one request. Raises RuntimeError when valgrind fails."""
    out, log_file = job.folder / "callgrind.out", job.folder / "valgrind.log"
    vgdb = f"--vgdb-prefix={job.folder}/vgdb"
    options = ["--tool=callgrind", "--instr-atstart=no", f"--callgrind-out-file={out}", vgdb]
    command = ["valgrind", *options, job.python, str(_HOT_PATH), "--serve", job.path]
    with (
        log_file.open("wb") as log,
        subprocess.Popen(
            command,
            env={**job.environment, "PYTHONHASHSEED": "0", "PYTHONSAFEPATH": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        ) as process,
    ):
        try:
            _send(process, _MANY)  # warms up
            _tell(process, vgdb, "instrumentation", "on")
            counts = []
            for number, requests in enumerate((_FEW, _MANY), start=1):
                _send(process, requests)
                _tell(process, vgdb, "dump")
                counts.append(_total(out.with_name(f"{out.name}.{number}")))
        except (OSError, subprocess.CalledProcessError) as error:
            raise RuntimeError(f"valgrind failed: {error}\n{log_file.read_text(errors='replace')[-1000:]}") from error
        finally:
            process.kill()
    few, many = counts
    return (many - few) / (_MANY - _FEW)


def _send(process: subprocess.Popen[str], requests: int) -> None:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(f"{requests}\n")
    process.stdin.flush()
    if process.stdout.readline() != "done\n":
        raise OSError(f"the process ended with status {process.wait()}")


def _tell(process: subprocess.Popen[str], vgdb: str, *words: str) -> None:
    """Give a command to callgrind; return when it is carried out."""
    command = ["vgdb", vgdb, f"--pid={process.pid}", *words]
    subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True, timeout=120)


def _total(dump: Path) -> int:
    """Return the instructions of a dump: the line "totals: N" (callgrind format)."""
    [total] = [line.split()[1] for line in dump.read_text(encoding="utf-8").splitlines() if line.startswith("totals:")]
    return int(total)
