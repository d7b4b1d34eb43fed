"""Connecting to Temporal, and error texts for failed connections and missing permissions."""

import logging
import os
import secrets
import socket
from collections.abc import Sequence

from temporalio.client import Client, Interceptor
from temporalio.runtime import Runtime
from temporalio.service import RPCError, RPCStatusCode

from octy_middleware._version import __version__
from octy_middleware.db.schema_version import SCHEMA_VERSION
from octy_middleware.errors import ConfigurationError
from octy_worker.errors import UnavailableError
from octy_worker.settings import TemporalAccess
from octy_worker.temporal.codec import encrypting_converter
from octy_worker.temporal_connection import TemporalConnection
from octy_workflows.messages import main_task_queue

_logger = logging.getLogger(__name__)


def main_queue(settings: TemporalAccess, installation: str) -> str:
    """Return the name of the main task queue of this installation, which no other installation uses."""
    return main_task_queue(settings.temporal_task_queue, installation)


async def connect(
    settings: TemporalAccess,
    *,
    runtime: Runtime | None = None,
    interceptors: Sequence[Interceptor] = (),
    for_worker: bool = False,
) -> Client:
    """Return a connected client; raise UnavailableError after the SDK's retries.

    Raises ConfigurationError for settings that can't be used, before anything is sent.

    `for_worker`: payloads that can't be decrypted must not fail workflow tasks (see `codec`).
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
        raise ConfigurationError(f"{found.source}: invalid connection to {found.address!r}: {error}") from None
    except RuntimeError as error:
        raise _connection_error(found, str(error)) from None


def worker_release() -> str:
    """Return release and schema version, as shown in Temporal's Web UI."""
    return f"octy {__version__}, schema {SCHEMA_VERSION}"


def worker_identity() -> str:
    """Return the identity of this worker: the SDK's default, and the release."""
    return f"{os.getpid()}@{socket.gethostname()} ({worker_release()})"


def parse_release(identity: str) -> str:
    """Return the release in a worker's identity."""
    _, found, release = identity.rstrip(")").partition(" (")
    return release if found else "unknown"


def permission_advice(error: RPCError) -> str:
    """Return what to do about an authentication or permission error; an empty text for other errors."""
    return _REFUSALS.get(error.status, "")


def unavailable_error(error: RPCError, what: str) -> UnavailableError:
    """Return the error for a failed call of a connected client."""
    wrong, _, to_do = (permission_advice(error) or f"{error.message} → check Temporal's log").partition(" → ")
    return UnavailableError(f"{what}: {wrong}", to_do)


_REFUSALS = {
    RPCStatusCode.UNAUTHENTICATED: "Temporal rejects the API key or client certificate → set TEMPORAL_API_KEY, "
    "or TEMPORAL_TLS_CLIENT_CERT_PATH and TEMPORAL_TLS_CLIENT_KEY_PATH, to valid ones",
    RPCStatusCode.PERMISSION_DENIED: "Temporal denies this client permission → grant its API key or certificate "
    "access to the namespace, or set TEMPORAL_NAMESPACE to one that it has access to",
}


def _connection_error(connection: TemporalConnection, text: str) -> UnavailableError:
    """Return the error with a text of ours: the SDK's text comes from inside its libraries."""
    where = f"{connection.address} (namespace {connection.namespace})"
    for marks, wrong, to_do in _TLS_ERRORS if connection.tls else _PLAIN_ERRORS:
        if any(mark in text for mark in marks):
            return UnavailableError(f"Temporal at {where}: {wrong}", to_do)
    _logger.debug("temporal: %s", text)
    return UnavailableError(f"Temporal can't be reached at {where}", _START)


_START = "start it, or set TEMPORAL_ADDRESS; `octy doctor` checks everything"
_AUTHENTICATION = (
    ("Unauthenticated",),
    "it rejects the API key, or requires one",
    "set TEMPORAL_API_KEY to a valid key",
)
_PERMISSION = (
    ("PermissionDenied",),
    "this API key or certificate has no permission there",
    "grant it access to the namespace, or set TEMPORAL_NAMESPACE to one that it has access to",
)
# A server that requires a client certificate closes the connection, in TLS 1.3 after the handshake; the error varies.
_CLOSED = (
    "CertificateRequired",
    "fatal alert",
    "error after connection",
    "UnexpectedEof",
    "BrokenPipe",
    "Reset",
    "losed",
)
_TLS_ERRORS = (  # markers in texts of rustls and tonic, what is wrong, what to do
    (
        ("UnknownIssuer",),
        "its certificate is signed by an untrusted authority",
        "set TEMPORAL_TLS_SERVER_CA_CERT_PATH to the certificate of that authority",
    ),
    (
        ("NotValidForName",),
        "its certificate is for another name",
        "set TEMPORAL_ADDRESS to a name in the certificate, or set TEMPORAL_TLS_SERVER_NAME",
    ),
    (("InvalidCertificate(Expired", "NotValidYet"), "its certificate has expired or is not valid yet", "renew it"),
    (("InvalidCertificate",), "its certificate can't be verified", "inspect it with `openssl s_client`"),
    (
        ("KeyMismatch", "PrivateKeyParse", "CertificateParse", "InvalidClientCertificate"),
        "our client certificate and its key can't be read, or don't match",
        "set TEMPORAL_TLS_CLIENT_CERT_PATH and TEMPORAL_TLS_CLIENT_KEY_PATH to matching PEM files",
    ),
    (
        ("InvalidContentType", "HandshakeNotComplete", "corrupt message"),
        "it does not speak TLS",
        "use another port, or a server that speaks TLS",
    ),
    _AUTHENTICATION,
    _PERMISSION,
    (
        _CLOSED,
        "it closed the connection after the TLS handshake: it requires a client certificate that it trusts",
        "set TEMPORAL_TLS_CLIENT_CERT_PATH and TEMPORAL_TLS_CLIENT_KEY_PATH",
    ),
)
_PLAIN_ERRORS = (
    _AUTHENTICATION,
    _PERMISSION,
    (
        ("after connection",),
        "the port is open, but does not answer like Temporal without TLS",
        "set TEMPORAL_TLS=true if it speaks TLS, or use another address",
    ),
)
