"""Which tests run on PostgreSQL: each in exactly one of `make test` and `make test-postgresql`."""

import pytest

from support.database_choice import ALL, OTHERS, OWN_SQL, SOME, database_kind_of, is_chosen
from support.paths import ROOT


@pytest.mark.parametrize(
    ("node_id", "options"),
    [
        ("tests/worker/pages/test_pages.py::test_page[sqlite]", {ALL, SOME}),
        ("tests/worker/pages/test_pages.py::test_page[postgresql]", {ALL, OTHERS}),
        ("tests/worker/pages/test_pages.py::test_page[late-postgresql-2]", {ALL, OTHERS}),
        ("tests/worker/pages/test_pages.py::test_page", {ALL, SOME}),
        ("tests/worker/outbox/test_relay.py::test_lease[postgresql]", {ALL, SOME}),
        ("tests/middleware/db/test_postgres.py::test_url[postgresql+psycopg]", {ALL, SOME}),
    ],
)
def test_each_test_runs_in_one_of_the_two_commands(node_id, options):
    assert {option for option in (ALL, SOME, OTHERS) if is_chosen(node_id, option)} == options


def test_test_about_files_never_runs_on_a_server():
    node_id = "tests/worker/maintenance/test_files.py::test_file[postgresql]"
    assert not any(is_chosen(node_id, option, is_about_files=True) for option in (ALL, SOME, OTHERS))


@pytest.mark.parametrize(
    ("parameters", "kind"), [("[sqlite]", "sqlite"), ("[a-postgresql]", "postgresql"), ("[sqlitefile]", ""), ("", "")]
)
def test_kind_of_database_is_a_whole_parameter(parameters, kind):
    assert database_kind_of(f"tests/test_some.py::test_some{parameters}") == kind


@pytest.mark.parametrize("prefix", OWN_SQL)
def test_listed_folders_exist(prefix):
    folder, _, name = prefix.rpartition("/")
    assert list((ROOT / folder).glob(f"{name}*.py"))
