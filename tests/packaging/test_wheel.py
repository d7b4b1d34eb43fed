"""The wheel: its contents, and that a host app installs the light part only."""

import subprocess
import zipfile
from collections.abc import Callable
from email.parser import HeaderParser
from pathlib import Path

import pytest

HEAVY = ("temporalio", "emails", "cryptography", "jinja2", "typer", "rich", "alembic", "starlette", "uvicorn", "flask")

pytestmark = [pytest.mark.timeout(300), pytest.mark.needs("make")]


@pytest.fixture(scope="module")
def host(install: Callable[[Path, str], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with the wheel and what it needs; returns its Python."""
    return install(tmp_path_factory.mktemp("host"), "")


def run(python: Path, code: str) -> str:
    done = subprocess.run(
        [str(python), "-I", "-W", "error", "-c", code], capture_output=True, text=True, check=False, cwd=python.parent
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_wheel_holds_the_three_packages_only(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        metadata = HeaderParser().parsestr(archive.read(next(n for n in names if n.endswith("METADATA"))).decode())
    assert {name.split("/")[0] for name in names if ".dist-info" not in name} == {
        "octy_middleware",
        "octy_workflows",
        "octy_worker",
    }
    for needed in (
        "octy_middleware/py.typed",
        "octy_workflows/py.typed",
        "octy_worker/py.typed",
        "octy_middleware/db/migrations/versions/0001_initial_schema.py",
        "octy_worker/mail/templates/alert/body.html",
        "octy_worker/pages/templates/pages.css",
        "octy_worker/staff_api/pages/templates/passkeys.js",
    ):
        assert needed in names
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert metadata["License-Expression"] == "Apache-2.0"
    needs = [need for need in metadata.get_all("Requires-Dist") or [] if "extra ==" not in need]
    assert sorted(need.split(">")[0] for need in needs) == ["email-validator", "libpass", "sqlmodel"]


def test_host_app_imports_neither_temporal_nor_mail(host: Path) -> None:
    loaded = run(host, "import sys, octy_middleware; print(*sorted({n.split('.')[0] for n in sys.modules}))").split()
    assert "octy_middleware" in loaded
    assert not set(HEAVY) & set(loaded)
    installed = run(host, "from importlib import metadata; print(*[d.name.lower() for d in metadata.distributions()])")
    assert not set(HEAVY) & set(installed.split())


def test_install_without_extras_authenticates_an_app(host: Path) -> None:
    """A whole refusal in the empty environment, up to the point where only tables are missing."""
    code = """
import tempfile, octy_middleware as octy
settings = octy.Settings.from_environment({}, peppers="k1:" + "00" * 32,
    database_url="sqlite:///" + tempfile.mkdtemp() + "/octy.db")
app = octy.OctyWSGIMiddleware(lambda environ, start: [b"in"], settings=settings)
seen = []
environ = {"PATH_INFO": "/", "REQUEST_METHOD": "GET", "wsgi.url_scheme": "http", "REMOTE_ADDR": "192.0.2.1"}
body = b"".join(app(environ, lambda status, headers: seen.append(status)))
print(seen[0], b"HTTPS is required" in body)
"""
    assert run(host, code) == "403 Forbidden True"


def test_command_names_the_missing_extra(host: Path) -> None:
    done = subprocess.run([str(host.with_name("octy"))], capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "pip install 'octy-middleware[worker]'" in done.stderr
    assert "Traceback" not in done.stderr
