"""The tutorial of docs/staff.md, run literally by sh; only the code of the authenticator app is computed here."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from passlib.totp import TOTP
from support.paths import ROOT
from support.staff_cli import code_of

PAGE = (ROOT / "docs" / "staff.md").read_text("utf-8")
SET_UP, CERTIFY, ENROLL, ACT = re.findall(r"^```sh\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """Return this process's variables, with an `octy` of the code that is tested and without settings of others."""
    programs = tmp_path / "bin"
    programs.mkdir()
    octy = programs / "octy"
    octy.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m octy_worker "$@"\n')
    octy.chmod(0o755)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("OCTY_", "TEMPORAL_"))}
    paths = os.pathsep.join([*(path for path in sys.path if path), kept.get("PYTHONPATH", "")])
    return {**kept, "PYTHONPATH": paths, "PATH": f"{programs}:{kept['PATH']}"}


def run(block: str, folder: Path, environment: dict[str, str]) -> str:
    script = f"set -e\n{block}"
    done = subprocess.run(
        ["sh", "-c", script], cwd=folder, env=environment, capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_first_staff_member_acts_after_the_tutorial(tmp_path: Path, environment: dict[str, str]) -> None:
    folder = tmp_path / "host"
    folder.mkdir()
    [token] = re.findall(r"staff enroll --token (\S+)$", run(SET_UP, folder, environment), re.MULTILINE)
    assert "Certificate 1 of ada is valid until" in run(CERTIFY, folder, environment)
    with subprocess.Popen(
        ["sh", "-c", ENROLL],
        cwd=folder,
        env={**environment, "TOKEN": token},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        shown = ""
        while "Or type the secret into it:" not in shown:
            shown = process.stdout.readline()
            assert shown, "no secret was shown"
        seed = "".join(shown.partition(":")[2].split())
        answer, _ = process.communicate(f"{code_of(seed)}\n", timeout=120)
    assert "ada has a one-time password as second factor, and can act" in answer
    next_code = str(TOTP(key=seed).generate(time=_next_window(seed)).token)
    told = run(ACT, folder, {**environment, "OCTY_STAFF_CODE": next_code})
    assert re.search(r"^ada .* admin +active +totp", told, re.MULTILINE), told
    assert re.search(r"^ben .* responder +invited", told, re.MULTILINE), told
    assert re.search(r"order\.received +ben", told), told


def _next_window(seed: str) -> float:
    """Return a time in the window after that of now: the app's next code, which is accepted early."""
    token = TOTP(key=seed).generate()
    return float(token.expire_time) + 1
