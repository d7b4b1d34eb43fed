"""Errors of configuration and of the database. A refused request is no error: it is an `Outcome`.

OctyError                      base class, never raised itself
├── ConfigurationError         a setting is missing or wrong; the text says which, and what to do
│   └── KeyMismatchError       keys are not those that the database is used with
├── SchemaError                the database is at a schema that this release can't work with
├── DatabaseUnavailableError   the database can't be reached, is locked, or its disk is full
│   ├── DatabaseSetupError     the database refuses: a table or a right is missing; the text says what to do
│   └── StandbyError           the server is a standby: it takes no writes, and its data may be old
└── InvalidInputError          input of a person (an address, a reference) is invalid
"""


class OctyError(Exception):
    """Base of all errors of this project."""


class ConfigurationError(OctyError):
    """A setting is missing or wrong."""


class KeyMismatchError(ConfigurationError):
    """Keys are not those that this database is used with; they must not be used with it."""


class SchemaError(OctyError):
    """The database is older or newer than this release."""


class DatabaseUnavailableError(OctyError):
    """The database does not answer; nothing was changed."""


class DatabaseSetupError(DatabaseUnavailableError):
    """The database refuses a statement: a retry helps only after the operator did what the text says."""


class StandbyError(DatabaseUnavailableError):
    """The server is a standby: it takes no writes, and its data may be old."""


class InvalidInputError(OctyError):
    """Input of a person is invalid; the text says why."""
