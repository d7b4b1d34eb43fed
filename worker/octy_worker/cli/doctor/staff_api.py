"""The staff API: its settings, its certificate's end, and whether it answers at the URL that staff use."""

import http.client
import json
import ssl
import urllib.error
import urllib.request
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

from cryptography.x509 import load_pem_x509_certificate

from octy_middleware.errors import ConfigurationError
from octy_middleware.loopback import is_loopback
from octy_worker.cli.doctor.check import Check, passed, unchecked
from octy_worker.cli.doctor.network import TIMEOUT, error_text
from octy_worker.cli.doctor.problems import problem
from octy_worker.settings import WorkerSettings
from octy_worker.staff_api.access import server_of
from octy_worker.staff_api.process import check_settings
from octy_worker.staff_api.wire import PREFIX

_NAME = "staff API"
_RENEWED_BEFORE = timedelta(days=14)


def check_staff_api(settings: WorkerSettings, installation: str, now: datetime | None = None) -> Check:
    """Check the staff API, if this host serves one or staff have a URL. `installation`: this one's id, or empty."""
    if not settings.staff_port and not settings.staff_url:
        return passed(_NAME, "not served: OCTY_STAFF_PORT is 0")
    try:
        check_settings(settings)
        server = server_of(settings)
    except ConfigurationError as error:
        return problem("staff-api-refused", error=error)
    if settings.staff_port and settings.staff_certificate:
        ends = load_pem_x509_certificate(Path(settings.staff_certificate).read_bytes()).not_valid_after_utc
        if ends - (now or datetime.now(UTC)) < _RENEWED_BEFORE:
            return problem("staff-api-certificate-expiring", file=settings.staff_certificate, ends=f"{ends:%Y-%m-%d}")
    return _reach(settings, server, installation)


def _reach(settings: WorkerSettings, server: str, installation: str) -> Check:
    url = f"{server}{PREFIX}/installation"
    try:
        https = urllib.request.HTTPSHandler(context=_trust(settings, server))
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), https)
        with opener.open(url, timeout=TIMEOUT) as response:
            found = json.loads(response.read(10_000))
        told, url_told = found["installation"], found["server"]
    except urllib.error.HTTPError as error:
        with error:
            return problem("staff-api-wrong-server", url=url, found=f"status {error.code}")
    except (ValueError, KeyError, TypeError):
        return problem("staff-api-wrong-server", url=url, found="another program")
    except (OSError, http.client.HTTPException) as error:
        return problem("staff-api-unreachable", url=url, error=error_text(error))
    if not installation:
        return unchecked(_NAME, "the database has no installation id to compare")
    if told != installation or url_told != server:
        return problem("staff-api-wrong-server", url=url, found=f"installation {told} at {url_told}")
    return passed(_NAME, server)


def _trust(settings: WorkerSettings, server: str) -> ssl.SSLContext:
    """Trust the system's authorities; on this machine, as in `octy dev`, also the mail server's and the API's own."""
    context = ssl.create_default_context()
    if is_loopback(urlsplit(server).hostname or ""):
        for file in (settings.smtp_ca_file, settings.staff_certificate):
            if file:
                context.load_verify_locations(cafile=file)
    return context
