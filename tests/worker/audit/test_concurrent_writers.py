"""Several writers of the audit log at once: threads and processes append one after the other, and no entry is lost."""

import os
import signal
import subprocess
import sys
import threading

import pytest
from sqlalchemy import insert
from sqlalchemy.exc import IntegrityError
from support.cli_rig import TIMEOUT, octy_for
from support.world import INSTALLATION, World

from octy_middleware.db.models import AuditEntry
from octy_middleware.keys.keychain import Keychain
from octy_worker.audit import repository
from octy_worker.audit.chain import Entry, verify_chain
from octy_worker.audit.checkpoint_writer import CheckpointWriter
from octy_worker.audit.checkpoints import public_keys, read_checkpoints

EACH, WRITERS = 20, 4
"""Without a lock, the first few entries of each writer collide."""

KEYS = Keychain({"k1": b"1" * 32})

PROCESSES = """
import os, sys, traceback
from octy_middleware import Database
from octy_worker.audit import repository

url, writers, each = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])

def write(actor):
    database = Database(url, busy_timeout=60)
    for number in range(each):
        with database.write_session() as session:
            repository.append(session, "test.append", actor=actor, subject=str(number))
    database.close()

database = Database(url)
with database.read_session() as session:
    repository.last_entry(session)  # what it imports and compiles is done once, before the forks
database.close()
waits, begins = os.pipe()
children = []
for writer in range(writers):
    children.append(os.fork())
    if children[-1] == 0:
        os.close(begins)
        os.read(waits, 1)  # all begin at once, when the parent closes its end
        code = 1
        try:
            write(f"w{writer}")
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
os.close(begins)
sys.exit(any([os.waitpid(child, 0)[1] for child in children]))
"""


def entries(world: World) -> list[Entry]:
    with world.database.read_session() as session:
        return list(repository.entries(session))


def check_whole(world: World) -> None:
    """The chain is whole, and has each entry of each writer in the writer's own order."""
    found = entries(world)
    assert verify_chain(found).entries == EACH * WRITERS
    for writer in range(WRITERS):
        assert [int(entry.subject) for entry in found if entry.actor == f"w{writer}"] == list(range(EACH))


def test_processes_append_to_one_chain(world: World) -> None:
    """They are forked by a process that has imported once: four imports took most of the time."""
    with subprocess.Popen(
        [sys.executable, "-c", PROCESSES, world.url, str(WRITERS), str(EACH)],
        env=octy_for(world).environment(),
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as parent:
        try:
            _, errors = parent.communicate(timeout=TIMEOUT)
        except BaseException:  # a hang too: writers that outlive their parent would hold the database
            os.killpg(parent.pid, signal.SIGKILL)
            raise
    assert (parent.returncode, errors) == (0, "")
    check_whole(world)


def test_threads_append_to_one_chain(world: World) -> None:
    def write(writer: int) -> None:
        for number in range(EACH):
            with world.database.write_session() as session:
                repository.append(session, "test.append", actor=f"w{writer}", subject=str(number))

    threads = [threading.Thread(target=write, args=(writer,)) for writer in range(WRITERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(TIMEOUT)
    check_whole(world)


def test_number_of_an_entry_is_unique_so_that_the_chain_can_not_fork(world: World) -> None:
    """What is left if a writer does not exclude the others: it fails in place of continuing the same entry again."""
    with world.database.write_session() as session:
        first = repository.append(session, "test.append", actor="x")
    with pytest.raises(IntegrityError), world.database.write_session() as session:
        session.connection().execute(insert(AuditEntry).values(**first._asdict()))
    assert verify_chain(entries(world)).entries == 1


def test_checkpoints_of_several_workers_at_once_continue_each_other(world: World) -> None:
    lines: list[str] = []

    def take() -> None:
        writer = CheckpointWriter(world.database, KEYS, INSTALLATION, lambda: 1.0, write=lines.append)
        for _ in range(5):
            with world.database.write_session() as session:
                repository.append(session, "test.append", actor="x")
            writer.take()

    threads = [threading.Thread(target=take) for _ in range(WRITERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(TIMEOUT)
    read = read_checkpoints(lines, public_keys(KEYS), installation=INSTALLATION)
    assert [checkpoint.number for checkpoint in read] == list(range(1, 5 * WRITERS + 1))
