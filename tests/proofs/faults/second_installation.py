"""A second installation: a database and keys of its own, default settings, on the same Temporal server and mail server.

Here: its variables for a worker, and attacks on its accounts in this very process. Not here: its worker's process
(`place`), what must come of it (`bystanders`).
"""

from collections.abc import Mapping
from pathlib import Path
from uuid import uuid4

from support.world import FakeRequest, World

from octy_middleware.domain.installation import installation_id
from octy_middleware.http.outcome import Outcome
from octy_worker.dev.inbox import Inbox

DOMAIN = "second.example"


class SecondInstallation:
    """Its world, and the sink that it shares with the first."""

    def __init__(self, folder: Path, inbox: Inbox) -> None:
        folder.mkdir()
        self._world = World(folder, installation=uuid4().hex[:16])
        self._inbox = inbox

    @property
    def prefix(self) -> str:
        """What the ids of its workflows begin with."""
        return f"octy-{installation_id(self._world.database)}-"

    def variables(self, first: Mapping[str, str]) -> dict[str, str]:
        """Return a worker's variables: those of the first installation, with a database and keys of its own."""
        return {
            **{name: value for name, value in first.items() if name != "OCTY_TEMPORAL_TASK_QUEUE"},
            "OCTY_DATABASE_URL": self._world.url,
            "OCTY_PEPPERS": self._world.peppers.export(),
            "OCTY_SEALING_KEYS": self._world.sealing_keys.export(),
        }

    def attack_somebody(self, failures: int) -> str:
        """Open an account and send so many wrong secrets; return the account's address."""
        reference = f"customer-{uuid4()}"
        keys = self._world.register(reference, address=f"{reference}@{DOMAIN}")
        with self._world.authenticator() as authenticator:
            for _ in range(failures):
                outcome = authenticator.decide(FakeRequest(keys.basic("sk_wrong"))).outcome
                assert outcome is Outcome.WRONG_SECRET
        return f"{reference}@{DOMAIN}"

    def alerts_to(self, address: str) -> int:
        """Count the alerts that came to an address."""
        return sum(mail.to == address and mail.kind == "alert" for mail in self._inbox.messages())

    def close(self) -> None:
        self._world.close()
