"""`octy` as a process that kills itself, as `kill -9` does, at one step of an order; only while a file is there.

    python -m proofs.faults.killed_octy STEP FILE OCTY'S ARGUMENTS

The step's function is the product's own, with the kill before or after it. No tests here.
"""

import functools
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from octy_worker.activities.incidents import IncidentActivities
from octy_worker.activities.workflow_messages import WorkflowMessageActivities
from octy_worker.cli import main
from octy_worker.staff import decisions, key_orders, orders


def kill_once(file: Path) -> None:
    """End this process at once, if the file is there; it is removed before."""
    if file.exists():
        file.unlink()
        os.kill(os.getpid(), signal.SIGKILL)


def after(owner: Any, name: str, file: Path) -> None:
    """Kill this process when a function of the owner has returned."""
    function: Callable[..., Any] = getattr(owner, name)

    @functools.wraps(function)  # Temporal's SDK finds the activity's name, and the types of its arguments
    def killed(*args: Any, **options: Any) -> Any:
        result = function(*args, **options)
        kill_once(file)
        return result

    setattr(owner, name, killed)


STEPS: dict[str, Callable[[Path], None]] = {
    # of the command
    "received": lambda file: after(orders, "receive", file),  # its row is committed, nothing else
    "sent": lambda file: after(decisions, "_send_update", file),  # answered; the command has printed nothing
    "in transaction": lambda file: after(key_orders, "revoke", file),  # used and done, not committed
    "committed": lambda file: after(orders, "carry_out", file),  # done; the command has printed nothing
    # of the worker
    "used": lambda file: after(WorkflowMessageActivities, "use_order", file),  # committed, not reported
    "recorded": lambda file: after(IncidentActivities, "record_decision", file),  # committed, not reported
    "none": lambda _file: None,
}

if __name__ == "__main__":
    step, file, *arguments = sys.argv[1:]
    STEPS[step](Path(file))
    sys.argv[1:] = arguments
    main()
