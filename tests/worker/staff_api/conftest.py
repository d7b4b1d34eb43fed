"""Fixtures of the staff API and its pages."""

import time
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser
from support.chromium import Tab, open_tab, renewed, running_chromium
from support.staff_rig import StaffKeys
from support.staff_site import StaffSite, serving_site
from support.world import World

NOW = float(int(time.time()))


@pytest.fixture(scope="package")
def keys(tmp_path_factory: pytest.TempPathFactory) -> StaffKeys:
    return StaffKeys.make(tmp_path_factory.mktemp("ssh"))


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """A browser for one module: while it runs, playwright's event loop does, and nothing can call asyncio.run."""
    with running_chromium() as browser:
        yield browser


@pytest.fixture
def site(world: World, keys: StaffKeys) -> Iterator[StaffSite]:
    with serving_site(world, keys, NOW) as site:
        yield site


@pytest.fixture(scope="module")
def profile(chromium: Browser) -> Iterator[Tab]:
    with open_tab(chromium) as tab:
        yield tab


@pytest.fixture
def tab(profile: Tab, site: StaffSite) -> Iterator[Tab]:
    with renewed(profile, site.url) as tab:
        yield tab
