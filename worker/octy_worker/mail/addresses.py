"""The sender's address of mails."""

import re
from dataclasses import dataclass
from email.utils import parseaddr

from octy_middleware.errors import ConfigurationError

_SENDER = re.compile(r"[!-;=?A-~]{1,64}@([A-Za-z0-9](?:[A-Za-z0-9.-]{0,251}[A-Za-z0-9])?)")


@dataclass(frozen=True, slots=True)
class Sender:
    """The sender of mails. `domain` is also the domain of every Message-ID."""

    name: str
    address: str
    domain: str

    @classmethod
    def parse(cls, mail_from: str) -> "Sender":
        """Parse `Name <address>` or an address. Raises ConfigurationError."""
        name, address = parseaddr(mail_from)
        match = _SENDER.fullmatch(address)
        if match is None or not mail_from.isprintable():
            raise ConfigurationError(f"mail_from (OCTY_MAIL_FROM): {mail_from!r} is not 'Name <name@domain>'")
        return cls(name, address, match[1].lower())
