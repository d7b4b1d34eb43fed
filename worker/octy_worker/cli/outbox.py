"""`octy outbox`: what can be typed, with its help.

Here: options and the order of steps. Not here: SQL (`undelivered`), tables (`views`).
"""
# ruff: noqa: PLC0415  # imports inside commands: see `app`

from typing import Annotated

import typer

from octy_worker.cli.context import now, open_database, staff_actor
from octy_worker.cli.help_text import help_text
from octy_worker.cli.options import Actor, AsJson, Limit, ListPage, PageNumber, Reason
from octy_worker.cli.output import print_json, print_lines, print_list, printing_result
from octy_worker.errors import UsageError

app = typer.Typer(no_args_is_help=True, help="Messages on their way to Temporal, and those that were set aside.")

LIST_JSON = (
    "messages[id, kind, subject_id, state, tries, last_error, created_at, leased_by, leased_until], more, total; "
    "state is waiting, under_way or set_aside"
)
_MOST = 2**63 - 1  # the largest id that there can be
RETRY_JSON = "retried, actor"


@app.command(
    "list",
    help=help_text(
        "List undelivered messages, newest first.",
        "octy outbox list",
        "octy outbox list --dead-letters --json",
        more="A worker delivers each within a second. While Temporal is away all of them wait, and nothing is lost. "
        "One that is itself at fault is set aside after five tries: `octy outbox retry` has it tried again.",
        json=LIST_JSON,
    ),
)
def list_some(
    context: typer.Context,
    aside: Annotated[bool, typer.Option("--dead-letters", help="Only those that were set aside.")] = False,
    limit: Limit = 200,
    page: PageNumber = 1,
    as_json: AsJson = False,
) -> None:
    """Show one line a message."""
    from octy_worker.cli.views import outbox as view
    from octy_worker.outbox.dead_letters import count_undelivered, list_undelivered

    part = ListPage(limit, page)
    with open_database(context) as database:
        found = list_undelivered(database, now(), aside=aside, limit=part.most, offset=part.offset)
        total = count_undelivered(database, aside=aside)
    empty = "No message is set aside." if aside else "Every message is delivered."
    print_list("messages", found, total, part, view.list_table, empty=empty, as_json=as_json)


@app.command(
    "retry",
    help=help_text(
        "Have messages that were set aside tried again.",
        "octy outbox retry 4711 4712 --reason 'worker updated'",
        "octy outbox retry --all --reason 'worker updated'",
        more="Each gets five fresh tries, from a running worker at once. All that are named are retried, or, when one "
        "of them is not set aside, none.",
        json=RETRY_JSON,
    ),
)
def retry_some(
    context: typer.Context,
    *,
    numbers: Annotated[
        list[int] | None,
        typer.Argument(metavar="[ID…]", min=1, max=_MOST, help="Ids of messages.", show_default=False),
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="All that are set aside.")] = False,
    reason: Reason,
    actor: Actor = None,
    as_json: AsJson = False,
) -> None:
    """Order new tries."""
    from octy_worker.outbox import dead_letters
    from octy_worker.staff.audit import record

    if bool(numbers) == everything:
        raise UsageError("which messages?", "give their ids, or --all")
    who = staff_actor(context, actor)
    with open_database(context) as database:
        retried = dead_letters.retry(database, None if everything else set(numbers or ()), actor=who, reason=reason)
    names = ", ".join(map(str, retried))
    if retried:
        record("messages_retried", who, reason=reason, messages=names)
    with printing_result(f"messages {names} are to be tried again" if retried else "nothing was to be done"):
        if as_json:
            print_json({"retried": retried, "actor": who})
        elif retried:
            print_lines(f"To be tried again: {names}.", "To see what becomes of them: octy outbox list")
        else:
            print_lines("No message is set aside.")
