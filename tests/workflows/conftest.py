"""One Temporal server for the folder; it starts in a quarter of a second and is shared by all tests."""

from collections.abc import Iterator

import pytest

pytest.register_assert_rewrite("workflows.workflow_books", "workflows.workflow_stage")
from workflows.workflow_stage import Stage, open_stage  # noqa: E402  # their assertions, too, show what they compared


@pytest.fixture(scope="session")
def stage() -> Iterator[Stage]:
    with open_stage() as opened:
        yield opened
