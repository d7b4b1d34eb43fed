"""A pytest plugin: which tests run on PostgreSQL. Every test that needs a database runs on SQLite, too.

Most code above `octy_middleware.db` speaks to both databases by the same SQLAlchemy statements. `make test` runs the
tests of packages with statements or locks of their own for a database on both, `make test-postgresql` the others.
"""

import pytest

from support.databases import DATABASES

OWN_SQL = (  # tests of code that has statements or locks of its own for each database
    "tests/middleware/",
    "tests/worker/audit/",
    "tests/worker/cli/test_cli_db",
    "tests/worker/cli/test_cli_doctor",
    "tests/worker/cli/test_database_server",
    "tests/worker/cli/test_doctor",
    "tests/worker/domain/",
    "tests/worker/imports/",
    "tests/worker/mail/",
    "tests/worker/maintenance/",
    "tests/worker/observability/",
    "tests/worker/outbox/",
    "tests/worker/reports/",
)
ALL, SOME, OTHERS = "all", "own-sql", "others"


# Of a test that is the same on both databases; a comment beside it, or its file's first lines, say why.
on_one_database = pytest.mark.parametrize("database_kind", ["sqlite"])


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--postgresql`."""
    parser.addoption(
        "--postgresql",
        choices=(ALL, SOME, OTHERS),
        default=ALL,
        help="tests that run on PostgreSQL: all; own-sql: of packages with SQL of their own for each database; "
        "others: those that own-sql leaves out, and nothing else",
    )


def describe(config: pytest.Config) -> str:
    """Return a line for the report's head."""
    described = {
        ALL: "every test on both databases",
        SOME: "on PostgreSQL the tests of code with SQL of its own; make test-postgresql runs the others",
        OTHERS: "on PostgreSQL, the tests that make test runs on SQLite only",
    }
    return f"octy: {described[config.getoption('postgresql')]}"


@pytest.fixture(params=DATABASES)
def database_kind(request: pytest.FixtureRequest) -> str:
    """Which kind of database; a test marked `sqlite` is about what only a file can do."""
    return str(request.param)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect tests about files on a server, and what `--postgresql` leaves out."""
    option = str(config.getoption("postgresql"))
    left = [item for item in items if not is_chosen(item.nodeid, option, is_about_files=_is_about_files(item))]
    if left:
        items[:] = [item for item in items if item not in set(left)]
        config.hook.pytest_deselected(items=left)


def _is_about_files(item: pytest.Item) -> bool:
    return item.get_closest_marker("sqlite") is not None


def is_chosen(node_id: str, option: str, *, is_about_files: bool = False) -> bool:
    """Return whether a test runs under `--postgresql=<option>`."""
    is_on_server = database_kind_of(node_id) == "postgresql"
    if is_on_server and is_about_files:
        return False
    is_other = is_on_server and not node_id.startswith(OWN_SQL)
    return is_other if option == OTHERS else not (is_other and option == SOME)


def database_kind_of(node_id: str) -> str:
    """Return the kind of database in the parameters of a test's id, or an empty text."""
    parameters = node_id.partition("[")[2].removesuffix("]").split("-")
    return next((kind for kind in DATABASES if kind in parameters), "")
