"""The mail sink: receives every mail over SMTP with STARTTLS and serves the inbox page. Runs as a child process.

A mail is acknowledged with 250 only when it is on disk, as by a real relay.
"""

import argparse
import asyncio
import logging
import ssl
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import uvicorn
from aiosmtpd.smtp import SMTP, Envelope, Session

from octy_worker.dev import LOOPBACK
from octy_worker.dev.certificates import Certificate
from octy_worker.dev.inbox import Inbox, store_mail
from octy_worker.dev.inbox_page import inbox_page

_SIZE_LIMIT = 1_000_000  # bytes of one mail

_log = logging.getLogger(__name__)


class SinkHandler:  # pragma: no cover - SIGTERM ends its process
    """Stores received mails, one file for each recipient."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802, ARG002
        """Return 250 when every copy is on disk, 451 when one could not be written."""
        content = envelope.original_content or b""
        try:
            for recipient in envelope.rcpt_tos:
                now = datetime.now(UTC)
                await asyncio.to_thread(store_mail, self._folder, envelope.mail_from or "", recipient, content, now)
        except OSError as error:
            _log.error("mail could not be stored: %s", error)
            return "451 4.3.0 could not be stored, try again"
        return "250 2.0.0 stored"


def smtp_factory(folder: Path, tls: ssl.SSLContext) -> SMTP:  # pragma: no cover - SIGTERM ends its process
    """Return the SMTP server of one connection. Before STARTTLS it accepts only EHLO, NOOP and QUIT."""
    return SMTP(
        SinkHandler(folder),
        data_size_limit=_SIZE_LIMIT,
        enable_SMTPUTF8=True,
        hostname="localhost",
        ident="octy mail sink",
        tls_context=tls,
        require_starttls=True,
        timeout=60,
    )


async def serve(
    folder: Path, tls: ssl.SSLContext, *, smtp_port: int, page_port: int
) -> None:  # pragma: no cover - SIGTERM ends its process
    """Serve both until a signal ends the process: the server of the page passes signals on to it."""
    await asyncio.get_running_loop().create_server(lambda: smtp_factory(folder, tls), LOOPBACK, smtp_port)
    page = uvicorn.Server(
        uvicorn.Config(
            inbox_page(Inbox(folder)),
            host=LOOPBACK,
            port=page_port,
            proxy_headers=False,
            access_log=False,
            log_level="warning",
            lifespan="off",
        )
    )
    await page.serve()


def sink_command(folder: Path, certificate: Certificate, *, smtp_port: int, page_port: int) -> list[str]:
    """Return the command line that runs this module."""
    return [
        *(sys.executable, "-m", "octy_worker.dev.mail_sink", "--folder", str(folder)),
        *("--certificate", str(certificate.chain), "--private-key", str(certificate.key)),
        *("--smtp-port", str(smtp_port), "--page-port", str(page_port)),
    ]


def main(arguments: Sequence[str]) -> None:  # pragma: no cover - SIGTERM ends its process
    """Parse the arguments and serve."""
    parser = argparse.ArgumentParser(prog="octy_worker.dev.mail_sink")
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--smtp-port", type=int, required=True)
    parser.add_argument("--page-port", type=int, required=True)
    parser.add_argument("--certificate", type=Path, required=True)
    parser.add_argument("--private-key", type=Path, required=True)
    given = parser.parse_args(arguments)
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", level=logging.WARNING)
    given.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(given.certificate, given.private_key)
    asyncio.run(serve(given.folder, tls, smtp_port=given.smtp_port, page_port=given.page_port))


if __name__ == "__main__":  # pragma: no cover - SIGTERM ends its process
    main(sys.argv[1:])
