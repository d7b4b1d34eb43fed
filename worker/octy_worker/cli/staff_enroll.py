"""`octy staff enroll`: registers a one-time password as second factor."""

import os
from typing import Annotated

import segno
import typer

from octy_worker.access import totp
from octy_worker.access.enrolment_text import EnrolmentText
from octy_worker.access.orders import Namespace
from octy_worker.access.totp_enrolment import TotpEnrolment
from octy_worker.cli.context import now, open_database
from octy_worker.cli.lazy_command import help_page
from octy_worker.cli.options import AsJson
from octy_worker.cli.output import ask, print_json_line, print_lines, print_note, print_result
from octy_worker.cli.variables import variables_of
from octy_worker.crypto.ssh_certificates import RefusedSignatureError
from octy_worker.crypto.ssh_signer import find_signer
from octy_worker.errors import RefusedError
from octy_worker.staff.context import StaffContext

ENROLL_JSON = "two lines: secret, uri; then, once a code was typed: handle, factor"
_ISSUER = "Octy"


@help_page(
    "octy --sign ~/.ssh/id_ed25519 staff enroll --token TOKEN",
    more="TOKEN comes from an admin's `octy staff add`, or `octy staff bootstrap`; it is valid for 24 hours and once. "
    "The command shows a QR code for an authenticator app, asks for the first code, and signs with your certificate: "
    "whoever has only the token, such as a reader of your mailbox, can't register a factor for you. The secret is "
    "shown once and kept encrypted. A passkey is registered in a browser instead, where the staff API runs.",
    json=ENROLL_JSON,
)
def enroll(
    context: typer.Context,
    *,
    token: Annotated[str, typer.Option("--token", help="The token, or the link that contains it.")],
    label: Annotated[str, typer.Option("--label", help="What you call it, such as the phone's name.")] = "",
    handle: Annotated[
        str, typer.Option("--as", metavar="HANDLE", help="Who you are, if the certificate names several.")
    ] = "",
    as_json: AsJson = False,
) -> None:
    """Register it."""
    variables, link = variables_of(context), token.rstrip("/").rpartition("/")[2]
    signer = find_signer(variables.get("OCTY_STAFF_KEY_FILE"))
    who = signer.handle(handle)
    signer.check_time(now())
    with open_database(context) as database:
        staff = StaffContext(database, variables, clock=now)
        access = staff.access
        try:
            with database.read_session() as session:  # before anybody scans a code
                access.enrolments.find(session, link, now())
            seed = totp.new_seed(os.urandom)
            _show(seed, who, as_json=as_json)
            code = ask("First code of the app: ").replace(" ", "")
            text = EnrolmentText.make(
                installation=staff.installation, handle=who, token=link, seed=seed, now=now()
            ).to_bytes()
            given = TotpEnrolment(text, signer.sign(text, Namespace.ENROLMENT), link, seed, code, label[:100])
            with database.write_session() as session:
                found, factor = access.totp_enrolments.receive(session, given, now())
        except RefusedSignatureError as error:
            raise RefusedError(f"not registered: {error}") from None
    done = f"{found} has a one-time password as second factor, and can act"
    if as_json:
        print_json_line({"handle": found, "factor": factor})
    else:
        print_result(done, {}, [f"{done}."], as_json=False)


def _show(seed: str, handle: str, *, as_json: bool) -> None:
    uri = totp.provisioning_uri(seed, handle=handle, issuer=_ISSUER)
    if as_json:
        print_json_line({"secret": seed, "uri": uri})
        return
    print_note("Scan this with an authenticator app:")
    segno.make(uri, error="l").terminal(compact=True)
    print_lines(f"Or type the secret into it: {' '.join(seed[at : at + 4] for at in range(0, len(seed), 4))}")
