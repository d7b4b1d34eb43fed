"""A mail to be: its facts and whom it goes to; and how text from outside is cut.

Here: what all kinds of mail share. Not here: any one of them.
"""

from dataclasses import dataclass, field

from octy_worker import sanitize
from octy_worker.formatting import origin
from octy_worker.mail.facts.models import Facts
from octy_worker.sanitize import MailText

USER_AGENT_LIMIT = 60
KEY_LIMIT = 200
ID_LIMIT = 60


@dataclass(frozen=True, slots=True)
class MailDraft:
    """A mail to be: the facts, the account, and the addresses; the first one is the one that counts.

    `other_facts`: what the further addresses are told, who get no link. `obsolete`: what it would tell is no longer
    so, and it is not to be sent. `delivers_secret_of`: the regeneration whose secret the customer has as soon as this mail is
    accepted.
    """

    facts: Facts
    account_id: str
    incident_id: str | None
    addresses: tuple[str, ...] = field(repr=False)
    obsolete: bool = False
    delivers_secret_of: str | None = None
    other_facts: Facts | None = None


def source_text(source: str) -> MailText:
    """Return where requests came from, in words that do nothing."""
    return sanitize.for_mail(origin(source), ID_LIMIT)
