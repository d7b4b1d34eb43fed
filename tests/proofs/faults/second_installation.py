"""A second installation with a database and keys of its own, on the same Temporal server and mail server."""

from pathlib import Path
from uuid import uuid4

from support.world import FakeRequest, World

from octy_middleware.domain.installation import installation_id
from octy_middleware.http.outcome import Outcome
from octy_worker.dev.inbox import Inbox

DOMAIN = "second.example"  # of its customers' addresses


class SecondInstallation:
    """Its database and authenticator are in this process; `Installation` runs its worker."""

    def __init__(self, folder: Path, inbox: Inbox) -> None:
        folder.mkdir()
        self._world = World(folder, installation=uuid4().hex[:16])
        self._inbox = inbox
        self.close = self._world.close

    @property
    def workflow_prefix(self) -> str:
        return f"octy-{installation_id(self._world.database)}-"

    def variables(self) -> dict[str, str]:
        """Return the variables in which its worker differs from the first installation's."""
        return {
            "OCTY_DATABASE_URL": self._world.url,
            "OCTY_PEPPERS": self._world.peppers.export(),
            "OCTY_SEALING_KEYS": self._world.sealing_keys.export(),
        }

    def attack_new_account(self, failures: int) -> str:
        """Create an account and send so many wrong secrets; return the account's mail address."""
        reference = f"customer-{uuid4()}"
        address = f"{reference}@{DOMAIN}"
        keys = self._world.register(reference, address=address)
        with self._world.authenticator() as authenticator:
            for _ in range(failures):
                outcome = authenticator.decide(FakeRequest(keys.basic("sk_wrong"))).outcome
                assert outcome is Outcome.WRONG_SECRET
        return address

    def has_alert(self, address: str) -> bool:
        return any(mail.to == address and mail.kind == "alert" for mail in self._inbox.messages())
