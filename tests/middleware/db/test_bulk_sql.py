"""Several queries in one statement, on both databases."""

import pytest
from support.world import World, listening

from octy_middleware.db.bulk_sql import InputRows, Query, fetch_many

ECHO = Query(("input.name", "input.number"), "{input} WHERE input.number > 0", name="text", number="bigint")
MORE = Query(("input.number + 1", "input.name"), "{input}", number="bigint", name="text")
ODD = "é\"'%s?\\ \U0001f511"


@pytest.mark.parametrize(
    ("echo", "more", "found"),
    [
        ([], [], [[], []]),
        ([("a", 1)], [], [[["a", 1]], []]),
        ([], [(2**62, "b")], [[], [[2**62 + 1, "b"]]]),
        ([("a", 1), ("b", 0), (ODD, 3)], [(1, "x"), (2, "y")], [[["a", 1], [ODD, 3]], [[2, "x"], [3, "y"]]]),
        ([("a", 0)], [(1, ODD)], [[], [[2, ODD]]]),
    ],
    ids=["nothing", "first", "second", "both", "asked and nothing found"],
)
def test_fetch_many_returns_the_result_of_each_query(
    world: World, echo: InputRows, more: InputRows, found: list[object]
) -> None:
    with world.database.read() as connection:
        assert fetch_many(connection, (ECHO, echo), (MORE, more)) == found


def test_fetch_many_runs_one_statement_and_none_without_rows(world: World) -> None:
    with world.database.read() as connection, listening(world.database) as asked:
        fetch_many(connection, (ECHO, []), (MORE, []))
        assert asked == []
        fetch_many(connection, (ECHO, [("a", 1)]), (MORE, [(1, "b")]), (ECHO, [("c", 2)]))
        assert len(asked) == 1
