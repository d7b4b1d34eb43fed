"""What `octy db check` reports: differences of the tables from the models."""

import pytest
from support.world import World

from octy_middleware import SchemaError
from octy_middleware.db.migrations import check_tables, comparison

pytestmark = pytest.mark.usefixtures("compared_each_time")
DIFFERS = r"its tables differ from it: .*→ undo what was changed by hand"


@pytest.mark.parametrize(
    "damage",
    [
        {
            "DROP TABLE job": "the table job is missing",
            "ALTER TABLE outbox DROP COLUMN delivery_attempts": "the table outbox lacks the column delivery_attempts",
            "ALTER TABLE outbox ADD COLUMN more INTEGER": "the table outbox has a column more that is not ours",
            "DROP INDEX uq_incident_open": "the index uq_incident_open is missing",
            "CREATE TABLE theirs (id INTEGER)": "",
        },
        {
            "DROP INDEX uq_incident_open": "",
            "CREATE UNIQUE INDEX uq_incident_open ON incident (key_pair_id) WHERE closed_at IS NOT NULL": (
                "the index uq_incident_open has another condition"
            ),
        },
        {
            "DROP INDEX uq_incident_open": "",
            "CREATE UNIQUE INDEX uq_incident_open ON incident (key_pair_id)": (
                "the index uq_incident_open has another condition"
            ),
        },
    ],
    ids=["tables and columns", "another condition", "no condition"],
)
def test_check_tables_reports_differences_from_the_models(world: World, damage: dict[str, str]) -> None:
    assert_reported(world, damage)


def test_check_tables_ignores_tables_of_others(world: World) -> None:
    with world.database.write() as connection:
        connection.exec_driver_sql("CREATE TABLE theirs (id INTEGER)")
    check_tables(world.database)


@pytest.mark.parametrize("database_kind", ["postgresql"])
def test_check_tables_reports_what_only_a_server_can_change(world: World) -> None:
    damage = {
        "ALTER TABLE account ALTER COLUMN reference TYPE VARCHAR(20)": (
            "in account, the column reference is of the type VARCHAR(20) and should be VARCHAR(200)"
        ),
        "ALTER TABLE incident ALTER COLUMN failures TYPE INTEGER": (
            "in incident, the column failures is of the type INTEGER and should be BIGINT"
        ),
        "ALTER TABLE account ALTER COLUMN reference DROP NOT NULL": (
            "in account, the column reference should not take NULL"
        ),
        "ALTER TABLE outbox ALTER COLUMN leased_by DROP DEFAULT": (
            "in outbox, the column leased_by has another default of the server's"
        ),
        "ALTER TABLE key_pair DROP CONSTRAINT uq_key_pair_public_key": (
            "the constraint uq_key_pair_public_key is missing"
        ),
        "ALTER TABLE key_pair DROP CONSTRAINT fk_key_pair_account_id": (
            "the foreign key fk_key_pair_account_id is missing"
        ),
    }
    assert_reported(world, damage)
    with pytest.raises(SchemaError, match="; and 1 more →"):
        check_tables(world.database)


def assert_reported(world: World, damage: dict[str, str]) -> None:
    """Damage the tables by these statements; assert what the comparison reports, and that the check refuses it."""
    with world.database.write() as connection:
        for statement in damage:
            connection.exec_driver_sql(statement)
    with world.database.read() as connection:
        assert comparison.differences(connection) == sorted(filter(None, damage.values()))
    with pytest.raises(SchemaError, match=DIFFERS):
        check_tables(world.database)
