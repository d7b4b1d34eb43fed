"""`octy db`, `octy doctor`, `octy secrets`: what can be typed, with its help.

Here: options and the order of steps. Not here: what the doctor looks at (`checks`), migrations (the middleware's).
"""
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

database = typer.Typer(no_args_is_help=True, help="The database: its tables and their release.")

_SECRETS = ("OCTY_PEPPERS", "OCTY_SEALING_KEYS", "OCTY_LINK_KEYS", "OCTY_WEBHOOK_KEYS", "OCTY_TEMPORAL_KEYS")
_OPTIONAL = ("OCTY_WEBHOOK_KEYS", "OCTY_TEMPORAL_KEYS")  # an installation without them has none to rotate

CURRENT_JSON = "url, schema, needed"
DOCTOR_JSON = "ok, checks[name, state: ok | problem | unchecked, found, to_do, code]"
DOCTOR_HELP = help_text(
    "Look at everything, and say what is missing and what to do.",
    "octy --env-file octy.env doctor",
    "octy doctor --json | jq '.checks[] | select(.state != \"ok\")'",
    more="First what is reachable: settings, packages, database, outbox, Temporal and its workers, mails, pages. Then "
    "what came of it: alerts, incidents, keys, mails, webhooks, commits, a real write, clocks. Nothing stays "
    "changed and no mail is sent. Run it where the worker runs, with the worker's settings.",
    json=DOCTOR_JSON,
)
SECRETS_HELP = help_text(
    "Print a complete set of fresh keys as OCTY_* settings.",
    "octy secrets --out octy.env",
    "octy --env-file octy.env secrets --rotate --out new.env",
    more="They are secrets: keep them outside the database and its backups. An installation keeps its keys: pairs "
    "can't be checked without their own peppers.\n\n"
    "To rotate, --rotate prints the present keys with a new one behind each: new things use the last one, old ones "
    "stay readable. Peppers take two steps, since an app that lacks a pair's pepper answers 503: first put the new one "
    "before the present one everywhere; then give this block to all apps and workers. A pepper can go once "
    "`octy doctor` misses nothing without it, a sealing or link key after 14 days, a webhook key "
    "once customers have the secrets of the next one, a "
    "key of Temporal's payloads once nothing runs or is kept that it encrypted.",
)


@database.command(
    help=help_text(
        "Make the tables, or bring them to this release. Safe to repeat; every process may run meanwhile.",
        "octy db upgrade",
        "octy --database sqlite:////var/lib/octy/octy.db db upgrade",
        "octy --database postgresql://octy@db.example/octy db upgrade",
        more="It also registers which installation the database belongs to, and which keys it is used with: give it "
        "the worker's settings. A PostgreSQL database is made by the server's owner first: "
        "CREATE DATABASE octy OWNER octy. Without its "
        "password in the URL, that comes from PGPASSWORD or ~/.pgpass. Where the database can, all of it happens or "
        "nothing; whoever comes second waits, and finds it done.",
    )
)
def upgrade(context: typer.Context) -> None:
    """Migrate."""
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
        print_lines(f"The database is at schema {after} already.")
    else:
        print_lines(f"The database was at schema {before or 'none'} and is at {after} now.")


@database.command(
    help=help_text(
        "Take the tables back to an older schema, by default the one before. What is newer in them is lost.",
        "octy db downgrade 0001",
        "octy db downgrade --yes",
        more="Run it with the newer release, which knows the way back, once no app or worker of that release runs. "
        "Take a backup first. All of it happens, or nothing.",
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
            target = "the schema before" if revision == "-1" else f"schema {revision}"
            found = read_schema_version(opened) or "none"
            print_lines(f"This takes {opened.backend.display_name} from schema {found} back to {target}.")
            typer.confirm("What is newer in its tables is lost. Go on?", abort=True)
        before = migrate_back(opened, revision)
        after = read_schema_version(opened)
    finally:
        opened.close()
    print_lines(f"The database was at schema {before or 'none'} and is at {after or 'none'} now.")


@database.command(
    help=help_text(
        "Show which schema the database is at, and which one this release needs.", "octy db current", json=CURRENT_JSON
    )
)
def current(context: typer.Context, as_json: AsJson = False) -> None:
    """Show both schemas."""
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
        "Say nothing and exit with 0 when the database has the tables of this release; else say what to do.",
        "octy db check",
        more="It compares each table, column, index and constraint.",
    )
)
def check(context: typer.Context) -> None:
    """Check the tables."""
    from octy_middleware.db.migrations import check_tables

    with open_database(context) as opened:
        check_tables(opened)


def doctor(context: typer.Context, as_json: AsJson = False) -> None:
    """Look at everything."""
    from octy_worker.cli.doctor import State, run_checks
    from octy_worker.cli.views import doctor as view

    found = run_checks(variables_of(context), context.find_root().params.get("env_file"))
    well = all(each.state is State.OK for each in found)
    if as_json:
        print_json({"ok": well, "checks": found})
    else:
        print_page(*view.page(found))
    raise typer.Exit(ExitCode.OK if well else ExitCode.FAILED)


def secrets(
    context: typer.Context,
    rotate: Annotated[bool, typer.Option("--rotate", help="Add a new key behind each of the present ones.")] = False,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Make this file, for its owner alone, in place of printing.")
    ] = None,
) -> None:
    """Print keys, or make a file of them."""
    lines = _secrets(variables_of(context), rotate=rotate)
    if out is None:
        typer.echo("\n".join(lines))
        return
    try:
        write_private(out, "".join(f"{line}\n" for line in lines), new=True)
    except FileExistsError:
        raise UsageError(f"{out} is there already, and keys are not replaced", "name a new file") from None
    except OSError as error:
        raise UsageError(f"{out} can't be written: {error.strerror}", "name a file in a folder of yours") from None


def _secrets(variables: Variables, *, rotate: bool) -> list[str]:
    from octy_middleware.keys.keychain import Keychain

    lines = []
    for name in _SECRETS:
        if not rotate:
            lines.append(f"{name}={Keychain.generate().export()}")
            continue
        if name in _OPTIONAL and not variables.get(name):
            continue
        if not variables.get(name):
            raise UsageError(
                f"{name} is not set, so there is nothing to rotate", "name the present keys with --env-file"
            )
        lines.append(f"{name}={_with_new_key(Keychain.parse(variables[name], name=name)).export()}")
    return lines


def _with_new_key(keys: "Keychain") -> "Keychain":
    """Return the keys and a fresh one behind them; its id is new, too."""
    new = keys.generate()
    while new.newest[0] in keys:
        new = keys.generate()
    return type(keys)({**keys, **new})
