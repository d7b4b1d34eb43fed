"""The staff API as a process of its own: what it says when it does not start."""

import time
from pathlib import Path

import pytest
from support.staff_api_rig import StaffApi
from support.staff_rig import StaffKeys
from support.world import World

from octy_worker.dev.processes import free_port
from octy_worker.staff_api import process


@pytest.fixture
def api(world: World, tmp_path: Path) -> StaffApi:
    return StaffApi.of(world, StaffKeys.make(tmp_path), time.time(), staff_port=free_port())


def test_process_that_does_not_start_says_why_in_one_line(api: StaffApi, caplog: pytest.LogCaptureFixture) -> None:
    assert process.serve(api.settings.model_copy(update={"staff_keys": None})) == 1
    assert [record.message.partition(" is")[0] for record in caplog.records] == ["staff API: OCTY_STAFF_KEYS"]
