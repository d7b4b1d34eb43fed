"""The points between two effects at which a process is killed, and how each is seen from the outside.

A point lasts some milliseconds; a proxy's delay makes it long enough to be seen.
"""

from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import text

from proofs.faults.installation import Installation

_SERVERS = ("worker", "worker", "temporal", "database")
_MAIL_SERVERS = ("worker", "worker", "mail", "database")


@dataclass(frozen=True)
class KillPoint:
    """A point that is reached when the statement returns a row.

    `targets`: the parts that take part in it; one that is named more often is killed more often. `brief`: it is over
    before a part could be killed a moment later.
    """

    name: str
    targets: tuple[str, ...]
    statement: str = ""
    brief: bool = False

    def watch(self, installation: Installation) -> Callable[[], bool]:
        """Return a function that says whether the point is reached now. It raises DatabaseUnavailableError."""

        def reached() -> bool:
            with installation.database.read() as connection:
                return connection.execute(text(self.statement)).first() is not None

        return reached

    def targets_in(self, installation: Installation) -> list[str]:
        """Return the parts to choose from now."""
        return [target for target in self.targets if target in installation.targets]


class AttackPoint(KillPoint):
    """An app has refused wrong secrets, and others wait for their commit."""

    def watch(self, installation: Installation) -> Callable[[], bool]:
        return lambda: any(installation.attackers.values())

    def targets_in(self, installation: Installation) -> list[str]:
        attacked = [app for app, active in installation.attackers.items() if active]
        return [*attacked, *attacked, *attacked, *super().targets_in(installation)]


class MailPoint(KillPoint):
    """The mail server has stored a mail, and its row does not say so yet, because the response is delayed."""

    def watch(self, installation: Installation) -> Callable[[], bool]:
        def count() -> int:
            return len([*installation.inbox.folder.glob("*.eml")])

        before = count()
        return lambda: count() > before


def _undelivered(kind: str) -> str:
    return f"SELECT 1 FROM outbox WHERE kind = '{kind}' AND delivered_at IS NULL"


KILL_POINTS = (
    AttackPoint("request, commit", ("database",), brief=True),
    MailPoint("SMTP accept, row", _MAIL_SERVERS, brief=True),
    KillPoint("commit, start", ("asgi", "wsgi", *_SERVERS), _undelivered("incident_opened")),
    KillPoint(
        "start, mail",
        _SERVERS,
        """SELECT 1 FROM incident i WHERE i.closed_at IS NULL AND NOT EXISTS
            (SELECT 1 FROM outbox o WHERE o.subject_id = i.id AND o.delivered_at IS NULL) AND NOT EXISTS
            (SELECT 1 FROM mail m WHERE m.incident_id = i.id AND m.state = 'sent')""",
    ),
    KillPoint("click, signal", _SERVERS, _undelivered("incident_answered")),
    KillPoint("order, issue", _SERVERS, _undelivered("regeneration_opened")),
    KillPoint(
        "issue, prove, activate",
        _SERVERS,
        """SELECT 1 FROM regeneration r JOIN key_pair p ON p.id = r.new_pair_id
            WHERE p.state = 'pending' AND r.finished_at IS NULL""",
    ),
    KillPoint(
        "activate, mail",
        _MAIL_SERVERS,
        """SELECT 1 FROM regeneration r WHERE r.state = 'sent' AND NOT EXISTS
            (SELECT 1 FROM mail m WHERE m.kind = 'new_keys' AND m.state = 'sent' AND m.key LIKE r.id || '/%')""",
    ),
    KillPoint("collect, signal", _SERVERS, _undelivered("regeneration_collected")),
    KillPoint("overlap, retire", _SERVERS, "SELECT 1 FROM key_pair WHERE state = 'retiring'"),
    KillPoint(
        "retire, finish",
        _SERVERS,
        """SELECT 1 FROM regeneration r JOIN key_pair p ON p.id = r.old_pair_id
            WHERE p.state = 'retired' AND r.collected_at IS NOT NULL AND r.finished_at IS NULL""",
    ),
    KillPoint("finish, close", _SERVERS, _undelivered("regeneration_finished")),
)
