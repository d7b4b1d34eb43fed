"""Ways in which PostgreSQL goes away under a running server, each real, each undone at the end of its block."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import TypeAlias

import psycopg
from psycopg import sql
from support.postgres import PostgresServer
from support.until import until
from support.world import World

from proofs.load.servers import Server

_LAST = 30  # connections: more than the product's users have
_TIMEOUT = 90.0
_END_OTHERS = "SELECT pg_terminate_backend(pid, 1000) FROM pg_stat_activity WHERE datname = %s"

Administration: TypeAlias = psycopg.Connection[tuple[object, ...]]


@contextmanager
def server_stopped(world: World, _server: Server) -> Iterator[None]:
    """Shut the server down, as for an update: connections end, and new ones are refused by the kernel."""
    server = _own_server(world)
    server.stop()
    with ExitStack() as stack:
        stack.callback(server.start)
        yield


@contextmanager
def server_paused(world: World, _server: Server) -> Iterator[None]:
    """Let the server hang, as on a disk that does not answer: the kernel still takes what is sent to it."""
    server = _own_server(world)
    server.pause()
    with ExitStack() as stack:
        stack.callback(server.resume)
        yield


@contextmanager
def connections_refused(world: World, _server: Server) -> Iterator[None]:
    """Close the database to everybody; the server runs, and refuses."""
    with _administration(world) as connection, ExitStack() as stack:
        stack.callback(_alter, connection, world, "ALLOW_CONNECTIONS true", end_others=False)
        _alter(connection, world, "ALLOW_CONNECTIONS false")
        yield


@contextmanager
def connections_used_up(world: World, _server: Server) -> Iterator[None]:
    """Take every connection that the server has; its users are kept away only while the last ones are taken."""
    with ExitStack() as taken, _administration(world) as connection:
        free = int(str(connection.execute("SHOW max_connections").fetchall()[0][0])) - 1
        _take(free - _LAST, taken, world)
        try:
            _alter(connection, world, "ALLOW_CONNECTIONS false")
            _take(_LAST, taken, world)
        finally:
            _alter(connection, world, "ALLOW_CONNECTIONS true", end_others=False)
        yield


@contextmanager
def writer_stuck(world: World, _server: Server) -> Iterator[None]:
    """Be another process of ours that stopped in the middle of a transaction."""
    with world.database.write():
        yield


@contextmanager
def table_locked(world: World, _server: Server, tables: str = "outcome_minute") -> Iterator[None]:
    """Be a tool that rewrites a table which every commit needs."""
    with world.database.write() as connection:
        connection.exec_driver_sql(f"ROLLBACK; BEGIN; LOCK TABLE {tables} IN ACCESS EXCLUSIVE MODE")
        yield


@contextmanager
def keys_locked(world: World, server: Server) -> Iterator[None]:
    """Be a tool that rewrites the table of key pairs: it cannot even be read."""
    with table_locked(world, server, "key_pair, key_change"):
        yield


@contextmanager
def read_only(world: World, _server: Server) -> Iterator[None]:
    """Refuse every write, as a standby does that was not promoted, or a service whose disk is nearly full."""
    with _administration(world) as connection, ExitStack() as stack:
        stack.callback(_alter, connection, world, "SET default_transaction_read_only = off")
        _alter(connection, world, "SET default_transaction_read_only = on")
        yield


def _own_server(world: World) -> PostgresServer:
    if world.server is None:
        raise RuntimeError("the server is shared with others: give the world one of its own")
    return world.server


def _administration(world: World) -> Administration:
    url = world.database.url.set(drivername="postgresql", database="postgres")
    return psycopg.connect(url.render_as_string(hide_password=False), autocommit=True)


def _alter(connection: Administration, world: World, change: str, *, end_others: bool = True) -> None:
    """Alter the database, end all connections of the product's, and wait until they are gone."""
    name = str(world.database.url.database)
    connection.execute(sql.SQL("ALTER DATABASE {} {}").format(sql.Identifier(name), sql.SQL(change)))
    if end_others:
        connection.execute(_END_OTHERS, (name,))


def _take(number: int, taken: ExitStack, world: World) -> None:
    """Take so many connections; a slot may be in use for a moment by somebody who is being refused."""

    def take_one() -> bool:
        with suppress(psycopg.OperationalError):
            taken.enter_context(_administration(world))
            return True
        return False

    for _ in range(number):
        until(take_one, _TIMEOUT)


_READABLE = (writer_stuck, table_locked)
_UNREADABLE = (server_stopped, server_paused, connections_refused, connections_used_up, keys_locked, read_only)
KINDS = {kind.__name__: kind for kind in (*_UNREADABLE, *_READABLE)}
UNREADABLE = frozenset(kind.__name__ for kind in _UNREADABLE)
"""As in `sqlite_outages`; with `read_only` the product reads only databases that take writes."""
