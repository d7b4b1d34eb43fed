"""A staff member's machine: the wheel with `[staff]` alone, an SSH agent, and a real worker behind the staff API."""

import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from packaging.utils import canonicalize_name
from passlib.totp import TOTP
from support.cli_rig import TIMEOUT, CommandResult, open_incident
from support.installed_packages import NOT_FOR_STAFF, RUN_OCTY
from support.ssh_keys import SshKey, ssh_agent
from support.staff_rig import StaffKeys
from support.staff_stack import StaffStack, open_staff_stack

from octy_worker.access.totp import new_seed

pytestmark = [pytest.mark.timeout(600), pytest.mark.needs("make")]


@pytest.fixture(scope="module")
def python(install: Callable[[Path, str], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with `octy-middleware[staff]` and what it needs; returns its Python."""
    return install(tmp_path_factory.mktemp("staff"), "[staff]")


@dataclass
class Laptop:
    """Runs `octy` in that environment, with the agent and nothing of the installation."""

    python: Path
    folder: Path
    environ: dict[str, str]
    stack: StaffStack

    def octy(self, *words: str, seed: str = "") -> CommandResult:
        code = str(TOTP(key=seed).generate(time=time.time()).token) if seed else ""
        command = [str(self.python), "-I", "-W", "error", "-c", RUN_OCTY, *words]
        done = subprocess.run(
            command, env={**self.environ, "OCTY_STAFF_CODE": code}, cwd=self.folder, capture_output=True, text=True,
            timeout=TIMEOUT, check=False,
        )  # fmt: skip
        return CommandResult(done.returncode, done.stdout, done.stderr)


@pytest.fixture
def laptop(python: Path, tmp_path: Path) -> Iterator[Laptop]:
    keys = StaffKeys.make(tmp_path)
    held = SshKey.make(tmp_path / "held")
    held.certify(keys.authority, "-z", "4711", principals="ada")
    outside = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    with open_staff_stack(tmp_path, keys) as stack, ssh_agent(tmp_path, held) as agent:
        for file in (held.path, held.certificate):
            file.unlink()
        environ = {
            **outside,
            "SSH_AUTH_SOCK": agent["SSH_AUTH_SOCK"],
            "XDG_STATE_HOME": str(tmp_path / "state"),
            "SSL_CERT_FILE": str(stack.certificate.ca),
            "OCTY_SERVER": stack.url,
        }
        yield Laptop(python, tmp_path, environ, stack)


def test_staff_install_has_nothing_of_temporal_databases_and_servers(python: Path) -> None:
    code = "from importlib import metadata; print(*[one.name for one in metadata.distributions()])"
    done = subprocess.run([str(python), "-I", "-c", code], capture_output=True, text=True, check=True)
    installed = set(map(canonicalize_name, done.stdout.split()))
    assert {"octy-middleware", "typer", "rich", "httpx2"} <= installed
    assert not set(map(canonicalize_name, NOT_FOR_STAFF)) & installed


def test_staff_log_in_list_show_and_decide_with_a_key_that_the_agent_holds(laptop: Laptop) -> None:
    stack, second_seed = laptop.stack, new_seed(lambda count: b"8" * count)
    with stack.world.database.write_session() as session:  # two codes within 30 seconds need two seeds
        ada = stack.rig.members.find(session, "ada")
        assert ada is not None
        stack.rig.members.add_totp(session, ada, second_seed, now=time.time())
    _, incident_id = open_incident(stack.world)
    stack.worker.wait_until(lambda: stack.state(incident_id) == "waiting", TIMEOUT)

    laptop.octy("login", seed=stack.rig.seed).must()
    listed = laptop.octy("incidents", "list", "--json")
    assert [one["id"] for one in listed.must().json["incidents"]] == [incident_id]
    loaded = listed.stderr.partition("loaded: ")[2].split()
    assert "httpx2" in loaded
    assert not set(NOT_FOR_STAFF) & set(loaded)
    assert laptop.octy("incidents", "show", incident_id, "--json").must().json["incident"]["state"] == "waiting"
    reason = ("--reason", "their load test")
    decided = (
        laptop.octy("incidents", "decide", incident_id, "dismiss", *reason, "--json", seed=second_seed).must().json
    )
    assert (decided["accepted"], decided["actor"]) == (True, "ada")
    stack.worker.wait_until(lambda: stack.state(incident_id) == "closed", TIMEOUT)
    ((state, certificate, body),) = stack.world.rows("SELECT state, certificate, body FROM staff_order")
    assert (state, json.loads(body)["actor"]) == ("used", "ada")
    assert certificate.startswith("ssh-ed25519-cert-v01@openssh.com ")
    laptop.octy("logout").must()
    assert "you are not logged in" in laptop.octy("incidents", "list").must(3).stderr
