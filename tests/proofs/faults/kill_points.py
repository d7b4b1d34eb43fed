"""The named moments between two effects, and how each is seen from the outside.

Here: what the tables or the sink show at such a moment, and who may be killed then. Not here: the killing (`chaos`).
A moment lasts some milliseconds; a proxy's delay makes it long enough to be met.
"""

from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import text

from proofs.faults.installation import Place

_SERVERS = ("worker", "worker", "temporal", "database")
_MAILING = ("worker", "worker", "mail", "database")


@dataclass(frozen=True)
class Step:
    """Between which effects; what the tables show then; whom to kill; whether it passes at once."""

    name: str
    statement: str
    victims: tuple[str, ...]
    passing: bool = False

    def watch(self, place: Place) -> Callable[[], bool]:
        """Return what tells whether somebody is in this moment now. Raises DatabaseUnavailableError."""

        def now() -> bool:
            with place.database.read() as connection:
                return connection.execute(text(self.statement)).first() is not None

        return now

    def within_reach(self, place: Place) -> list[str]:
        """Return whom to choose from, now that it is so."""
        return [name for name in self.victims if name in place.victims]


class AttackStep(Step):
    """Wrong secrets are being sent to an app: it has answered some, and others wait for their commit."""

    def watch(self, place: Place) -> Callable[[], bool]:
        return lambda: any(place.attackers.values())

    def within_reach(self, place: Place) -> list[str]:
        asked = [app for app, some in place.attackers.items() if some]
        return [*asked, *asked, *asked, *super().within_reach(place)]


class MailStep(Step):
    """The sink has the mail, and its row does not know yet: a new file tells, while the answer is on its slow way."""

    def watch(self, place: Place) -> Callable[[], bool]:
        def count() -> int:
            return sum(1 for _ in place.inbox.folder.glob("*.eml"))

        before = count()
        return lambda: count() > before


def _undelivered(kind: str) -> str:
    return f"SELECT 1 FROM outbox WHERE kind = '{kind}' AND delivered_at IS NULL"


STEPS = (
    AttackStep("request, commit", "", ("database",), passing=True),
    MailStep("SMTP accept, row", "", _MAILING, passing=True),
    Step("commit, start", _undelivered("incident_opened"), ("asgi", "wsgi", *_SERVERS)),
    Step(
        "start, mail",
        "SELECT 1 FROM incident i WHERE i.closed_at IS NULL AND NOT EXISTS "
        "(SELECT 1 FROM outbox o WHERE o.subject_id = i.id AND o.delivered_at IS NULL) AND NOT EXISTS "
        "(SELECT 1 FROM mail m WHERE m.incident_id = i.id AND m.state = 'sent')",
        _SERVERS,
    ),
    Step("click, signal", _undelivered("incident_answered"), _SERVERS),
    Step("order, issue", _undelivered("regeneration_opened"), _SERVERS),
    Step(
        "issue, prove, activate",
        "SELECT 1 FROM regeneration r JOIN key_pair p ON p.id = r.new_pair_id "
        "WHERE p.state = 'pending' AND r.finished_at IS NULL",
        _SERVERS,
    ),
    Step(
        "activate, mail",
        "SELECT 1 FROM regeneration r WHERE r.state = 'sent' AND NOT EXISTS "
        "(SELECT 1 FROM mail m WHERE m.kind = 'new_keys' AND m.state = 'sent' AND m.key LIKE r.id || '/%')",
        _MAILING,
    ),
    Step("collect, signal", _undelivered("regeneration_collected"), _SERVERS),
    Step("overlap, retire", "SELECT 1 FROM key_pair WHERE state = 'retiring'", _SERVERS),
    Step(
        "retire, finish",
        "SELECT 1 FROM regeneration r JOIN key_pair p ON p.id = r.old_pair_id WHERE p.state = 'retired' "
        "AND r.collected_at IS NOT NULL AND r.finished_at IS NULL",
        _SERVERS,
    ),
    Step("finish, close", _undelivered("regeneration_finished"), _SERVERS),
)
