"""`octy keys import`: options, help text, progress and report."""

import base64
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, BinaryIO, cast

import typer

from octy_worker.access.orders import check_staff
from octy_worker.cli.context import open_order_desk
from octy_worker.cli.lazy_command import help_page
from octy_worker.cli.options import Actor, AsJson, OrderId
from octy_worker.cli.output import print_error, print_note, print_result
from octy_worker.cli.progress import show_progress
from octy_worker.errors import UsageError
from octy_worker.imports.reader import rows_digest
from octy_worker.staff.acts import IMPORT, Import
from octy_worker.staff.local_desk import LocalDesk
from octy_worker.staff.operations import Desk
from octy_worker.staff.queries import CHECK_IMPORT, CheckImport

_IN_MEMORY = 16 * 1024 * 1024  # bytes of stdin; more is written to a file
IMPORT_JSON = (
    "imported, rows, rows_sha256, accounts, pairs, already_there, hashes[kind, pairs], errors, "
    "first_errors[line, column, wrong, to_do]"
)


@help_page(
    "octy keys import customers.csv --dry-run",
    "octy keys import customers.csv --reason 'moved from the old portal'",
    "psql -qtA -f customers-as-json.sql | octy keys import - --reason 'moved from the old portal' --json",
    more="The whole file is imported, or nothing: every error is listed with its line. With --dry-run nothing is "
    "written. The keys become valid together at the end of the import. No mail is sent, except to customers whose "
    "account existed before (--into-existing). Rows that are in the database already, unchanged, are counted and "
    "skipped, so you can import the same file again. Apps and workers can run meanwhile: the import writes in steps of "
    "milliseconds (100,000 rows take about a minute). If it is killed, none of its keys is valid: run it again.\n\n"
    "\b\nA CSV file (RFC 4180, UTF-8) with a header and one row for each key pair:\n"
    "  reference,contact_email_address,public_key,secret_hash\n"
    "  acme,security@acme.example,pk_9b2f17a3-4573-4a9b-9128-53ee910ef2,$2b$12$…\n"
    '  acme,,pk_1c07d9be-8a51-4f0c-b3e2-7702ad4f1,"$argon2id$v=19$m=65536,t=3,p=4$…"\n\n'
    "\b\nOr JSON lines, recognized by the first character:\n"
    '  {"reference": "acme", "contact_email_address": "a@b.example", "public_key": "pk_9b2f…", "secret_hash": "…"}\n\n'
    "Optional columns: contact_name, contact_surname, webhook_url, authenticated_id_key, and created_at, a time like "
    "2024-02-29T12:00:00Z. A customer's first row has the contact data; further rows repeat them or leave them "
    "empty.\n\n"
    "Hashes: argon2, bcrypt, bcrypt_sha256, scrypt, PBKDF2 and SHA-crypt, as passlib writes them; Django's and "
    "Werkzeug's forms of argon2, bcrypt, scrypt and PBKDF2; plain SHA-1, SHA-256 and SHA-512 in hex. Each is stored "
    "with a MAC under the newest key of OCTY_PEPPERS, so that no hash can be forged or copied by SQL. argon2 and "
    "bcrypt need `pip install 'octy-middleware[imports]'` here and in the apps. Each hash is replaced by Octy's own at "
    "the first successful request.\n\n"
    "Plain SHA is recognized by its length only: 40, 64 or 128 hex digits of another kind (RIPEMD, SHA-3, an HMAC) are "
    "imported too, but no secret will match them. Until its first use a plain SHA hash can be brute-forced quickly by "
    "someone who steals the database: replace such key pairs soon if their secrets were not random. Plain SHA is not "
    "accepted for accounts that exist already.",
    json=IMPORT_JSON,
)
def import_pairs(
    context: typer.Context,
    *,
    file: Annotated[str, typer.Argument(metavar="FILE", help="CSV or JSON lines; - reads stdin.")],
    reason: Annotated[
        str, typer.Option("--reason", help="Why, in one line for your colleagues; needed unless --dry-run.")
    ] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check the file; write nothing.")] = False,
    into_existing: Annotated[
        bool, typer.Option("--into-existing", help="Also add key pairs to accounts that exist already.")
    ] = False,
    order_id: OrderId = None,
    actor: Actor = None,
    as_json: AsJson = False,
) -> None:
    """Plan the whole file; write it if nothing is wrong."""
    with _opened(file) as source, open_order_desk(context, actor, order_id) as desk, show_progress() as progress:
        if not dry_run:
            check_staff(desk.actor, reason)
        desk.on_progress = lambda step: progress(*step)
        digest = "" if dry_run else rows_digest(source)
        source.seek(0)
        content = _attach(desk, source)
        if dry_run:
            found = desk.read(CHECK_IMPORT, CheckImport(into_existing, content))
        else:
            found = desk.order(IMPORT, "", Import(digest, into_existing, content), reason)
    if found.removed:
        print_note("removed rows of an earlier, interrupted import")
    print_result(found.report, found.sentences, as_json=as_json)
    if found.refusal is not None:
        print_error("\n".join(found.error_lines))
        raise UsageError(*found.refusal)


def _attach(desk: Desk, source: BinaryIO) -> str:
    """Give a desk on this host the file; return it in Base64 for another one."""
    if isinstance(desk, LocalDesk):
        desk.attach(source)
        return ""
    return base64.b64encode(source.read()).decode()


@contextmanager
def _opened(file: str) -> Iterator[BinaryIO]:
    if file == "-":
        with tempfile.SpooledTemporaryFile(_IN_MEMORY) as copy:  # it is read twice
            shutil.copyfileobj(sys.stdin.buffer, copy)
            copy.seek(0)
            yield cast("BinaryIO", copy)
        return
    try:
        source = Path(file).open("rb")  # noqa: SIM115  # closed below; errors of the body are not errors of opening
    except OSError as error:
        raise UsageError(f"the file {file} can't be read: {error.strerror}", "name a file, or - for stdin") from None
    with source:
        yield source
