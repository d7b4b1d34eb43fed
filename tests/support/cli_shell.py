"""A process that runs one `octy` command after another: lines of JSON in, lines of JSON out. No test; see `cli_rig`.

In place of a command it takes `-c` and code, as Python does.

A process of its own, because one that has connected a Temporal client may abort at its end; and a lasting one, because
loading the Temporal SDK for every command would take most of the tests' time.
"""

import json
import os
import sys
import traceback

from typer.testing import CliRunner

from octy_worker.cli.app import app
from support.compared_tables import share_comparisons
from support.compiled_mails import share_compiled_mails
from support.compiled_statements import share_compiled_statements


def run(words: list[str], variables: dict[str, str]) -> dict[str, object]:
    """Run one command with these OCTY_* variables and no others; or code."""
    if words[0] == "-c":
        try:
            exec(words[1], {"arguments": words[2:]})
        except Exception:  # noqa: BLE001  # the caller shows it
            return {"code": 1, "stdout": "", "stderr": traceback.format_exc()}
        return {"code": 0, "stdout": "", "stderr": ""}
    result = CliRunner(env=variables).invoke(app, words)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return {"code": result.exit_code, "stdout": result.stdout, "stderr": result.stderr}


def main() -> None:
    """Answer until the input ends."""
    share_comparisons()
    share_compiled_mails()
    share_compiled_statements()
    for line in sys.stdin:
        sys.__stdout__.write(json.dumps(run(*json.loads(line))) + "\n")
        sys.__stdout__.flush()


try:
    main()
except BaseException:  # noqa: BLE001  # printed here: the interpreter's end, which would print it, is skipped
    traceback.print_exc()
finally:
    sys.stderr.flush()
    os._exit(0)
