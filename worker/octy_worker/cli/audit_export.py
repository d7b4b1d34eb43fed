"""`octy audit export`: the evidence about an incident, in a file that others verify."""

import base64
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, BinaryIO

import typer

from octy_worker.cli.context import open_order_desk
from octy_worker.cli.lazy_command import help_page
from octy_worker.cli.options import Actor, AsJson, OrderId, Reason
from octy_worker.cli.output import print_result
from octy_worker.errors import CommandError, UsageError
from octy_worker.private_files import new_private_file
from octy_worker.staff.acts import EXPORT, Export
from octy_worker.staff.queries import FIND_INCIDENT, IncidentRef

_AGAIN = "order it again, without --order-id: one order makes one file"
EXPORT_JSON = "incident_id, file, bytes, sha256, actor"


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
        with _new_file(out) as file:
            pack = desk.order(EXPORT, incident_id, Export(), reason)
            content = base64.b64decode(pack.content)
            if hashlib.sha256(content).hexdigest() != pack.sha256:
                raise CommandError("the pack was damaged on its way", _AGAIN)
            file.write(content)
        who = desk.actor
    value = {"incident_id": incident_id, "file": str(out), "bytes": len(content), "sha256": pack.sha256, "actor": who}
    lines = [f"{out}: {len(content):,} bytes, SHA-256 {pack.sha256}", f"To verify it: octy audit verify {out}"]
    print_result(f"the evidence is in {out}", value, lines, as_json=as_json)


@contextmanager
def _new_file(path: Path) -> Iterator[BinaryIO]:
    try:
        with new_private_file(path) as file:
            yield file
    except FileExistsError:
        raise UsageError(f"{path} exists already, and evidence is not overwritten", "name a new file") from None
    except OSError as error:
        raise UsageError(f"{path} can't be written: {error.strerror}", "name a file in a folder of yours") from None
