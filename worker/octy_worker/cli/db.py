"""`octy db upgrade`, `downgrade`, `current` and `check`: options and help texts."""

from typing import Annotated

import typer

from octy_middleware.db import migrations
from octy_middleware.db.schema_version import SCHEMA_VERSION, read_schema_version
from octy_worker.cli.context import now, open_any_database, open_database
from octy_worker.cli.lazy_command import help_page
from octy_worker.cli.options import AsJson, Yes
from octy_worker.cli.output import confirm, print_json, print_lines
from octy_worker.cli.variables import variables_of
from octy_worker.identity import keychains_from_environment, verify_installation

CURRENT_JSON = "url, schema, needed"


@help_page(
    "octy db upgrade",
    "octy --database sqlite:////var/lib/octy/octy.db db upgrade",
    "octy --database postgresql://octy@db.example/octy db upgrade",
    more="Apps and workers can run meanwhile. It also registers the installation's id and check values of its keys: "
    "run it with the worker's settings. Create a PostgreSQL database first: CREATE DATABASE octy OWNER octy. If the "
    "URL has no password, it comes from PGPASSWORD or ~/.pgpass. The migration is one transaction where the database "
    "supports that; a second one at the same time waits.",
)
def upgrade(context: typer.Context) -> None:
    """Migrate to this release's schema."""
    chains = keychains_from_environment(variables_of(context))
    with open_any_database(context, create=True) as database:
        before = migrations.upgrade(database)
        after = read_schema_version(database)
        verify_installation(database, chains, now())
    if before == after:
        print_lines(f"The database is already at schema {after}.")
    else:
        print_lines(f"Migrated the database from schema {before or 'none'} to {after}.")


@help_page(
    "octy db downgrade 0001",
    "octy db downgrade --yes",
    more="Newer data is lost: make a backup first. Run it with the newer release, which has the migration, when no app "
    "or worker of that release runs.",
)
def downgrade(
    context: typer.Context,
    revision: Annotated[str, typer.Argument(metavar="[REVISION]", help="A schema's number.")] = "-1",
    yes: Yes = False,
) -> None:
    """Migrate back."""
    with open_any_database(context) as database:
        if not yes:
            target = "the previous schema" if revision == "-1" else f"schema {revision}"
            found = read_schema_version(database) or "none"
            print_lines(f"This migrates {database.backend.display_name} from schema {found} to {target}.")
            confirm("Newer data in its tables is lost. Continue?")
        before = migrations.downgrade(database, revision)
        after = read_schema_version(database)
    print_lines(f"Migrated the database from schema {before or 'none'} to {after or 'none'}.")


@help_page("octy db current", json=CURRENT_JSON)
def current(context: typer.Context, as_json: AsJson = False) -> None:
    """Show both schema versions."""
    with open_any_database(context) as database:
        found = read_schema_version(database)
    if as_json:
        print_json({"url": database.url.render_as_string(), "schema": found, "needed": SCHEMA_VERSION})
        return
    print_lines(f"The database is at schema {found or 'none'}; this release needs {SCHEMA_VERSION}.")


@help_page("octy db check", more="It compares every table, column, index and constraint.")
def check(context: typer.Context) -> None:
    """Check the tables."""
    with open_database(context) as database:
        migrations.check_tables(database)
