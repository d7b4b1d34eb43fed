"""Who did what: one structured line for every command that changes something or was refused.

Here: the line and its way out. It goes to the system's log, as `sudo`'s do, so that it outlives the terminal and lies
where the person who typed the command can't change it; without a system log, as in a container, to stderr. Not here:
the timelines of cases (`cases.append_event`), which tell customers' stories.

Lines hold ids, public keys and reasons; no addresses, no secrets. `login` is the system's user beside the claimed
actor.
"""

import json
import logging
import sys
from logging.handlers import SysLogHandler
from pathlib import Path

from octy_worker.staff.actor import login_name

_SOCKETS = (Path("/dev/log"), Path("/var/run/syslog"))


def record(what: str, actor: str, **facts: str | bool | None) -> None:
    """Write one line; it must not fail the command, whose work is done by now."""
    line = "octy-audit: " + json.dumps({"what": what, "actor": actor, "login": login_name(), **facts})
    if not any(_to_system_log(line, socket) for socket in _SOCKETS if socket.is_socket()):
        print(line, file=sys.stderr)  # noqa: T201  # ASCII, by `json.dumps`


def _to_system_log(line: str, socket: Path) -> bool:
    try:
        handler = _SystemLog(str(socket), SysLogHandler.LOG_AUTH)
    except OSError:
        return False
    try:
        handler.handle(logging.LogRecord("octy.audit", logging.INFO, __file__, 0, line, None, None))
    except OSError:
        return False
    finally:
        handler.close()
    return True


class _SystemLog(SysLogHandler):
    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  # the library's own name
        """Raise what went wrong; the library would print it and go on."""
        fault = sys.exc_info()[1]
        raise fault if isinstance(fault, OSError) else OSError(f"the system log took no line of {record.name}")
