"""API-key authentication in front of a WSGI or ASGI app; every outcome is recorded in a database.

    request  ─► asgi / wsgi              adapters: translate, decide nothing
                auth.authenticator       parse → verify → record → decide
                ├─ http.credentials      Authorization header → credentials, or the outcome of a malformed one
                ├─ http.client_address   source and scheme behind trusted proxies
                ├─ auth.key_cache, keys  the live key pair and its digest
                └─ recording.recorder    counters, streaks, incidents and outbox messages, in one commit
    response ◄─ http.response            the error response of a rejected request

These names are public; everything else may change between releases.
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
