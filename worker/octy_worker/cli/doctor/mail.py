"""Mails: whether the templates can be rendered, and whether mails are signed. No server is contacted."""

import stat
from pathlib import Path

from octy_middleware.errors import ConfigurationError
from octy_worker.cli.doctor.check import Check, passed, unchecked
from octy_worker.cli.doctor.problems import problem
from octy_worker.mail.addresses import Sender
from octy_worker.mail.dkim_signing import DkimSigner
from octy_worker.mail.renderer import MailRenderer
from octy_worker.mail.template_check import find_template_problems
from octy_worker.settings import WorkerSettings

_TEMPLATES = "mail templates"
_SIGNATURE = "mail signature"


def check_templates(settings: WorkerSettings) -> Check:
    """Render every kind of mail with sample data."""
    try:
        problems = find_template_problems(MailRenderer(settings), settings.public_url)
    except ConfigurationError as error:
        return problem("templates-missing", error=error)
    if problems:
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        return problem("templates-faulty", error=f"{problems[0]}{more}")
    own = settings.mail_templates
    return passed(_TEMPLATES, f"the built-in ones, and those in {own}" if own else "the built-in ones")


def check_signature(settings: WorkerSettings) -> Check:
    """Read the DKIM key. No DNS query is made: the answer here may differ from what receivers see."""
    try:
        signing = DkimSigner.from_settings(settings)
    except ConfigurationError as error:
        return problem("signature-refused", error=error)
    if signing is None:
        return passed(_SIGNATURE, "off: DKIM is not configured")
    try:
        sender = Sender.parse(settings.mail_from)
    except ConfigurationError:
        return unchecked(_SIGNATURE, "OCTY_MAIL_FROM is not usable")
    found = f"DKIM, {signing.key_type}, for {signing.record_name}"
    if not _aligned(sender.domain, signing.domain):
        return problem("signature-not-aligned", signature=found, domain=sender.domain)
    if Path(settings.dkim_private_key_file).stat().st_mode & stat.S_IROTH:
        return problem("signing-key-readable", file=settings.dkim_private_key_file)
    return passed(_SIGNATURE, f"{found}; `octy mail record` prints the DNS entry")


def _aligned(sender: str, signer: str) -> bool:
    """Return whether the signature counts for the sender's domain (DMARC): one domain equals or contains the other."""
    return sender == signer or sender.endswith(f".{signer}") or signer.endswith(f".{sender}")
