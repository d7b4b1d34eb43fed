"""`octy dev`: runs the stack and prints its addresses and commands to try."""

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

from octy_worker.dev.processes import ProcessError, interrupt_on_termination
from octy_worker.dev.stack import Stack
from octy_worker.dev.staff_member import HANDLE

_POLL_INTERVAL = 0.5  # seconds between checks of the processes


def run_dev(
    folder: Path,
    *,
    console: Console,
    examples: Path | None = None,
    database: str | None = None,
) -> int:
    """Run the stack in `folder` until Ctrl-C or SIGTERM, then return 0; 1 when a process fails. The folder is kept."""

    def say(line: str) -> None:
        console.print(f"· {line}", markup=False, highlight=False, soft_wrap=True)

    try:
        with (
            interrupt_on_termination(),
            Stack(folder, fixed_ports=True, examples=examples, database=database, report=say) as stack,
        ):
            show_banner(console, stack)
            while True:
                stack.check()
                time.sleep(_POLL_INTERVAL)
    except KeyboardInterrupt:
        say(f"Stopped. Everything is kept in {folder}")
        return 0
    except ProcessError as error:
        console.print(str(error), style="red", markup=False, highlight=False, soft_wrap=True)
        return 1


def show_banner(console: Console, stack: Stack) -> None:
    """Print the addresses and example commands."""
    addresses = Table.grid(padding=(0, 2))
    for what, where in (
        ("API", stack.api),
        ("Inbox", stack.inbox),
        ("Pages", stack.pages),
        ("Staff API", stack.staff_api),
        ("Temporal Web UI", stack.temporal_ui or "(not served)"),
        ("Temporal", stack.temporal_address),
        ("Database", str(stack.database.url)),
        ("Logs", _shell_path(stack.folder / "logs")),
    ):
        addresses.add_row(Text(what, style="bold"), Text(where, overflow="fold"))
    console.print()
    console.print(Panel(addresses, title="octy dev", title_align="left", expand=False))
    for remark, commands in _example_commands(stack):
        console.print(f"\n[dim]# {remark}[/]", highlight=False, soft_wrap=True)
        for command in commands:
            console.print(command, markup=False, highlight=False, soft_wrap=True)
    console.print("\nPress Ctrl-C to stop. All data is kept for the next start.\n", style="dim")


def _example_commands(stack: Stack) -> list[tuple[str, list[str]]]:
    octy = "octy" if shutil.which("octy") else _shell_path(Path(sys.executable).with_name("octy"))
    return [
        ("Settings for the commands below", [f"set -a; . {_shell_path(stack.env_file, dot=True)}; set +a"]),
        (
            f"Add an account, signed by {HANDLE} with a second factor; its first keys go to the inbox",
            [f"{octy} accounts add --reference acme --email dev@example.com", f"{octy} accounts list"],
        ),
        (
            "Send a request with a wrong secret; twenty in a row open an incident (set PK to your public key)",
            [
                f'curl --cacert {_shell_path(stack.ca_file)} --user "$PK:wrong" {stack.api}/v1/account/authenticate',
                f"{octy} incidents list",
            ],
        ),
    ]


def _shell_path(path: Path, *, dot: bool = False) -> str:
    """Return the path quoted for the shell; with `dot` always with a slash, as the shell's `.` needs it."""
    relative = os.path.relpath(path)
    shown = str(path) if relative.startswith("..") else relative
    return shlex.quote(f"./{shown}" if dot and "/" not in shown else shown)
