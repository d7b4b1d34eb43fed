"""Several queries in one statement, and writes that are committed together, on both databases."""

import json
import runpy
import sqlite3

import psycopg
import pytest
from support.world import World, listening

from middleware.db.key_changes import changed_keys
from octy_middleware.db import bulk_sql
from octy_middleware.db.bulk_sql import Batch, InputRows, Query, fetch_many, run

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


TEXTS = [
    "",
    " ",
    "NULL",
    "null",
    "{a,b}",
    "a,b",
    '"',
    "\\",
    '\\"',
    "it's",
    "$1 ? %s",
    "a\nb\tc\x01\x7f",
    "é 😀 \u2028",
    ODD,
]
ADD = Batch(
    "INSERT INTO key_change (public_key, at) SELECT public_key, at FROM {input}", public_key="text", at="bigint"
)
ADD_WITH_NUMBER = Batch(
    "INSERT INTO key_change (seq, public_key, at) SELECT seq, 'pk_x', 1 FROM {input} WHERE seq > 0", seq="bigint"
)


@pytest.mark.parametrize("texts", [[text] for text in TEXTS] + [TEXTS, [None], ["a", None, '"']], ids=repr)
def test_texts_come_back_as_they_were_passed(world: World, texts: list[str | None]) -> None:
    echo = Query(("input.number", "input.name"), "{input}", name="text", number="bigint")
    with world.database.read() as connection:
        [found] = fetch_many(connection, (echo, [(text, number) for number, text in enumerate(texts)]))
    assert [text for _, text in sorted(found)] == texts


def test_writes_are_committed_in_the_order_in_which_they_were_added(world: World) -> None:
    with world.database.write_batch({"pk_a"}) as transaction:
        transaction.add(ADD, [("pk_b", 1), ("pk_c", 1)])
        transaction.add(ADD, [])
        transaction.add(ADD, [(text, 2) for text in TEXTS])
        run(transaction.connection, "INSERT INTO key_change (public_key, at) VALUES ('pk_a', 1)")  # at once
        assert changed_keys(world.database) == []
    assert changed_keys(world.database) == ["pk_a", "pk_b", "pk_c", *TEXTS]


def test_failed_write_leaves_nothing_and_the_next_transaction_works(world: World) -> None:
    pinned = world.database.pin_connection()
    for _ in range(2):
        with (
            pytest.raises((sqlite3.IntegrityError, psycopg.IntegrityError)),
            world.database.write_batch({"pk_a"}, pinned=pinned) as transaction,
        ):
            transaction.add(ADD, [("pk_lost", 1)])
            transaction.add(ADD_WITH_NUMBER, [(7,), (7,)])
            transaction.add(ADD, [("pk_lost", 1)])
    with world.database.write_batch({"pk_a"}, (ECHO, [("a", 1)]), pinned=pinned) as transaction:
        assert transaction.found == [[["a", 1]]]
        transaction.add(ADD, [("pk_a", 1)])
    assert changed_keys(world.database) == ["pk_a"]


def test_rows_are_encoded_alike_by_an_interpreter_without_the_c_encoder(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [(text, 2**62, None, True) for text in TEXTS]
    monkeypatch.setattr(json.encoder, "c_make_encoder", None)
    without = runpy.run_path(bulk_sql.__file__)  # the module once more
    assert without["to_json"](rows) == bulk_sql.to_json(rows)
