"""What the host's deployment does: migrate, write the next migration, migrate, find nothing more to do, test."""

import sys

import pytest
from alembic.config import main as alembic

if sys.argv[1:] == ["migrate"]:
    alembic(["upgrade", "head"])
else:
    alembic(["upgrade", "head"])
    alembic(["revision", "--autogenerate", "--rev-id", "0002", "-m", "second"])
    alembic(["upgrade", "head"])
    alembic(["check"])
    sys.exit(pytest.main(["-q", "-p", "no:cacheprovider", "--rootdir", ".", "host_tests.py"]))
