"""A mail to be: its facts and whom it goes to; and how text from outside is cut.

Here: what all kinds of mail share. Not here: any one of them.
"""

from dataclasses import dataclass, field

from octy_worker.formatting import origin
from octy_worker.mail.facts.shapes import Facts
from octy_worker.mail.sanitize import Harmless, harmless

CLIENT_LIMIT = 60
KEY_LIMIT = 200
ID_LIMIT = 60


@dataclass(frozen=True, slots=True)
class Draft:
    """A mail to be: the facts, the account, and the addresses; the first one is the one that counts.

    `other_facts`: what the further addresses are told, who get no link. `overtaken`: what it would tell is no longer
    so, and it is not to be sent. `hands_over`: the regeneration whose secret the customer has as soon as this mail is
    accepted.
    """

    facts: Facts
    account_id: str
    incident_id: str | None
    addresses: tuple[str, ...] = field(repr=False)
    overtaken: bool = False
    hands_over: str | None = None
    other_facts: Facts | None = None


def harmless_source(source: str) -> Harmless:
    """Return where requests came from, in words that do nothing."""
    return harmless(origin(source), ID_LIMIT)
