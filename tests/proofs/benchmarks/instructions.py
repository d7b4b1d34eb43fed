"""Instructions of a request by valgrind's callgrind: a figure that the load of a machine does not change.

One process sends few and then many requests; the difference of the counts, divided by that of the requests, is free of
what happens once. Counting begins when everything is imported and warm. All threads of the process are counted; the
kernel is not.
"""

import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

_FEW, _MANY = 10, 110
_HOT_PATH = Path(__file__).with_name("hot_path.py")


def is_installed() -> bool:
    return all(map(shutil.which, ("valgrind", "vgdb")))


def count(path: str, folder: Path, environment: Mapping[str, str], python: str = sys.executable) -> float:
    """Return the instructions of one request on that hot path; `environment` is that of `hot_path`, with PYTHONPATH.

    Raises RuntimeError when valgrind fails; the folder has its log then.
    """
    out = folder / "callgrind.out"
    options = ["--tool=callgrind", "--instr-atstart=no", f"--callgrind-out-file={out}", f"--vgdb-prefix={folder}/vgdb"]
    command = ["valgrind", *options, python, str(_HOT_PATH), "--serve", path]
    with (
        (folder / "valgrind.log").open("wb") as log,
        subprocess.Popen(
            command,
            env={**environment, "PYTHONHASHSEED": "0", "PYTHONSAFEPATH": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        ) as process,
    ):
        try:
            _send(process, _MANY)  # warms up
            _tell(process, folder, "instrumentation", "on")
            counts = []
            for number, requests in enumerate((_FEW, _MANY), start=1):
                _send(process, requests)
                _tell(process, folder, "dump")
                counts.append(_total(out.with_name(f"{out.name}.{number}")))
        except (OSError, subprocess.CalledProcessError) as error:
            raise RuntimeError(f"valgrind failed: {error}; {folder}/valgrind.log says why") from error
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


def _tell(process: subprocess.Popen[str], folder: Path, *words: str) -> None:
    """Give a command to callgrind; return when it is carried out."""
    vgdb = ["vgdb", f"--vgdb-prefix={folder}/vgdb", f"--pid={process.pid}", *words]
    subprocess.run(vgdb, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True, timeout=120)


def _total(dump: Path) -> int:
    """Return the instructions of a dump: the line "totals: N" (callgrind format)."""
    [total] = [line.split()[1] for line in dump.read_text(encoding="utf-8").splitlines() if line.startswith("totals:")]
    return int(total)
