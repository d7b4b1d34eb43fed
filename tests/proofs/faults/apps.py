"""The host apps: those of `proofs.load.apps`, whose recorders also log the order of their commits."""

from octy_middleware.auth import authenticator
from proofs.load.commit_log import LoggedDatabase, log_batches

authenticator.Database = LoggedDatabase  # type: ignore[misc]  # before the apps build their authenticators
log_batches()

from proofs.load.apps import flask_app, starlette_app  # noqa: E402

__all__ = ["flask_app", "starlette_app"]
