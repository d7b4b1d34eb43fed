"""One Temporal server for the folder; it starts in a quarter of a second and is shared by all tests."""

from collections.abc import Iterator

import pytest

pytest.register_assert_rewrite("workflows.workflow_fakes", "workflows.workflow_harness")
from workflows.workflow_harness import Harness, open_harness  # noqa: E402  # their assertions, too, show what they compared


@pytest.fixture(scope="session")
def harness() -> Iterator[Harness]:
    with open_harness() as opened:
        yield opened
