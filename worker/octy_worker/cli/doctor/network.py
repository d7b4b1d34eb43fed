"""The mail server, the customers' pages and the codec server, over the network. No mail is sent."""

import http.client
import json
import smtplib
import ssl
import urllib.error
import urllib.request
from collections.abc import Iterable
from typing import Any
from urllib.parse import urlsplit

from octy_middleware.addresses import normalize_mail_address
from octy_middleware.errors import ConfigurationError
from octy_middleware.loopback import is_loopback
from octy_worker.cli.doctor.check import Check, passed, unchecked
from octy_worker.cli.doctor.problems import problem
from octy_worker.mail.addresses import Sender
from octy_worker.settings import WorkerSettings
from octy_worker.tls import client_context

TIMEOUT = 10.0  # seconds
_MAX_BYTES = 10_000  # of a response
_HEALTHY = {"status": "ok"}
_REFUSED = 400  # SMTP answers from there on
_CERTIFICATE_FAULTS = {
    9: "not-yet-valid",
    10: "expired",
}  # OpenSSL's X509_V_ERR_CERT_NOT_YET_VALID, X509_V_ERR_CERT_HAS_EXPIRED
_CODEC = "codec server"
_UNAUTHORIZED = 401


def check_mail_server(settings: WorkerSettings) -> Check:
    """Connect over verified TLS, log in, send MAIL FROM and RCPT TO as for a mail; then reset."""
    place = f"{settings.smtp_host}:{settings.smtp_port}"
    try:
        context = client_context()
        if settings.smtp_ca_file:
            context.load_verify_locations(cafile=settings.smtp_ca_file)
    except OSError as error:
        return problem("ca-file-unreadable", file=settings.smtp_ca_file, error=error_text(error))
    try:
        return _connect(settings, context, place) or passed("mail server", f"{place}, verified TLS, sender accepted")
    except ssl.SSLCertVerificationError as error:
        return problem(
            f"mail-server-certificate-{_certificate_problem(error) or 'refused'}", place=place, error=error_text(error)
        )
    except smtplib.SMTPNotSupportedError:
        return problem("mail-server-without-tls", place=place)
    except smtplib.SMTPResponseException as error:
        return _refusal(error, place)
    except (OSError, UnicodeError) as error:  # smtplib's own are among the former; the latter: no name of a host
        return problem("mail-server-unreachable", place=place, error=error_text(error))


def _connect(settings: WorkerSettings, context: ssl.SSLContext, place: str) -> Check | None:
    timeout = min(settings.smtp_timeout, TIMEOUT)
    if settings.smtp_security == "tls":
        with smtplib.SMTP_SSL(settings.smtp_host, settings.smtp_port, timeout=timeout, context=context) as server:
            return _begin_mail(server, settings, place)
    with smtplib.SMTP(settings.smtp_host, settings.smtp_port, timeout=timeout) as server:
        server.starttls(context=context)
        return _begin_mail(server, settings, place)


def _refusal(error: smtplib.SMTPResponseException, place: str) -> Check:
    if error.smtp_code < 0:  # smtplib's own: what was read is no answer of SMTP
        return problem("mail-server-unreachable", place=place, error="another program responds")
    of_login = isinstance(error, smtplib.SMTPAuthenticationError)
    refused = "mail-server-refuses-login" if of_login else "mail-server-refuses"
    return problem(refused, place=place, code=error.smtp_code)


def _begin_mail(server: smtplib.SMTP, settings: WorkerSettings, place: str) -> Check | None:
    """Do what comes before a mail's data, then reset. The recipient is an address from the settings."""
    server.ehlo()
    if settings.smtp_user:
        server.login(settings.smtp_user, settings.smtp_password.get_secret_value())
    try:
        sender = Sender.parse(settings.mail_from)
    except ConfigurationError:  # another check reports it
        return None
    code, _ = server.mail(sender.address)
    if code >= _REFUSED:
        return problem("mail-server-refuses-sender", place=place, code=code)
    recipient = settings.support_digest_to or normalize_mail_address(settings.support_contact)
    if recipient:
        code, _ = server.rcpt(recipient)
        if code >= _REFUSED:
            return problem("mail-server-refuses-recipient", place=place, code=code, recipient=recipient)
    server.rset()
    return None


def check_pages(settings: WorkerSettings) -> Check:
    """Request the pages' health check at the public URL, over verified TLS."""
    url = f"{settings.public_url}/healthz"
    try:
        found = fetch_json(url, here=[settings.smtp_ca_file])
    except urllib.error.HTTPError as error:
        with error:
            return problem("pages-error-status", url=url, status=error.code)
    except ValueError:  # no JSON
        return problem("pages-wrong-server", url=url)
    except (OSError, http.client.HTTPException) as error:
        kind = _certificate_problem(error)
        return problem(f"pages-certificate-{kind}" if kind else "pages-unreachable", url=url, error=error_text(error))
    return passed("pages", url) if found == _HEALTHY else problem("pages-wrong-server", url=url)


def check_codec_server(settings: WorkerSettings) -> Check:
    """Check that the codec server runs, where payloads are encrypted and OCTY_CODEC_URL is not none."""
    url = settings.codec_url
    if settings.temporal_keys is None:
        return passed(_CODEC, "not needed: payloads are not encrypted")
    if url == "none":
        return passed(_CODEC, "off: OCTY_CODEC_URL is none, so Temporal's Web UI does not show payloads")
    try:
        namespace = settings.temporal_connection().namespace
    except ConfigurationError:
        return unchecked(_CODEC, "Temporal's settings are not usable")
    error = _codec_server_problem(url, namespace)
    return problem("codec-server-missing", url=url, error=error) if error else passed(_CODEC, url)


def _codec_server_problem(url: str, namespace: str) -> str:
    """Return what is wrong with the codec server, by a request to decode nothing; 401 also shows that it is one."""
    headers = {"Content-Type": "application/json", "X-Namespace": namespace}
    request = urllib.request.Request(f"{url}/decode", b'{"payloads": []}', headers)  # noqa: S310  # the operator's URL
    try:
        fetch_json(request)
    except urllib.error.HTTPError as error:
        with error:
            return "" if error.code == _UNAUTHORIZED else f"it responds with status {error.code}"
    except ValueError:
        return "another program responds"
    except (OSError, http.client.HTTPException) as error:
        return error_text(error)
    return ""


def fetch_json(request: urllib.request.Request | str, *, here: Iterable[str] = ()) -> Any:
    """Return the JSON that a server responds with; see `open_url`. Raises ValueError when it is none."""
    with open_url(request, here=here) as response:
        return json.loads(response.read(_MAX_BYTES))


def open_url(request: urllib.request.Request | str, *, here: Iterable[str] = ()) -> Any:
    """Return a server's response, past any proxy. Raises OSError or HTTPException.

    The public CAs are trusted, as by customers and staff; for a server on this machine, as in `octy dev`, also those in
    the files `here`.
    """
    url = request if isinstance(request, str) else request.full_url
    context = client_context()
    if is_loopback(urlsplit(url).hostname or ""):
        for file in filter(None, here):
            context.load_verify_locations(cafile=file)
    https = urllib.request.HTTPSHandler(context=context)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), https)
    try:
        return opener.open(request, timeout=TIMEOUT)
    except UnicodeError as error:  # no name of a host
        raise OSError(str(error)) from None


def _certificate_problem(error: Exception) -> str:
    """Return `expired` or `not-yet-valid` for an error of a certificate's validity period; "" for other errors."""
    if isinstance(error, urllib.error.URLError) and isinstance(error.reason, Exception):
        return _certificate_problem(error.reason)
    return _CERTIFICATE_FAULTS.get(error.verify_code, "") if isinstance(error, ssl.SSLCertVerificationError) else ""


def error_text(error: Exception) -> str:
    """Return an error in a few words."""
    if isinstance(error, urllib.error.URLError) and isinstance(error.reason, Exception):
        return error_text(error.reason)
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted: {error.verify_message}"
    return (error.strerror if isinstance(error, OSError) else "") or str(error) or type(error).__name__
