"""The audit log: one structured line for every command that changed something or was refused.

It is written to the system log, as `sudo` does, so that the person who typed the command can't change it; without a
system log, as in a container, to stderr. Lines contain ids, public keys and reasons, but no addresses and no secrets.
`login` is the system's user, beside the claimed actor.
"""

import json
import logging
import sys
from logging.handlers import SysLogHandler
from pathlib import Path

from octy_worker.staff.actor import login_name

SYSTEM_LOG_SOCKETS = (Path("/dev/log"), Path("/var/run/syslog"))


def record(what: str, actor: str, **facts: str | bool | None) -> None:
    """Write one line. It never raises: the command's work is already done."""
    line = "octy-audit: " + json.dumps({"what": what, "actor": actor, "login": login_name(), **facts})
    if not any(_to_system_log(line, socket) for socket in SYSTEM_LOG_SOCKETS if socket.is_socket()):
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
        """Raise the error; the library would print it and continue."""
        fault = sys.exc_info()[1]
        raise fault if isinstance(fault, OSError) else OSError(f"the system log took no line of {record.name}")
