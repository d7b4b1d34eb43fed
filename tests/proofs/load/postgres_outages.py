"""Ways in which PostgreSQL goes away under a running server, each real, each undone at the end of its block.

Here: what is done to the database's server, its connections and its locks. Not here: what clients must see meanwhile.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TypeAlias

import psycopg
from psycopg import sql
from support.postgres import PostgresServer
from support.until import until
from support.world import World

from proofs.load.kinds import Kind
from proofs.load.servers import Server

_LAST = 30  # connections: more than the product's users have
_END_OTHERS = "SELECT pg_terminate_backend(pid, 1000) FROM pg_stat_activity WHERE datname = %s"

Administration: TypeAlias = psycopg.Connection[tuple[object, ...]]


@contextmanager
def server_stopped(world: World, _server: Server) -> Iterator[None]:
    """Shut the server down, as for an update: connections end, and new ones are refused by the kernel."""
    server = _own_server(world)
    server.stop()
    try:
        yield
    finally:
        server.start()


@contextmanager
def server_paused(world: World, _server: Server) -> Iterator[None]:
    """Let the server hang, as on a disk that does not answer: the kernel still takes what is sent to it."""
    server = _own_server(world)
    server.pause()
    try:
        yield
    finally:
        server.resume()


@contextmanager
def connections_refused(world: World, _server: Server) -> Iterator[None]:
    """Close the database to everybody; the server stands, and says no."""
    with _administration(world) as connection:
        _allow(connection, world, allowed=False)
        _end_others(connection, world)
        try:
            yield
        finally:
            _allow(connection, world, allowed=True)


@contextmanager
def connections_used_up(world: World, _server: Server) -> Iterator[None]:
    """Take every connection that the server has to give; its users are kept away only while the last ones are taken."""
    with ExitStack() as taken, _administration(world) as connection:
        free = int(str(connection.execute("SHOW max_connections").fetchall()[0][0])) - 1
        _take(free - _LAST, taken, world)
        _allow(connection, world, allowed=False)
        try:
            _end_others(connection, world)
            _take(_LAST, taken, world)
        finally:
            _allow(connection, world, allowed=True)
        yield


@contextmanager
def writer_stuck(world: World, _server: Server) -> Iterator[None]:
    """Be another process of ours that stopped in the middle of a transaction."""
    with world.database.write():
        yield


@contextmanager
def table_locked(world: World, _server: Server) -> Iterator[None]:
    """Be a tool that rewrites a table which every commit needs."""
    with world.database.write() as connection:
        connection.exec_driver_sql("ROLLBACK; BEGIN; LOCK TABLE outcome_minute IN ACCESS EXCLUSIVE MODE")
        yield


@contextmanager
def keys_locked(world: World, _server: Server) -> Iterator[None]:
    """Be a tool that rewrites the table of pairs: nobody can even read it."""
    with world.database.write() as connection:
        connection.exec_driver_sql("ROLLBACK; BEGIN; LOCK TABLE key_pair, key_change IN ACCESS EXCLUSIVE MODE")
        yield


@contextmanager
def read_only(world: World, _server: Server) -> Iterator[None]:
    """Refuse every write, as a standby does that was not promoted, or a service whose disk is nearly full."""
    with _administration(world) as connection:
        _set_read_only(connection, world, "on")
        try:
            yield
        finally:
            _set_read_only(connection, world, "off")


def _own_server(world: World) -> PostgresServer:
    if world.server is None:
        raise RuntimeError("the server is shared with others: give the world one of its own")
    return world.server


def _administration(world: World) -> Administration:
    place = world.database.url.set(drivername="postgresql", database="postgres")
    return psycopg.connect(place.render_as_string(hide_password=False), autocommit=True)


def _database(world: World) -> str:
    return str(world.database.url.database)


def _allow(connection: Administration, world: World, *, allowed: bool) -> None:
    name, word = sql.Identifier(_database(world)), sql.SQL("true" if allowed else "false")
    connection.execute(sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS {}").format(name, word))


def _end_others(connection: Administration, world: World) -> None:
    """End all connections of the product's, and wait until they are gone."""
    connection.execute(_END_OTHERS, (_database(world),))


def _take(number: int, taken: ExitStack, world: World) -> None:
    """Take so many; a slot may be in use for a moment by somebody who is being refused."""

    def take_one() -> bool:
        try:
            taken.enter_context(_administration(world))
        except psycopg.OperationalError:
            return False
        return True

    for _ in range(number):
        until(take_one)


def _set_read_only(connection: Administration, world: World, word: str) -> None:
    name = sql.Identifier(_database(world))
    connection.execute(sql.SQL("ALTER DATABASE {} SET default_transaction_read_only = {}").format(name, sql.SQL(word)))
    _end_others(connection, world)


KINDS = {
    "server_stopped": Kind(server_stopped, blind=True),
    "server_paused": Kind(server_paused, blind=True),
    "connections_refused": Kind(connections_refused, blind=True),
    "connections_used_up": Kind(connections_used_up, blind=True),
    "writer_stuck": Kind(writer_stuck, blind=False),
    "table_locked": Kind(table_locked, blind=False),
    "keys_locked": Kind(keys_locked, blind=True),
    "read_only": Kind(read_only, blind=True),  # only what takes writes is read, too
}
