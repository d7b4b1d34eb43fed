"""`octy staff bootstrap`, `add`, `list`, `role`, `disable`, `reset`: options and help texts."""

import shlex
from typing import Annotated

import typer

from octy_worker.access.enrolments import LINK_PATH
from octy_worker.access.roles import Role
from octy_worker.cli.context import now, open_desk, open_order_desk, open_staff
from octy_worker.cli.lazy_command import help_page
from octy_worker.cli.options import Actor, AsJson, OrderId, Reason
from octy_worker.cli.output import (
    Cell,
    format_time,
    print_json,
    print_lines,
    print_note,
    print_page,
    print_result,
    table,
)
from octy_worker.crypto.ssh_certificates import RefusedSignatureError
from octy_worker.errors import RefusedError
from octy_worker.settings import StaffSettings
from octy_worker.staff.actor import login_name
from octy_worker.staff.member_operations import (
    ADD_STAFF,
    CHANGE_ROLE,
    DISABLE_STAFF,
    LIST_STAFF,
    RESET_FACTOR,
    Granted,
    Invited,
    ListStaff,
    NewMember,
    NewRole,
    StaffLine,
)
from octy_worker.staff.membership import Membership, Person
from octy_worker.staff.operations import NoFields

_Handle = Annotated[
    str, typer.Argument(metavar="HANDLE", help="The name in certificates (principal), orders and timelines.")
]
_Mail = Annotated[str, typer.Option("--mail", help="Gets notices about staff, such as break glass.")]
_Name = Annotated[str, typer.Option("--name", help="Shown beside the handle.")]

INVITED_JSON = "handle, role, token, link, expires_at"
GRANTED_JSON = "handle, role, state"
LIST_JSON = (
    "staff[handle, display_name, role, state: invited | active | disabled, factors, granted_by, created_at, "
    "changed_at, is_genuine], total"
)


@help_page(
    "octy --env-file octy.env staff bootstrap ada --mail ada@acme.example",
    more="The first admin can't be ordered by anybody, so this runs on the worker's host, with OCTY_STAFF_KEYS, and "
    "is recorded in the audit log. It prints a token that is valid for 24 hours and once. The admin registers a "
    "second factor with it and an SSH certificate: `octy staff enroll`. Until then the command can be repeated for "
    "the same handle; afterwards admins add others with `octy staff add`. docs/staff.md has the first five minutes.",
    json=INVITED_JSON,
)
def bootstrap(
    context: typer.Context, handle: _Handle, mail: _Mail = "", name: _Name = "", as_json: AsJson = False
) -> None:
    """Make the first admin."""
    with open_staff(context) as staff:
        membership = Membership(staff.access, staff.settings(StaffSettings).staff_url)
        try:
            with staff.database.write_session() as session:
                invited = membership.bootstrap(session, Person(handle, mail, name), by=login_name(), now=now())
        except RefusedSignatureError as error:
            raise RefusedError(str(error)) from None
    _print_invited(invited, f"{handle} is the first admin", as_json=as_json)


@help_page(
    "octy staff add ben --role responder --mail ben@acme.example --reason 'new in support'",
    more="Prints a token that is valid for 24 hours and once. With it and an SSH certificate the person registers a "
    "second factor: `octy staff enroll`. Token or link alone give nothing. Roles, each with those before it: viewer "
    "reads; responder answers customers; key_admin replaces, revokes and imports keys; admin decides about staff. "
    "Somebody who was disabled is invited again, with this role.",
    json=INVITED_JSON,
)
def add(
    context: typer.Context,
    *,
    handle: _Handle,
    role: Annotated[Role, typer.Option("--role", help="What the person may do.")],
    reason: Reason,
    mail: _Mail = "",
    name: _Name = "",
    actor: Actor = None,
    order_id: OrderId = None,
    as_json: AsJson = False,
) -> None:
    """Order it."""
    with open_order_desk(context, actor, order_id) as desk:
        invited = desk.order(ADD_STAFF, handle, NewMember(str(role), mail, name), reason)
    _print_invited(invited, f"{handle} is invited as {role}", as_json=as_json)


@help_page("octy staff list", "octy staff list --disabled --json", json=LIST_JSON)
def list_all(
    context: typer.Context,
    disabled: Annotated[bool, typer.Option("--disabled", help="Also those who are disabled.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show one line for each."""
    with open_desk(context) as desk:
        found = desk.read(LIST_STAFF, ListStaff(disabled))
    if as_json:
        print_json({"staff": list(found.rows), "total": found.total})
    elif not found.rows:
        print_lines("There is no staff. `octy staff bootstrap` makes the first admin.")
    else:
        columns = ("handle", "name", "role", "state", "second factors", "granted by", "changed")
        print_page(table(columns, [_cells(line) for line in found.rows], no_wrap=("handle", "granted by")))
        print_note(f"{found.total:,} in total")


@help_page(
    "octy staff role ben --role key_admin --reason 'takes over imports'",
    more="Sessions of this person end. The last active admin keeps the role.",
    json=GRANTED_JSON,
)
def change_role(
    context: typer.Context,
    *,
    handle: _Handle,
    role: Annotated[Role, typer.Option("--role", help="What the person may do from now on.")],
    reason: Reason,
    actor: Actor = None,
    order_id: OrderId = None,
    as_json: AsJson = False,
) -> None:
    """Order it."""
    with open_order_desk(context, actor, order_id) as desk:
        granted = desk.order(CHANGE_ROLE, handle, NewRole(str(role)), reason)
    _print_granted(granted, as_json=as_json)


@help_page(
    "octy staff disable ben --reason 'has left'",
    more="All rights end at once, and so do sessions; orders that were received and not yet carried out are refused. "
    "The certificate stays valid elsewhere: `octy staff revoke ben` says how to revoke it. `octy staff add` invites "
    "the person again. The last active admin can't be disabled.",
    json=GRANTED_JSON,
)
def disable(
    context: typer.Context,
    *,
    handle: _Handle,
    reason: Reason,
    actor: Actor = None,
    order_id: OrderId = None,
    as_json: AsJson = False,
) -> None:
    """Order it."""
    with open_order_desk(context, actor, order_id) as desk:
        granted = desk.order(DISABLE_STAFF, handle, NoFields(), reason)
    _print_granted(granted, as_json=as_json)


@help_page(
    "octy staff reset ben --reason 'lost the phone, confirmed in person'",
    more="Passkeys and one-time passwords end, and a new token is printed. You can't reset your own: it takes a second "
    "admin, or `octy --break-glass` on the host.",
    json=INVITED_JSON,
)
def reset(
    context: typer.Context,
    *,
    handle: _Handle,
    reason: Reason,
    actor: Actor = None,
    order_id: OrderId = None,
    as_json: AsJson = False,
) -> None:
    """Order it."""
    with open_order_desk(context, actor, order_id) as desk:
        invited = desk.order(RESET_FACTOR, handle, NoFields(), reason)
    _print_invited(invited, f"{handle} has no second factor any more", as_json=as_json)


def _print_invited(invited: Invited, done: str, *, as_json: bool) -> None:
    url = invited.link.removesuffix(f"{LINK_PATH}{invited.token}")
    server = f"--server {shlex.quote(url)} " if url else ""
    lines = [
        f"{done}, and can't act before a second factor is registered.",
        f"Token, shown once, valid until {format_time(invited.expires_at)}: {invited.token}",
        f"Next: octy {server}--sign KEY staff enroll --token {shlex.quote(invited.token)}",
        *([f"Or in a browser, with a passkey: {invited.link}"] if invited.link else ()),
    ]
    print_result(invited, lines, as_json=as_json)


def _print_granted(granted: Granted, *, as_json: bool) -> None:
    print_result(granted, [f"{granted.handle} is {granted.role}, {granted.state}."], as_json=as_json)


def _cells(line: StaffLine) -> tuple[Cell, ...]:
    state = line.state if line.is_genuine else "not written by this system: grants nothing"
    return line.handle, line.display_name, line.role, state, ", ".join(line.factors), line.granted_by, line.changed_at
