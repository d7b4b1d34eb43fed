"""Addresses of mails: whom they come from, whom they can go to.

Here: checks of form. Not here: whether a mailbox exists (the relay says), whose address it is (`accounts`).
"""

import re
from dataclasses import dataclass
from email.utils import parseaddr

from email_validator import EmailNotValidError, validate_email

from octy_middleware.errors import ConfigurationError

_SENDER = re.compile(r"[!-;=?A-~]{1,64}@([A-Za-z0-9](?:[A-Za-z0-9.-]{0,251}[A-Za-z0-9])?)")


@dataclass(frozen=True, slots=True)
class Sender:
    """Whom mails come from. `domain` is also the right half of every Message-ID."""

    name: str
    address: str
    domain: str

    @classmethod
    def parse(cls, mail_from: str) -> "Sender":
        """Read `Name <address>` or an address; raise ConfigurationError."""
        name, address = parseaddr(mail_from)
        match = _SENDER.fullmatch(address)
        if match is None or not mail_from.isprintable():
            raise ConfigurationError(f"mail_from (OCTY_MAIL_FROM): {mail_from!r} is not 'Name <name@domain>'")
        return cls(name, address, match[1].lower())


def recipient(address: str) -> str | None:
    """Return the address in the form that goes over SMTP (ASCII, domain in IDNA), or None when it can't be one.

    No DNS is asked, and names of private networks are taken: the relay knows its domains. Local parts beyond ASCII
    are refused, because the mail library can't send to them.
    """
    try:
        found = validate_email(
            address,
            allow_smtputf8=False,
            strict=True,
            check_deliverability=False,
            globally_deliverable=False,
            test_environment=True,
        )
    except EmailNotValidError:
        return None
    return found.ascii_email
