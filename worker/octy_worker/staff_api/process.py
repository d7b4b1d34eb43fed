"""The staff API as a server process of its own (`web.child_process`)."""

import asyncio
import logging
import secrets
import time
from collections.abc import MutableSequence
from ipaddress import ip_network

from octy_middleware.db.database import Database
from octy_middleware.db.schema_version import check_schema
from octy_middleware.errors import ConfigurationError, OctyError
from octy_middleware.loopback import is_loopback
from octy_worker.access.staff_settings import load_staff_access
from octy_worker.identity import keychains_of, verify_installation
from octy_worker.mail.mailer import SmtpMailer
from octy_worker.mail.renderer import MailRenderer
from octy_worker.settings import WorkerSettings
from octy_worker.staff_api.access import StaffOffice, server_of, trusted_proxies
from octy_worker.staff_api.app import build_staff_api
from octy_worker.staff_api.login_notices import FailedLoginMail
from octy_worker.staff_api.pages.app import staff_page_routes
from octy_worker.web import child_process
from octy_worker.web.connections import Limits
from octy_worker.web.web_server import WebServer, serve_until, stop_on_signals, web_server

_RESPONSE_TIMEOUT = 600.0  # seconds: a decision about many incidents takes its time

_CERTIFICATE_SETTINGS = "OCTY_STAFF_CERTIFICATE and OCTY_STAFF_PRIVATE_KEY"
_logger = logging.getLogger(__name__)


def check_settings(settings: WorkerSettings) -> None:
    """Raise ConfigurationError for settings with which the staff API can't be served. Reads no database."""
    if not settings.staff_port:
        return
    server_of(settings)
    trusted_proxies(settings)
    child_process.check_certificate(
        settings.staff_certificate, settings.staff_private_key, settings=_CERTIFICATE_SETTINGS
    )
    if not settings.staff_certificate and not is_loopback(settings.staff_host):
        raise ConfigurationError(
            f"OCTY_STAFF_HOST: without OCTY_STAFF_CERTIFICATE the staff API listens on loopback only, not on "
            f"{settings.staff_host} → set certificate and private key, or 127.0.0.1 with a reverse proxy before it"
        )
    if settings.staff_keys is None:
        raise ConfigurationError("OCTY_STAFF_KEYS is not set, and the staff API needs it → run `octy secrets`")
    if settings.staff_auth == "off":
        raise ConfigurationError("OCTY_STAFF_AUTH is off, and the staff API is for signed orders → remove it")


def staff_server(
    settings: WorkerSettings, office: StaffOffice, counters: MutableSequence[float] | None = None
) -> WebServer:
    """Return the web server of the staff API, not listening yet."""
    return web_server(
        build_staff_api(office, staff_page_routes(settings, office)),
        host=settings.staff_host,
        port=settings.staff_port,
        certificate=settings.staff_certificate,
        private_key=settings.staff_private_key,
        limits=_limits_of(settings),
        counters=counters,
    )


def serve(settings: WorkerSettings, counters: MutableSequence[float] | None = None) -> int:
    """Serve the staff API in this process until SIGTERM or SIGINT; return the exit code."""
    database = Database(settings.database_url)
    try:
        check_settings(settings)
        check_schema(database)
        installation = verify_installation(database, keychains_of(settings), time.time())
        staff = load_staff_access(settings, installation, secrets.token_bytes)
        assert staff is not None, "check_settings has seen the keys"
        mails = FailedLoginMail(database, staff.members, SmtpMailer(settings), MailRenderer(settings), settings)
        office = StaffOffice(settings, database, installation=installation, staff=staff, send_mail=mails.send)
        asyncio.run(_serve(staff_server(settings, office, counters)))
    except (OctyError, OSError) as error:
        _logger.error("staff API: %s", str(error).partition("\n")[0])  # noqa: TRY400  # the message is enough
        return 1
    finally:
        database.close()
    return 0


async def _serve(server: WebServer) -> None:
    await serve_until(stop_on_signals(), server, "the staff API")


async def supervise(settings: WorkerSettings, stop: asyncio.Event, counters: MutableSequence[float]) -> None:
    """Run the staff API in a child process until `stop` is set. One that can't start does not stop the worker."""
    server = child_process.ServerProcess("staff API", serve, uses_temporal=True)
    await child_process.supervise(server, settings, stop, counters)


def _limits_of(settings: WorkerSettings) -> Limits:
    """Return the connection limits. Without a certificate every peer is a proxy; with one, those that are named."""
    proxies = tuple(ip_network(entry) for entry in settings.staff_proxies if entry != "unix")
    return Limits(response_timeout=_RESPONSE_TIMEOUT, exempt=proxies if settings.staff_certificate else None)
