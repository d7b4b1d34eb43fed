"""Key pairs: the rows of the change feed."""

from support.world import World

from octy_middleware.domain import key_pairs

NOW = 1_800_000_000.0


def test_import_without_key_pairs_reports_no_change(world: World) -> None:
    world.register()  # a key pair of another cause
    before = world.rows("SELECT COUNT(*) FROM key_change")
    with world.database.write() as connection:
        key_pairs.activate_imported(connection, "0", "z", NOW)
    assert world.rows("SELECT COUNT(*) FROM key_change") == before
