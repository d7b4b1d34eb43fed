"""Fixtures of several files of this folder."""

from collections.abc import Iterator

import pytest
from support.warm_octy import WarmOcty, warm_octy


@pytest.fixture(scope="session")
def warm() -> Iterator[WarmOcty]:
    """What starts processes of `octy` at little cost."""
    with warm_octy() as opened:
        yield opened
