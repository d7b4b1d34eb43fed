"""pgbouncer in front of a PostgreSQL server: in transaction mode, what one session was told another may not know."""

import os
import pwd
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from octy_worker.dev.processes import LOOPBACK, free_port, is_listening
from support.postgres import USER, PostgresServer
from support.postgres_binaries import SERVANT
from support.until import until

PROGRAM = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin") or "pgbouncer"
_CONFIGURATION = """
[databases]
* = host={host} port={server_port} user={user}

[pgbouncer]
listen_addr = {host}
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = {mode}
default_pool_size = {sessions}
max_client_conn = 300
"""


@contextmanager
def pgbouncer(folder: Path, server: PostgresServer, *, sessions: int = 3, mode: str = "transaction") -> Iterator[int]:
    """Run it with so many sessions to the server; yield its port."""
    port = free_port()
    configuration = _CONFIGURATION.format(
        host=LOOPBACK, server_port=server.port, user=USER, port=port, sessions=sessions, mode=mode
    )
    user = {"user": pwd.getpwnam(SERVANT).pw_uid} if os.geteuid() == 0 else {}
    path = folder / "pgbouncer.ini"
    path.write_text(configuration)
    with path.open() as given, (folder / "pgbouncer.log").open("wb") as log:
        # It reads its settings by a path, in a folder that its user may not enter: by the descriptor it can.
        command = [PROGRAM, f"/dev/fd/{given.fileno()}"]
        process = subprocess.Popen(command, stdout=log, stderr=log, cwd="/", pass_fds=[given.fileno()], **user)
    try:
        until(lambda: is_listening(port) or process.poll() is not None)
        assert process.poll() is None, (folder / "pgbouncer.log").read_text()
        yield port
    finally:
        process.kill()
        process.wait()
