"""Faults of set-up and of the store. A refused key is no exception: it is an `Outcome`.

OctyError                 never raised itself
├── ConfigurationError    a setting is missing or wrong; the text says which and what to do
│   └── KeyMismatchError  keys are not those that the database is used with
├── SchemaError           the database is at another schema than this release
├── DatabaseUnavailableError the database can't be reached, is locked, or its disk is full
│   ├── DatabaseSetupError the database answers and refuses: a table or a right is missing; the text says what to do
│   └── StandbyError      what answers in its place is a standby: it takes no writes, and may be behind
└── InvalidInputError     data given by a person (an address, a reference) can't be taken
"""


class OctyError(Exception):
    """Base of all errors of this project."""


class ConfigurationError(OctyError):
    """A setting is missing or wrong."""


class KeyMismatchError(ConfigurationError):
    """Keys are not those that this database is used with; nothing may be judged or made with them."""


class SchemaError(OctyError):
    """The database is older or newer than this release."""


class DatabaseUnavailableError(OctyError):
    """The store can't answer now; nothing was changed."""


class DatabaseSetupError(DatabaseUnavailableError):
    """The database answers, and refuses: trying again helps only once somebody has done what the text says."""


class StandbyError(DatabaseUnavailableError):
    """What answers is no primary database: it takes no writes, and what it says may be old."""


class InvalidInputError(OctyError):
    """What a person gave can't be taken; the text says why."""
