"""Expected errors: each says what is wrong and what to do. `octy` prints them in one line.

CommandError            the command failed
├── UsageError          wrong input: an option, a setting, a file or an id
├── RefusedError        understood, but refused
└── UnavailableError    database, Temporal, worker or mail server is not available
OrderRefusedError       a request of staff that is refused in SQL; nothing was changed
"""


class CommandError(Exception):
    """One line that says what is wrong and, after an arrow, what to do."""

    def __init__(self, wrong: str, to_do: str = "") -> None:
        super().__init__(f"{wrong} → {to_do}" if to_do else wrong)


class UsageError(CommandError):
    """Wrong input: an option, a setting, a file or an id."""


class RefusedError(CommandError):
    """Understood, but refused."""


class UnavailableError(CommandError):
    """Database, Temporal, worker or mail server is not available."""


class OrderRefusedError(Exception):
    """A request of staff that is refused for the given reason; nothing was changed."""
