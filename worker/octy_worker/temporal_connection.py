"""Settings of the connection to Temporal: address, namespace, TLS and API key.

`TEMPORAL_*` variables and TOML profiles are read by the Temporal SDK, as by every Temporal tool.
`OCTY_TEMPORAL_ADDRESS` overrides them with a server without TLS, such as the embedded one. Connections without TLS
are limited to this machine, unless `OCTY_TEMPORAL_PLAINTEXT=allowed`.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import PrivateAttr

from octy_middleware.errors import ConfigurationError
from octy_middleware.loopback import is_loopback
from octy_middleware.settings import BaseSettings

if TYPE_CHECKING:
    from temporalio.service import TLSConfig

PREFIX = "TEMPORAL_"
_DEFAULT_ADDRESS = "127.0.0.1:7233"
_DEFAULT_NAMESPACE = "default"
_match_address = re.compile(r"([^\s:/@?#\[\]]+|\[[0-9A-Fa-f:.%]+\]):([0-9]{1,5})").fullmatch
_find_line = re.compile(r"at line ([0-9]+)").search


@dataclass(frozen=True, slots=True)
class TemporalConnection:
    """The parameters of a client. `source`: the setting that the address comes from."""

    address: str
    namespace: str
    source: str
    tls: "TLSConfig | Literal[False]" = field(default=False, repr=False)
    api_key: str | None = field(default=None, repr=False)
    metadata: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def host(self) -> str:
        """The address without its port."""
        return self.address.rpartition(":")[0]

    @property
    def setting(self) -> str:
        """The variable to set for another address."""
        return self.source if self.source.isupper() else "TEMPORAL_ADDRESS"

    @property
    def leaves_in_clear(self) -> bool:
        """Whether data leaves this machine without TLS."""
        return not self.tls and not is_loopback(self.host)

    @property
    def security(self) -> str:
        """A short description of the protection of the connection."""
        if not self.tls:
            return "without TLS"
        with_certificate = ", client certificate" if self.tls.client_cert else ""
        return f"TLS{with_certificate}{', API key' if self.api_key else ''}"


class TemporalSettings(BaseSettings):
    """The part of the worker's settings that is about the connection to Temporal."""

    temporal_address: str = ""  # a server without TLS; empty: what TEMPORAL_* and their profile say
    temporal_namespace: str = ""  # empty: TEMPORAL_NAMESPACE, the profile's, or "default"
    temporal_plaintext: Literal["", "allowed"] = ""  # "allowed": connections without TLS may leave this machine
    _variables: Mapping[str, str] = PrivateAttr(default_factory=dict)

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] | None = None, **overrides: Any) -> Self:
        """Build from OCTY_* variables, and keep the TEMPORAL_* variables for the connection."""
        return super().from_environment(environ, **overrides).with_temporal(os.environ if environ is None else environ)

    def with_temporal(self, environ: Mapping[str, str]) -> Self:
        """Return these settings with the TEMPORAL_* variables of an environment."""
        self._variables = {name: value for name, value in environ.items() if name.startswith(PREFIX) and value}
        return self

    @property
    def temporal_variables(self) -> Mapping[str, str]:
        """The TEMPORAL_* variables; they hold secrets."""
        return self._variables

    def namespace(self) -> str:
        """Return the namespace without checking the connection. Raises ConfigurationError."""
        if self.temporal_address or self.temporal_namespace:
            return self.temporal_namespace or _DEFAULT_NAMESPACE
        return _from_profile(self._variables, "").namespace

    def temporal_connection(self) -> TemporalConnection:
        """Return the parameters of the connection. Raises ConfigurationError with what to set."""
        if self.temporal_address:
            namespace = self.temporal_namespace or _DEFAULT_NAMESPACE
            found = TemporalConnection(self.temporal_address, namespace, "OCTY_TEMPORAL_ADDRESS")
        else:
            found = _from_profile(self._variables, self.temporal_namespace)
        if not _match_address(found.address):
            raise ConfigurationError(
                f"{found.source}: {found.address!r} is not host:port → set both, as in localhost:7233"
            )
        if found.leaves_in_clear and not self.temporal_plaintext:
            raise ConfigurationError(
                f"Temporal at {found.address} ({found.source}) would be reached without TLS → set TEMPORAL_ADDRESS "
                "with TEMPORAL_TLS=true or TEMPORAL_API_KEY, or OCTY_TEMPORAL_PLAINTEXT=allowed if the network is "
                "protected"
            )
        return found


def _from_profile(variables: Mapping[str, str], namespace: str) -> TemporalConnection:
    from temporalio.envconfig import ClientConfigProfile  # noqa: PLC0415  # staff's machines have settings without it
    from temporalio.service import TLSConfig  # noqa: PLC0415

    file = variables.get("TEMPORAL_CONFIG_FILE")
    if file and not Path(file).exists():  # the SDK would treat it as empty, which means no TLS
        raise ConfigurationError(f"TEMPORAL_CONFIG_FILE: the file {file} does not exist")
    try:
        profile = ClientConfigProfile.load(override_env_vars=variables, config_file_strict=True)
        options = profile.to_client_connect_config()
    except OSError as error:
        raise ConfigurationError(f"TEMPORAL_TLS_*: {error.filename} can't be read: {error.strerror}") from None
    except RuntimeError as error:
        raise ConfigurationError(_reason(error)) from None
    given = options.get("tls", False)
    return TemporalConnection(
        address=options.get("target_host", _DEFAULT_ADDRESS),
        namespace=namespace or options.get("namespace") or _DEFAULT_NAMESPACE,
        source="TEMPORAL_ADDRESS" if "TEMPORAL_ADDRESS" in variables else "the Temporal profile's address",
        tls=TLSConfig() if given is True else given,
        api_key=options.get("api_key"),
        metadata=options.get("rpc_metadata", {}),
    )


def _reason(error: RuntimeError) -> str:
    """Return what is wrong with a profile, without the line that the SDK quotes: it may contain the API key."""
    text = str(error)
    if "TOML" in text:
        line = _find_line(text)
        where = f", line {line[1]}" if line else ""
        return f"the Temporal configuration file{where}: invalid TOML, or a setting that Temporal does not know"
    first = text.partition("\n")[0].removeprefix("Invalid configuration: ")
    return f"TEMPORAL_*: {first[:200]}; see `temporal env` and the profiles of TEMPORAL_CONFIG_FILE"
