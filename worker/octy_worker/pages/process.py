"""The pages as a server process of their own (`web.child_process`), open to the Internet."""

import asyncio
import logging
import secrets
import time
from collections.abc import MutableSequence

from octy_middleware.db.database import Database
from octy_middleware.db.schema_version import check_schema
from octy_middleware.errors import OctyError
from octy_worker.crypto.links import Links
from octy_worker.crypto.sealed_box import Sealer
from octy_worker.identity import keychains_of, verify_installation
from octy_worker.pages.app import build_pages
from octy_worker.settings import WorkerSettings
from octy_worker.web import child_process
from octy_worker.web.connections import Limits
from octy_worker.web.web_server import WebServer, serve_until, stop_on_signals, web_server

_CERTIFICATE_SETTINGS = "OCTY_PAGES_CERTIFICATE and OCTY_PAGES_PRIVATE_KEY"
_logger = logging.getLogger(__name__)


def limits_of(settings: WorkerSettings) -> Limits:
    """Return the connection limits. Without a certificate a proxy terminates TLS, and every peer is that proxy."""
    return Limits(
        connections=settings.pages_max_connections,
        per_address=settings.pages_max_connections_per_address,
        exempt=settings.pages_proxies if settings.pages_certificate else None,
    )


def check_certificate(settings: WorkerSettings) -> None:
    """Raise ConfigurationError with the names of the settings when certificate and private key can't be loaded."""
    child_process.check_certificate(
        settings.pages_certificate, settings.pages_private_key, settings=_CERTIFICATE_SETTINGS
    )


def pages_server(
    settings: WorkerSettings, database: Database, counters: MutableSequence[float] | None = None
) -> WebServer:
    """Return the web server of the pages, not listening yet."""
    links = Links(settings.link_keys, settings.public_url)
    sealer = Sealer(settings.sealing_keys, secrets.token_bytes)
    return web_server(
        build_pages(settings, database, links, sealer, time.time),
        host=settings.pages_host,
        port=settings.pages_port,
        certificate=settings.pages_certificate,
        private_key=settings.pages_private_key,
        limits=limits_of(settings),
        counters=counters,
    )


def serve(settings: WorkerSettings, counters: MutableSequence[float] | None = None) -> int:
    """Serve the pages in this process until SIGTERM or SIGINT; return the exit code."""
    check_certificate(settings)
    database = Database(settings.database_url)
    try:
        check_schema(database)
        verify_installation(database, keychains_of(settings), time.time())
        asyncio.run(_serve(pages_server(settings, database, counters)))
    except (OctyError, OSError) as error:
        _logger.error("pages: %s", str(error).partition("\n")[0])  # noqa: TRY400  # the message is enough
        return 1
    finally:
        database.close()
    return 0


async def _serve(server: WebServer) -> None:
    await serve_until(stop_on_signals(), server, "the pages")


async def supervise(settings: WorkerSettings, stop: asyncio.Event, counters: MutableSequence[float]) -> None:
    """Run the pages in a child process until `stop` is set. Pages that can't start do not stop the worker."""
    await child_process.supervise(child_process.ServerProcess("pages", serve), settings, stop, counters)
