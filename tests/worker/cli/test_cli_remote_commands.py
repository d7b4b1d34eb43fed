"""Every command of support staff works at a staff API: none of them needs the host, its database or Temporal's SDK."""

import subprocess
import sys
from pathlib import Path

import pytest
from support.cli_rig import DENIED, Octy
from support.ssh_keys import SshKey

from octy_worker.cli.app import COMMANDS, PANEL_NAMES
from octy_worker.cli.exit_codes import ExitCode
from octy_worker.staff_client.session_file import SavedSession, save_session

ID = "0199f2c4-9c3b-7d4e-8a1f-0123456789ab"
REASON = ("--reason", "confirmed by phone")
REMOTE: dict[str, tuple[str, ...]] = {
    "sessions list": (),
    "sessions end": (ID,),
    "find": ("acme",),
    "accounts add": ("--reference", "acme", "--email", "ops@acme.example"),
    "accounts change": ("acme", "--email", "ops@acme.example", *REASON),
    "accounts erase": ("acme", "--yes", *REASON),
    "accounts list": (),
    "accounts show": ("acme",),
    "incidents list": (),
    "incidents show": (ID,),
    "incidents decide": (ID, "dismiss", *REASON),
    "incidents extend": (ID, "--days", "7", *REASON),
    "incidents resend": (ID, *REASON),
    "incidents change": (ID, "dismiss", *REASON),
    "incidents decide-many": ("dismiss", ID, "--yes", *REASON),
    "incidents held": (),
    "incidents release": REASON,
    "keys list": (),
    "keys show": ("pk_1",),
    "keys regenerate": ("--account", "acme", *REASON),
    "keys resend": ("--account", "acme", *REASON),
    "keys revoke": ("pk_1", *REASON),
    "keys import": ("customers.csv", *REASON),
    "orders list": (),
    "orders acknowledge": (ID, *REASON),
    "orders approve": (ID,),
    "outbox list": (),
    "outbox retry": ("7", *REASON),
    "webhooks list": (),
    "webhooks retry": (ID, *REASON),
    "webhooks secret": ("acme",),
    "webhooks rotate-secret": ("acme", *REASON),
    "webhooks test": ("acme",),
    "audit list": (),
    "audit export": ("--incident", ID, "--out", "evidence.zip", *REASON),
    "staff list": (),
    "staff add": ("zoe", "--role", "viewer", *REASON),
    "staff role": ("zoe", "--role", "responder", *REASON),
    "staff disable": ("zoe", *REASON),
    "staff reset": ("zoe", *REASON),
}
"""The words of each command after its name."""
LOCAL = {"login", "logout", "orders pending", "orders sign"}
"""Those that `test_cli_remote` has."""
ON_THE_HOST = {
    "incidents reconcile",
    "staff bootstrap",
    "staff enroll",
    "staff certificate",
    "staff revoke",
    "staff ca init",
    "staff ca show",
    "audit verify",
    "audit keys",
}
"""For the operator: they need keys of the installation, or the database itself."""
PANELS = ("login", "logout", "audit", *PANEL_NAMES["For support staff"], *PANEL_NAMES["For admins of staff"])


def test_every_command_of_staff_is_remote_or_named_as_one_of_the_host() -> None:
    staff = {name for name in COMMANDS if name.split()[0] in PANELS}
    assert staff == REMOTE.keys() | LOCAL | ON_THE_HOST


@pytest.fixture(scope="module")
def octy(tmp_path_factory: pytest.TempPathFactory) -> Octy:
    folder, server = tmp_path_factory.mktemp("laptop"), f"http://{DENIED}"
    authority, ada = SshKey.make(folder / "ca"), SshKey.make(folder / "ada")
    ada.certify(authority)
    saved = SavedSession(server, "0" * 16, "ada", ID, str(ada.path), "2026-01-01T00:00:00+00:00", "token")
    save_session(folder / "octy", saved)
    (folder / "customers.csv").write_text("reference,contact_email_address,public_key,secret_hash\n")
    return Octy({"XDG_STATE_HOME": str(folder), "OCTY_STAFF_CODE": "123456", "OCTY_SERVER": server}, folder)


@pytest.mark.parametrize("name", REMOTE)
def test_command_goes_to_the_staff_api(octy: Octy, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(octy.folder)
    refused = octy(*name.split(), *REMOTE[name]).must(ExitCode.UNAVAILABLE)
    assert f"the staff API at http://{DENIED} can't be reached" in refused.stderr


def test_commands_of_staff_load_neither_temporal_nor_servers() -> None:
    modules = sorted({COMMANDS[name][0].partition(":")[0] for name in REMOTE.keys() | LOCAL})
    code = f"""
import sys
from importlib import import_module
import octy_worker.cli.remote
for name in {modules}:
    import_module("octy_worker.cli." + name)
print(*{{name.partition(".")[0] for name in sys.modules}})
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=Path.cwd())
    loaded = set(done.stdout.split())
    assert "httpx2" in loaded
    assert not {"temporalio", "uvicorn", "starlette", "alembic", "emails", "dkim", "jinja2", "webauthn"} & loaded
