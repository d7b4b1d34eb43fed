"""The way to the host's system log, where the person who typed a command can't change its line, as with `sudo`.

Without a system log, as in a container, lines go to stderr.
"""

import logging
import sys
from logging.handlers import SysLogHandler
from pathlib import Path

SOCKETS = (Path("/dev/log"), Path("/var/run/syslog"))


def write_line(line: str) -> None:
    """Write one line of ASCII. It never raises: the work that it is about is already done."""
    if not any(_to_system_log(line, socket) for socket in SOCKETS if socket.is_socket()):
        print(line, file=sys.stderr, flush=True)  # noqa: T201


def _to_system_log(line: str, socket: Path) -> bool:
    handler = _SystemLog(str(socket), SysLogHandler.LOG_AUTH)
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
