"""Errors that end a command, or one request of staff: each says what is wrong and what to do, in one line.

CommandError            the command failed
├── UsageError          wrong input: an option, a setting, a file or an id
├── RefusedError        understood, but refused; nothing was changed
├── WaitsForApprovalError  received, and waits for a second person
├── WaitsForSignatureError  kept, and waits for its author's passkey
└── UnavailableError    database, Temporal, worker or mail server is not available

The errors of configuration and of the database are in `octy_middleware.errors`. That package takes longer to import
than `octy --help` may take, so the two trees have no common base. Errors of one module are in that module.
"""


class CommandError(Exception):
    """One line that says what is wrong and, after an arrow, what to do."""

    def __init__(self, wrong: str, to_do: str = "") -> None:
        super().__init__(f"{wrong} → {to_do}" if to_do else wrong)


class UsageError(CommandError):
    """Wrong input: an option, a setting, a file or an id."""


class RefusedError(CommandError):
    """Understood, but refused; nothing was changed."""


class UnavailableError(CommandError):
    """Database, Temporal, worker or mail server is not available."""


class WaitsForApprovalError(CommandError):
    """The order was received, and waits for a second person's approval."""

    def __init__(self, order_id: str) -> None:
        super().__init__(
            f"the order {order_id} waits for a second person, for 24 hours",
            f"a colleague shows it with `octy orders list` and approves it with `octy orders approve {order_id}`",
        )
        self.order_id = order_id


class WaitsForSignatureError(CommandError):
    """The order is kept, and waits for its author's passkey. `url`: of the page that takes its signature."""

    def __init__(self, order_id: str, url: str) -> None:
        super().__init__(f"the order {order_id} waits for your passkey, for five minutes", f"sign it at {url}")
        self.order_id = order_id
        self.url = url
