"""`octy audit list`, `export` and `keys`: the entries of the audit log, and what others need to verify it."""

import base64
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from octy_worker.canonical_json import canonical_json
from octy_worker.cli.context import open_desk, open_order_desk
from octy_worker.cli.files import report_unwritable
from octy_worker.cli.lazy_command import help_page
from octy_worker.cli.options import Actor, AsJson, Limit, ListPage, OrderId, PageNumber, Reason, parse_time
from octy_worker.cli.output import print_json, print_lines, print_list, print_result, table
from octy_worker.errors import CommandError, UsageError
from octy_worker.private_files import new_private_file
from octy_worker.reports.models import AuditLine
from octy_worker.staff.acts import EXPORT
from octy_worker.staff.audit_queries import AUDIT_KEYS, LIST_AUDIT, ListAudit
from octy_worker.staff.operations import NoFields, Nothing
from octy_worker.staff.queries import FIND_INCIDENT, IncidentRef

EXPORT_JSON = "incident_id, file, bytes, sha256, actor"
LIST_JSON = "entries[seq, at, actor, action, subject, order_id, detail, hash], more, total; detail is null when erased"
KEYS_JSON = "keys{id: public key in Base64}"
AUDIT_KEYS_VARIABLE = "OCTY_AUDIT_KEYS"
_AGAIN = "order it again, without --order-id: one order makes one file"


@help_page(
    "octy audit list",
    "octy audit list --subject 0199f2c4-7d1e-7000-8000-000000000000",
    "octy audit list --actor ada --action keys. --since 2026-01-09T14:00Z --json",
    more="Every act of staff, every answer of a customer and each step of a key pair's life is an entry, written in "
    "the same transaction. An action that ends with a point selects all that begin with it.",
    json=LIST_JSON,
)
def list_some(
    context: typer.Context,
    *,
    subject: Annotated[str, typer.Option(metavar="ID", help="Only entries about this id.", show_default=False)] = "",
    actor: Annotated[
        str, typer.Option(metavar="NAME", help="Only by this one; also customer or system.", show_default=False)
    ] = "",
    action: Annotated[
        str, typer.Option(metavar="ACTION", help="Only this action, or keys. for all of keys.", show_default=False)
    ] = "",
    since: Annotated[
        str, typer.Option(metavar="TIME", help="Only entries since this time, in UTC.", show_default=False)
    ] = "",
    limit: Limit = 200,
    page: PageNumber = 1,
    as_json: AsJson = False,
) -> None:
    """Show one line an entry."""
    part = ListPage(limit, page)
    wanted = ListAudit(
        subject, actor, action, parse_time("--since", since) if since else None, part.row_limit, part.offset
    )
    with open_desk(context) as desk:
        found = desk.read(LIST_AUDIT, wanted)
    empty = "There are no such entries." if subject or actor or action or since else "The audit log is empty."
    print_list("entries", found.rows, found.total, part, _table, empty=empty, as_json=as_json)


@help_page(
    "octy audit export --incident 0199f2c4 --out evidence.zip --reason 'request of the data protection officer'",
    more="The file has the timeline (HTML and JSON), the attempts (CSV), ids and states of the mails, the orders of "
    "staff with signatures and certificates, the entries of the audit log about all of them and about what gave these "
    "people role and second factor, the whole chain without other details, and the checkpoints. `octy audit verify "
    "FILE` verifies it anywhere with public keys alone. The export is an order of an admin, and an entry of the audit "
    "log; one order makes one file. The file holds network addresses of clients, and is readable by you alone.",
    json=EXPORT_JSON,
)
def export(
    context: typer.Context,
    *,
    incident: Annotated[str, typer.Option(metavar="ID", help="The incident's id, or a unique prefix of it.")],
    out: Annotated[Path, typer.Option(metavar="FILE", help="The new file.")],
    reason: Reason,
    actor: Actor = None,
    order_id: OrderId = None,
    as_json: AsJson = False,
) -> None:
    """Order the export and write the file, which is made before: an order makes one pack."""
    with open_order_desk(context, actor, order_id) as desk:
        incident_id = desk.read(FIND_INCIDENT, IncidentRef(incident)).incident_id
        with report_unwritable(out), new_private_file(out) as file:
            pack = desk.order(EXPORT, incident_id, NoFields(), reason)
            content = base64.b64decode(pack.content)
            if hashlib.sha256(content).hexdigest() != pack.sha256:
                raise CommandError("the pack was damaged on its way", _AGAIN)
            file.write(content)
        who = desk.actor
    value = {"incident_id": incident_id, "file": str(out), "bytes": len(content), "sha256": pack.sha256, "actor": who}
    lines = [f"{out}: {len(content):,} bytes, SHA-256 {pack.sha256}.", f"To verify it: octy audit verify {out}"]
    print_result(value, lines, as_json=as_json)


@help_page(
    "octy --env-file octy.env audit keys > audit-keys.txt",
    more="They verify checkpoints and evidence packs, and are no secrets: give them to auditors. Keep the public "
    "keys of a key that you remove.",
    json=KEYS_JSON,
)
def show_keys(context: typer.Context, as_json: AsJson = False) -> None:
    """Print one public key a line."""
    with open_desk(context) as desk:
        public = desk.read(AUDIT_KEYS, Nothing()).keys
    if not public:
        raise UsageError(f"{AUDIT_KEYS_VARIABLE} is not set", "name the file of the worker's settings with --env-file")
    if as_json:
        print_json({"keys": public})
    else:
        print_lines(*(f"{key_id} {key}" for key_id, key in public.items()))


def _table(found: Sequence[AuditLine]) -> Table:
    columns = ("seq", "at", "actor", "action", "subject", "order", "detail")
    rows = ((line.seq, line.at, line.actor, line.action, line.subject, line.order_id, _detail(line)) for line in found)
    return table(columns, rows, no_wrap=("seq", "subject"))


def _detail(line: AuditLine) -> str:
    return "erased" if line.detail is None else canonical_json(line.detail).decode()
