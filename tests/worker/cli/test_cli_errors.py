"""How commands fail: exit codes, one line on stderr, no traceback for expected errors.

What a process does at its end is the same on both databases.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import IO

import pytest
from support.cli_rig import Octy, octy_for, open_incident
from support.database_choice import on_one_database
from support.world import World

from octy_middleware.db.database import Database
from octy_middleware.keys.secret import make_key_pair
from octy_worker import dev
from octy_worker.cli.exit_codes import DESCRIPTIONS, ExitCode, exit_code_of

WHY = ("--reason", "ticket 4711")


@pytest.fixture
def octy(world: World) -> Octy:
    return octy_for(world)


@pytest.fixture(scope="module")
def lasting(tmp_path_factory) -> Iterator[Octy]:
    """One empty database for the commands that change nothing."""
    world = World(tmp_path_factory.mktemp("lasting"))
    yield octy_for(world)
    world.database.close()


@pytest.fixture
def nowhere(tmp_path) -> Octy:
    """A host with no settings and no database."""
    return Octy({"OCTY_DATABASE_URL": f"sqlite:///{tmp_path / 'none.db'}"}, tmp_path)


# Exit codes

RIGHT = make_key_pair(bytes).public_key
BYTES = os.fsdecode(b"\xff")
LONG, NUL = f"sqlite:///{'n' * 300}.db", "sqlite:///a%00b.db"
MISTYPED = RIGHT[:-1] + ("a" if RIGHT[-1] != "a" else "b")


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("acounts",), 2, "No such command 'acounts'"),
        (("accounts", "add"), 2, "Missing option '--reference'"),
        (("accounts", "list", "--nonsense"), 2, "No such option"),
        (("accounts", "list", "--limit", "-1"), 2, "Invalid value for '--limit'"),
        *(((name, "list", "--limit", str(2**63 - 1)), 2, "--limit") for name in ("accounts", "incidents", "keys")),
        *(((name, "show", BYTES), 2, "is not UTF-8 text") for name in ("accounts", "incidents", "keys")),
        (("keys", "revoke", BYTES, "--yes", *WHY), 2, "is not UTF-8 text"),
        (("keys", "list", "--account", BYTES), 2, "is not UTF-8 text"),
        ((BYTES,), 2, "is not UTF-8 text"),
        (("accounts", "show", "nobody"), 2, "no account has the reference 'nobody'"),
        (("incidents", "list", "--account", "nobody"), 2, "octy find"),
        (("incidents", "show", "0123"), 2, "no incident has the id '0123'"),
        (("incidents", "show", ""), 2, "no incident has the id ''"),
        (("incidents", "show", "%"), 2, "no incident has the id '%'"),
        (("incidents", "decide", "0123", "dismiss", *WHY), 2, "no incident has the id '0123'"),
        (("incidents", "decide", "0123", "maybe", *WHY), 2, "Invalid value for 'decision': 'maybe' is not one of"),
        (("keys", "show", "pk_none"), 2, "no key pair has the public key 'pk_none'"),
        (("keys", "revoke", "pk_none", "--yes", *WHY), 2, "no key pair has the public key"),
        (("keys", "regenerate", "--account", "nobody", *WHY), 2, "no account has the reference"),
        (("--env-file", "nowhere.env", "keys", "list"), 2, "nowhere.env can't be read: No such file"),
        (("--database", "mysql://x/y", "keys", "list"), 2, "give sqlite:///<file> or postgresql://"),
        (("--database", "postgresql://octy@127.0.0.1:9/x", "keys", "list"), 4, "the database did not answer"),
        (("--database", "postgresql://octy@127.0.0.1:9", "keys", "list"), 2, "name the database"),
        (("--database", "sqlite://", "keys", "list"), 2, "name a file"),
        (("--database", "what?", "keys", "list"), 2, "database_url"),
        *((("--database", LONG, *words), 2, "File name too long") for words in (("keys", "list"), ("db", "current"))),
        (("--database", LONG, "db", "upgrade"), 4, "can't be created (File name too long)"),
        *((("--database", NUL, *words), 2, "contains a NUL") for words in (("keys", "list"), ("db", "upgrade"))),
        (("secrets", "--rotate"), 2, "OCTY_PEPPERS is not set"),
        (("worker",), 2, "OCTY_PEPPERS is not set"),
        (("demo", "--data", "none.csv"), 2, "none.csv: No such file"),
    ],
)
def test_input_and_settings_errors_are_printed_in_one_line(lasting, words, code, said):
    done = lasting(*words).must(code)
    assert said in done.stderr
    assert done.stdout == ""
    assert all(line.startswith("octy: ") for line in done.stderr.splitlines())
    assert len(done.stderr.splitlines()) == (3 if words == ("worker",) else 1)


@pytest.mark.parametrize("command", [("keys", "show"), ("keys", "revoke", "--yes", *WHY)])
@pytest.mark.parametrize(
    ("key", "mistyped"),
    [
        (MISTYPED, True),
        (RIGHT, False),
        (MISTYPED[:-1], False),  # of no known shape
        ("pk_9b2f17a3-4573-4a9b-9128-53ee910ef2", False),
        ("pk_" + "ab" * 32, False),
    ],
)
def test_mistyped_public_key_is_reported_as_such(lasting, command, key, *, mistyped):
    said = lasting(*command, key).must(2).stderr
    assert f"no key pair has the public key '{key}'" in said
    assert ("mistyped" in said) == mistyped


@pytest.mark.parametrize("command", [("keys", "show"), ("keys", "revoke", "--yes", *WHY)])
def test_pasted_secret_key_is_not_echoed(lasting, command):
    said = lasting(*command, "sk_" + "canary7" * 7).must(2).stderr
    assert "looks like a secret key" in said
    assert "canary" not in said


@pytest.mark.parametrize("words", [("accounts", "list"), ("incidents", "list"), ("db", "current"), ("db", "check")])
def test_missing_database_file_is_reported_and_not_created(nowhere, words):
    done = nowhere(*words).must(2)
    assert "there is no database" in done.stderr
    assert "octy db upgrade" in done.stderr
    assert list(nowhere.folder.iterdir()) == []


@pytest.mark.parametrize(
    ("damage", "code", "said"),
    [
        ("DROP TABLE octy_schema_version", 2, "tables of others with the names of Octy's tables"),
        ("UPDATE octy_schema_version SET version_num = '0000'", 2, "is at schema 0000"),
        ("UPDATE octy_schema_version SET version_num = '9999'", 2, "install the newer release"),
    ],
)
def test_other_schema_version_is_reported(world, octy, damage, code, said):
    with world.database.write() as connection:
        connection.exec_driver_sql(damage)
    for words in (("accounts", "list"), ("db", "check")):
        assert said in octy(*words).must(code).stderr


@pytest.mark.sqlite
def test_unreadable_database_exits_with_unavailable(world, octy):
    world.database.close()
    for path in world.folder.glob("octy.db*"):
        path.write_bytes(b"this is no database, but long enough to look at" * 20)
    assert "the database did not answer" in octy("accounts", "list").must(4).stderr


def test_busy_database_exits_with_unavailable(world, octy, monkeypatch):
    monkeypatch.setattr("octy_worker.cli.context.Database", partial(Database, busy_timeout=0.1))
    with world.database.write():
        done = octy("accounts", "add", "--reference", "acme", "--email", "a@acme.example").must(4)
    assert "lock" in done.stderr
    assert world.rows("SELECT COUNT(*) FROM account") == [(0,)]


@on_one_database
def test_internal_error_prints_its_traceback(octy, monkeypatch):
    monkeypatch.setattr("octy_worker.staff.readers.list_accounts", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        octy("accounts", "list")


def test_every_exit_code_is_explained_in_the_help(lasting):
    page = lasting("--help").must().stdout
    assert set(DESCRIPTIONS) == set(ExitCode)
    for code, meaning in DESCRIPTIONS.items():
        assert f"{code.value}  {meaning}" in page


@pytest.mark.parametrize("words", [(), ("accounts",), ("incidents",), ("keys",), ("db",)])
def test_command_group_without_a_command_shows_its_help(lasting, words):
    done = lasting(*words).must(2)
    assert "Usage: octy" in done.stdout + done.stderr


@pytest.mark.parametrize("package", ["httpx", "aiosmtpd", "trustme"])
@pytest.mark.parametrize("command", ["dev", "demo"])
def test_missing_dev_extra_is_named_with_the_install_command(lasting, monkeypatch, command, package):
    monkeypatch.setattr(dev, "find_spec", lambda name: None if name.startswith(package) else object())
    monkeypatch.setattr(dev, "REQUIRED_PACKAGES", (package,))
    done = lasting(command).must(2)
    assert package in done.stderr
    assert "pip install 'octy-middleware[dev]'" in done.stderr


def test_error_is_unexpected_while_the_middleware_is_not_loaded(monkeypatch):
    monkeypatch.delitem(sys.modules, "octy_middleware")
    assert exit_code_of(ValueError("x")) is None


@pytest.mark.parametrize(
    ("module", "words"), [("octy_worker.cli.db", ("db", "current")), ("octy_worker.cli.find", ("find", "x"))]
)
def test_missing_module_of_our_own_is_no_missing_package(lasting, monkeypatch, module, words):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ModuleNotFoundError, match=module):
        lasting(*words)


def test_version_is_printed(lasting):
    assert lasting("--version").must().stdout == f"octy-middleware {metadata.version('octy-middleware')}\n"


def test_development_stack_ends_with_its_exit_code(lasting, monkeypatch):
    monkeypatch.setattr("octy_worker.dev.dev_command.run_dev", lambda *_, **__: 7)
    lasting("dev").must(7)


# Processes


def ended(octy: Octy, code: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-c", code],
        check=False,
        env=octy.environment(),
        cwd=octy.folder,
        capture_output=True,
        text=True,
        timeout=60,
    )


@on_one_database
def test_help_loads_no_slow_modules(octy):
    done = ended(
        octy,
        "import sys\n"
        "from octy_worker.cli import main\n"
        "sys.argv = ['octy', '--help']\n"
        "try:\n    main()\n"
        "except SystemExit:\n"
        "    slow = {'sqlalchemy', 'sqlmodel', 'pydantic', 'temporalio', 'octy_middleware'} & set(sys.modules)\n"
        "    print('loaded:', sorted(slow))\n",
    )
    assert done.stdout.endswith("loaded: []\n"), done


@on_one_database
def test_missing_worker_extra_is_named_with_the_install_command(octy):
    done = ended(octy, "import sys; sys.modules['typer'] = None\nfrom octy_worker.cli import main; main()")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "octy: the packages of the worker are not installed → pip install 'octy-middleware[worker]'\n"


@on_one_database
def test_missing_package_is_named(octy, monkeypatch):
    monkeypatch.setitem(sys.modules, "email_validator", None)
    done = octy("accounts", "add", "--reference", "acme", "--email", "a@acme.example").must(2)
    assert "the package email_validator is not installed → pip install 'octy-middleware[worker]'" in done.stderr


def run_from_nothing(octy: Octy, *words: str, stdout: IO[bytes]) -> "subprocess.CompletedProcess[bytes]":
    """Run `octy` by an interpreter of its own; its output is buffered."""
    environment = octy.environment(PYTHONUNBUFFERED="")
    command = [sys.executable, "-m", "octy_worker", *words]
    return subprocess.run(command, check=False, env=environment, stdout=stdout, stderr=subprocess.PIPE, timeout=60)


@on_one_database
def test_ctrl_c_exits_with_130(world, octy, warm):
    pair = world.register()
    words = ("keys", "revoke", pair.public_key, *WHY)
    with warm.start(octy, *words, PYTHONUNBUFFERED="1") as (child, _, _, errors):
        said = b""
        while not said.endswith(b"[y/N] "):
            letter = errors.read(1)
            assert letter, said.decode()
            said += letter
        child.send_signal(signal.SIGINT)
        assert child.wait() == 130
        rest = errors.read()
    assert b"Traceback" not in rest
    assert world.rows("SELECT state FROM key_pair") == [("active",)]


@on_one_database
@pytest.mark.parametrize(
    ("app", "code", "said"),
    [("raise KeyboardInterrupt", 130, ""), ("raise SystemExit('bad')", 1, ""), ("import octy_none", 1, "octy_none")],
)
def test_process_ends_with_the_exit_code_of_what_the_commands_did(octy, warm, app, code, said):
    patched = f"import octy_worker.cli.app as commands\ndef app(**_):\n    {app}\ncommands.app = app\n"
    done = warm.run(octy, "db", "current", code=f"{patched}from octy_worker.cli import main; main()")
    assert done.returncode == code, done
    assert said in done.stderr


@on_one_database
def test_missing_module_of_the_command_itself_is_no_missing_extra(octy):
    done = ended(
        octy, "import sys; sys.modules['octy_worker.cli.app'] = None\nfrom octy_worker.cli import main; main()"
    )
    assert done.returncode == 1
    assert "ModuleNotFoundError" in done.stderr


@on_one_database
def test_pages_end_with_the_exit_code_of_their_server(world, octy, warm):
    keys = dict(line.split("=", 1) for line in octy("secrets").must().stdout.splitlines())
    served = "import octy_worker.pages.process as process\nprocess.serve = lambda _settings: 7\n"
    done = warm.run(octy, "pages", code=f"{served}from octy_worker.cli import main; main()", **keys)
    assert done.returncode == 7, done


NO_STDIN = "import sys; sys.stdin = None\nfrom octy_worker.cli import main; main()"


@on_one_database
@pytest.mark.parametrize("words", [("accounts", "erase", "acme", *WHY), ("db", "downgrade")])
@pytest.mark.parametrize(("typed", "code"), [(b"", ""), (b"no\n", ""), (b"\xff\n", ""), (b"", NO_STDIN)])
def test_question_without_a_yes_cancels_the_command(world, octy, warm, words, *, typed, code):
    world.register()
    with warm.start(octy, *words, code=code) as (child, stdin, _, errors):
        stdin.write(typed)
        stdin.close()
        said = errors.read().decode()
        assert child.wait() == 1
    assert said.endswith("[y/N] octy: cancelled, nothing was changed\n")
    assert world.rows("SELECT reference FROM account") == [("acme",)]


@on_one_database
def test_closed_stdout_pipe_prints_no_traceback(world, octy, warm):
    open_incident(world)
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as closed:  # unbuffered, nothing would be left to say at the very end
        done = warm.run(octy, "incidents", "list", "--json", stdout=closed, PYTHONUNBUFFERED="")
    assert (done.returncode, done.stderr) == (1, "")


@on_one_database
def test_closed_stdout_pipe_prints_no_traceback_by_a_process_from_nothing(world, octy):
    """The test above forks its process, whose outputs are imitated; this one starts and ends as any other."""
    open_incident(world)
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as closed:
        done = run_from_nothing(octy, "incidents", "list", "--json", stdout=closed)
    assert (done.returncode, done.stderr) == (1, b"")


@on_one_database
@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("secrets",), "the output can't be written: No space left on device"),
        (("--version",), "the output can't be written"),
        (("incidents", "list", "--json"), "the output can't be written"),
        (("accounts", "add", "--reference", "acme", "--email", "a@acme.example"), "Account acme is created"),
    ],
)
def test_full_disk_is_reported_in_one_line(world, octy, warm, words, *, said, unbuffered):
    with Path("/dev/full").open("wb") as full:
        done = warm.run(octy, *words, stdout=full, PYTHONUNBUFFERED=unbuffered)
    lines = [line for line in done.stderr.splitlines() if not line.startswith("octy-audit: ")]
    assert (done.returncode, len(lines)) == (1, 1), done.stderr
    assert said in lines[0]
    assert world.rows("SELECT COUNT(*) FROM account") == [(int(words[0] == "accounts"),)]


@on_one_database
def test_reason_of_a_refusal_is_told_on_a_full_disk(world, octy, warm):
    words = ("incidents", "decide", open_incident(world)[1], "dismiss", "--leaked", "--reason", "by phone", "--json")
    with Path("/dev/full").open("wb") as full:
        done = warm.run(octy, *words, stdout=full, PYTHONUNBUFFERED="1")
    assert done.returncode == 1
    assert "can't be dismissed" in done.stderr
    assert "But stdout can't be written: No space left on device" in done.stderr


@on_one_database
def test_full_disk_is_reported_by_a_process_from_nothing(octy):
    """The tests above fork theirs; this one starts and ends as any other."""
    with Path("/dev/full").open("wb") as full:
        done = run_from_nothing(octy, "--version", stdout=full)
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)
    assert b"the output can't be written" in done.stderr


@on_one_database
def test_worker_does_not_create_a_missing_database_file(octy, nowhere):
    keys = dict(line.split("=", 1) for line in octy("secrets").must().stdout.splitlines())
    others = {
        "OCTY_PUBLIC_URL": "https://octy.example",
        "OCTY_MAIL_FROM": "Octy <octy@octy.example>",
        "OCTY_SMTP_HOST": "127.0.0.1",
        "OCTY_SUPPORT_CONTACT": "support@octy.example",
    }
    done = nowhere.process("worker", **keys, **others).must(2)
    assert "there is no database" in done.stderr
    assert not list(nowhere.folder.glob("none.db*"))


@on_one_database
def test_terminal_with_a_limited_encoding_prints_no_traceback(octy):
    octy("accounts", "add", "--reference", "Zoë-✓", "--email", "a@acme.example").must()
    done = octy.process("accounts", "show", "Zoë-✓", PYTHONIOENCODING="ascii").must()
    assert r"Zo\xeb-\u2713" in done.stdout
