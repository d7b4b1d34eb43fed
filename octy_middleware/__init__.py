"""API-key authentication in front of an app, with every outcome on disk.

    request ─► asgi / wsgi            two adapters, one core
               authenticator                   read → verify → record → decision
               ├─ credentials         Authorization header -> pair, or why not
               ├─ network             source and scheme behind trusted proxies
               ├─ keyring, keys       the live pair and its digest
               └─ recorder ─► tallies, ledger  counts; streaks, the incident and its outbox row: one commit
    refusal ◄─ outcome                what a stranger is told

Public names are these; everything else may change between releases.
"""

from octy_middleware._version import __version__
from octy_middleware.asgi import OctyASGIMiddleware
from octy_middleware.auth.authenticator import Authenticator
from octy_middleware.db.database import Database
from octy_middleware.domain.accounts import Accounts
from octy_middleware.errors import (
    ConfigurationError,
    DatabaseUnavailableError,
    InvalidInputError,
    OctyError,
    SchemaError,
)
from octy_middleware.http.decision import Principal, UnauthenticatedUser
from octy_middleware.http.outcome import Outcome
from octy_middleware.http.response import ErrorResponse
from octy_middleware.openapi import add_openapi_security
from octy_middleware.settings import Settings
from octy_middleware.wsgi import OctyWSGIMiddleware

__all__ = [
    "Accounts",
    "Authenticator",
    "ConfigurationError",
    "Database",
    "DatabaseUnavailableError",
    "ErrorResponse",
    "InvalidInputError",
    "OctyASGIMiddleware",
    "OctyError",
    "OctyWSGIMiddleware",
    "Outcome",
    "Principal",
    "SchemaError",
    "Settings",
    "UnauthenticatedUser",
    "__version__",
    "add_openapi_security",
]
