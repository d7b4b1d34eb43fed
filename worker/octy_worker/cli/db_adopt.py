"""`octy db adopt`: what can be typed, with its help, and what is said of it.

Here: options and the exit code. Not here: what is done (`octy_worker.maintenance.adoption`).
"""
# ruff: noqa: PLC0415  # imports inside commands: see `app`

from typing import Annotated

import typer

from octy_worker.cli.context import now, open_database, staff_actor, variables_of
from octy_worker.cli.help_text import help_text
from octy_worker.cli.options import Actor, AsJson, Reason
from octy_worker.cli.output import print_json, print_lines, printing_result
from octy_worker.errors import UsageError

ADOPT_JSON = "installation, as: moved | copy | null, keys[setting], closed{incidents, regenerations, mails, notices, …}"
ADOPT_HELP = help_text(
    "Confirm that a database belongs where it is now, or that it is used with these keys.",
    "octy db adopt --moved --reason 'new server'",
    "octy db adopt --copy --reason 'staging of today'",
    "octy --env-file octy.env db adopt --keys link_keys --reason 'the old ones are lost'",
    more="A worker does not start on a database that is not where its installation had it: a copy must not mail the "
    "original's customers. Stop the workers of this database first. --moved: the installation itself has a new place "
    "and keeps its id, so that its workflows go on. --copy: another installation with an id of its own; incidents, "
    "new keys, mails, notices and webhooks that were open in the original end here and go on there. New attempts are "
    "told to the addresses that the copy holds: give it a mail server of its own. --keys, once for each setting: the "
    "keys that are set now take the place of those that the database was used with. What was made with the earlier "
    "ones is lost: with other peppers no pair is accepted.",
    json=ADOPT_JSON,
)


def adopt(  # one option for each way
    context: typer.Context,
    *,
    reason: Reason,
    moved: Annotated[bool, typer.Option("--moved", help="The same installation, in a new place.")] = False,
    copy: Annotated[bool, typer.Option("--copy", help="A copy: what was open in the original ends here.")] = False,
    snapshot: Annotated[
        bool, typer.Option("--snapshot", help="With --copy: a server's files or a disk were copied.")
    ] = False,
    keys: Annotated[
        list[str] | None,
        typer.Option("--keys", metavar="SETTING", help="Register these keys anew: peppers, link_keys, …"),
    ] = None,
    actor: Actor = None,
    as_json: AsJson = False,
) -> None:
    """Do it in one transaction for each option."""
    from octy_worker.domain.staff_requests import check_staff
    from octy_worker.identity import PURPOSES, keychains_from_environment
    from octy_worker.maintenance import adoption
    from octy_worker.staff.audit import record

    who, wanted = staff_actor(context, actor), keys or []
    if moved == copy and not (wanted and not moved):
        raise UsageError("give either --moved or --copy, or --keys", "`octy db adopt --help` says which is which")
    check_staff(who, reason)
    chains = keychains_from_environment(variables_of(context))
    for purpose in wanted:
        if purpose not in PURPOSES:
            raise UsageError(f"no setting of keys is called {purpose!r}", f"give one of {', '.join(PURPOSES)}")
        if purpose not in chains:
            raise UsageError(f"OCTY_{purpose.upper()} is not set", "name the file of settings with --env-file")
    way = "moved" if moved else "copy" if copy else None
    with open_database(context) as database:
        chosen = {purpose: chains[purpose] for purpose in wanted}
        installation, closed = adoption.adopt(database, way, chosen, now(), in_place=snapshot)
    record("database_adopted", who, reason=reason, installation=installation, way=way, keys=",".join(wanted))
    with printing_result("the database was adopted"):
        if as_json:
            print_json({"installation": installation, "as": way, "keys": wanted, "closed": closed})
            return
        print_lines(f"Installation {installation}." if way else f"Registered anew: {', '.join(wanted)}.")
        if closed:
            ended = [f"{count:>9,}  {name}" for name, count in closed.items() if count]
            print_lines(
                *ended, "Ended here; they go on in the original." if ended else "Nothing was open in the original."
            )
