"""`octy db adopt`: options, help text and report."""

from typing import Annotated

import typer

from octy_worker.access.orders import check_staff
from octy_worker.cli.context import now, open_database, staff_actor
from octy_worker.cli.lazy_command import help_page
from octy_worker.cli.options import Actor, AsJson, Reason
from octy_worker.cli.output import print_result
from octy_worker.cli.variables import variables_of
from octy_worker.errors import UsageError
from octy_worker.identity import keychains_from_environment
from octy_worker.maintenance import adoption
from octy_worker.settings import KEY_SETTINGS
from octy_worker.staff.audit import record

ADOPT_JSON = "installation, as: moved | copy | null, keys[setting], closed{incidents, regenerations, mails, notices, …}"


@help_page(
    "octy db adopt --moved --reason 'new server'",
    "octy db adopt --copy --reason 'staging of today'",
    "octy --env-file octy.env db adopt --keys link_keys --reason 'the old ones are lost'",
    more="A worker does not start on a database whose location has changed: a copy must not send mails to the "
    "original's customers. Stop the workers of this database first.\n\n"
    "--moved: the installation has a new location; it keeps its id and its workflows.\n\n"
    "--copy: this is another installation with its own id. Incidents, new keys, mails, notices and webhooks that were "
    "open in the original are closed here and continue there. The copy sends alerts of new attempts to the addresses "
    "that it contains: give it a mail server of its own.\n\n"
    "--keys, once for each setting: the keys now set replace those that the database was used with. What was made with "
    "the old keys is lost: with other peppers no key pair is accepted.",
    json=ADOPT_JSON,
)
def adopt(  # one option for each way
    context: typer.Context,
    *,
    reason: Reason,
    moved: Annotated[bool, typer.Option("--moved", help="The same installation in a new location.")] = False,
    copy: Annotated[
        bool, typer.Option("--copy", help="A copy: a new installation; what is open is closed here.")
    ] = False,
    snapshot: Annotated[
        bool, typer.Option("--snapshot", help="With --copy: the server's files or its disk were copied.")
    ] = False,
    keys: Annotated[
        list[str] | None,
        typer.Option("--keys", metavar="SETTING", help="Register the keys now set: peppers, link_keys, …"),
    ] = None,
    actor: Actor = None,
    as_json: AsJson = False,
) -> None:
    """Adopt the database, in one transaction for each option."""
    who, wanted = staff_actor(context, actor), keys or []
    if moved == copy and not (wanted and not moved):
        raise UsageError("give one of --moved, --copy or --keys", "see `octy db adopt --help`")
    check_staff(who, reason)
    chains = keychains_from_environment(variables_of(context))
    for purpose in wanted:
        if purpose not in KEY_SETTINGS:
            raise UsageError(f"there are no keys of the name {purpose!r}", f"use one of {', '.join(KEY_SETTINGS)}")
        if purpose not in chains:
            raise UsageError(f"OCTY_{purpose.upper()} is not set", "name the worker's settings file with --env-file")
    way = "moved" if moved else "copy" if copy else None
    with open_database(context) as database:
        chosen = {purpose: chains[purpose] for purpose in wanted}
        installation, closed = adoption.adopt(database, way, chosen, now(), in_place=snapshot)
    record("database_adopted", who, reason=reason, installation=installation, way=way, keys=",".join(wanted))
    lines = [f"Installation {installation}." if way else f"Keys registered: {', '.join(wanted)}."]
    ended = [f"{count:>9,}  {name}" for name, count in closed.items() if count]
    if closed:
        lines += [*ended, "were closed here; they continue in the original."] if ended else ["Nothing was open."]
    value = {"installation": installation, "as": way, "keys": wanted, "closed": closed}
    print_result(value, lines, as_json=as_json)
