"""The command log: one structured line for every command that changed something or was refused.

It goes to the system log (`system_log`), outside of the database. Lines contain ids, public keys and reasons, but no
addresses and no secrets. `login` is the system's user, beside the claimed actor.
"""

import json

from octy_worker import system_log
from octy_worker.staff.actor import login_name


def record(what: str, actor: str, **facts: str | bool | None) -> None:
    """Write one line. It never raises: the command's work is already done."""
    system_log.write_line("octy-audit: " + json.dumps({"what": what, "actor": actor, "login": login_name(), **facts}))
