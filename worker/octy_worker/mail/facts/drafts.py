"""The draft of a mail: its facts and addresses; and length limits of untrusted text."""

from dataclasses import dataclass, field

from octy_worker import sanitize
from octy_worker.formatting import format_source
from octy_worker.mail.facts.models import Facts
from octy_worker.sanitize import MailText

USER_AGENT_LIMIT = 60
KEY_LIMIT = 200
ID_LIMIT = 60


@dataclass(frozen=True, slots=True)
class MailDraft:
    """A mail before rendering. The first address is the security address.

    `other_facts`: for the other addresses, which get no link. `obsolete`: the facts are out of date, so the mail is not
    sent. `delivers_secret_of`: the regeneration whose secret the customer has as soon as this mail is accepted.
    """

    facts: Facts
    account_id: str
    incident_id: str | None
    addresses: tuple[str, ...] = field(repr=False)
    obsolete: bool = False
    delivers_secret_of: str | None = None
    other_facts: Facts | None = None


def source_text(source: str) -> MailText:
    """Return the source of requests as sanitized text."""
    return sanitize.for_mail(format_source(source), ID_LIMIT)
