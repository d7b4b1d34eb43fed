"""URLs of PostgreSQL: what libpq is told, with which encryption, and which schema holds the tables."""

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
    # A machine that vanished is noticed in seconds; a query to it would wait for ever.
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
    "application_name": "octy",
    # Of several hosts the one that takes writes; none where only a standby answers.
    "target_session_attrs": "read-write",
}
# In a connection's `info`: whether a pooler is in between, which may lead each transaction to another session. The
# server then has another process id than the one that the client was told for its cancel requests.
_SCHEMA_NAME = re.compile(r"(?!pg_)[a-z_][a-z0-9_]{0,62}")
_VERIFYING = ("verify-ca", "verify-full")


def with_password_in_its_place(url: URL) -> URL:
    """Return the URL with a password out of its options: only there it is hidden in every text."""
    password = url.query.get("password")
    if not isinstance(password, str):
        return url
    return url.difference_update_query(["password"]).set(password=password)


def schema_of(url: URL) -> str:
    """Return the schema that the URL names, or nothing: then the role's `search_path` leads to the tables."""
    found = url.query.get(SCHEMA_OPTION, "")
    if SCHEMA_OPTION in url.query and not (isinstance(found, str) and _SCHEMA_NAME.fullmatch(found)):
        raise ConfigurationError(
            "database_url: schema: give one name of small letters, digits and _ that does not begin with pg_"
        )
    return str(found)


def without_schema(url: URL) -> URL:
    """Return the URL without what libpq does not know."""
    return url.difference_update_query([SCHEMA_OPTION])


def driver_defaults(url: URL) -> Mapping[str, Any]:
    """Return what libpq is told beside the URL, which wins but for the encoding: texts are Unicode here.

    Beyond this machine the server's certificate is verified unless `sslmode` or PGSSLMODE says something else: libpq's
    own default would go on in clear.
    """
    told = {name: value for name, value in _OPTIONS.items() if name not in url.query}
    told["client_encoding"] = "utf8"  # a database of the encoding SQL_ASCII would hand out bytes
    if "sslmode" in url.query or os.environ.get("PGSSLMODE") or all(map(_is_local, _hosts(url))):
        return told
    return {**told, "sslmode": "verify-full"}


def unverified_sslmode(url: URL) -> str:
    """Return the `sslmode` that lets whoever sits between read along or pose as the server; nothing where none can.

    libpq verifies the authority with `require`, too, where it is told one.
    """
    if all(map(_is_local, _hosts(url))):
        return ""
    options = {**driver_defaults(url), **url.normalized_query}
    told = options.get("sslmode") or os.environ.get("PGSSLMODE", "")
    mode = told if isinstance(told, str) else told[-1]
    if mode == "require" and ("sslrootcert" in options or os.environ.get("PGSSLROOTCERT")):
        return ""
    return "" if mode in _VERIFYING else mode


def _hosts(url: URL) -> list[str]:
    """Return where libpq connects to. A service's hosts stand in a file of libpq's, and count as elsewhere."""
    if "service" in url.query or (not url.host and os.environ.get("PGSERVICE")):
        return ["a service"]
    own = [host for host in (url.host, *url.normalized_query.get("host", ())) if host]
    addresses = [*url.normalized_query.get("hostaddr", ())] or [os.environ.get("PGHOSTADDR", "")]
    hosts = [*(own or [os.environ.get("PGHOST", "")]), *addresses]
    return [host for each in hosts for host in each.split(",")]


def _is_local(host: str) -> bool:
    """Tell whether a host is a unix socket, libpq's default, or this machine by its name."""
    return (
        not host or host.startswith(("/", "@")) or is_loopback(host.partition(":")[0] if host.count(":") == 1 else host)
    )


def driver_options(url: URL) -> dict[str, Any]:
    """Return all that libpq is told."""
    from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg  # noqa: PLC0415

    _, given = PGDialect_psycopg().create_connect_args(without_schema(url))  # type: ignore[no-untyped-call]
    return {**given, **driver_defaults(url)}
