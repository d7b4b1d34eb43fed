"""`octy staff enroll`: registers a one-time password or a hardware key as second factor."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Protocol

import segno
import typer

from octy_worker.access import totp
from octy_worker.access.enrolment_text import EnrolmentText
from octy_worker.access.factor_enrolment import FactorEnrolment
from octy_worker.access.factor_kinds import FactorKind
from octy_worker.access.orders import Namespace
from octy_worker.cli.context import now, open_staff
from octy_worker.cli.lazy_command import help_page
from octy_worker.cli.options import AsJson, CertificateHandle
from octy_worker.cli.output import ask, print_json_line, print_lines, print_note, report_unwritten
from octy_worker.cli.variables import variables_of
from octy_worker.crypto.ssh_certificates import RefusedSignatureError
from octy_worker.crypto.ssh_signer import Signer, find_signer
from octy_worker.errors import RefusedError
from octy_worker.staff.context import StaffContext
from octy_worker.staff_api.wire import Enrolled, EnrolmentRequest

ENROLL_JSON = (
    "two lines: secret, uri; then, once a code was typed: handle, factor; with --hardware-key the second alone"
)
_ISSUER = "Octy"


@help_page(
    "octy --sign ~/.ssh/id_ed25519 staff enroll --token TOKEN",
    "octy --server https://staff.example.com --sign ~/.ssh/id_ed25519 staff enroll --token TOKEN",
    "octy --sign ~/.ssh/id_ed25519_sk staff enroll --token TOKEN --hardware-key",
    more="TOKEN comes from an admin's `octy staff add`, or `octy staff bootstrap`; it is valid for 24 hours and once. "
    "The command shows a QR code for an authenticator app, asks for the first code, and signs with your certificate: "
    "somebody with only the token, such as a reader of your mailbox, can't register a factor for you. The secret is "
    "shown once and kept encrypted. With --hardware-key the FIDO token that signs is the factor, without an app: it "
    "must verify you by PIN or fingerprint. A passkey is registered in a browser instead, where the staff API runs.",
    json=ENROLL_JSON,
)
def enroll(
    context: typer.Context,
    *,
    token: Annotated[str, typer.Option("--token", help="The token, or the link that contains it.")],
    label: Annotated[str, typer.Option("--label", help="What you call it, such as the phone's name.")] = "",
    handle: CertificateHandle = "",
    hardware_key: Annotated[
        bool, typer.Option("--hardware-key", help="Register the FIDO token that signs, in place of an app.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Register it."""
    link = token.rstrip("/").rpartition("/")[2]
    signer = find_signer(variables_of(context).get("OCTY_STAFF_KEY_FILE"))
    signer.check_time(now())
    with _open_office(context, signer) as office:
        office.check(link)
        kind, seed, code = FactorKind.HARDWARE_KEY, "", ""
        if not hardware_key:
            kind, seed = FactorKind.TOTP, totp.new_seed(os.urandom)
            _show(seed, signer.handle(handle), as_json=as_json)
            code = ask("First code of the app: ")
        text = EnrolmentText.make(
            server=office.server, installation=office.installation, handle=signer.handle(handle), token=link, seed=seed,
            now=now(), kind=kind,
        )  # fmt: skip
        signature = signer.sign(text.to_bytes(), Namespace.ENROLMENT)
        enrolled = office.enroll(EnrolmentRequest(text.to_bytes().decode(), signature, link, seed, code, label[:100]))
    what = "this key" if hardware_key else "a one-time password"
    done = f"{enrolled.handle} has {what} as second factor, and can act."
    with report_unwritten(done):
        if as_json:
            print_json_line(enrolled)
        else:
            print_lines(done)


class _Office(Protocol):
    """Where a factor is registered. `server`: the staff API's URL; empty: on the host."""

    server: str
    installation: str

    def check(self, token: str) -> None:
        """Raise RefusedError for a token that is not valid, where that can be said."""

    def enroll(self, request: EnrolmentRequest) -> Enrolled:
        """Register it. Raises CommandError."""


@contextmanager
def _open_office(context: typer.Context, signer: Signer) -> Iterator[_Office]:
    if variables_of(context).get("OCTY_SERVER"):
        from octy_worker.cli.enroll_remotely import RemoteOffice  # noqa: PLC0415  # it needs an HTTP client

        with RemoteOffice.open(context, signer) as remote:
            yield remote
        return
    with open_staff(context) as staff:
        yield _LocalOffice(staff)


class _LocalOffice:
    """This host's database."""

    server = ""

    def __init__(self, staff: StaffContext) -> None:
        self._staff = staff
        self.installation = staff.installation

    def check(self, token: str) -> None:
        """See `_Office`: before anybody scans a code."""
        try:
            with self._staff.database.read_session() as session:
                self._staff.access.enrolments.find(session, token, now())
        except RefusedSignatureError as error:
            raise RefusedError(str(error)) from None

    def enroll(self, request: EnrolmentRequest) -> Enrolled:
        """See `_Office`."""
        given = FactorEnrolment(
            request.text.encode(), request.signature, request.token, request.seed, request.code, request.label
        )
        try:
            with self._staff.database.write_session() as session:
                return Enrolled(*self._staff.access.factor_enrolments.receive(session, given, now()))
        except RefusedSignatureError as error:
            raise RefusedError(f"not registered: {error}") from None


def _show(seed: str, handle: str, *, as_json: bool) -> None:
    uri = totp.provisioning_uri(seed, handle=handle, issuer=_ISSUER)
    if as_json:
        print_json_line({"secret": seed, "uri": uri})
        return
    print_note("Scan this with an authenticator app:")
    segno.make(uri, error="l").terminal(compact=True)
    print_lines(f"Or type the secret into it: {' '.join(seed[at : at + 4] for at in range(0, len(seed), 4))}")
