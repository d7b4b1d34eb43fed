"""PostgreSQL URLs: libpq's options, verification of the server's certificate, and the schema of the tables."""

import os
import re
from collections.abc import Mapping
from typing import Any

from sqlalchemy import URL

from octy_middleware.db.backend import SCHEMA_OPTION
from octy_middleware.errors import ConfigurationError
from octy_middleware.loopback import is_loopback

_OPTIONS = {
    "connect_timeout": 3,
    # A lost host is noticed in seconds; without these a query to it would wait without end.
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
    "application_name": "octy",
    # Of several hosts the primary; no connection where only a standby answers.
    "target_session_attrs": "read-write",
}
_SCHEMA_NAME = re.compile(r"(?!pg_)[a-z_][a-z0-9_]{0,62}")
_VERIFYING = ("verify-ca", "verify-full")


def with_hidden_password(url: URL) -> URL:
    """Return the URL with a `password` option moved to the password part, where its text is hidden."""
    password = url.query.get("password")
    if not isinstance(password, str):
        return url
    return url.difference_update_query(["password"]).set(password=password)


def schema_of(url: URL) -> str:
    """Return the schema that the URL names; empty if none: then the role's `search_path` is used."""
    found = url.query.get(SCHEMA_OPTION, "")
    if SCHEMA_OPTION in url.query and not (isinstance(found, str) and _SCHEMA_NAME.fullmatch(found)):
        raise ConfigurationError(
            "database_url: schema: give one name of lower-case letters, digits and _ that does not begin with pg_"
        )
    return str(found)


def without_schema(url: URL) -> URL:
    """Return the URL without the option `schema`, which libpq does not know."""
    return url.difference_update_query([SCHEMA_OPTION])


def driver_defaults(url: URL) -> Mapping[str, Any]:
    """Return the connection options beyond the URL. The URL overrides all but the encoding, which is always UTF-8.

    For remote hosts the server's certificate is verified unless `sslmode` or PGSSLMODE says otherwise: libpq's own
    default would fall back to plain text.
    """
    options = {name: value for name, value in _OPTIONS.items() if name not in url.query}
    options["client_encoding"] = "utf8"  # from a database with the encoding SQL_ASCII texts would come as bytes
    if "sslmode" in url.query or os.environ.get("PGSSLMODE") or is_on_this_machine(url):
        return options
    return {**options, "sslmode": "verify-full"}


def unverified_sslmode(url: URL) -> str:
    """Return the `sslmode` if it allows a man in the middle, else an empty text.

    With `require`, too, libpq verifies the certificate authority where one is given.
    """
    if is_on_this_machine(url):
        return ""
    options = {**driver_defaults(url), **url.normalized_query}
    given = options.get("sslmode") or os.environ.get("PGSSLMODE", "")
    mode = given if isinstance(given, str) else given[-1]
    if mode == "require" and ("sslrootcert" in options or os.environ.get("PGSSLROOTCERT")):
        return ""
    return "" if mode in _VERIFYING else mode


def is_on_this_machine(url: URL) -> bool:
    """Return whether libpq connects to this machine only: by Unix sockets or loopback addresses."""
    return all(map(_is_local, _hosts(url)))


def _hosts(url: URL) -> list[str]:
    """Return the hosts that libpq connects to. Those of a service are in a file of libpq's, and count as remote."""
    if "service" in url.query or (not url.host and os.environ.get("PGSERVICE")):
        return ["a service"]
    own = [host for host in (url.host, *url.normalized_query.get("host", ())) if host]
    addresses = [*url.normalized_query.get("hostaddr", ())] or [os.environ.get("PGHOSTADDR", "")]
    hosts = [*(own or [os.environ.get("PGHOST", "")]), *addresses]
    return [host for each in hosts for host in each.split(",")]


def _is_local(host: str) -> bool:
    """Whether a host is a Unix socket, libpq's default, or a loopback address."""
    return (
        not host or host.startswith(("/", "@")) or is_loopback(host.partition(":")[0] if host.count(":") == 1 else host)
    )


def driver_options(url: URL) -> dict[str, Any]:
    """Return all connection options for libpq."""
    from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg  # noqa: PLC0415

    _, given = PGDialect_psycopg().create_connect_args(without_schema(url))  # type: ignore[no-untyped-call]
    return {**given, **driver_defaults(url)}
