"""The staff API: its settings, its certificate's end, and whether it answers at the URL that staff use."""

import http.client
import urllib.error
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography.x509 import load_pem_x509_certificate

from octy_middleware.errors import ConfigurationError
from octy_worker.cli.doctor.check import Check, passed, unchecked
from octy_worker.cli.doctor.network import error_text, fetch_json
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
        found = fetch_json(url, here=[settings.smtp_ca_file, settings.staff_certificate])
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
