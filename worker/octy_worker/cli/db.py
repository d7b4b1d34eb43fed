"""`octy db`, `octy doctor` and `octy secrets`: options and help texts."""
# ruff: noqa: PLC0415  # imports inside commands: see `app`

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from octy_worker.cli.context import Variables, database_url, now, open_database, require_database_file, variables_of
from octy_worker.cli.exit_codes import ExitCode
from octy_worker.cli.help_text import help_text
from octy_worker.cli.options import AsJson
from octy_worker.cli.output import print_json, print_lines, print_page
from octy_worker.errors import UsageError
from octy_worker.private_files import write_private

if TYPE_CHECKING:
    from octy_middleware.keys.keychain import Keychain

database = typer.Typer(no_args_is_help=True, help="The database: schema, migration, retention and restored backups.")

CURRENT_JSON = "url, schema, needed"
DOCTOR_JSON = "ok, checks[name, state: ok | problem | unchecked, found, to_do, code]"
DOCTOR_HELP = help_text(
    "Check the whole installation; list problems and what to do about them.",
    "octy --env-file octy.env doctor",
    "octy doctor --json | jq '.checks[] | select(.state != \"ok\")'",
    more="It checks settings, packages, database, outbox, Temporal and its workers, mail server and pages; then the "
    "work itself: alerts, incidents, keys, mails, webhooks, commits, a test write, clocks. It leaves no changes and "
    "sends no mail. Run it where the worker runs, with the worker's settings. Exit code 1: problems found, or checks "
    "that could not be made.",
    json=DOCTOR_JSON,
)
SECRETS_HELP = help_text(
    "Print a complete set of new keys as OCTY_* settings.",
    "octy secrets --out octy.env",
    "octy --env-file octy.env secrets --rotate --out new.env",
    more="They are secrets: keep them outside the database and its backups. An existing installation must keep its "
    "keys: without its peppers no key pair can be verified.\n\n"
    "To rotate keys, --rotate prints the current keys, each followed by a new one. The last key is used for new data, "
    "the others stay readable. Rotate peppers in two steps, because an app without a key pair's pepper responds 503: "
    "first put the new pepper before the current one in all apps and workers, then give all of them this output.\n\n"
    "When an old key may be removed: a pepper once `octy doctor` reports no problem without it; a sealing or link key "
    "after 14 days; a webhook key once customers have the secrets of the next one; a key of Temporal's payloads once "
    "no workflow that it encrypted runs or is retained.",
)


@database.command(
    help=help_text(
        "Create the tables, or migrate them to this release. Safe to repeat; apps and workers can run meanwhile.",
        "octy db upgrade",
        "octy --database sqlite:////var/lib/octy/octy.db db upgrade",
        "octy --database postgresql://octy@db.example/octy db upgrade",
        more="It also registers the installation's id and check values of its keys: run it with the worker's settings. "
        "Create a PostgreSQL database first: CREATE DATABASE octy OWNER octy. If the URL has no password, it comes "
        "from PGPASSWORD or ~/.pgpass. The migration is one transaction where the database supports that; a second one "
        "at the same time waits.",
    )
)
def upgrade(context: typer.Context) -> None:
    """Migrate to this release's schema."""
    from octy_middleware.db.database import Database
    from octy_middleware.db.migrations import upgrade as migrate
    from octy_middleware.db.schema_version import read_schema_version
    from octy_worker.identity import keychains_from_environment, verify_installation

    chains = keychains_from_environment(variables_of(context))
    opened = Database(database_url(variables_of(context)))
    try:
        before = migrate(opened)
        after = read_schema_version(opened)
        verify_installation(opened, chains, now())
    finally:
        opened.close()
    if before == after:
        print_lines(f"The database is already at schema {after}.")
    else:
        print_lines(f"Migrated the database from schema {before or 'none'} to {after}.")


@database.command(
    help=help_text(
        "Migrate the tables back to an older schema, by default the previous one. Newer data is lost.",
        "octy db downgrade 0001",
        "octy db downgrade --yes",
        more="Run it with the newer release, which has the migration, when no app or worker of that release runs. Make "
        "a backup first.",
    )
)
def downgrade(
    context: typer.Context,
    revision: Annotated[str, typer.Argument(metavar="[REVISION]", help="A schema's number.")] = "-1",
    yes: Annotated[bool, typer.Option("--yes", help="Don't ask.")] = False,
) -> None:
    """Migrate back."""
    from octy_middleware.db.database import Database
    from octy_middleware.db.migrations import downgrade as migrate_back
    from octy_middleware.db.schema_version import read_schema_version

    opened = Database(database_url(variables_of(context)))
    try:
        require_database_file(opened)
        if not yes:
            target = "the previous schema" if revision == "-1" else f"schema {revision}"
            found = read_schema_version(opened) or "none"
            print_lines(f"This migrates {opened.backend.display_name} from schema {found} to {target}.")
            typer.confirm("Newer data in its tables is lost. Continue?", abort=True)
        before = migrate_back(opened, revision)
        after = read_schema_version(opened)
    finally:
        opened.close()
    print_lines(f"Migrated the database from schema {before or 'none'} to {after or 'none'}.")


@database.command(
    help=help_text(
        "Show the database's schema version, and the one that this release needs.", "octy db current", json=CURRENT_JSON
    )
)
def current(context: typer.Context, as_json: AsJson = False) -> None:
    """Show both schema versions."""
    from octy_middleware.db.database import Database
    from octy_middleware.db.schema_version import SCHEMA_VERSION, read_schema_version

    opened = Database(database_url(variables_of(context)))
    try:
        require_database_file(opened)
        found = read_schema_version(opened)
    finally:
        opened.close()
    if as_json:
        print_json({"url": opened.url.render_as_string(), "schema": found, "needed": SCHEMA_VERSION})
        return
    print_lines(f"The database is at schema {found or 'none'}; this release needs {SCHEMA_VERSION}.")


@database.command(
    help=help_text(
        "Check that the database has the tables of this release; exit with 0 if so, else print what to do.",
        "octy db check",
        more="It compares every table, column, index and constraint.",
    )
)
def check(context: typer.Context) -> None:
    """Check the tables."""
    from octy_middleware.db.migrations import check_tables

    with open_database(context) as opened:
        check_tables(opened)


def doctor(context: typer.Context, as_json: AsJson = False) -> None:
    """Run all checks."""
    from octy_worker.cli.doctor import State, run_checks
    from octy_worker.cli.views import doctor as view

    checks = run_checks(variables_of(context), context.find_root().params.get("env_file"))
    ok = all(check.state is State.OK for check in checks)
    if as_json:
        print_json({"ok": ok, "checks": checks})
    else:
        print_page(*view.page(checks))
    raise typer.Exit(ExitCode.OK if ok else ExitCode.FAILED)


def secrets(
    context: typer.Context,
    rotate: Annotated[bool, typer.Option("--rotate", help="Add a new key to each of the current ones.")] = False,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write to this new file, readable by you alone, instead of stdout."),
    ] = None,
) -> None:
    """Print keys, or write them to a file."""
    lines = _secrets(variables_of(context), rotate=rotate)
    if out is None:
        typer.echo("\n".join(lines))
        return
    try:
        write_private(out, "".join(f"{line}\n" for line in lines), new=True)
    except FileExistsError:
        raise UsageError(f"{out} exists already, and keys are not overwritten", "name a new file") from None
    except OSError as error:
        raise UsageError(
            f"{out} can't be written: {error.strerror}", "name a file in a folder where you may write"
        ) from None


def _secrets(variables: Variables, *, rotate: bool) -> list[str]:
    from octy_middleware.keys.keychain import Keychain
    from octy_middleware.settings import PREFIX
    from octy_worker.settings import KEY_SETTINGS, WorkerSettings

    lines = []
    for setting in KEY_SETTINGS:
        name = f"{PREFIX}{setting.upper()}"
        if not rotate:
            lines.append(f"{name}={Keychain.generate().export()}")
            continue
        if not variables.get(name) and not WorkerSettings.model_fields[setting].is_required():
            continue
        if not variables.get(name):
            raise UsageError(
                f"{name} is not set, so it can't be rotated", "name the file with the current keys with --env-file"
            )
        lines.append(f"{name}={_with_new_key(Keychain.parse(variables[name], name=name)).export()}")
    return lines


def _with_new_key(keys: "Keychain") -> "Keychain":
    """Return the keys followed by a new one with a new id."""
    new = keys.generate()
    while new.newest[0] in keys:
        new = keys.generate()
    return type(keys)({**keys, **new})
