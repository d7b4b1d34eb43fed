"""What is reached over the network: Temporal, the mail server, the customers' pages.

Here: looks. No mail is sent, nobody is logged in, no workflow is touched.
"""

import asyncio
import json
import smtplib
import socket
import ssl
import urllib.error
import urllib.request
from urllib.parse import urlsplit

from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from octy_middleware.errors import ConfigurationError
from octy_middleware.loopback import is_loopback
from octy_worker import search_attributes
from octy_worker.cli.checks.check import Check, fine, unchecked, wrong
from octy_worker.cli.exits import UnavailableError
from octy_worker.cli.surroundings import now
from octy_worker.cli.temporal_place import TemporalPlace, reach, unpolled
from octy_worker.mail.addresses import Sender
from octy_worker.settings import WorkerSettings
from octy_worker.temporal import main_queue, refusal_of
from octy_worker.temporal_connection import TemporalConnection
from octy_worker.versions import known_versions

_TIMEOUT = 10.0  # seconds
_ATTRIBUTES = "search attributes"
_INSIDE = (_ATTRIBUTES, "worker")  # of a namespace
_HEALTHY = {"status": "ok"}
_REFUSED = 400  # SMTP answers from there on
_OUT_OF_TIME = {  # OpenSSL's X509_V_ERR_CERT_NOT_YET_VALID, X509_V_ERR_CERT_HAS_EXPIRED
    9: "it is not valid yet: is this host's clock right?",
    10: "renew the certificate, and have its server read the new one",
}


def look_at_temporal(settings: WorkerSettings, installation: str | None) -> list[Check]:
    """Look for the server, the namespace, its search attributes, and a worker that asks for this installation's work.

    `installation` is None when the database did not tell.
    """
    place = TemporalPlace.of(settings)
    task_queue = None if installation is None else main_queue(settings, installation)
    searchable = settings.temporal_search_attributes == "auto"
    return asyncio.run(_look_at_temporal(place, task_queue, searchable=searchable))


async def _look_at_temporal(place: TemporalPlace, task_queue: str | None, *, searchable: bool) -> list[Check]:
    wanting = [unchecked(name, "needs Temporal") for name in ("namespace", *_INSIDE)]
    try:
        connection = place.temporal_connection()
    except ConfigurationError as error:
        return [wrong("Temporal", *str(error).split(" → ", 1)), *wanting]
    try:
        client = await reach(place)
    except UnavailableError as error:
        return [_unreachable(connection, error), *wanting]
    except ConfigurationError as error:
        return [wrong("Temporal", str(error)), *wanting]
    found = fine("Temporal", _described(connection))
    namespace = await _look_at_namespace(client, connection.namespace)
    if namespace.to_do:
        return [found, namespace, *(unchecked(name, "needs the namespace") for name in _INSIDE)]
    attributes = await _look_at_search_attributes(client) if searchable else fine(_ATTRIBUTES, "switched off")
    checks = [found, namespace, attributes, await _look_at_worker(client, task_queue)]
    return [*checks, await _look_at_version(client, place)] if place.temporal_deployment else checks


def _described(connection: TemporalConnection) -> str:
    """Name the server, how it is reached, and whether that is in clear by permission."""
    allowed = "; in clear beyond this machine, as OCTY_TEMPORAL_PLAINTEXT allows" if connection.leaves_in_clear else ""
    return f"{connection.address}, {connection.security}{allowed}"


def _unreachable(connection: TemporalConnection, error: UnavailableError) -> Check:
    """Say at which point the way to Temporal ends: nothing listens there, or what TLS or the server said."""
    address = connection.address
    try:
        with socket.create_connection((connection.host.strip("[]"), int(address.rpartition(":")[2])), _TIMEOUT):
            return wrong("Temporal", *str(error).split(" → ", 1))
    except (OSError, OverflowError) as fault:
        return wrong("Temporal", f"{address}: {_why(fault)}", f"start it, or set {connection.setting}")


async def _look_at_namespace(client: Client, name: str) -> Check:
    try:
        await client.workflow_service.describe_namespace(DescribeNamespaceRequest(namespace=name))
    except RPCError as error:
        if error.status is RPCStatusCode.NOT_FOUND:
            to_do = f"set TEMPORAL_NAMESPACE, or: temporal operator namespace create --namespace {name}"
            return wrong("namespace", f"there is no {name!r}", to_do)
        refusal = refusal_of(error) or f"{error.message} → look at Temporal's log"
        return wrong("namespace", *refusal.split(" → ", 1))
    return fine("namespace", name)


async def _look_at_search_attributes(client: Client) -> Check:
    try:
        names = await search_attributes.missing(client)
    except ConfigurationError as error:
        return wrong(_ATTRIBUTES, str(error))
    except RPCError as error:
        return wrong(_ATTRIBUTES, error.message, search_attributes.OFF.removeprefix("or "))
    if names:
        to_do = f"start `octy worker`, which adds them; or: {search_attributes.how_to_add(client.namespace, names)}"
        return wrong(_ATTRIBUTES, f"Temporal does not know {', '.join(names)}", to_do)
    return fine(_ATTRIBUTES, ", ".join(search_attributes.TYPES))


async def _look_at_worker(client: Client, queue: str | None) -> Check:
    if queue is None:
        return unchecked("worker", "needs the database, which names its task queue")
    try:
        missing = await unpolled(client, queue, now())
    except RPCError as error:
        return wrong("worker", error.message, "look at Temporal's log")
    if not missing:
        return fine("worker", f"one asks for work on the task queue {queue!r} and on those beside it")
    if queue in missing:
        return wrong("worker", f"none asks for work on the task queue {queue!r}", "start `octy worker`")
    names = ", ".join(map(repr, missing))
    return wrong("worker", f"none asks for work on the task queue {names}", "start `octy worker` of this release")


async def _look_at_version(client: Client, place: TemporalPlace) -> Check:
    """Look which release of the worker is given the workflows, where releases are versioned."""
    deployment, ours = place.temporal_deployment, place.temporal_build_id
    try:
        current = [version.build_id for version in await known_versions(client, deployment) if version.current]
    except RPCError as error:
        return wrong("version", error.message, "look at Temporal's log")
    if current == [ours]:
        return fine("version", f"{deployment}: {ours} is current")
    has = f"{current[0]} is current, here is {ours}" if current else "none is current: nothing moves"
    return wrong("version", f"{deployment}: {has}", "octy temporal promote")


def look_at_mail_server(settings: WorkerSettings) -> Check:
    """Connect, change to verified TLS, log in, and name the sender as for a mail; then take that back."""
    place = f"{settings.smtp_host}:{settings.smtp_port}"
    try:
        context = ssl.create_default_context()
        if settings.smtp_ca_file:
            context.load_verify_locations(cafile=settings.smtp_ca_file)
    except OSError as error:
        return wrong("mail server", f"OCTY_SMTP_CA_FILE: {settings.smtp_ca_file}: {_why(error)}", "name a PEM file")
    try:
        _greet(settings, context)
    except ssl.SSLCertVerificationError as error:
        to_do = "give the authority's certificate in OCTY_SMTP_CA_FILE, and the name it is for in OCTY_SMTP_HOST"
        return wrong("mail server", f"{place}: {_why(error)}", _time_of(error) or to_do)
    except smtplib.SMTPNotSupportedError:
        return wrong("mail server", f"{place} offers no STARTTLS", "use another port, or OCTY_SMTP_SECURITY=tls")
    except smtplib.SMTPResponseException as error:
        return _refused(place, error)
    except OSError as error:  # smtplib's own are among them
        return wrong("mail server", f"{place}: {_why(error)}", "start it, or set OCTY_SMTP_HOST and OCTY_SMTP_PORT")
    return fine("mail server", f"{place}, verified TLS, the sender is taken")


def _greet(settings: WorkerSettings, context: ssl.SSLContext) -> None:
    timeout = min(settings.smtp_timeout, _TIMEOUT)
    if settings.smtp_security == "tls":
        with smtplib.SMTP_SSL(settings.smtp_host, settings.smtp_port, timeout=timeout, context=context) as server:
            _begin_mail(server, settings)
        return
    with smtplib.SMTP(settings.smtp_host, settings.smtp_port, timeout=timeout) as server:
        server.starttls(context=context)
        _begin_mail(server, settings)


def _refused(place: str, error: smtplib.SMTPResponseException) -> Check:
    if isinstance(error, smtplib.SMTPAuthenticationError):
        found = f"{place} refuses the login with {error.smtp_code}"
        return wrong("mail server", found, "correct OCTY_SMTP_USER and OCTY_SMTP_PASSWORD")
    found = f"{place} answers {error.smtp_code} where a mail would begin, so none leaves"
    return wrong("mail server", found, "see the mail server's log; does it take mails from OCTY_MAIL_FROM?")


def _begin_mail(server: smtplib.SMTP, settings: WorkerSettings) -> None:
    """Say all that comes before a recipient, and take it back; raise what the server refuses."""
    server.ehlo()
    if settings.smtp_user:
        server.login(settings.smtp_user, settings.smtp_password.get_secret_value())
    try:
        sender = Sender.parse(settings.mail_from)
    except ConfigurationError:  # another look tells
        return
    code, answer = server.mail(sender.address)
    if code >= _REFUSED:
        raise smtplib.SMTPResponseException(code, answer)
    server.rset()


def look_at_pages(settings: WorkerSettings) -> Check:
    """Ask the pages for their health, where customers reach them and over verified TLS."""
    url = f"{settings.public_url}/healthz"
    try:
        https = urllib.request.HTTPSHandler(context=_trust_for_pages(settings))
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), https)
        with opener.open(url, timeout=_TIMEOUT) as answer:
            found = json.loads(answer.read(1000))
    except urllib.error.HTTPError as error:
        with error:
            return wrong("pages", f"{url} answers {error.code}", "does OCTY_PUBLIC_URL lead to the pages?")
    except (OSError, ValueError) as error:
        return wrong("pages", f"{url}: {_why(error)}", _time_of(error) or "start `octy worker`, or set OCTY_PUBLIC_URL")
    if found != _HEALTHY:
        return wrong("pages", f"{url} is answered by something else", "does OCTY_PUBLIC_URL lead to the pages?")
    return fine("pages", url)


def _trust_for_pages(settings: WorkerSettings) -> ssl.SSLContext:
    """Trust what customers trust; for pages on this machine, as of `octy dev`, also the mail server's authority."""
    context = ssl.create_default_context()
    if settings.smtp_ca_file and is_loopback(urlsplit(settings.public_url).hostname or ""):
        context.load_verify_locations(cafile=settings.smtp_ca_file)
    return context


def _time_of(error: Exception) -> str:
    """Return what to do about a certificate out of its time; nothing for other faults."""
    if isinstance(error, urllib.error.URLError) and isinstance(error.reason, Exception):
        return _time_of(error.reason)
    return _OUT_OF_TIME.get(error.verify_code, "") if isinstance(error, ssl.SSLCertVerificationError) else ""


def _why(error: Exception) -> str:
    """Return the fault in a few words."""
    if isinstance(error, urllib.error.URLError) and isinstance(error.reason, Exception):
        return _why(error.reason)
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted: {error.verify_message}"
    return (error.strerror if isinstance(error, OSError) else "") or str(error) or type(error).__name__
