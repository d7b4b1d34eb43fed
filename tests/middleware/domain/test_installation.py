"""The installation that a database belongs to."""

import pytest
from sqlalchemy import delete
from support.world import World

from octy_middleware import ConfigurationError
from octy_middleware.db.models import InstallationRow
from octy_middleware.domain.installation import installation_id


def test_database_without_an_installation_id_is_rejected_with_what_to_do(world: World) -> None:
    assert installation_id(world.database) == world.installation
    with world.database.write() as connection:
        connection.execute(delete(InstallationRow))
    with pytest.raises(ConfigurationError, match="no installation id yet: run `octy db upgrade`"):
        installation_id(world.database)
