"""Connecting to Temporal: the one place that makes a client, and that says in words why there is none.

Here: connecting, and what TLS and authentication errors mean. Not here: which settings there are
(`temporal_connection`), what is started or signalled (`relay`, `cli`), what runs (`daemon`).
"""

import logging
import os
import secrets
import socket
from collections.abc import Sequence
from typing import Protocol

from temporalio.client import Client, Interceptor
from temporalio.runtime import Runtime
from temporalio.service import RPCError, RPCStatusCode

from octy_middleware._version import __version__
from octy_middleware.db.schema_version import SCHEMA_VERSION
from octy_middleware.errors import ConfigurationError, OctyError
from octy_middleware.keys.keychain import Keychain
from octy_worker.temporal.codec import encrypting_converter
from octy_worker.temporal_connection import TemporalConnection
from octy_workflows.messages import main_task_queue

_logger = logging.getLogger(__name__)


class TemporalUnavailableError(OctyError):
    """Temporal can't be used; `wrong` says where it was looked for and why it failed, `to_do` what to set."""

    def __init__(self, wrong: str, to_do: str) -> None:
        super().__init__(f"{wrong} → {to_do}")
        self.wrong = wrong
        self.to_do = to_do


class TaskQueueSettings(Protocol):
    """What names the installation's task queues; worker settings are one."""

    @property
    def temporal_task_queue(self) -> str:
        """The beginning of their names."""


def main_queue(settings: TaskQueueSettings, installation: str) -> str:
    """Return the name of the main task queue of this installation, which no other installation uses."""
    return main_task_queue(settings.temporal_task_queue, installation)


class ConnectionSettings(Protocol):
    """Where Temporal is; worker settings are one."""

    def temporal_connection(self) -> TemporalConnection:
        """Return address, namespace, TLS and API key; raise ConfigurationError."""

    @property
    def temporal_keys(self) -> Keychain | None:
        """What payloads are encrypted with; None: they are not."""


async def connect(
    settings: ConnectionSettings,
    *,
    runtime: Runtime | None = None,
    interceptors: Sequence[Interceptor] = (),
    for_worker: bool = False,
) -> Client:
    """Return a connected client; raise TemporalUnavailableError after the SDK's own short tries.

    Raises ConfigurationError for settings that can't be used, before anything is sent.

    `for_worker`: workflows run with it, which no message that can't be decrypted may stop (see `encryption`).
    """
    found = settings.temporal_connection()
    try:
        return await Client.connect(
            found.address,
            namespace=found.namespace,
            api_key=found.api_key,
            tls=found.tls,
            rpc_metadata=found.metadata,
            data_converter=encrypting_converter(
                settings.temporal_keys, secrets.token_bytes, reject_silently=for_worker
            ),
            runtime=runtime,
            interceptors=interceptors,
            identity=worker_identity() if for_worker else None,
        )
    except ValueError as error:
        raise ConfigurationError(f"{found.source}: no client can be made for {found.address!r}: {error}") from None
    except RuntimeError as error:
        raise _unavailable(found, str(error)) from None


def worker_release() -> str:
    """Return what a worker says of its release, in words that Temporal's Web UI shows, too."""
    return f"octy {__version__}, schema {SCHEMA_VERSION}"


def worker_identity() -> str:
    """Return under which name this process asks for work: the SDK's own, and its release."""
    return f"{os.getpid()}@{socket.gethostname()} ({worker_release()})"


def parse_release(identity: str) -> str:
    """Return the release that a worker's identity names."""
    _, found, release = identity.rstrip(")").partition(" (")
    return release if found else "unknown"


def permission_advice(error: RPCError) -> str:
    """Return what to do about a call that Temporal refused to this client, or nothing for any other error."""
    return _REFUSALS.get(error.status, "")


def unavailable_error(error: RPCError, what: str) -> TemporalUnavailableError:
    """Return what a call that failed means for a client that is connected."""
    wrong, _, to_do = (permission_advice(error) or f"{error.message} → look at Temporal's log").partition(" → ")
    return TemporalUnavailableError(f"{what}: {wrong}", to_do)


_REFUSALS = {
    RPCStatusCode.UNAUTHENTICATED: "Temporal does not accept the API key or client certificate → set TEMPORAL_API_KEY, "
    "or TEMPORAL_TLS_CLIENT_CERT_PATH and TEMPORAL_TLS_CLIENT_KEY_PATH, to valid ones",
    RPCStatusCode.PERMISSION_DENIED: "Temporal knows this client and does not let it do this → give its API key or "
    "certificate rights on the namespace, or set TEMPORAL_NAMESPACE to the one it has rights on",
}


def _unavailable(place: TemporalConnection, told: str) -> TemporalUnavailableError:
    """Return the error in our words: the SDK's text is the inside of its libraries."""
    where = f"{place.address} (namespace {place.namespace})"
    for marks, wrong, to_do in _TLS_ERRORS if place.tls else _PLAIN_ERRORS:
        if any(mark in told for mark in marks):
            return TemporalUnavailableError(f"Temporal at {where}: {wrong}", to_do)
    _logger.debug("temporal: %s", told)
    return TemporalUnavailableError(f"Temporal can't be reached at {where}", _START)


_START = "start it, or set TEMPORAL_ADDRESS; `octy doctor` looks at everything"
_AUTHENTICATION = (
    ("Unauthenticated",),
    "it does not accept the API key, or wants one",
    "set TEMPORAL_API_KEY to a valid key",
)
_PERMISSION = (
    ("PermissionDenied",),
    "this API key or certificate has no rights there",
    "give it rights on the namespace, or set TEMPORAL_NAMESPACE to the one that it has rights on",
)
# A server that misses a client certificate just closes, in TLS 1.3 after the handshake: at which step shows, is chance.
_CLOSED = (
    "CertificateRequired",
    "fatal alert",
    "error after connection",
    "UnexpectedEof",
    "BrokenPipe",
    "Reset",
    "losed",
)
_TLS_ERRORS = (  # what rustls and tonic call it, our words, what to do
    (
        ("UnknownIssuer",),
        "its certificate is of an authority that is not trusted here",
        "give that authority's certificate in TEMPORAL_TLS_SERVER_CA_CERT_PATH",
    ),
    (
        ("NotValidForName",),
        "its certificate is for another name",
        "set TEMPORAL_ADDRESS to a name that it is for, or TEMPORAL_TLS_SERVER_NAME",
    ),
    (("InvalidCertificate(Expired", "NotValidYet"), "its certificate has expired or is not valid yet", "renew it"),
    (("InvalidCertificate",), "its certificate can't be verified", "look at it with `openssl s_client`"),
    (
        ("KeyMismatch", "PrivateKeyParse", "CertificateParse", "InvalidClientCertificate"),
        "our client certificate and its key can't be read, or are not of one pair",
        "set TEMPORAL_TLS_CLIENT_CERT_PATH and TEMPORAL_TLS_CLIENT_KEY_PATH to PEM files of one pair",
    ),
    (
        ("InvalidContentType", "HandshakeNotComplete", "corrupt message"),
        "it does not speak TLS",
        "name another port, or a server that does",
    ),
    _AUTHENTICATION,
    _PERMISSION,
    (
        _CLOSED,
        "it ended the connection after the TLS handshake: it wants a client certificate that it trusts",
        "set TEMPORAL_TLS_CLIENT_CERT_PATH and TEMPORAL_TLS_CLIENT_KEY_PATH",
    ),
)
_PLAIN_ERRORS = (
    _AUTHENTICATION,
    _PERMISSION,
    (
        ("after connection",),
        "it is open, but does not answer as Temporal does without TLS",
        "set TEMPORAL_TLS=true where it speaks TLS, or another address",
    ),
)
