"""The middleware's settings: one frozen object, by keyword arguments or OCTY_* variables.

Here: names, defaults with their units, and checks, all at build time. Not here: reading them at request time, and
what only the worker needs (`octy_worker.settings`).
"""

import os
import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self, TypedDict

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, ValidationInfo

from octy_middleware.errors import ConfigurationError
from octy_middleware.keys.keychain import Keychain

PREFIX = "OCTY_"
_SERVICE_LINK = re.compile(r"(tcp|udp|sctp)://(\[[0-9A-Fa-f:.]+\]|[0-9.]+):[0-9]+")


def _split(value: object) -> object:
    """Take comma-separated text, as variables hold it, for a tuple."""
    return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value


def _keychain(value: object, info: ValidationInfo) -> object:
    name = f"{PREFIX}{(info.field_name or '').upper()}"
    return Keychain.parse(value, name=name) if isinstance(value, str) else value


def _default_max_slow_hashes() -> int:
    """Return how many slow hashes may be computed at once by default: at most half of the processors, and two."""
    return max(1, min(2, (os.cpu_count() or 1) // 2))


StringList = Annotated[tuple[str, ...], BeforeValidator(_split)]
Keys = Annotated[Keychain, BeforeValidator(_keychain)]


class BaseSettings(BaseModel):
    """Frozen, complete, and never silent about an unknown or wrong name."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", arbitrary_types_allowed=True, allow_inf_nan=False, hide_input_in_errors=True
    )

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] | None = None, **overrides: Any) -> Self:
        """Build from OCTY_* variables; keyword arguments win. Raises ConfigurationError with what to do."""
        source = os.environ if environ is None else environ
        return cls.build(**{**cls.texts_in(source), **overrides})

    @classmethod
    def texts_in(cls, environ: Mapping[str, str]) -> dict[str, Any]:
        """Return the fields that OCTY_* variables give, as text. An empty variable gives none."""
        given = {name: environ.get(f"{PREFIX}{name.upper()}", "") for name in cls.model_fields}
        return {
            name: value
            for name, value in given.items()
            if value != "" and not (name.endswith("_port") and is_service_link(value))
        }

    @classmethod
    def build(cls, **values: Any) -> Self:
        """Build from values; a fault becomes one ConfigurationError that names each setting."""
        try:
            return cls(**values)
        except ValidationError as error:
            lines = [_explain(item) for item in error.errors(include_input=False, include_url=False)]
            raise ConfigurationError("\n".join(lines)) from None


def is_service_link(value: str) -> bool:
    """Tell whether it is Kubernetes's value of a port: for a service `octy-pages` each pod has OCTY_PAGES_PORT."""
    return _SERVICE_LINK.fullmatch(value) is not None


def _explain(item: Any) -> str:
    name = ".".join(str(part) for part in item["loc"])
    if item["type"] == "missing":
        remedy = "A new installation takes what `octy secrets` prints, any other its own."
        return f"{PREFIX}{name.upper()} is not set. {remedy}"
    return f"{name} ({PREFIX}{name.upper()}): {item['msg'].removeprefix('Value error, ')}"


class Settings(BaseSettings):
    """What the middleware in a host app needs. Times are seconds, sizes bytes or entries."""

    database_url: str = Field(default="sqlite:///octy.db", repr=False)  # it may hold a password
    peppers: Keys  # keys of the secrets' digests, kept outside the database
    threshold: int = Field(default=20, ge=2, le=10_000)  # consecutive failures that open an incident
    window_failures: int = Field(default=0, ge=0, le=1_000_000)  # so many in `window` do, whatever succeeds; 0: off
    window: float = Field(default=3600.0, ge=60, le=86_400)

    realm: str = "Octy API"
    exempt_paths: StringList = ()  # '/health', '/static/*', 'GET /versions', 'OPTIONS *': these need no credentials
    optional: bool = False  # requests without any credentials pass, as nobody; wrong ones are still refused
    schemeless: bool = True  # Octy's Go clients send base64(pk:sk) without "Basic"
    header_limit: int = Field(default=1024, ge=64, le=65_536)
    scopes: StringList = ("authenticated",)  # granted to every accepted pair, for Starlette's @requires
    hide_credentials: bool = True  # the app does not see the Authorization header of accepted requests

    require_https: bool = True
    hsts: int = Field(default=0, ge=0)  # seconds of Strict-Transport-Security on answers over HTTPS; 0: none
    trusted_proxies: StringList = ()  # networks whose forwarding headers are believed; none by default
    forwarded_header: Literal["x-forwarded", "forwarded"] = "x-forwarded"  # which family those proxies write

    key_cache_size: int = Field(default=100_000, ge=1)  # key records kept in memory
    header_cache_size: int = Field(default=10_000, ge=1)  # right Authorization headers kept, as keyed digests
    grace_period: float = Field(default=60.0, ge=0)  # store down: known pairs are accepted for so long
    feed_interval: float = Field(default=0.25, gt=0, le=0.5)  # a revoked pair stops within a second
    rate_limit: int = Field(default=0, ge=0, le=1_000_000)  # wrong attempts a minute and source before 429; 0: any
    # imported hashes verified at once, each may take 0.3 s: half of the processors are left to requests
    max_slow_hashes: int = Field(default_factory=_default_max_slow_hashes, ge=1, le=64)
    max_waiting_hashes: int = Field(default=64, ge=1)  # and waiting for that; more are answered 503
    queue_limit: int = Field(default=10_000, ge=1)  # outcomes waiting for their commit
    commit_timeout: float = Field(default=5.0, gt=0)  # a refusal not on disk by then is answered 503
    batch_delay: float = Field(default=0.2, ge=0, le=1.0)  # accepted outcomes wait so long for company
    flush_on_sigterm: bool = True  # what is queued is written when the process is told to end
    # Accepted outcomes, too, are committed before the answer: for hosts that stop the process between requests.
    commit_before_response: bool | None = None  # None: where the host is known to (see `hosts`)
    attempts_per_minute: int = Field(default=60, ge=1)  # detail rows a key; the rest stays counted
    sources_per_minute: int = Field(default=256, ge=1)  # sources a key and minute; the rest count as "*"
    max_networks: int = Field(default=1000, ge=1)  # streaks a key, one a network; the rest share the streak "*"
    tracing: bool = False  # spans by OpenTelemetry, which the host sets up


class Options(TypedDict, total=False):
    """The same settings as the adapters' keyword arguments, for editors and type checkers."""

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
    queue_limit: int
    commit_timeout: float
    batch_delay: float
    flush_on_sigterm: bool
    commit_before_response: bool | None
    attempts_per_minute: int
    sources_per_minute: int
    max_networks: int
    tracing: bool
