"""What judges staff is built from the settings; settings with which staff can't be judged stop the start."""

import os
from pathlib import Path

import pytest
from support.ssh_keys import SshKey
from support.world import INSTALLATION, World

from octy_middleware.errors import ConfigurationError
from octy_middleware.keys.keychain import Keychain
from octy_worker.access.receipts import OrderReceipts
from octy_worker.access.roles import Action
from octy_worker.access.staff_settings import check_staff_settings, load_staff_access
from octy_worker.daemon import WorkerComponents
from octy_worker.settings import StaffSettings

KEYS = {"OCTY_STAFF_KEYS": Keychain.generate("s1").export()}
OFF = {"OCTY_STAFF_AUTH": "off"}


def test_staff_access_has_authorities_and_actions_of_the_settings(tmp_path: Path) -> None:
    one, two = (SshKey.make(tmp_path / name).public for name in ("one", "two"))
    given = {"OCTY_STAFF_CA_KEYS": f"{one}\n{two},", "OCTY_FOUR_EYES": "keys.revoke, staff.add"}
    access = load_staff_access(StaffSettings.from_environment({**KEYS, **given}), INSTALLATION, os.urandom)
    assert access is not None
    assert len(access.authorities.fingerprints) == 2
    assert access.four_eyes == {Action.REVOKE, Action.ADD_STAFF}
    assert access.sealer.open(access.sealer.seal("seed", "row"), "row") == "seed"


@pytest.mark.parametrize(
    ("given", "error"),
    [
        ({}, "OCTY_STAFF_KEYS is not set"),
        (KEYS | {"OCTY_STAFF_CA_KEYS": "ssh-ed25519 AAAA"}, "OCTY_STAFF_CA_KEYS: not a public key"),
        (KEYS | {"OCTY_STAFF_REVOKED": "17"}, "OCTY_STAFF_REVOKED: '17' is none of"),
        (KEYS | {"OCTY_FOUR_EYES": "keys.revoke,eat"}, "OCTY_FOUR_EYES: there is no action eat → use some of incident"),
        (OFF | {"OCTY_DATABASE_URL": "postgresql://octy@db.example/octy"}, "another machine is named by OCTY_DATABASE"),
        (OFF | {"OCTY_DATABASE_URL": "postgresql:///octy?host=%2Frun,db.example"}, "is named by OCTY_DATABASE_URL"),
        (OFF | {"TEMPORAL_ADDRESS": "temporal.example:7233", "TEMPORAL_TLS": "true"}, "is named by TEMPORAL_ADDRESS"),
        (OFF | {"OCTY_PUBLIC_URL": "https://keys.example"}, "is named by OCTY_PUBLIC_URL"),
        (OFF | KEYS | {"OCTY_PUBLIC_URL": "https://keys.example"}, "is named by OCTY_PUBLIC_URL"),
    ],
)
def test_settings_with_which_staff_cannot_be_judged_are_refused(given: dict[str, str], error: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        check_staff_settings(StaffSettings.from_environment(given))
    assert error in str(refused.value)


@pytest.mark.parametrize(
    "url", ["sqlite:///octy.db", "postgresql://octy@localhost/octy", "postgresql:///octy?host=/run/postgresql"]
)
def test_staff_auth_may_be_off_where_everything_is_on_this_machine(url: str) -> None:
    settings = StaffSettings.from_environment(OFF | {"OCTY_DATABASE_URL": url, "OCTY_TEMPORAL_ADDRESS": "[::1]:7233"})
    assert load_staff_access(settings, INSTALLATION, os.urandom) is None


def test_worker_does_not_start_without_staff_keys(world: World) -> None:
    with pytest.raises(ConfigurationError, match=r"OCTY_STAFF_KEYS is not set.*`octy secrets` prints"):
        WorkerComponents(world.worker_settings(staff_auth="on"))
    components = WorkerComponents(world.worker_settings(staff_auth="on", staff_keys=Keychain.generate()))
    components.close()
    assert type(components.receipts) is OrderReceipts
