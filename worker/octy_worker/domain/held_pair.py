"""Which key pair a customer has: one that was never collected counts as the one that it was to replace."""

from sqlmodel import Session, col, select

from octy_middleware.db.models import Regeneration


def held_pair_id(session: Session, pair_id: str | None) -> str | None:
    """Return the key pair whose secret the customer has, for a given one; None before the first collection."""
    while pair_id is not None:
        uncollected = session.exec(
            select(Regeneration).where(Regeneration.new_pair_id == pair_id, col(Regeneration.collected_at).is_(None))
        ).first()
        if uncollected is None:
            return pair_id
        pair_id = uncollected.old_pair_id
    return None
