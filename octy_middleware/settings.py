"""The settings of the middleware: one frozen object, from keyword arguments or OCTY_* variables, checked at once."""

import os
import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self, TypedDict

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, ValidationInfo

from octy_middleware.errors import ConfigurationError
from octy_middleware.keys.keychain import Keychain

PREFIX = "OCTY_"
_SERVICE_LINK = re.compile(r"(tcp|udp|sctp)://(\[[0-9A-Fa-f:.]+\]|[0-9.]+):[0-9]+")


def split_list(value: object) -> object:
    """Split comma-separated text, as in variables, into a tuple."""
    return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value


def _keychain(value: object, info: ValidationInfo) -> object:
    name = f"{PREFIX}{(info.field_name or '').upper()}"
    return Keychain.parse(value, name=name) if isinstance(value, str) else value


def _default_max_slow_hashes() -> int:
    """Return how many slow hashes are computed at once by default: half of the processors, but 1 or 2."""
    return max(1, min(2, (os.cpu_count() or 1) // 2))


StringList = Annotated[tuple[str, ...], BeforeValidator(split_list)]
Keys = Annotated[Keychain, BeforeValidator(_keychain)]


class BaseSettings(BaseModel):
    """Base of frozen settings; an unknown or invalid one raises ConfigurationError."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", arbitrary_types_allowed=True, allow_inf_nan=False, hide_input_in_errors=True
    )

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] | None = None, **overrides: Any) -> Self:
        """Build from OCTY_* variables; keyword arguments take precedence. Raises ConfigurationError with what to do."""
        source = os.environ if environ is None else environ
        return cls.build(**{**cls.texts_in(source), **overrides})

    @classmethod
    def texts_in(cls, environ: Mapping[str, str]) -> dict[str, Any]:
        """Return the fields set by OCTY_* variables, as text. An empty variable counts as not set."""
        given = {name: environ.get(f"{PREFIX}{name.upper()}", "") for name in cls.model_fields}
        return {
            name: value
            for name, value in given.items()
            if value != "" and not (name.endswith("_port") and is_service_link(value))
        }

    @classmethod
    def build(cls, **values: Any) -> Self:
        """Build from values. Raises one ConfigurationError that names every invalid setting."""
        try:
            return cls(**values)
        except ValidationError as error:
            lines = [_explain(item) for item in error.errors(include_input=False, include_url=False)]
            raise ConfigurationError("\n".join(lines)) from None


def is_service_link(value: str) -> bool:
    """Return whether Kubernetes set this value: for a service `octy-pages` each pod has OCTY_PAGES_PORT."""
    return _SERVICE_LINK.fullmatch(value) is not None


def _explain(item: Any) -> str:
    name = ".".join(str(part) for part in item["loc"])
    if item["type"] == "missing":
        remedy = (
            "On a new installation run `octy secrets` and set what it prints; "
            "on an existing one use the values already in use."
        )
        return f"{PREFIX}{name.upper()} is not set. {remedy}"
    return f"{name} ({PREFIX}{name.upper()}): {item['msg'].removeprefix('Value error, ')}"


class Settings(BaseSettings):
    """The settings of the middleware in a host app. Times are in seconds, sizes in bytes or entries."""

    database_url: str = Field(default="sqlite:///octy.db", repr=False)  # may contain a password
    peppers: Keys  # keys of the secrets' digests, kept outside the database
    threshold: int = Field(default=20, ge=2, le=10_000)  # consecutive failures that open an incident
    window_failures: int = Field(
        default=0, ge=0, le=1_000_000
    )  # in `window`, whatever succeeds between them, open one; 0: off
    window: float = Field(default=3600.0, ge=60, le=86_400)

    realm: str = "Octy API"
    exempt_paths: StringList = ()  # '/health', '/static/*', 'GET /versions', 'OPTIONS *': paths without credentials
    optional: bool = False  # requests without credentials pass, unauthenticated; wrong ones are rejected
    schemeless: bool = True  # Octy's Go clients send base64(pk:sk) without "Basic"
    header_limit: int = Field(default=1024, ge=64, le=65_536)
    scopes: StringList = ("authenticated",)  # of every accepted request, for Starlette's @requires
    hide_credentials: bool = True  # the app does not see the Authorization header of accepted requests

    require_https: bool = True
    hsts: int = Field(default=0, ge=0)  # seconds of Strict-Transport-Security on responses over HTTPS; 0: no header
    trusted_proxies: StringList = ()  # networks whose forwarding headers are trusted
    forwarded_header: Literal["x-forwarded", "forwarded"] = "x-forwarded"  # the family that these proxies write

    key_cache_size: int = Field(default=100_000, ge=1)  # key records in memory
    header_cache_size: int = Field(default=10_000, ge=1)  # correct Authorization headers in memory, as keyed digests
    grace_period: float = Field(default=60.0, ge=0)  # during an outage of the database, cached key pairs are accepted
    feed_interval: float = Field(default=0.25, gt=0, le=0.5)  # a revoked key pair is rejected within a second
    rate_limit: int = Field(default=0, ge=0, le=1_000_000)  # wrong attempts a minute and source before 429; 0: no limit
    # imported hashes verified at once; each may take 0.3 s, so half of the processors are left to requests
    max_slow_hashes: int = Field(default_factory=_default_max_slow_hashes, ge=1, le=64)
    max_waiting_hashes: int = Field(default=64, ge=1)  # requests waiting for that; more get 503
    max_blocked_threads: int = Field(
        default=5, ge=1, le=1000
    )  # of a WSGI server, that such requests hold; more get 503
    queue_limit: int = Field(default=10_000, ge=1)  # outcomes waiting for their commit
    commit_timeout: float = Field(default=5.0, gt=0)  # a rejection not committed by then becomes 503
    batch_delay: float = Field(default=0.2, ge=0, le=1.0)  # accepted outcomes wait so long to be committed together
    flush_on_sigterm: bool = True  # queued outcomes are written at SIGTERM
    # Accepted outcomes are committed before the response too: for hosts that freeze the process between requests.
    commit_before_response: bool | None = None  # None: on hosts that `process.hosts` detects
    attempts_per_minute: int = Field(default=60, ge=1)  # rows in detail a key; further ones are only counted
    sources_per_minute: int = Field(default=256, ge=1)  # sources a key and minute; further ones count as "*"
    max_networks: int = Field(default=1000, ge=1)  # streaks a key, one a network; further networks share the streak "*"
    tracing: bool = False  # OpenTelemetry spans; the host configures OpenTelemetry


class Options(TypedDict, total=False):
    """The same settings as keyword arguments of the adapters, for editors and type checkers."""

    database_url: str
    peppers: Keychain | str
    threshold: int
    window_failures: int
    window: float
    realm: str
    exempt_paths: tuple[str, ...] | str
    optional: bool
    schemeless: bool
    header_limit: int
    scopes: tuple[str, ...] | str
    hide_credentials: bool
    require_https: bool
    hsts: int
    trusted_proxies: tuple[str, ...] | str
    forwarded_header: Literal["x-forwarded", "forwarded"]
    key_cache_size: int
    header_cache_size: int
    grace_period: float
    feed_interval: float
    rate_limit: int
    max_slow_hashes: int
    max_waiting_hashes: int
    max_blocked_threads: int
    queue_limit: int
    commit_timeout: float
    batch_delay: float
    flush_on_sigterm: bool
    commit_before_response: bool | None
    attempts_per_minute: int
    sources_per_minute: int
    max_networks: int
    tracing: bool
