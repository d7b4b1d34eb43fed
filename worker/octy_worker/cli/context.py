"""The database and Temporal of a command, and who runs it.

Each command reads only the settings that it needs: support staff have neither peppers nor sealing keys, and
`octy accounts list` needs neither.
"""

import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import typer

from octy_middleware.db.database import Database
from octy_middleware.db.schema_version import check_schema
from octy_middleware.settings import Settings
from octy_worker.access.proofs import BreakGlass, Unproven
from octy_worker.cli.one_time_code import one_time_code
from octy_worker.cli.variables import BREAK_GLASS, PASSKEY, Variables, variables_of
from octy_worker.crypto.ssh_signer import find_signer
from octy_worker.errors import UsageError
from octy_worker.settings import StaffSettings, TemporalAccess
from octy_worker.staff.actor import login_name
from octy_worker.staff.context import StaffContext
from octy_worker.staff.operations import Desk, ReadingDesk
from octy_worker.staff.provers import CertifiedSigner, Prover, UnsignedActor


def database_url(variables: Variables) -> str:
    """Return the database's URL; the default is that of apps and workers."""
    url = variables.get("OCTY_DATABASE_URL") or str(Settings.model_fields["database_url"].default)
    if "%00" in url or "\0" in url:
        raise UsageError("the database's file name contains a NUL character", "correct OCTY_DATABASE_URL or --database")
    return url


@contextmanager
def open_any_database(context: typer.Context, *, create: bool = False) -> Iterator[Database]:
    """Open the database, whatever its schema is, and close it at the end.

    Only with `create` is a SQLite file created: a mistyped path creates none.
    """
    if server := variables_of(context).get("OCTY_SERVER"):
        raise UsageError(
            f"this command needs the installation's database, and {server} is a staff API",
            "run it on the host, without --server and OCTY_SERVER",
        )
    with closing(Database(database_url(variables_of(context)))) as database:
        if not create:
            require_database_file(database)
        yield database


@contextmanager
def open_database(context: typer.Context) -> Iterator[Database]:
    """Open the database at this release's schema and close it at the end."""
    with open_any_database(context) as database:
        check_schema(database)
        yield database


@contextmanager
def open_staff(context: typer.Context) -> Iterator[StaffContext]:
    """Open the database as `open_database` does, with what judges staff."""
    with open_database(context) as database:
        yield StaffContext(database, variables_of(context), clock=now)


@contextmanager
def open_desk(context: typer.Context) -> Iterator[ReadingDesk]:
    """Open the desk that this command's queries go to; see `open_order_desk`."""
    with open_order_desk(context, None, None) as desk:
        yield desk


@contextmanager
def open_order_desk(context: typer.Context, actor: str | None, order_id: str | None) -> Iterator[Desk]:
    """Open the desk that this command's queries and its order go to, and close it at the end.

    It is a staff API where --server or OCTY_SERVER names one. `actor`: who acts, where that is not proven. `order_id`:
    the id that the command was given (`options.OrderId`).
    """
    if variables_of(context).get("OCTY_SERVER"):
        from octy_worker.cli.remote import open_remote_desk  # noqa: PLC0415  # only these commands need an HTTP client

        with open_remote_desk(context, order_id) as remote:
            yield remote
        return
    from octy_worker.staff.local_desk import LocalDesk  # noqa: PLC0415  # the extra `staff` has no mail

    with open_staff(context) as staff:
        yield LocalDesk(staff, lambda: find_prover(context, staff, actor), order_id)


def find_prover(context: typer.Context, staff: StaffContext, actor: str | None) -> Prover:
    """Return how this command proves its orders. Raises UsageError that names the ways."""
    variables = variables_of(context)
    if PASSKEY in variables:
        raise UsageError("with --passkey an order waits at a staff API, and none is named", "name it by --server URL")
    if staff.settings(StaffSettings).staff_auth == "off":
        return UnsignedActor(staff_actor(context, actor), Unproven())
    if BREAK_GLASS in variables:
        return UnsignedActor(staff_actor(context, actor), BreakGlass())
    if variables.get("OCTY_STAFF_KEY_FILE"):
        signer = find_signer(variables["OCTY_STAFF_KEY_FILE"])
        return CertifiedSigner(signer, signer.handle(actor or ""), lambda: one_time_code(variables))
    raise UsageError(
        "this changes something, and nothing proves who you are",
        "`octy login URL` and then this command from your own machine; or `octy --sign KEY …` with an SSH certificate "
        "and a one-time code; or, on this host in an emergency, `octy --break-glass …`",
    )


def require_database_file(database: Database) -> None:
    """Raise UsageError when the database is a file that does not exist; a server reports its own errors."""
    if database.url.get_backend_name() != "sqlite":
        return
    place = database.backend.display_name
    try:
        Path(place).stat()
    except (FileNotFoundError, NotADirectoryError):
        raise UsageError(
            f"there is no database {place}",
            "set OCTY_DATABASE_URL or use `octy --database URL …`; `octy db upgrade` creates a new one",
        ) from None
    except OSError as error:
        raise UsageError(
            f"the database {place} can't be reached: {error.strerror}",
            "set OCTY_DATABASE_URL or use `octy --database URL …`",
        ) from None


def temporal_place(context: typer.Context) -> TemporalAccess:
    """Return Temporal's address and options; no other setting is needed."""
    return TemporalAccess.from_environment(variables_of(context))


def staff_actor(context: typer.Context, given: str | None) -> str:
    """Return who acts: the option, OCTY_ACTOR, or the login name."""
    return given or variables_of(context).get("OCTY_ACTOR") or login_name()


now = time.time
"""The clock of all commands."""
