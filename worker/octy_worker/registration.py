"""Opening an account: the row, and the order for its first pair, in one transaction.

The first pair is issued and sent by the same durable process that later regenerates.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from octy_middleware.accounts import create_account
from octy_middleware.database import Database
from octy_middleware.states import Cause
from octy_worker.regenerations import open_regeneration


@dataclass(frozen=True, slots=True)
class Registered:
    """Ids of what a registration made."""

    account_id: str
    regeneration_id: str


def register(database: Database, reference: str, contact: Mapping[str, str], *, actor: str, now: float) -> Registered:
    """Create the account and order its first pair. Raises InvalidInputError; then nothing was done."""
    with database.write_session() as session:
        account = create_account(session, reference, contact, now)
        opened = open_regeneration(
            session, account.id, Cause.FIRST, old_pair_id=None, leaked=False, actor=actor, now=now
        )
        return Registered(account.id, opened.regeneration_id)
