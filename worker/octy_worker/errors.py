"""Errors that are expected: each says what is wrong and what to do. `octy` prints them in one line.

CommandError            something is wrong
├── UsageFaultError     what was given can't be taken
├── RefusedError        it was understood, and is refused
└── UnavailableError    database, Temporal, worker or mail server doesn't answer
OrderRefusedError       a request of staff that is refused in SQL; nothing was changed
"""


class CommandError(Exception):
    """One line that says what is wrong and, after an arrow, what to do."""

    def __init__(self, wrong: str, to_do: str = "") -> None:
        super().__init__(f"{wrong} → {to_do}" if to_do else wrong)


class UsageError(CommandError):
    """What was given can't be taken."""


class RefusedError(CommandError):
    """It was understood, and is refused."""


class UnavailableError(CommandError):
    """Something that is needed doesn't answer."""


class OrderRefusedError(Exception):
    """The request was understood and is refused, for the reason that the text gives; nothing was changed."""
