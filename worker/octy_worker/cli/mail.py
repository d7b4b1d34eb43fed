"""`octy mail`: options and help texts."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import RenderableType

from octy_middleware.addresses import normalize_mail_address
from octy_middleware.keys.keychain import Keychain
from octy_worker.cli.context import now
from octy_worker.cli.files import report_unwritable
from octy_worker.cli.lazy_command import help_page
from octy_worker.cli.options import AsJson
from octy_worker.cli.output import key_value_table, print_json, print_lines, print_page, table
from octy_worker.cli.variables import variables_of
from octy_worker.errors import CommandError, RefusedError, UnavailableError, UsageError
from octy_worker.mail.dkim_signing import DkimSigner
from octy_worker.mail.mailer import SmtpMailer
from octy_worker.mail.preview import Preview, PreviewRenderer
from octy_worker.mail.smtp_errors import SmtpStatus
from octy_worker.mail.smtp_explanations import explain
from octy_worker.private_files import write_private
from octy_worker.settings import WorkerSettings
from octy_workflows.messages import MailKind

TEST_JSON = "kind, message_id, relay, signed, status: accepted | deferred | refused, code, said, to_do"
RECORD_JSON = "name, type, value, key"
_SAMPLE_RECIPIENT = "ada@customer.example"


@help_page(
    "octy mail preview",
    "octy mail preview alert --html > alert.html",
    "octy mail preview --out previews",
    more="You can replace templates: files in the folder OCTY_MAIL_TEMPLATES override the built-in ones of the "
    "same name: <kind>/subject.txt, <kind>/body.txt, <kind>/body.html; page.html, the frame of every HTML part; "
    "parts.html and parts.txt, the parts that several mails share. With OCTY_MAIL_LANGUAGE=de its subfolder de is "
    "searched first, and words.toml there translates numbers and times.\n\n"
    "Names and colours are settings: OCTY_PRODUCT_NAME, OCTY_SUPPORT_CONTACT, OCTY_MAIL_ACCENT_COLOUR, "
    "OCTY_MAIL_ALERT_COLOUR, OCTY_MAIL_CALM_COLOUR.\n\n"
    "All templates are checked first: errors are reported with file and line, here, by `octy doctor` and when a "
    "worker starts. No keys and no database are needed.",
)
def preview(
    context: typer.Context,
    *,
    kind: Annotated[MailKind | None, typer.Argument(help="One kind of mail.", show_default=False)] = None,
    text: Annotated[bool, typer.Option("--text", help="Subject and text part (default).")] = False,
    html: Annotated[bool, typer.Option("--html", help="The HTML part.")] = False,
    eml: Annotated[bool, typer.Option("--eml", help="The whole message.")] = False,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", metavar="DIR", help="Write <kind>.txt, .html and .eml to this folder, for one kind or all."
        ),
    ] = None,
) -> None:
    """Render samples."""
    wanted = [name for name, given in {"txt": text, "html": html, "eml": eml}.items() if given]
    if out is None and (len(wanted) > 1 or (wanted and kind is None)):
        raise UsageError("only one form of one mail can be printed", "name a KIND and one form, or a folder with --out")
    gallery = PreviewRenderer(_settings(context))
    if out is not None:
        _write(gallery, [kind] if kind else list(MailKind), wanted or ["txt", "html", "eml"], out)
    elif kind is not None:
        sys.stdout.write(_form(gallery, kind, wanted[0] if wanted else "txt"))
    else:
        print_page(*_previews_page([gallery.preview(each) for each in MailKind], gallery.shared()))


def _write(gallery: PreviewRenderer, kinds: list[MailKind], forms: list[str], folder: Path) -> None:
    files = {folder / f"{kind}.{form}": _form(gallery, kind, form) for kind in kinds for form in forms}
    with report_unwritable(folder):
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except FileExistsError:
            raise UsageError(f"{folder} is a file", "name a folder") from None
        for path, content in files.items():
            write_private(path, content)
    print_lines(*map(str, files))


def _form(gallery: PreviewRenderer, kind: MailKind, form: str) -> str:
    if form == "eml":
        return gallery.message(kind, _SAMPLE_RECIPIENT, now()).decode("ascii").replace("\r\n", "\n")
    rendered = gallery.preview(kind).rendered
    return rendered.html if form == "html" else f"Subject: {rendered.subject}\n\n{rendered.text}"


@help_page(
    "octy mail test you@example.com",
    "octy --env-file octy.env mail test you@example.com --kind new_keys",
    more="One attempt, with the worker's TLS, login and signature. The subject begins with [Test]; the links do "
    "not work. Exit code 0: the server accepted the mail. 3: it rejected the mail for good. 4: not now; the worker "
    "would retry. 1: a setting is wrong; the output says which.",
    json=TEST_JSON,
)
def send_sample(
    context: typer.Context,
    address: Annotated[str, typer.Argument(help="The recipient: a mailbox of yours.")],
    kind: Annotated[MailKind, typer.Option("--kind", help="Which mail.")] = MailKind.ALERT,
    as_json: AsJson = False,
) -> None:
    """Send a sample."""
    to = normalize_mail_address(address)
    if to is None:
        raise UsageError(f"{address[:100]!r} is not a valid mail address")
    settings = _settings(context)
    envelope = PreviewRenderer(settings).envelope(kind, to, now(), mark="[Test] ")
    delivery, signing = SmtpMailer(settings).send(envelope), DkimSigner.from_settings(settings)
    explanation, relay = explain(delivery), f"{settings.smtp_host}:{settings.smtp_port}"
    if as_json:
        value = {"kind": kind, "message_id": envelope.message_id, "relay": relay, "signed": signing is not None}
        value |= {"status": delivery.status, "code": delivery.code}
        print_json({**value, "said": explanation.problem, "to_do": explanation.action})
    told = f"the mail server {relay}: {explanation.problem}"
    if delivery.status is SmtpStatus.REFUSED:
        raise RefusedError(told, explanation.action)
    if delivery.status is SmtpStatus.DEFERRED:
        raise (CommandError if delivery.our_fault else UnavailableError)(told, explanation.action)
    if not as_json:
        signed = f"signed for {signing.domain}" if signing else "not signed (DKIM is not configured)"
        print_lines(
            f"T{told[1:]}, {signed}.", f"Look for {envelope.message_id} in the mailbox, and in its junk folder."
        )


@help_page(
    "octy mail record",
    "openssl genrsa -out dkim.pem 2048",
    more="Set OCTY_DKIM_DOMAIN, OCTY_DKIM_SELECTOR and OCTY_DKIM_PRIVATE_KEY_FILE (PEM; RSA, or Ed25519 with the "
    "extra ed25519). The domain must be that of OCTY_MAIL_FROM. To replace the key, first publish the new one "
    "under another selector.",
    json=RECORD_JSON,
)
def record(context: typer.Context, as_json: AsJson = False) -> None:
    """Show the public key's record."""
    signing = DkimSigner.from_settings(_settings(context))
    if signing is None:
        raise UsageError("DKIM is not configured", "see `octy mail record --help`")
    if as_json:
        print_json({"name": signing.record_name, "type": "TXT", "value": signing.record, "key": signing.key_type})
        return
    sys.stdout.write(f"{signing.record_name}. TXT {_quoted(signing.record)}\n")


def _quoted(text: str) -> str:
    """Return text in the form of zone files: strings of at most 255 characters, which receivers join."""
    return " ".join(f'"{text[at : at + 255]}"' for at in range(0, len(text), 255))


def _settings(context: typer.Context) -> WorkerSettings:
    """Return the settings, with random keys: no sample needs real ones."""
    keys = Keychain.generate()
    return WorkerSettings.from_environment(variables_of(context), peppers=keys, sealing_keys=keys, link_keys=keys)


def _previews_page(found: Sequence[Preview], shared: Sequence[str]) -> list[RenderableType]:
    """Return one row for each kind, and which of the host's own templates are in use."""
    columns = ("kind", "sent when", "subject")
    kinds = table(columns, ((each.kind, each.sent_when, each.rendered.subject) for each in found), no_wrap=("kind",))
    yours = [*shared, *(path for each in found for path in each.custom_templates)]
    return [kinds, key_value_table([("your templates", path) for path in yours] or [("templates", "all built in")])]
