"""SQLite files on network file systems, as Linux lists mounts."""

from pathlib import Path, PurePosixPath

import pytest
from support.world import World

from octy_worker.cli.doctor import State, file_systems
from octy_worker.cli.doctor.database import check_database
from octy_worker.cli.doctor.file_systems import network_type
from octy_worker.settings import WorkerSettings

MOUNTS = r"""
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
31 22 0:40 / /srv rw,relatime shared:2 master:1 - nfs4 nas:/srv rw,vers=4.2
32 31 8:2 / /srv/local rw,relatime - xfs /dev/sdb rw
33 22 0:41 / /mnt/two\040words rw - cifs //nas/share rw
34 22 0:42 / /var/twice rw - nfs nas:/old rw
35 34 8:3 / /var/twice rw - ext4 /dev/sdc rw
""".strip()


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/var/lib/octy/octy.db", ""),
        ("/srv/octy.db", "nfs4"),
        ("/srv/local/octy.db", ""),
        ("/srv/localised/octy.db", "nfs4"),
        ("/mnt/two words/octy.db", "cifs"),
        ("/var/twice/octy.db", ""),
    ],
)
def test_network_type_is_that_of_the_deepest_mount(path: str, kind: str) -> None:
    assert network_type(PurePosixPath(path), MOUNTS) == kind


@pytest.mark.parametrize("database_kind", ["sqlite"])
@pytest.mark.parametrize(("kind", "state"), [("nfs4", State.PROBLEM), ("ext4", State.OK)])
def test_doctor_reports_a_sqlite_file_on_a_network_file_system(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, state: State
) -> None:
    mounts = tmp_path / "mountinfo"
    mounts.write_text(f"22 1 0:40 / / rw,relatime shared:1 - {kind} nas:/ rw\n")
    monkeypatch.setattr(file_systems, "MOUNT_TABLE", mounts)
    chains = {"peppers": world.peppers, "sealing_keys": world.sealing_keys, "link_keys": world.sealing_keys}
    settings = WorkerSettings.build(database_url=world.url, **chains)
    [first] = [check for check in check_database(settings) if check.name == "database"]
    assert (first.name, first.state) == ("database", state)
    assert (f"on a network file system ({kind})" in first.found) is (state is State.PROBLEM)


def test_system_without_a_list_of_mounts_has_no_network_file_system(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_systems, "MOUNT_TABLE", tmp_path / "none")
    assert file_systems.network_file_system(tmp_path) == ""
