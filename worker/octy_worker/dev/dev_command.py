"""`octy dev`: the stack left running, with a banner of addresses and commands to try.

Here: what a person sees, and the way to a clean end. Not here: the parts themselves (`stack`).
"""

import os
import shlex
import shutil
import sys
import time
from pathlib import Path

from rich.console import Console
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from octy_worker.dev.processes import ProcessError, ended_like_ctrl_c
from octy_worker.dev.stack import Stack

_LOOK = 0.5  # seconds between two looks at the parts


def run_dev(
    folder: Path,
    *,
    console: Console,
    examples: Path | None = None,
    database: str | None = None,
) -> int:
    """Run the stack in `folder` until Ctrl-C or SIGTERM, then return 0; 1 when a part fails. The folder stays."""

    def say(line: str) -> None:
        console.print(f"· {line}", markup=False, highlight=False, soft_wrap=True)

    try:
        with (
            ended_like_ctrl_c(),
            Stack(folder, fixed_ports=True, examples=examples, database=database, report=say) as stack,
        ):
            show_banner(console, stack)
            while True:
                stack.check()
                time.sleep(_LOOK)
    except KeyboardInterrupt:
        say(f"Stopped. Everything is kept in {folder}")
        return 0
    except ProcessError as error:
        console.print(str(error), style="red", markup=False, highlight=False, soft_wrap=True)
        return 1


def show_banner(console: Console, stack: Stack) -> None:
    """Print where everything is, and what to try first."""
    addresses = Table.grid(padding=(0, 2))
    for what, where in (
        ("API", stack.api),
        ("Inbox", stack.inbox),
        ("Pages", stack.pages),
        ("Temporal Web UI", stack.temporal_ui or "(not served)"),
        ("Temporal", stack.temporal_address),
        ("Database", str(stack.database.url)),
        ("Logs", _short(stack.folder / "logs")),
    ):
        addresses.add_row(Text(what, style="bold"), Text(where, overflow="fold"))
    console.print()
    console.print(Panel(addresses, title="octy dev", title_align="left", expand=False))
    for remark, commands in _to_try(stack):
        console.print(f"\n[dim]# {remark}[/]", highlight=False, soft_wrap=True)
        for command in commands:
            console.print(command, markup=False, highlight=False, soft_wrap=True)
    console.print("\nCtrl-C stops it; everything is kept for the next time.\n", style="dim")


def _to_try(stack: Stack) -> list[tuple[str, list[str]]]:
    octy = "octy" if shutil.which("octy") else _short(Path(sys.executable).with_name("octy"))
    return [
        ("Settings for the commands below", [f"set -a; . {_short(stack.env_file, dot=True)}; set +a"]),
        (
            "An account; its first keys come to the inbox",
            [f"{octy} accounts add --reference acme --email dev@example.com", f"{octy} accounts list"],
        ),
        (
            "A request with a wrong secret; twenty in a row open a case (set PK to your public key)",
            [
                f'curl --cacert {_short(stack.ca_file)} --user "$PK:wrong" {stack.api}/v1/account/authenticate',
                f"{octy} incidents list",
            ],
        ),
    ]


def _short(path: Path, *, dot: bool = False) -> str:
    """Return the path as one would type it here; with `dot` never without a slash, for the shell's `.`."""
    relative = os.path.relpath(path)
    shown = str(path) if relative.startswith("..") else relative
    return shlex.quote(f"./{shown}" if dot and "/" not in shown else shown)
